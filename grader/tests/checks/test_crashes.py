"""A check that breaks and a machine that is lost: once more, then the reference, then a verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.observe.evidence import Lost
from vmmlab.observe.lost import BootLost
from vmmlab.observe.observation import Observation
from vmmlab.report import exit_code

BREAKS = """
    @check("lab3.a.one", S)
    def one(boot):
        '''One.'''
        if boot == "odd":
            raise KeyError("ap_entry")
        if boot == "wrong":
            fail("wrong")
"""
CASES = """
    def cases(boot):
        yield "first", boot
        yield "second", boot

    @check("lab3.a.one", S, per=cases)
    def one(boot, what):
        '''One.'''
        if boot == "odd":
            raise KeyError("ap_entry")
"""
ONE = {"lab3.a.one": 4}


@pytest.mark.parametrize("body", [BREAKS, CASES], ids=["plain", "cases"])
def test_a_check_that_breaks_on_a_submission_alone_earns_nothing_until_a_person_looks(
    kit, fake_runner, body
):
    kit.write(body, ONE)
    kit.runner = fake_runner({"ladder": "odd"}, reference=fake_runner({"ladder": "good"}))
    report = kit.grade()
    (one,) = report.checks
    assert (one.outcome, one.points, one.cause) == ("fail", 0, "check-crashed")
    assert (report.points, report.needs_attention, report.review) == (0, False, True)
    assert "KeyError" in str(report.review_reasons[0])
    assert "A person will look at it" in str(one.next)
    assert "Traceback" in one.infra, "for the author"
    assert "Traceback" not in str(one.observed) + str(one.reason) + str(one.next)
    assert exit_code(report) == 1
    assert kit.runner.closed == 2, "the second boot's runner, too"
    assert kit.runner.reference.closed == 1


def test_a_check_that_breaks_on_the_reference_too_is_the_graders_own_fault(kit, fake_runner):
    kit.write(BREAKS, ONE)
    for known in ("odd", "wrong", InfraError("no QEMU"), ZeroDivisionError()):
        kit.runner = fake_runner({"ladder": "odd"}, reference=fake_runner({"ladder": known}))
        report = kit.grade()
        (one,) = report.checks
        assert (one.outcome, one.points, report.review) == ("infra-error", None, False)


@pytest.mark.parametrize(("second", "outcome"), [("good", "pass"), ("wrong", "fail")])
def test_a_second_boot_that_can_be_judged_is_the_verdict(kit, fake_runner, second, outcome):
    kit.write(BREAKS, ONE)
    kit.runner = fake_runner({"ladder": ["odd", second]})
    report = kit.grade()
    assert (report.checks[0].outcome, report.review) == (outcome, False)


def test_a_probe_that_breaks_is_treated_like_a_check(kit, fake_runner):
    kit.write(BREAKS, ONE)
    broken = AttributeError("a probe of the lab")
    kit.runner = fake_runner({"ladder": broken}, reference=fake_runner({"ladder": "good"}))
    report = kit.grade()
    assert (report.checks[0].cause, report.review) == ("check-crashed", True)


# --- a machine that is lost ------------------------------------------------------------------

PARKS = """
    @check("lab3.a.one", S)
    def one(boot):
        '''One.'''
        if not boot.all_parked:
            missing("nobody-parked", boot=boot)
"""


def lost(sample: Observation, how: str = "ended") -> BootLost:
    cpus = tuple(replace(cpu, end_kind="lost") for cpu in sample.cpus)
    seen = replace(sample, how_ended="lost", lost=Lost(how), cpus=cpus)  # type: ignore[arg-type]
    return BootLost(InfraError("QEMU ended during a boot."), seen)


@pytest.mark.parametrize("how", ["ended", "no-answer", "refused"])
def test_a_machine_that_only_a_submission_loses_is_its_failure(kit, fake_runner, sample, how):
    kit.write(PARKS, ONE)
    kit.runner = fake_runner(
        {"ladder": lost(sample, how)}, reference=fake_runner({"ladder": sample})
    )
    report = kit.grade()
    (one,) = report.checks
    assert (one.outcome, one.points, one.cause) == ("fail", 0, "machine-lost")
    assert "QEMU" in str(one.observed)
    assert (report.needs_attention, exit_code(report)) == (False, 1)
    assert kit.runner.observed.count("ladder") == 2, "once more first"


def test_a_machine_that_the_reference_loses_too_is_nobodys_failure(kit, fake_runner, sample):
    kit.write(PARKS, ONE)
    for known in (lost(sample), InfraError("no QEMU"), replace(sample, how_ended="timeout")):
        kit.runner = fake_runner({"ladder": lost(sample)}, reference=fake_runner({"ladder": known}))
        (one,) = kit.grade().checks
        assert (one.outcome, one.points) == ("infra-error", None)


def test_a_machine_that_is_lost_once_is_booted_again(kit, fake_runner, sample):
    kit.write(PARKS, ONE)
    kit.runner = fake_runner({"ladder": [lost(sample), sample]})
    assert kit.grade().points == 4


def test_want_of_something_in_a_boot_without_time_is_a_time_out(kit, fake_runner, sample):
    kit.write(PARKS, ONE)
    cpus = tuple(replace(cpu, end_kind="running") for cpu in sample.cpus)
    kit.runner = fake_runner({"ladder": replace(sample, how_ended="timeout", cpus=cpus)})
    (one,) = kit.grade().checks
    assert (one.outcome, one.points, one.cause) == ("timeout", 0, "nobody-parked")
    assert "CPU 1 at vmm_parked" in str(one.observed), "what the CPUs did then"

"""What a check gets for each case, and what it says when something did not happen."""

from __future__ import annotations

from dataclasses import replace
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest

from vmmlab.base.errors import CourseError
from vmmlab.base.message import Message, msg
from vmmlab.checks import Arrival, JudgedCpu, check, expect, fail, missing, needed
from vmmlab.checks.declaring import Check, declared_in
from vmmlab.checks.failing import CheckFailed, CheckMistake
from vmmlab.checks.judging import judge
from vmmlab.observe.cpu import TakenException
from vmmlab.observe.milestones import AP_ENTRY, LONG_MODE
from vmmlab.observe.place import Place
from vmmlab.probes import bringup, parking

BOOT, LATE = bringup(cpus=4), parking(name="late", cpus=2)
MEMCPY = Place(0x40101006, symbol="memcpy+0x6", file="core/string.c", line=12, owner="given")


def declared(function: Any, *scenarios: Any, **options: Any) -> Check:
    """The check that a function of a test is."""
    plain = FunctionType(
        function.__code__, dict(globals()), function.__name__, None, function.__closure__
    )
    plain.__doc__, plain.__qualname__ = "One.", function.__name__
    check("lab3.a.one", *scenarios, **options)(plain)
    (made,) = declared_in(SimpleNamespace(**plain.__globals__))
    return made


def failure_of(made: Check, *boots: Any) -> Any:
    """What a check without cases says of some boots."""
    with pytest.raises(CheckFailed) as caught:
        judge(made, boots)
    return caught.value.failure


def crashed(boot, place=MEMCPY):
    """The same boot, but the BSP has ended by an exception."""
    taken = TakenException(14, 2, place, 0xC0031000)
    return replace(boot, cpus=(replace(boot.bsp, end_kind="exception", exception=taken), *boot.aps))


def stopped(boot, cpu, step="lab3.1"):
    """The same boot, but a CPU has run into a TODO."""
    hit = replace(boot.hits[0], cpu=cpu, place="vmm_todo", text=step)
    return replace(boot, hits=(*boot.hits, hit))


@pytest.fixture
def three(sample):
    """A boot of the BSP and two APs, of which the second is not in long mode."""
    ap = sample.aps[0]
    high = {name: one for name, one in ap.milestones.items() if name not in ABOVE}
    steps = tuple(step for step in ap.steps if step.state.bits != 64)
    lost = replace(ap, index=2, milestones=high, steps=steps, end_kind="running", end=ap.end)
    return replace(sample, cpus=(*sample.cpus, lost))


ABOVE = {"long-mode", "ap-entry", "boot-stack", "own-stack", "numbered", "parked"}


# --- cases ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("per", "indexes"), [("ap", [1, 2]), ("cpu", [0, 1, 2])])
def test_each_cpu_is_a_case(three, per, indexes):
    seen = []

    def ap_or_cpu(boot, one):
        seen.append((boot, one))
        if one.index == 2:
            fail("lost", cpu=2)

    cases_judged = judge(declared(ap_or_cpu, BOOT, per=per), [three])
    assert [one.index for _, one in seen] == indexes
    assert all(boot is three and isinstance(one, JudgedCpu) for boot, one in seen)
    assert [str(case.name) for case in cases_judged] == [three.cpus[n].name for n in indexes]
    assert [case.outcome for case in cases_judged] == [*["pass"] * (len(indexes) - 1), "fail"]


def test_a_cpu_reads_like_its_record(three):
    def one(boot, ap):
        record = three.aps[0]
        assert (ap.name, ap.steps, ap.stackaddr) == (record.name, record.steps, record.stackaddr)
        assert ap.reached(LONG_MODE)
        with pytest.raises(AttributeError):
            _ = ap.no_such_field

    judge(declared(one, BOOT, per=lambda boot: boot.aps[:1]), [three])


def test_a_function_gives_cpus_or_names_with_values(three):
    seen = []

    def cases(boot):
        yield boot.aps[1]
        yield msg("CPU {cpu}, late", cpu=1), boot.aps[0]

    def one(boot, ap):
        seen.append((boot, ap))

    cases_judged = judge(declared(one, BOOT, per=cases), [three])
    assert [str(case.name) for case in cases_judged] == ["CPU 2", "CPU 1, late"]
    assert isinstance(seen[0][1], JudgedCpu)
    assert seen[1] == (three, three.aps[0])


def test_of_several_boots_the_function_gets_all(sample):
    seen = []

    def cases(boots):
        for boot in boots:
            yield boot.scenario, boot, boot.seed

    def one(boots, boot, seed):
        seen.append((boots, boot, seed))

    boots = (replace(sample, scenario="a", seed=1), replace(sample, scenario="b", seed=2))
    cases_judged = judge(declared(one, BOOT, LATE, per=cases), boots)
    assert [str(case.name) for case in cases_judged] == ["a", "b"]
    assert seen == [(boots, boots[0], 1), (boots, boots[1], 2)]


# --- must_reach -----------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [LONG_MODE, "long-mode"])
def test_an_arrival_has_the_registers_and_the_place(three, named):
    arrival = JudgedCpu(three, three.aps[0]).must_reach(named)
    assert isinstance(arrival, Arrival)
    state = three.aps[0].at(LONG_MODE)
    assert (arrival.cpu, arrival.state) == (1, state)
    assert (arrival.cr3, arrival.efer) == (state.cr3, state.efer)


@pytest.mark.parametrize("named", [AP_ENTRY, "ap-entry", "ap_entry"])
def test_a_milestone_is_named_by_its_symbol_as_well(three, named):
    arrival = JudgedCpu(three, three.aps[0]).must_reach(named)
    assert arrival.state == three.aps[0].at(AP_ENTRY)
    assert "ap_entry" in str(arrival.place)


def test_the_diagnosis_says_why_a_cpu_did_not_arrive(three):
    def one(boot, ap):
        ap.must_reach("ap-entry")

    first, second = judge(declared(one, BOOT, per="ap"), [three])
    assert first.failure is None
    assert second.failure.cpu == 2
    assert second.failure.cause.startswith("ap-")
    assert "CPU 2" in str(second.failure.expected)


def test_a_milestone_that_there_is_not_is_the_authors_mistake(three):
    with pytest.raises(CheckMistake, match=r"no milestone 'lang-mode'; .*: waiting, .*parked"):
        JudgedCpu(three, three.aps[0]).must_reach("lang-mode")


# --- what came first ------------------------------------------------------------------------------


def nothing_happened(boot):
    missing("nothing-there", cpu=1, place="ap_start", expected="something", observed="nothing")


def wrong(boot):
    fail("wrong", cpu=1, expected="something", observed="another thing")


def test_what_did_not_happen_is_said_if_nothing_stopped_the_bsp(sample):
    found = failure_of(declared(nothing_happened, BOOT), sample)
    assert (found.cause, found.cpu, found.place) == ("nothing-there", 1, "ap_start")


def test_what_stopped_the_bsp_comes_first(sample):
    found = failure_of(declared(nothing_happened, BOOT), crashed(sample))
    assert (found.cause, found.cpu, str(found.place)) == ("bsp-exception", 0, str(MEMCPY))
    assert str(found.expected) == "something", "what the check expected"
    assert "exception 14" in str(found.observed)


def test_without_a_word_of_the_check_the_diagnosis_says_what_was_expected(sample):
    def one(boot):
        missing("nothing-there")

    found = failure_of(declared(one, BOOT), crashed(sample))
    assert str(found.expected) == "the BSP goes on"


def test_a_mistake_that_was_seen_is_said_whatever_stopped_the_bsp(sample):
    assert failure_of(declared(wrong, BOOT), crashed(sample)).cause == "wrong"


@pytest.mark.parametrize(
    ("bsp_in", "named"),
    [("ap_start", "ap_start"), (lambda boot: f"of_{boot.scenario}", "of_sample"), ("", "")],
)
def test_the_function_that_the_bsp_is_in_is_named(sample, bsp_in, named):
    found = failure_of(declared(nothing_happened, BOOT, bsp_in=bsp_in), crashed(sample))
    assert f"look at what {named} passes to it" in str(found.next) or not named
    assert ("given code" in str(found.next)) == bool(named)


def test_of_todos_only_the_bsps_comes_first(sample):
    made = declared(nothing_happened, BOOT)
    assert failure_of(made, stopped(sample, cpu=1)).cause == "nothing-there"
    found = failure_of(made, stopped(sample, cpu=0))
    assert (found.cause, str(found.place)) == ("not-written-yet", "TODO(lab3.1)")


def test_a_todo_of_any_cpu_comes_first_if_the_check_says_so(sample):
    made = declared(nothing_happened, BOOT, todo_of_any_cpu=True)
    found = failure_of(made, stopped(sample, cpu=1))
    assert (found.cause, found.cpu) == ("not-written-yet", 1)
    assert failure_of(made, crashed(sample)).cause == "bsp-exception"
    made = declared(wrong, BOOT, todo_of_any_cpu=True)
    assert failure_of(made, stopped(sample, cpu=1)).cause == "wrong"


def test_a_todo_of_a_later_step_never_comes_first(sample):
    later = replace(stopped(sample, cpu=0, step="lab3.7"), later=("lab3.7",))
    assert failure_of(declared(nothing_happened, BOOT), later).cause == "nothing-there"


def test_a_case_that_is_a_boot_asks_that_boot_only(sample):
    boots = (crashed(replace(sample, scenario="a")), replace(sample, scenario="b"))
    cases_judged = judge(declared(nothing_happened, BOOT, LATE, per="boot"), boots)
    assert [case.failure.cause for case in cases_judged] == ["bsp-exception", "nothing-there"]


def test_a_case_with_a_boot_among_its_values_asks_that_boot_only(sample):
    def one(boots, boot):
        missing("nothing-there")

    def cases(boots):
        return [(boot.scenario, boot) for boot in boots]

    boots = (crashed(replace(sample, scenario="a")), replace(sample, scenario="b"))
    cases_judged = judge(declared(one, BOOT, LATE, per=cases), boots)
    assert [case.failure.cause for case in cases_judged] == ["bsp-exception", "nothing-there"]


@pytest.mark.parametrize(("number", "cause"), [(0, "bsp-exception"), (1, "nothing-there")])
def test_a_check_of_several_boots_says_in_which_it_did_not_happen(sample, number, cause):
    def one(boots):
        missing("nothing-there", boot=boots[number])

    assert failure_of(declared(one, BOOT, LATE), crashed(sample), sample).cause == cause


def test_without_that_word_every_boot_is_asked(sample):
    def one(boots):
        missing("nothing-there")

    assert failure_of(declared(one, BOOT, LATE), sample, crashed(sample)).cause == "bsp-exception"


def test_the_function_that_gives_the_cases_may_miss_something_too(sample):
    def cases(boot):
        missing("nothing-there")

    def one(boot, value):
        pass

    made = declared(one, BOOT, per=cases)
    assert failure_of(made, sample).cause == "nothing-there"
    assert failure_of(made, crashed(sample)).cause == "bsp-exception"


# --- expect ---------------------------------------------------------------------------------------


def test_equal_values_are_as_expected():
    expect("wrong", 0x1000, 4096, what="CR3")
    expect("wrong", (1, 2), (1, 2), what="the pair")


def said(*values: object, **more: Any) -> Any:
    with pytest.raises(CheckFailed) as caught:
        expect("ap-wrong-page-tables", *values, **more)
    assert not caught.value.absent, "it was seen"
    return caught.value.failure


@pytest.mark.parametrize(
    ("found", "wanted", "shown"),
    [
        (0x2000, 0x1000, ("0x2000", "0x1000")),
        (None, 16, ("None", "0x10")),
        (True, False, ("True", "False")),
        ("parked", "running", ("parked", "running")),
    ],
)
def test_both_values_are_shown(found, wanted, shown):
    failure = said(found, wanted, what="CR3", cpu=1, place="ap_entry", next=msg("look"))
    assert (str(failure.observed), str(failure.expected)) == tuple(f"CR3 = {one}" for one in shown)
    assert (failure.cause, failure.cpu, failure.place) == ("ap-wrong-page-tables", 1, "ap_entry")
    assert str(failure.next) == "look"


def test_an_arrival_gives_cpu_and_place(three):
    at = JudgedCpu(three, three.aps[0]).must_reach("ap_entry")
    failure = said(at.cr3, 0, what="CR3", at=at)
    assert (failure.cpu, failure.place) == (1, at.place)
    failure = said(at.cr3, 0, what="CR3", at=at, cpu=2, place="elsewhere")
    assert (failure.cpu, failure.place) == (2, "elsewhere")


def test_the_name_of_a_value_is_a_message():
    failure = said(1, 2, what=msg("the count of {cpu}", cpu="CPU 1"))
    assert isinstance(failure.expected, Message)
    assert dict(failure.expected.values)["name"] == msg("the count of {cpu}", cpu="CPU 1")
    assert str(failure.expected) == "the count of CPU 1 = 0x2"


# --- one more boot, of another cohort -------------------------------------------------------------


THERE = bringup(name="there", cpus=2, cohort="other")


def boots_of(sample):
    return [replace(sample, cohort="dev"), replace(sample, cohort="dev2")]


def test_one_more_boot_adds_cases_that_name_its_cohort(sample):
    def one(boot, ap):
        if boot.cohort == "dev2":
            fail("lost", cpu=ap.index)

    cases = judge(declared(one, BOOT, also=THERE, per="ap"), boots_of(sample))
    assert [str(case.name) for case in cases] == ["CPU 1", "CPU 1, cohort dev2"]
    assert [case.failure and case.failure.cohort for case in cases] == [None, "dev2"]


def test_without_cases_both_boots_must_pass_and_the_first_comes_first(sample):
    def fails_in(*cohorts):
        def one(boot):
            if boot.cohort in cohorts:
                fail("lost")

        return declared(one, BOOT, also=THERE)

    first, second = boots_of(sample)
    assert judge(fails_in(), [first, second]) == ()
    assert failure_of(fails_in("dev2"), first, second).cohort == "dev2"
    assert failure_of(fails_in("dev", "dev2"), first, second).cohort == "dev"


def test_what_stopped_the_bsp_is_asked_of_the_boot_that_failed(sample):
    def one(boot):
        if boot.cohort == "dev2":
            missing("nothing-there")

    first, second = boots_of(sample)
    failure = failure_of(declared(one, BOOT, also=THERE), first, crashed(second))
    assert (failure.cause, failure.cohort) == ("bsp-exception", "dev2")
    failure = failure_of(declared(one, BOOT, also=THERE), crashed(first), second)
    assert failure.cause == "nothing-there"


def test_a_failure_of_boots_of_several_cohorts_names_none(sample):
    def one(boots):
        fail("lost")

    assert failure_of(declared(one, BOOT, THERE), *boots_of(sample)).cohort == ""


@pytest.mark.parametrize("wrong", [{"also": "there"}, {"also": BOOT, "scenarios": (BOOT, LATE)}])
def test_only_one_boot_can_have_one_more(wrong):
    def one(boot):
        pass

    def several(boots):
        pass

    scenarios = wrong.get("scenarios", (BOOT,))
    with pytest.raises(CourseError, match="one more scenario"):
        declared(one if len(scenarios) == 1 else several, *scenarios, also=wrong["also"])


def test_a_boot_that_did_not_get_far_enough_says_where_it_ended(sample):
    """Nothing has stopped the BSP: it was still in a loop of the student's."""

    def one(boot):
        needed(None)

    place = Place(0x40102500, symbol="wait_for_them+0x8", file="lab5/panic_nmi.c", line=9)
    boot = replace(sample, cpus=(replace(sample.bsp, end_place=place), *sample.aps))
    failure = failure_of(declared(one, BOOT), boot)
    said = "wait_for_them+0x8 (lab5/panic_nmi.c:9)"
    assert (failure.cause, failure.cpu, str(failure.place)) == ("not-observed", 0, said)
    assert str(failure.observed) == f"it ended before; CPU 0 was last at {said}"

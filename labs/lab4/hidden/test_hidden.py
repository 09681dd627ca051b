"""Lab 4, hidden: another CPU never comes, another patience, more CPUs than 16."""

from vmmlab.checks import check, fail, msg
from vmmlab.probes import barrier, exclusion, missing_ap

from .. import test_lab4 as lab

FIRST_IS_MISSING = missing_ap(
    name="first-is-missing",
    cpus=5,
    cpu=1,
    entered=True,
    wait_us=90000,
    poll_us=1100,
    cohort="third",
)
TWENTY = exclusion(name="cpus-20", cpus=20, crowd=True, cohort="third")


@check("lab4.hidden.missing", FIRST_IS_MISSING, after="lab4.wait.missing")
def another_cpu_never_comes(boot):
    """When CPU 1 of 5 never arrives, the BSP reports it after ap_delays.wait_us and names it."""
    scenario = FIRST_IS_MISSING
    lab.names_the_missing(boot, scenario.option("cpu"), scenario.option("wait_us"))


ROUNDS = 256  # then a byte is 0 again
LATER = barrier(name="later", cpus=2, before=ROUNDS, cohort="third")


def many(boots):
    """The boot with many CPUs, and the one with many rounds."""
    for boot in boots:
        later = boot.scenario == LATER.name
        yield msg("after {count} rounds", count=ROUNDS) if later else msg("20 CPUs"), boot


@check("lab4.hidden.cpus", TWENTY, LATER, per=many, after="lab4.boot.cpus")
def works_with_20_cpus(boots, boot):
    """With 20 CPUs every CPU goes through all rounds of the barrier and parks; and after 256 rounds
    the barrier still holds.
    """
    if boot.scenario == LATER.name:
        holds_after_many_rounds(boot)
        return
    lab.nobody_else_gets_in(boot)
    lab.parks(boot)


def holds_after_many_rounds(boot):
    """Fail unless an AP waits for the BSP after many rounds."""
    for one in boot.while_at("round-later"):
        if one.verdict == "reached":
            fail(
                "barrier-number-wraps",
                cpu=one.cpu,
                place="sync_all_processors",
                expected=msg(
                    "after {count} rounds, CPU {cpu} still waits for the BSP",
                    count=ROUNDS,
                    cpu=one.cpu,
                ),
                observed=msg("it left the barrier before the BSP had entered it"),
            )
    lab.parks(boot)

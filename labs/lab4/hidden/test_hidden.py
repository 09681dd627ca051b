"""Lab 4, hidden: another CPU never comes, another patience, more CPUs than 16."""

from vmmlab.checks import check
from vmmlab.probes import missing_ap, parking

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
TWENTY = parking(name="cpus-20", cpus=20, cohort="third")


@check("lab4.hidden.missing", FIRST_IS_MISSING, after="lab4.wait.missing")
def another_cpu_never_comes(boot):
    """When CPU 1 of 5 never arrives, the BSP reports it after ap_delays.wait_us and names it."""
    scenario = FIRST_IS_MISSING
    lab.names_the_missing(boot, scenario.option("cpu"), scenario.option("wait_us"))


@check("lab4.hidden.cpus", TWENTY, per="boot", after="lab4.boot.cpus")
def works_with_20_cpus(boot):
    """With 20 CPUs every CPU goes through all rounds of the barrier and parks."""
    lab.parks(boot)

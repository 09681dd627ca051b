"""Lab 4, hidden: another CPU never comes, another patience, more CPUs than 16."""

from vmmlab.checks import check, scenario

from .. import test_lab4 as lab

FIRST_IS_MISSING = scenario("first-is-missing", probe="missing-ap", cpus=5, cpu=1, wait_us=90000)
TWENTY = scenario("cpus-20", probe="end", cpus=20)


@check("lab4.hidden.missing", FIRST_IS_MISSING, needs=["lab4.wait.missing"])
def test_another_cpu_never_comes(boot):
    """When CPU 1 of 5 never comes, the BSP says so after ap_delays.wait_us, and names it."""
    lab.names_the_missing(boot, FIRST_IS_MISSING.cpu, FIRST_IS_MISSING.wait_us)


@check("lab4.hidden.cpus", TWENTY, needs=["lab4.boot.cpus"])
def test_it_works_with_20_cpus(boot, score):
    """With 20 CPUs every CPU comes through all rounds of the barrier and parks."""
    lab.test_it_works_with_any_number_of_cpus((boot,), score)

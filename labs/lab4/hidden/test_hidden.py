"""Lab 4, hidden: another CPU never comes, another patience, more CPUs than 16."""

from vmmlab.checks import check, fail, open_checks, scenario

lab = open_checks(__file__)

WAIT_US = 90000
FIRST_IS_MISSING = scenario("first-is-missing", probe="missing-ap", cpus=5, cpu=1, wait_us=WAIT_US)
TWENTY = scenario("cpus-20", probe="end", cpus=20)


@check("lab4.hidden.missing", FIRST_IS_MISSING, needs=["lab4.wait.missing"])
def test_another_cpu_never_comes(boot):
    """When CPU 1 of 5 never comes, the BSP says so after ap_delays.wait_us, and names it."""
    hit = boot.first("vmm_ap_missing", 0)
    if hit is None:
        on = boot.first("bsp_proc") is not None
        lab.blame(
            boot,
            "missing-cpu-not-noticed",
            cpu=0,
            place="ap_wait",
            expected=f"vmm_ap_missing (1) after {WAIT_US} microseconds",
            observed="the BSP went on to bsp_proc" if on else "the BSP waits for ever",
            next="A wait needs an end: count how long you have polled.",
        )
    named = hit.state.rdi & 0xFFFFFFFF
    if named != 1:
        fail(
            "wrong-cpu-named",
            cpu=0,
            place="ap_wait",
            expected="vmm_ap_missing (1): the CPU with APIC id 1 did not come",
            observed=f"vmm_ap_missing ({named})",
            next="ap_first_missing () returns the APIC id.",
        )


@check("lab4.hidden.cpus", TWENTY, needs=["lab4.boot.cpus"])
def test_it_works_with_20_cpus(boot, score):
    """With 20 CPUs every CPU comes through all rounds of the barrier and parks."""
    lab.test_it_works_with_any_number_of_cpus((boot,), score)

"""Lab 2, hidden: the APs in other builds, and bsp_continue called for another function."""

from vmmlab.checks import NoCases, check, fail, scenario

from .. import test_lab2 as lab

PLAIN = scenario("plain", probe="switch", cpus=6, opt="-O0", swap=1)
SMALL = scenario("small", probe="switch", cpus=3, opt="-Os", swap=1)
ELSEWHERE = scenario("elsewhere", probe="switch", cpus=1, elsewhere=1)


@check("lab2.hidden.aps", PLAIN, SMALL, needs=["lab2.switch.frame", "lab2.switch.aps"])
def test_the_aps_switch_in_every_build(boots, score):
    """Without optimisation and with -Os too, every AP comes to the top of its own stack."""
    for boot in boots:
        with score.case(f"{len(boot.cpus)} CPUs, {boot.scenario}"):
            lab.test_start_all_processors_keeps_both_functions((boot,), NoCases())
            lab.test_the_stack_comes_from_alloc(boot)
            lab.test_stackaddr_is_the_base(boot)
            lab.test_rsp_is_the_top_of_the_new_stack((boot,), NoCases())
            lab.test_rbp_is_zero((boot,), NoCases())
            lab.test_aps_switch_with_the_same_function(boot, NoCases())


@check("lab2.hidden.continue", ELSEWHERE, needs=["lab2.switch.frame"])
def test_bsp_continue_goes_where_it_is_told(boot):
    """bsp_continue goes on in the function that it is given, whichever that is."""
    base, _ = lab.block(boot)
    asked = boot.first("vmm_parked", 0)
    if boot.first("bspinitproc1", 0):
        fail(
            "argument-not-used",
            cpu=0,
            place="bsp_continue",
            expected="bsp_continue (vmm_parked) goes on in vmm_parked",
            observed="it went to bspinitproc1",
            next="initproc_arg says where to go on.",
        )
    if asked is None or base is None:
        lab.blame(
            boot,
            "bsp-lost-in-the-switch",
            place=str(boot.bsp.end_place),
            expected="bsp_continue (vmm_parked) goes on in vmm_parked, on a stack from alloc",
            observed=f"the BSP ended at {boot.bsp.end_place}",
            next="initproc_arg says where to go on.",
        )
    top = base + boot.stack_size
    if (asked.state.rsp, asked.state.rbp) != (top, 0):
        fail(
            "rsp-not-the-top",
            cpu=0,
            place="vmm_parked, first instruction",
            expected=f"RSP = {top:#x}, RBP = 0",
            observed=f"RSP = {asked.state.rsp:#x}, RBP = {asked.state.rbp:#x}",
            next="The same stack, whatever comes after.",
        )

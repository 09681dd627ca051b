"""Lab 2, hidden: the APs in other builds, and bsp_continue called for another function."""

from vmmlab.checks import check, fail, missing, msg
from vmmlab.probes import boot_in_words, stack_switch

from .. import test_lab2 as lab

PLAIN = stack_switch(name="plain", cpus=6, opt="-O0", swap=True, cohort="third")
SMALL = stack_switch(name="small", cpus=3, opt="-Os", swap=True, cohort="third")
ELSEWHERE = stack_switch(name="elsewhere", cpus=1, elsewhere=True, cohort="third")


def builds(boots):
    """Each boot, by its CPUs and its build."""
    for boot in boots:
        scenario = PLAIN if boot.scenario == PLAIN.name else SMALL
        yield boot_in_words(scenario), boot


@check("lab2.hidden.aps", PLAIN, SMALL, per=builds, after=["lab2.switch.frame", "lab2.switch.aps"])
def aps_switch_in_every_build(boots, boot):
    """Without optimisation and with -Os too, every AP reaches the top of its own stack."""
    for number, who in enumerate(lab.PROCS, 1):
        lab.keeps_argument(boot, who, number)
    lab.stack_is_allocated(boot)
    lab.stackaddr_is_the_base(boot)
    lab.without_a_frame(boot, lab.on_the_new_stack(boot, lab.ON_TOP))
    for ap in boot.aps:
        lab.ap_switches_with_the_same_function(boot, ap)


@check("lab2.hidden.continue", ELSEWHERE, after="lab2.switch.frame")
def bsp_continue_goes_where_it_is_told(boot):
    """bsp_continue continues in the function that it is given, whatever it is."""
    base, _ = lab.block(boot)
    asked = boot.first("vmm_parked", 0)
    look = msg("initproc_arg says where to continue.")
    if boot.first("bspinitproc1", 0):
        fail(
            "argument-not-used",
            cpu=0,
            place="bsp_continue",
            expected=msg("bsp_continue (vmm_parked) continues in vmm_parked"),
            observed=msg("it went to bspinitproc1"),
            next=look,
        )
    if asked is None or base is None:
        missing(
            "bsp-lost-in-the-switch",
            cpu=0,
            place=boot.bsp.end_place.text,
            expected=msg(
                "bsp_continue (vmm_parked) continues in vmm_parked, on a stack from alloc"
            ),
            observed=msg("the BSP ended at {place}", place=boot.bsp.end_place.text),
            next=look,
        )
    top = base + boot.stack_size
    if (asked.state.rsp, asked.state.rbp) != (top, 0):
        fail(
            "rsp-not-the-top",
            cpu=0,
            place=msg("vmm_parked, first instruction"),
            expected=f"RSP = {top:#x}, RBP = 0",
            observed=f"RSP = {asked.state.rsp:#x}, RBP = {asked.state.rbp:#x}",
            next=msg("The stack must be the same, whichever function comes next."),
        )

"""Lab 10, hidden: another number of CPUs, other numbers in cohort.h, another optimisation."""

from functools import partial

from vmmlab import checks

from .. import test_lab10 as lab

TWO = lab.delayed(name="another", cpus=2, cohort="third", opt="-O1")

check = partial(checks.check, todo_of_any_cpu=True)


@check(
    "lab10.hidden.two",
    TWO,
    after=[
        "lab10.state.control",
        "lab10.state.segments",
        "lab10.return.registers",
        "lab10.start.first",
        "lab10.guest.wakes",
    ],
    strictly=True,
)
def works_with_two(boot):
    """With 2 CPUs and other numbers the guest has the firmware's state, and both processors."""
    lab.control_registers_are_the_firmwares(boot)
    lab.segments_are_the_firmwares(boot)
    lab.registers_are_the_callers(boot)
    lab.started_at_the_first(boot)
    lab.group_is_called(boot)
    lab.comes_to_its_end(boot)

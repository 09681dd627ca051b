"""Lab 7, hidden: other exits that are not handled, and other numbers of CPUs."""

from functools import partial

from vmmlab import checks
from vmmlab.checks import msg
from vmmlab.x86.vmcb import VMEXIT_NPF

from .. import test_lab7 as lab

END_BEYOND, END_INS = 2, 4  # guest/bios.S
BEYOND = lab.svm(name="beyond", cpus=2, end=END_BEYOND, follow=False, replaces=True, cohort="third")
STRING = lab.svm(name="ins", cpus=3, end=END_INS, follow=False, replaces=True, opt="-O0")
SIX = lab.svm(name="six", cpus=6, sockets=2, opt="-O0", cohort="third")

check = partial(checks.check, todo_of_any_cpu=True)


@check("lab7.hidden.beyond", BEYOND, after=["lab7.exit.unknown", "lab7.guest.hlt"])
def access_beyond_the_memory_is_named(boot):
    """The VMM names the address when its guest uses memory that it does not have."""
    expected = msg("the VMM panics when its guest has used memory of the VMM")
    last = lab.panicked(boot, boot.bsp, VMEXIT_NPF, expected)
    numbers = {"EXITCODE": last.code, "EXITINFO1": last.info1, "EXITINFO2": last.info2}
    lab.is_named(boot, boot.bsp, "panic-without-the-numbers", **numbers, RIP=last.rip)


@check("lab7.hidden.string", STRING, after=["lab7.exit.unknown", "lab7.exit.string"])
def string_io_is_named(boot):
    """The VMM panics when its guest executes INS, and names the port."""
    lab.string_io(boot, msg("the VMM panics when its guest has executed INS"))


@check(
    "lab7.hidden.cpus",
    SIX,
    per="cpu",
    after=["lab7.init.hsave", "lab7.vmcb.own", "lab7.vmcb.intercepts", "lab7.run.entered",
           "lab7.run.host", "lab7.guest.hlt"],
    strictly=True,
)  # fmt: skip
def guests_run_on_six_cpus(boot, cpu):
    """With 6 CPUs in two packages, each CPU has an area, a VMCB and a guest of its own."""
    for one in boot.cpus:  # a page that two CPUs share makes any of them fail later
        lab.host_save_area_is_its_own(boot, one)
        lab.vmcb_is_its_own(boot, one)
    lab.what_must_exit_is_intercepted(boot, cpu)
    lab.guest_begins_with_its_registers(boot, cpu)
    lab.vmm_is_as_before(boot, cpu)
    lab.runs_to_its_end(boot, cpu)

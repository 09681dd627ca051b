"""Lab 3, hidden: other numbers of CPUs, and another one that is late, under another firmware."""

from vmmlab.checks import check, scenario
from vmmlab.x86.decode import far_jump

from .. import test_lab3 as lab

LAST_IS_LATE = scenario("last-is-late", probe="late-ap", cpus=5, cpu=4, firmware="seabios")
TWELVE = scenario("cpus-12", probe="end", cpus=12, opt="-O0")
TWENTY = scenario("cpus-20", probe="end", cpus=20)


@check("lab3.hidden.late", LAST_IS_LATE, needs=["lab3.restore.late"])
def test_the_last_cpu_is_late_under_seabios(boot):
    """The far jump stays for the last of 5 CPUs, and then physical 0 is what SeaBIOS left there."""
    code = boot.physical_0.not_entered or b""
    address, _ = lab.right_jump(boot)
    jump = far_jump(code)
    if jump is None or jump[0] * 16 + jump[1] != address:
        lab.blame(
            boot,
            "physical-0-restored-too-early",
            cpu=4,
            place="physical address 0",
            expected="the far jump, as long as CPU 4 has not come",
            observed=f"{code[:5].hex(' ')}",
            next="Restore after ap_wait, not before.",
        )
    lab.test_physical_0_is_restored(boot)


@check("lab3.hidden.cpus", TWELVE, TWENTY, needs=["lab3.boot.cpus"])
def test_it_works_with_other_numbers_of_cpus(boots, score):
    """With 12 CPUs, compiled without optimisation, and with 20 CPUs every CPU parks."""
    lab.test_it_works_with_any_number_of_cpus(boots, score)

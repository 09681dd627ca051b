"""Lab 3, hidden: other numbers of CPUs, and another one that is late, under another firmware."""

from vmmlab.checks import check, msg
from vmmlab.probes import late_ap, parking

from .. import test_lab3 as lab

LAST_IS_LATE = late_ap(name="last-is-late", cpus=5, cpu=4, firmware="seabios", cohort="third")
THREE = parking(name="cpus-3", cpus=3, opt="-O0", cohort="third")
SIXTY_SIX = parking(name="cpus-66", cpus=66, sockets=11, moved=True, cohort="third")


@check("lab3.hidden.late", LAST_IS_LATE, after="lab3.restore.late")
def last_cpu_is_late_under_seabios(boot):
    """The far jump stays until the last of 5 CPUs has arrived; then physical 0 holds the bytes that
    SeaBIOS left there.
    """
    lab.far_jump_stays(boot, 4, msg("physical address 0"))
    lab.physical_0_is_restored(boot)


@check("lab3.hidden.cpus", THREE, SIXTY_SIX, per="boot", after="lab3.boot.cpus")
def other_numbers_of_cpus(boot):
    """With 3 CPUs, compiled without optimisation, and with 66 CPUs every CPU parks."""
    lab.parks(boot)

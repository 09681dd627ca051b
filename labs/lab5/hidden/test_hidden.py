"""Lab 5, hidden: twenty CPUs, and a panic as soon as the APs are started."""

from vmmlab.checks import check
from vmmlab.probes import panics

from .. import test_lab5 as lab

# Four packages of five: the APIC ids go up to 28.
TWENTY = panics(name="cpus-20", cpus=20, sockets=4, cpu=7, firmware="seabios", cohort="third")
SOON = panics(name="soon", cpus=4, soon=True, cohort="third")


@check("lab5.hidden.cpus", TWENTY, per=lab.others, after="lab5.handler.halts")
def stops_20_cpus(boot, cpu):
    """With 20 CPUs, an AP that panics sends each of the others one NMI, and they halt."""
    lab.only_right_ones(boot)
    lab.every_other_cpu_is_sent_an_nmi(boot, cpu)
    lab.halts(boot, cpu)


@check("lab5.hidden.early", SOON, per=lab.others, after="lab5.handler.halts")
def stops_them_at_the_first_barrier(boot, cpu):
    """A panic before the first barrier stops the APs, too: ap_started alone decides."""
    lab.every_other_cpu_is_sent_an_nmi(boot, cpu)
    lab.halts(boot, cpu)

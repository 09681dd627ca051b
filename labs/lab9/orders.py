"""Which check of lab 9 fails when `vmmlab explore` finds an order of steps that goes wrong."""

from vmmlab.checks.orders import WrongOrder, judges_orders

RUNS = "lab9.enter.runs"
BEGINS = "lab9.sipi.begins"
ONLY = "lab9.sipi.only"
KEPT = "lab9.race.kept"

ENTER, WAIT, INIT, SIPI = "lab9.1", "lab9.2", "lab9.6", "lab9.7"
RUNS_ITS_GUEST = 0x200  # VCPU_RUNS


@judges_orders(RUNS, BEGINS, ONLY, KEPT)
def judge(scenario, found):
    """Return the check that contains the mistake; None if the boots name it better."""
    if found.kind == "gif-set":
        return WrongOrder(RUNS, "gif-set", ENTER)
    if found.kind == "begins-elsewhere":
        if scenario in ("second SIPI", "two SIPIs at once"):
            return WrongOrder(KEPT, "second-sipi-obeyed", SIPI)
        if scenario == "crossed":  # with one CPU that begins it was right
            return WrongOrder(ONLY, "begins-unasked", SIPI)
        return WrongOrder(BEGINS, "begins-elsewhere", WAIT)
    if found.kind == "init-lost":
        return lost(found)
    if found.kind != "never-completes":
        return None
    stands = next((one.function for one in found.cpus if one.cpu == found.cpu), "")
    if stands.startswith(("localapic_signal_init", "localapic_signal_sipi")):
        return WrongOrder(KEPT, "sender-stops", INIT)
    came = [at for at, one in enumerate(found.steps) if "localapic_signal_sipi" in str(one.action)]
    if came and any(one.written is not None for one in rest_of_call(found.steps, came[-1])):
        return WrongOrder(KEPT, "does-not-begin", WAIT)  # it is there, and is not found
    return WrongOrder(KEPT, "does-not-begin", SIPI)


def lost(found):
    """What lost an INIT: the sender, the CPU on its way into the guest, or one that began."""
    steps, cpu = found.steps, found.cpu
    nmis = [at for at, one in enumerate(steps) if one.cpu != cpu and "NMI" in str(one.action)]
    if not nmis:
        return WrongOrder(KEPT, "init-not-obeyed", INIT)
    if any(one.written is not None for one in rest_of_call(steps, nmis[-1])):
        return WrongOrder(KEPT, "init-after-its-nmi", INIT)
    calls = [at for at, one in enumerate(steps) if "localapic_signal_init" in str(one.action)]
    last_init = rest_of_call(steps, calls[-1])
    if stops_without_nmi(steps, last_init):
        return WrongOrder(KEPT, "init-not-obeyed", INIT)
    if not any(one.written is not None for one in last_init):
        return WrongOrder(KEPT, "sipi-not-forgotten", INIT)
    if any(one.cpu == cpu and "svm_reset" in str(one.action) for one in steps):
        return WrongOrder(KEPT, "init-lost-on-start", WAIT)
    return WrongOrder(KEPT, "init-lost-on-entry", ENTER)


def stops_without_nmi(steps, call):
    """Whether a call for an INIT has changed the state of a CPU that runs, and has sent no NMI."""
    if any("NMI" in str(one.action) for one in call):
        return False
    mine, held = {id(one) for one in call}, {}
    for one in steps:
        if one.written is not None:
            target = str(one.target)
            if id(one) in mine and held.get(target) == RUNS_ITS_GUEST != one.written:
                return True
            held[target] = one.written
    return False


def rest_of_call(steps, at):
    """Return the steps that a CPU makes after step number `at` until it returns."""
    rest = []
    for one in steps[at + 1 :]:
        if one.cpu == steps[at].cpu:
            if str(one.action) == "returns":
                break
            rest.append(one)
    return rest

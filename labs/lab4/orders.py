"""Which check of lab 4 fails when `vmmlab explore` finds an order of steps that goes wrong."""

from vmmlab.checks import msg
from vmmlab.checks.orders import WrongOrder, judges_orders

LOCK = "lab4.lock.exclusive"
RELEASED = "lab4.lock.released"
STACK = "lab4.stack.own"
PRIVATE = "lab4.stack.private"
ALONE = "lab4.number.alone"
LATE = "lab4.wait.late"
MISSING = "lab4.wait.missing"
GOES_ON = "lab4.wait.goes_on"
HOLDS = "lab4.barrier.holds"
REUSABLE = "lab4.barrier.reusable"
BOOT = "lab4.boot.cpus"

COUNT = "num_of_processors"
POLLS = 2  # WAIT_US / POLL_US of exploration_common.py
WITHOUT_TABLES = "without tables"
MORE_THAN_LISTED, MANY_APS, MANY_ROUNDS = "more than listed", "many APs", "many rounds"
COMES_BACK = "comes back"
MANY_CPUS, MORE_CPUS = "many CPUs", "more CPUs"

REGISTRATION = {
    "stack-shared": (STACK, "stack-shared-in-some-order"),
    "stackaddr-wrong": (PRIVATE, "stackaddr-wrong-in-some-order"),
    "number-twice": (ALONE, "number-twice-in-some-order"),
    "number-wrong": (ALONE, "number-twice-in-some-order"),
    "number-not-the-count": (ALONE, "number-not-counted-in-some-order"),
    "count-wrong": (ALONE, "number-twice-in-some-order"),
    "trampoline-gone": (RELEASED, "lock-used-too-late-in-some-order"),
    "bsp-went-on": (LATE, "bsp-goes-on-in-some-order"),
    "bsp-gave-up": (GOES_ON, "bsp-gives-up-in-some-order"),
    "bsp-gave-up-early": (MISSING, "bsp-gives-up-too-early"),
    "bsp-waits-on": (MISSING, "bsp-never-gives-up"),
}
CLEARED = "lock-cleared-by-another"
STEPS = {"apinitproc0": "lab4.2", "apinitproc1": "lab4.3", "ap_wait": "lab4.4"}
BESIDE = {"lab4.2": STACK, "lab4.3": ALONE, "lab4.4": LATE}
BARRIER = {
    "barrier-passed-early": (HOLDS, "barrier-passed-in-some-order"),
    "never-completes": (REUSABLE, "barrier-stuck-in-some-order"),
}


@judges_orders(LOCK, RELEASED, STACK, PRIVATE, ALONE, LATE, MISSING, GOES_ON, HOLDS, REUSABLE, BOOT)
def judge(scenario, found):
    """Return the check that contains the mistake; None if no step of this lab does."""
    if found.kind == "store-beside":
        return beside(scenario, found)
    if found.kind == "bsp-gave-up" and not looked_at_last(found):
        return WrongOrder(MISSING, "no-look-after-the-last-usleep")
    if scenario == WITHOUT_TABLES and found.kind == "bsp-gave-up":
        return WrongOrder(GOES_ON, "bsp-gives-up-without-tables")
    if scenario == MORE_THAN_LISTED and found.kind != "bsp-went-on":
        return None
    if scenario == MANY_ROUNDS:
        early = found.kind == "barrier-passed-early"
        return WrongOrder(HOLDS if early else REUSABLE, "barrier-breaks-in-a-later-round")
    if scenario == COMES_BACK:
        return WrongOrder(BOOT, "no-panic-after-initproc-ap", step="lab4.3")
    if scenario in (MANY_CPUS, MORE_CPUS):
        early = found.kind == "barrier-passed-early"
        return WrongOrder(HOLDS if early else REUSABLE, "barrier-breaks-with-many-cpus")
    if (cleared := cleared_by_another(found)) is not None:
        return cleared
    if scenario == MANY_APS and (many := with_many_aps(found)) is not None:
        return many
    if found.kind == "bsp-went-on" and slept_long_enough(found):
        check, cause = MISSING, "missing-cpu-not-noticed"
    elif found.kind == "never-completes" and "barrier" in scenario and found.doomed == 0:
        check, cause = BOOT, "barrier-never-opens"  # with four CPUs, as the probe has, it does
    elif found.kind == "barrier-passed-early" and (read := read_early(found)) is not None:
        return WrongOrder(HOLDS, "barrier-count-read-early", note=read)
    elif "barrier" in scenario:
        check, cause = BARRIER.get(found.kind, (HOLDS, "barrier-breaks-in-some-order"))
    elif found.kind == "boot-stack-shared":
        check, cause = boot_stack(found)
    elif found.kind == "never-completes":
        check, cause = stuck(found)
    else:
        check, cause = REGISTRATION.get(found.kind, (BOOT, "registration-breaks-in-some-order"))
    return WrongOrder(check, cause)


def beside(scenario, found):
    """Return the check that a store beside its variable fails: that of the step which has it."""
    if "barrier" in scenario or scenario in (MANY_CPUS, MORE_CPUS, MANY_ROUNDS):
        return WrongOrder(HOLDS, "store-beside-its-variable")
    step = step_of((*found.cpus, *reversed(found.steps)), found.cpu) or "lab4.1"
    return WrongOrder(BESIDE.get(step, LOCK), "store-beside-its-variable", step)


def step_of(latest_first, cpu):
    """Return the step of the lab whose function a CPU was in last; "" if it was in none."""
    names = (one.function.partition("+")[0] for one in latest_first if one.cpu == cpu)
    return next((STEPS[name] for name in names if name in STEPS), "")


def cleared_by_another(found):
    """Return that a CPU has freed ap_lock or sync_lock while another one held it, if one did.

    It has not taken the lock itself since it last freed it: then the lock would be broken.
    """
    holds, taken = {}, set()
    for at, one in enumerate(found.steps):
        lock = str(one.target)
        if lock in ("ap_lock", "sync_lock") and one.written is not None:
            holder = holds.get(lock, one.cpu)
            if one.written == 0 and holder != one.cpu and (one.cpu, lock) not in taken:
                note = msg(
                    "CPU {cpu} sets {lock} to 0, at {place}, while CPU {holder} holds it",
                    cpu=one.cpu,
                    lock=lock,
                    place=one.place or one.function,
                    holder=holder,
                )
                step = step_of(reversed(found.steps[: at + 1]), one.cpu)
                return WrongOrder(HOLDS if lock == "sync_lock" else ALONE, CLEARED, step, note)
            (taken.add if one.written else taken.discard)((one.cpu, lock))
        holds = one.holds
    return None


def with_many_aps(found):
    """Return what is wrong only with many APs at the lock; None if it has a name already."""
    if found.kind == "boot-stack-shared":
        return WrongOrder(boot_stack(found)[0], "lock-breaks-with-many-aps")
    if found.kind == "stackaddr-wrong":
        return WrongOrder(PRIVATE, "stack-overwritten-with-many-aps", step="lab4.2")
    if found.kind in ("number-wrong", "number-twice"):
        return WrongOrder(ALONE, "number-repeats-with-many-aps")
    if found.kind == "never-completes" and guard_taken_before(found):
        return WrongOrder(ALONE, "guard-kept-in-some-order")
    return None


def guard_taken_before(found):
    """Whether CPUs wait for ap_lock, which was taken before the first step that is shown."""
    taken = any("ap_lock" in one.holds for one in found.steps)
    waited_for = any(" ap_lock" in str(one.doing) for one in found.cpus)
    return waited_for and not taken and found.values.get("ap_lock", 0) != 0


def read_early(found):
    """Return what the CPU that opened the barrier had read, or the one that left it: the count
    when APs were missing in it.

    An AP may come to the barrier before all are counted, but it must not decide by what it read.
    """
    counted = found.values.get(COUNT, 0)
    opened = next((one.cpu for one in reversed(found.steps) if one.written is not None), None)
    if (read := last_count(found, opened)) < counted:
        return msg(
            "CPU {cpu} read {name} = {read}, opened the barrier with that, and there are "
            "{counted} APs",
            cpu=opened,
            name=COUNT,
            read=read,
            counted=counted,
        )
    if (read := last_count(found, found.cpu)) < counted:
        return msg(
            "CPU {cpu} read {name} = {read}, left the barrier with that, and there are "
            "{counted} APs",
            cpu=found.cpu,
            name=COUNT,
            read=read,
            counted=counted,
        )
    return None


def last_count(found, cpu):
    """The number of APs that a CPU has read last; the right one if it has read none."""
    own = [one for one in found.steps if one.cpu == cpu and one.read is not None]
    last = next((one for one in reversed(own) if str(one.target) == COUNT), None)
    return found.values.get(COUNT, 0) if last is None else last.read


def slept_long_enough(found):
    """Whether the time is over when the BSP goes on: no condition was wrong, it gave up."""
    polls = [one for one in found.steps if one.cpu == 0 and str(one.action) == "usleep ()"]
    return len(polls) >= POLLS


def looked_at_last(found):
    """Whether the BSP has read the count after its last usleep: its condition is wrong then."""
    own = [one for one in found.steps if one.cpu == 0]
    polls = [at for at, one in enumerate(own) if str(one.action) == "usleep ()"]
    rest = own[polls[-1] :] if polls else own
    return any(str(one.target) == COUNT and one.read is not None for one in rest)


def boot_stack(found):
    """Two APs on the boot stack: one has unlocked too early, or the lock lets both in."""
    inside = [one for one in found.steps if "boot stack" in one.holds]
    # A waiting AP that takes back what it has written releases nothing.
    inside = [one for one in inside if not one.function.startswith("apinit_enter")]
    if any(one.written == 0 and str(one.target).startswith("*apinitlock") for one in inside):
        return RELEASED, "lock-released-in-some-order"
    return LOCK, "boot-stack-shared-in-some-order"


def stuck(found):
    """A CPU that waits for ever: which lock, or which wait, it stands in."""
    waiting = [one for one in found.cpus if one.function]
    functions = {one.function.split("+")[0] for one in waiting}
    if functions <= {"ap_wait"} and functions:
        return GOES_ON, "bsp-stuck-in-some-order"
    if any("*apinitlock" in str(one.doing) for one in waiting):
        return RELEASED, "lock-stuck-in-some-order"
    if guard_kept(found, waiting):
        return ALONE, "guard-kept-in-some-order"
    # Anything may have held it up: what the probes find names the mistake better.
    return BOOT, "registration-stuck-in-some-order"


def guard_kept(found, waiting):
    """Whether CPUs wait for ap_lock and an AP has gone on with it to its end."""
    holder = found.steps[-1].holds.get("ap_lock", 0) if found.steps else 0
    gone = holder and not any(one.cpu == holder for one in waiting)
    return gone and any("ap_lock" in str(one.doing) for one in waiting)

"""Lab 4: the handshake. Every AP gets a stack and a number, and the BSP waits for all of them."""

from vmmlab.checks import check, fail, fail_if, scenario
from vmmlab.diagnosis.aps import not_reached, why_not, why_not_all_parked
from vmmlab.diagnosis.bsp import bsp_stopped
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.observe.milestones import AP_ENTRY, BOOT_STACK, NUMBERED, OWN_STACK, PARKED
from vmmlab.observe.observation import NUM_OF_PCPU
from vmmlab.x86.decode import decode

RUNGS = scenario("rungs", probe="rungs", cpus=4)
EXCLUSION = scenario("exclusion", probe="exclusion", cpus=6)
LATE = scenario("late", probe="late-ap", cpus=3, cpu=2)
MISSING = scenario("missing", probe="missing-ap", cpus=4, cpu=3, wait_us=20000)
BARRIER = scenario("barrier", probe="barrier", cpus=4)
ONE, EIGHT = (scenario(f"cpus-{n}", probe="end", cpus=n) for n in (1, 8))
SEABIOS = scenario("seabios", probe="end", cpus=2, firmware="seabios")


def blame(boot, cause, **what):
    """Report the TODO or the fault that stopped a CPU, if one did; else the given cause."""
    fail_if(stopped_at_todo(boot) or bsp_stopped(boot), expected=what["expected"])
    fail(cause, **what)


def not_tried(boot, name):
    """A hold probe could not be made, because no CPU came to where it starts."""
    ap = min(boot.aps, key=lambda cpu: cpu.highest)
    fail_if(
        stopped_at_todo(boot) or bsp_stopped(boot) or why_not(boot, ap, PARKED),
        expected=f"the APs come as far as the probe “{name}” needs",
    )


def first_ap(boot, place):
    """The first time that an AP came to a place; the BSP has no business there."""
    return next((hit for hit in boot.at(place) if hit.cpu != 0), None)


def not_at_the_pointer(boot):
    """Fail if an AP waits before the lock and looks at the pointer apinitlock in its place."""
    for trial in boot.while_at("at-apinitlock"):
        fail(
            "ap-waits-for-the-lock",
            cpu=trial.cpu,
            place=str(trial.end_place),
            expected="apinit_enter takes the lock, which is where apinitlock points",
            observed=f"this instruction works on {boot.lock.pointer:#x}, which is the "
            "pointer apinitlock itself",
            next="Read the pointer first; then work on the address that you have read.",
        )


@check("lab4.lock.entered", RUNGS)
def test_the_first_ap_gets_through_the_lock(boot):
    """apinit_enter takes the free lock and comes back to ap_locked, without a stack."""
    first = first_ap(boot, "apinitproc0")
    if first is None:
        not_at_the_pointer(boot)
        at_turn_1 = (cpu for cpu in boot.cpus if cpu.turn == 1)
        fail_if(not_reached(boot, next(at_turn_1, boot.cpus[1]), BOOT_STACK))
    top = boot.addr("boot_stack_top")
    if not top - 64 <= first.state.rsp <= top:
        fail(
            "boot-stack-not-at-top",
            cpu=first.cpu,
            place="apinitproc0, first instruction",
            expected=f"RSP just below boot_stack_top = {top:#x}",
            observed=f"RSP = {first.state.rsp:#x}",
            next="apinit_enter comes back with jmp ap_locked; that loads the stack itself.",
        )


@check("lab4.lock.exclusive", EXCLUSION, needs=["lab4.lock.entered"])
def test_one_ap_at_a_time_on_the_boot_stack(boot):
    """While one AP is on the shared boot stack, no other gets there."""
    trials = list(boot.while_at("boot-stack"))
    if not trials:
        not_tried(boot, "exclusion")
    for trial in trials:
        if trial.verdict == "reached":
            holder = next(h for h in boot.at("apinitproc0") if h.cpu != trial.cpu)
            fail(
                "boot-stack-shared",
                cpu=trial.cpu,
                place=str(trial.end_place),
                expected=f"CPU {trial.cpu} waits in apinit_enter while CPU {holder.cpu} is in "
                "apinitproc0",
                observed=f"both came to apinitproc0, with the same RSP {holder.state.rsp:#x}",
                next="Does apinit_enter read and set *apinitlock in one locked instruction, "
                "and look at what it read?",
            )
        if trial.verdict == "shutdown":
            fail(
                "ap-died-at-the-lock",
                cpu=trial.cpu,
                place=str(trial.end_place),
                expected="it waits",
                observed="the machine reset",
                next="Is apinitlock a pointer that is read first, and then the lock?",
            )
    decoded = decode(boot.lock.take_code if boot.lock else b"", 0, 64)
    raced = any(trial.verdict == "reached" for trial in boot.while_at("lock-taken"))
    if raced or (decoded and decoded.changes_memory and not decoded.locked):
        fail(
            "lock-not-atomic",
            cpu=None,
            place=f"apinit_enter, `{decoded.text}`",
            expected="one locked instruction that reads the lock and takes it",
            observed="two APs stood before it while the lock was free, and both got it"
            if raced
            else "it reads and writes the lock, but without the lock prefix another CPU can come "
            "between the two",
            next="xchg with memory is locked by itself; bts, cmpxchg, xadd need the prefix. What "
            "counts is what that instruction read, not what was read before.",
        )


@check("lab4.stack.first", RUNGS, needs=["lab4.lock.entered"])
def test_the_first_ap_changes_to_a_stack_from_alloc(boot):
    """apinitproc0 takes VMM_STACKSIZE bytes from alloc and enters apinitproc1 at their top."""
    size = boot.stack_size
    hit = first_ap(boot, "apinitproc1")
    if hit is None:
        cpu = boot.cpus[first_ap(boot, "apinitproc0").cpu]
        fail_if(not_reached(boot, cpu, OWN_STACK))
    given = [
        one.address
        for one in boot.cpus[hit.cpu].allocations
        if one.size == size and one.order < hit.order
    ]
    if not given:
        fail(
            "ap-stack-not-allocated",
            cpu=hit.cpu,
            place="apinitproc0",
            expected=f"alloc (VMM_STACKSIZE), which is alloc({size:#x})",
            observed=f"apinitproc1 runs with RSP = {hit.state.rsp:#x}, and alloc gave no such "
            "block",
            next="Every AP needs a block of its own.",
        )
    top = given[-1] + size
    if hit.state.rsp != top:
        cause = "call-instead-of-jmp" if hit.state.rsp == top - 8 else "ap-stack-wrong"
        if hit.state.rsp == given[-1]:
            cause = "stack-base-instead-of-top"
        if hit.state.rsp in range(boot.addr("boot_stack"), boot.addr("boot_stack_top") + 1):
            cause = "ap-stays-on-boot-stack"
        fail(
            cause,
            cpu=hit.cpu,
            place="apinitproc0 → apinitproc1",
            expected=f"RSP = {top:#x}, the top of the block that alloc gave",
            observed=f"RSP = {hit.state.rsp:#x}",
            next="asm_wrrsp_and_jmp (top, apinitproc1).",
        )


@check("lab4.stack.own", RUNGS, needs=["lab4.stack.first"])
def test_every_ap_has_its_own_stack(boot, score):
    """Every AP runs apinitproc1 on a stack of its own, and stackaddr is its base."""
    size = boot.stack_size
    users = {}
    # Who does not get the lock, and who gets no number that a CPU can have, is judged elsewhere.
    for ap in [ap for ap in boot.aps if ap.reached(BOOT_STACK)] or boot.aps:
        with score.case(ap.name):
            fail_if(not_reached(boot, ap, NUMBERED))
            number = boot.first("segment_init_ap", ap.index).state.rdi & 0xFFFFFFFF
            if not 0 < number < NUM_OF_PCPU:
                continue
            rsp = boot.first("apinitproc1", ap.index).state.rsp
            if rsp in users:
                fail(
                    "stack-shared",
                    cpu=ap.index,
                    place="apinitproc0 → apinitproc1",
                    expected="a stack that nobody else has",
                    observed=f"{ap.name} and CPU {users[rsp]} both have RSP = {rsp:#x}",
                    next="One alloc for each AP.",
                )
            users[rsp] = ap.index
            early = ap.stackaddr_before_barrier
            base = ap.stackaddr if early is None else early
            if base != rsp - size:
                found = "nothing" if base is None else f"{base:#x}"
                fail(
                    "stackaddr-not-recorded",
                    cpu=ap.index,
                    place="apinitproc1",
                    expected=f"currentcpu->stackaddr = {rsp - size:#x}",
                    observed=f"currentcpu->stackaddr = {found}",
                    next="currentcpu is there only after segment_init_ap.",
                )


@check("lab4.lock.released", EXCLUSION, needs=["lab4.lock.exclusive", "lab4.stack.own"])
def test_the_lock_is_held_until_the_boot_stack_is_left(boot):
    """*apinitlock is released by an AP that is already on its own stack, never before."""
    for place in ("boot-stack.unlocked", "boot-stack.alloc"):
        for trial in boot.while_at(place):
            if trial.verdict == "reached":
                fail(
                    "lock-released-too-early",
                    cpu=trial.cpu,
                    place=str(trial.end_place),
                    expected="the lock stays taken while its holder is on the boot stack",
                    observed=f"CPU {trial.cpu} came to apinitproc0 while another AP was still on "
                    "that stack, in apinitproc0",
                    next="Release it in apinitproc1, as its first deed.",
                )
    for trial in boot.while_at("released.late"):
        if trial.verdict in ("shutdown", "halted"):
            fail(
                "lock-released-too-late",
                cpu=trial.cpu,
                place=str(trial.end_place),
                expected="*apinitlock is released before the CPU counts itself",
                observed=f"CPU {trial.cpu} had counted itself, so the BSP went on and unmapped "
                "the trampoline; then the CPU wrote to *apinitlock, and died",
                next="apinitproc1 releases it first of all: the lock lies in the trampoline, and "
                "that is there only until the last AP has counted itself.",
            )
    if not boot.at("lock-released") and not all(ap.reached(NUMBERED) for ap in boot.aps):
        not_at_the_pointer(boot)
        blame(
            boot,
            "lock-never-released",
            cpu=boot.aps[0].index,
            place="apinitproc1",
            expected="*apinitlock is released once the boot stack is free",
            observed="it was not released before segment_init_ap was called",
            next="The next AP waits for it: release it as soon as you are on your own stack.",
        )
    # Nobody is held any more: who still stands before the lock never gets it.
    for ap in boot.aps:
        if boot.how_ended == "quiet" and ap.highest is AP_ENTRY:
            fail_if(not_reached(boot, ap, BOOT_STACK))


@check("lab4.stack.private", EXCLUSION, needs=["lab4.lock.released"])
def test_an_ap_knows_its_stack_before_it_lets_the_next_one_in(boot):
    """An AP that is delayed right after its unlock still records its own stack, not the next's."""
    private = boot.lock.private if boot.lock else None
    if private is None:
        if not boot.at("lock-released"):
            return  # a lock that is not where *apinitlock is
        not_tried(boot, "exclusion")
    if private.stackaddr != private.base:
        fail(
            "new-stack-read-after-unlock",
            cpu=private.cpu,
            place="apinitproc1",
            expected=f"stackaddr = {private.base:#x}, its own stack",
            observed=f"stackaddr = {private.stackaddr:#x}, after another AP had passed in between",
            next="What the lock guards must be read before the lock is released.",
        )


@check("lab4.number.unique", RUNGS, needs=["lab4.stack.own"])
def test_the_numbers_are_1_to_n(boot):
    """The APs call segment_init_ap with the numbers 1 to n, in the order in which they come."""
    for ap in boot.aps:
        fail_if(not_reached(boot, ap, NUMBERED))
    numbers = [hit.state.rdi & 0xFFFFFFFF for hit in boot.at("segment_init_ap")]
    right = list(range(1, len(boot.cpus)))
    total = boot.counters.num_of_processors
    if sorted(numbers) != right:
        fail(
            "numbers-wrong",
            cpu=None,
            place="apinitproc1",
            expected=f"the numbers {right}",
            observed=f"segment_init_ap was called with {numbers}",
            next="A number is the order of coming, from 1: raise num_of_processors, "
            "then take its value, both under ap_lock."
            if total <= len(right)
            else f"num_of_processors is raised once for each AP, in apinitproc1: {total} for "
            f"{len(right)} APs is too much. Does apinitproc0 raise it too, or ap_wait?",
        )
    if total != len(right):
        fail(
            "count-wrong",
            cpu=None,
            place="apinitproc1, num_of_processors",
            expected=f"{len(right)}, the number of APs",
            observed=f"{total}",
            next="The BSP is not counted, and nobody twice."
            if total < len(right)
            else "The BSP is not counted, and nobody twice. The numbers were right, so it was "
            "raised once more after them: look for that in ap_wait and in apinitproc1.",
        )
    alone = all(ap.stackaddr_before_barrier is not None for ap in boot.aps)
    if numbers != right and alone:
        turns = ", ".join(f"CPU {hit.cpu}" for hit in boot.at("segment_init_ap"))
        fail(
            "number-is-not-the-count",
            cpu=None,
            place="apinitproc1",
            expected=f"the numbers {right} for {turns}, which came in this order, one by one",
            observed=f"segment_init_ap was called with {numbers}",
            next="A number is the order of coming, not the APIC id.",
        )


@check("lab4.number.alone", EXCLUSION, needs=["lab4.number.unique"])
def test_counting_is_guarded(boot):
    """Between reading and storing num_of_processors no other AP can do the same."""
    for trial in boot.while_at("counting"):
        decoded = decode(boot.lock.store_code, 0, 64)
        if trial.verdict == "reached" and not (decoded and decoded.locked):
            fail(
                "count-without-lock",
                cpu=trial.cpu,
                place=str(trial.end_place),
                expected="one AP at a time between load and store of num_of_processors",
                observed=f"two APs stood before the same store, `{decoded.text}`: one of the "
                "counts would be lost",
                next="Take ap_lock around it.",
            )
    twice = boot.lock.same_number if boot.lock else None
    if twice is not None:
        fail(
            "number-read-too-late",
            cpu=twice.cpu,
            place="apinitproc1",
            expected="the number is what this CPU itself has raised num_of_processors to",
            observed=f"CPU {twice.cpu} was delayed right after it had counted itself; when another "
            f"one had counted too, both took the number {twice.number}",
            next="Take the value while ap_lock is still held, or from the atomic addition itself.",
        )


def waits_for_ap_lock(boot, cpu):
    """Whether an AP wants to count itself and cannot, because somebody keeps ap_lock."""
    ap = boot.cpus[cpu]
    at_lock = "spinlock_" in ap.end_place.symbol and not ap.reached(NUMBERED)
    return at_lock and boot.counters.ap_lock != 0 and ap.reached(OWN_STACK)


@check("lab4.wait.late", LATE, needs=["lab4.number.unique"])
def test_the_bsp_waits_for_a_late_cpu(boot, score):
    """The BSP does not go on while a CPU has not entered, or has entered but has no number."""
    words = {
        "not-entered": "had not executed anything yet",
        "not-numbered": "had entered, but waited before the lock",
    }
    for phase, said in words.items():
        with score.case(phase.replace("-", " ")):
            late = boot.first(f"{phase}.held")
            if late is None:
                not_tried(boot, "late-ap")
            left = boot.first(f"left while {phase}")
            if left:
                fail(
                    "bsp-went-on-without-cpu",
                    cpu=0,
                    place="ap_wait",
                    expected=f"the BSP waits for CPU {late.cpu}",
                    observed=f"it went on to bsp_proc while CPU {late.cpu} {said}",
                    next="0 == 0 is true as well. acpi_num_of_processors () tells how many must "
                    "come, *apinitprocs how many have entered, num_of_processors how many have "
                    "left the boot stack.",
                )
            if boot.first("bsp_proc") is None and waits_for_ap_lock(boot, late.cpu):
                fail(
                    "bsp-holds-ap-lock",
                    cpu=late.cpu,
                    place=str(boot.cpus[late.cpu].end_place),
                    expected="ap_lock is free while the BSP pauses, so that APs can count "
                    "themselves",
                    observed=f"CPU {late.cpu} waits for ap_lock, and the BSP has it, at "
                    f"{boot.bsp.end_place}",
                    next="In ap_wait: lock, read, unlock; then pause.",
                )
            if boot.first("bsp_proc") is None:
                blame(
                    boot,
                    "bsp-waits-for-ever",
                    cpu=0,
                    place=str(boot.bsp.end_place),
                    expected=f"once CPU {late.cpu} has come, the BSP goes on to bsp_proc",
                    observed=f"it is still at {boot.bsp.end_place}",
                    next="Does ap_wait read the values anew each time?",
                )


@check("lab4.wait.goes_on", RUNGS, needs=["lab4.number.unique"])
def test_the_bsp_goes_on_when_all_have_come(boot):
    """Once every AP has its number, the BSP leaves ap_wait and runs bsp_proc."""
    if boot.first("bsp_proc") is None:
        blame(
            boot,
            "bsp-waits-for-ever",
            cpu=0,
            place=str(boot.bsp.end_place),
            expected="bsp_proc runs on the BSP",
            observed=f"all APs have their numbers, num_of_processors = "
            f"{boot.counters.num_of_processors}, but the BSP is still at "
            f"{boot.bsp.end_place}",
            next="For which condition does ap_wait wait? Does it read the values anew each time?",
        )


def names_the_missing(boot, cpu, wait_us):
    """Fail unless the BSP has said, after `wait_us` microseconds, that CPU `cpu` did not come."""
    hit = boot.first("vmm_ap_missing", 0)
    if hit is None:
        on = boot.first("bsp_proc") is not None
        poll_us = (boot.lock and boot.lock.poll_us) or wait_us
        blame(
            boot,
            "missing-cpu-not-noticed",
            cpu=0,
            place="ap_wait",
            expected=f"vmm_ap_missing ({cpu}) after {wait_us} microseconds (ap_delays.wait_us in "
            "this boot)",
            observed="the BSP went on to bsp_proc" if on else "the BSP waits for ever",
            next="A wait needs an end: count the microseconds that you have slept, and not the "
            f"polls. After {wait_us // poll_us} polls of {poll_us} microseconds it is over.",
        )
    named = hit.state.rdi & 0xFFFFFFFF
    if named != cpu:
        fail(
            "wrong-cpu-named",
            cpu=0,
            place="ap_wait",
            expected=f"vmm_ap_missing ({cpu}): the CPU with APIC id {cpu} did not come",
            observed=f"vmm_ap_missing ({named})",
            next="ap_first_missing () returns the APIC id.",
        )


@check("lab4.wait.missing", MISSING, needs=["lab4.wait.goes_on", "lab4.wait.late"])
def test_a_cpu_that_never_comes_is_named(boot):
    """After ap_delays.wait_us the BSP calls vmm_ap_missing with the APIC id of who did not come."""
    names_the_missing(boot, MISSING.option("cpu"), MISSING.option("wait_us"))


def bsp_forgotten(boot, trial, missing):
    """Fail if a CPU that came out has read num_of_processors, and so many had come."""
    counted = boot.barrier.counted if boot.barrier else None
    came = {one.cpu for one in boot.while_at("round-1")}
    if counted == len(came):
        fail(
            "barrier-passed-early",
            cpu=trial.cpu,
            place=str(trial.end_place),
            expected=f"CPU {trial.cpu} waits in sync_all_processors for {missing}",
            observed=f"it came out when {counted} of {len(boot.cpus)} CPUs had come",
            next=f"num_of_processors was {counted} then: the BSP is not counted in it. If "
            "sync_all_processors adds the BSP: does a CPU wait until the last one has come?",
        )


@check("lab4.barrier.holds", BARRIER, needs=["lab4.wait.goes_on"])
def test_nobody_leaves_the_barrier_early(boot, score):
    """Nobody leaves sync_all_processors before every CPU has entered that round."""
    last = {
        (t.cpu, t.while_at): t for t in boot.interleavings if t.while_at in ("round-1", "round-2")
    }
    trials = list(last.values())
    if not trials:
        with score.case("the boot"):
            if not boot.all_parked:
                not_tried(boot, "barrier")
        return
    for trial in trials:
        with score.case(f"CPU {trial.cpu} in {trial.while_at}"):
            fail_if(stopped_at_todo(boot), expected="every CPU waits in the barrier")
            if trial.verdict == "reached":
                missing = "the last CPU" if trial.while_at == "round-1" else "a CPU of round 1"
                bsp_forgotten(boot, trial, missing)
                fail(
                    "barrier-passed-early",
                    cpu=trial.cpu,
                    place=str(trial.end_place),
                    expected=f"CPU {trial.cpu} waits in sync_all_processors for {missing}",
                    observed="it came out",
                    next="sync_all_processors: everybody counts, the last one lets the others go.",
                )
            if trial.verdict == "halted":
                fail(
                    "barrier-halts",
                    cpu=trial.cpu,
                    place=str(trial.end_place),
                    expected="it waits in a loop",
                    observed="it halted",
                    next="Nobody will wake it: interrupts are off.",
                )
    for trial in boot.while_at("round-1.last"):
        with score.case("the last CPU"):
            overlap = boot.barrier.overlap_cpu if boot.barrier else None
            if trial.verdict != "reached" and not boot.all_parked and overlap is not None:
                fail(
                    "barrier-count-lost",
                    cpu=overlap,
                    place="sync_all_processors",
                    expected="one CPU at a time between load and store of the count",
                    observed=f"CPU {overlap} counted itself while another one stood between load "
                    "and store; then that one stored, and the barrier never opened",
                    next="Take sync_lock around it, or count with one locked instruction.",
                )
            if trial.verdict != "reached" and not boot.all_parked:
                fail(
                    "barrier-never-opens",
                    cpu=trial.cpu,
                    place=str(trial.end_place),
                    expected="the last CPU to come goes through",
                    observed=f"CPU {trial.cpu} waits as well",
                    next="It waits for a spinlock that nobody gives back: does "
                    "sync_all_processors unlock before it begins to wait for the others?"
                    if "spinlock_" in trial.end_place.symbol
                    else "Look at sync_all_processors: how many CPUs does it wait for? "
                    "num_of_processors does not count the BSP.",
                )


def round_of(boot, cpu):
    """The round of the barrier that a CPU is in, from 1."""
    return len(boot.at("vmm_synced", cpu.index)) + 1


@check("lab4.barrier.reusable", BARRIER, needs=["lab4.barrier.holds"])
def test_the_barrier_works_again_at_once(boot):
    """A CPU that is slow to leave a round still leaves it when the others are in the next."""
    if boot.all_parked:
        return
    for trial in [*boot.while_at("round-1.woken"), *boot.while_at("round-2.woken")]:
        if trial.verdict != "reached":
            fail(
                "barrier-never-releases",
                cpu=trial.cpu,
                place=str(trial.end_place),
                expected="once all have come, every CPU leaves the round",
                observed=f"CPU {trial.cpu} still waits"
                + (
                    "; it had been delayed right after its last store"
                    if trial.while_at == "round-2.woken"
                    else ""
                ),
                next="What does the waiting loop look at, and who changes it? Is the round's "
                "number read before this CPU has counted itself?",
            )
    slow = list(boot.while_at("round-1.slow"))
    for trial in slow:
        if trial.verdict != "reached":
            fail(
                "barrier-not-reusable",
                cpu=trial.cpu,
                place=str(trial.end_place),
                expected=f"CPU {trial.cpu} leaves round 1 although the others are in round 2",
                observed="it waits for ever: what it looks at has changed again",
                next="Let it wait for something that never comes back to its old value: a "
                "number of the round.",
            )
    first = list(boot.while_at("round-1.last"))
    if not first:
        not_tried(boot, "barrier")
    stuck = next(cpu for cpu in boot.cpus if cpu.end_kind != "parked")
    blame(
        boot,
        "barrier-not-reusable",
        cpu=stuck.index,
        place=str(stuck.end_place),
        expected="every CPU comes through all rounds",
        observed=f"{stuck.name} waits for ever in round {round_of(boot, stuck)}",
        next="Is the count back at 0 for the next round before anybody can come to it? A fast CPU "
        "is in the next round while a slow one has not left this one.",
    )


@check(
    "lab4.boot.cpus",
    ONE,
    SEABIOS,
    EIGHT,
    # What depends on luck must be right first: only this check leaves the CPUs to it.
    needs=["lab4.barrier.reusable", "lab4.stack.private", "lab4.number.alone"],
)
def test_it_works_with_any_number_of_cpus(boots, score):
    """With 1 and 8 CPUs, and with 2 under SeaBIOS, every CPU comes to the end and parks."""
    for boot in boots:
        with score.case(boot.scenario):
            fail_if(why_not_all_parked(boot), expected=f"{len(boot.cpus)} CPUs park")

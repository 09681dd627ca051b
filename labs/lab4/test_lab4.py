"""Lab 4: the handshake. Every AP gets a stack and a number, and the BSP waits for all of them."""

from dataclasses import replace
from functools import partial

from vmmlab import checks
from vmmlab.checks import fail, fail_if, listed, missing, msg, needed
from vmmlab.diagnosis.aps import (
    ends_otherwise,
    first_fault,
    not_reached,
    parked_by_itself,
    why_not,
    why_not_all_parked,
)
from vmmlab.diagnosis.bsp import bsp_stopped
from vmmlab.diagnosis.halves import half_stored
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.observe.milestones import AP_ENTRY, BOOT_STACK, NUMBERED, OWN_STACK, PARKED
from vmmlab.observe.observation import NUM_OF_PCPU
from vmmlab.probes import (
    FEW_POLLS,
    barrier,
    exclusion,
    late_ap,
    missing_ap,
    one_by_one,
    parking,
    plain,
)
from vmmlab.x86.decode import decode

ONE_BY_ONE = one_by_one(cpus=4)
# With other numbers in cohort.h: another place of the lock and of stackaddr, another stack size.
THERE = one_by_one(name="there", cpus=3, cohort="other", holds=True)
EXCLUSION = exclusion(cpus=6)
# A BSP that counts polls without sleeping reaches its limit at once.
LATE = late_ap(name="late", cpus=3, cpu=2, poll_us=5000)
# Without ACPI tables the number of processors is unknown: those that have entered decide.
SILENT = late_ap(name="silent", cpus=3, cpu=1, acpi=False, entered=True)
BEFORE_THE_STRAGGLER = 7  # polls, at most, before another AP comes in these boots
MISSING = missing_ap(name="missing", cpus=4, cpu=3, wait_us=20000, poll_us=700)
BARRIER = barrier(cpus=4)
ONE = parking(name="cpus-1", cpus=1, acpi=False)
EIGHT = plain(name="cpus-8", cpus=8)  # nothing shows the VMM that it is graded
SEABIOS = parking(name="seabios", cpus=2, firmware="seabios", decoy=True)

# A CPU at a TODO is what the others wait for.
check = partial(checks.check, todo_of_any_cpu=True)

NEAR = 4096  # bytes: the lock with a wrong offset or bit number
STUCK_IN_SOME_ORDER = "lock-stuck-in-some-order"  # of orders.py, as the next one
CLEARED = "lock-cleared-by-another"
READ_EARLY = "barrier-count-read-early"
ROUNDS = 3  # NUM_OF_ROUNDS in core/main.c
TO_OWN_STACK = "apinitproc0 → apinitproc1"


def not_tried(boot, test):
    """Fail because a test could not hold CPUs where it starts: no CPU came there."""
    ap = min(boot.aps, key=lambda cpu: cpu.highest)
    for cpu in boot.cpus:
        fail_if(parked_by_itself(cpu))
    fail_if(
        stopped_at_todo(boot)
        or first_fault(boot)
        or bsp_stopped(boot)
        or why_not(boot, ap, PARKED),
        expected=msg("the APs get far enough for this test: {test}", test=test),
    )


def argument(hit):
    """The first argument of a call, an integer of 32 bits."""
    return hit.state.rdi & 0xFFFFFFFF


def first_ap(boot, place):
    """The first time that an AP came to a place; the BSP has no business there."""
    return next((hit for hit in boot.at(place) if hit.cpu != 0), None)


def not_at_the_pointer(boot):
    """Fail if an AP waits before the lock and looks at the pointer apinitlock in its place."""
    for one in boot.while_at("at-apinitlock"):
        fail(
            "ap-waits-for-the-lock",
            cpu=one.cpu,
            place=one.end_place.text,
            expected=msg("apinit_enter takes the lock that apinitlock points to"),
            observed=msg(
                "this instruction operates on {address:#x}, which is the pointer apinitlock itself",
                address=needed(boot.lock).pointer or 0,
            ),
            next=msg("Read the pointer first; then operate on the address that you have read."),
        )
    for one in boot.while_at("beside-the-lock"):
        fail(
            "lock-outside-its-bytes",
            cpu=one.cpu,
            place=one.end_place.text,
            expected=msg("apinit_enter takes the lock that apinitlock points to"),
            observed=beside_the_lock(needed(boot.lock)),
            next=msg("Operate on the 8 bytes of the lock only: bit numbers are 0 to 63.")
            if is_near(needed(boot.lock))
            else msg(
                "Read the pointer apinitlock; then operate on the address that you have read."
            ),
        )


def is_near(lock):
    """Whether what an AP waits at beside the lock can be the lock with a wrong offset."""
    return abs(lock.beside or 0) <= NEAR


def beside_the_lock(lock):
    """What an AP waits at that is not the lock, in words."""
    distance, at = lock.beside or 0, lock.beside_at
    if is_near(lock) or at is None:
        text = (
            msg("{distance} bytes after *apinitlock", distance=distance)
            if distance > 0
            else msg("{distance} bytes before *apinitlock", distance=-distance)
        )
        return msg(
            "this instruction operates on memory that begins {where}, and the lock has 8 bytes",
            where=text,
        )
    if at.symbol:
        return msg(
            "this instruction operates on {symbol} in the image, at {address:#x}, and not on the "
            "lock, to which apinitlock points",
            symbol=at.symbol,
            address=at.address,
        )
    return msg(
        "this instruction operates on address {address:#x}, and not on the lock, to which "
        "apinitlock points",
        address=at.address,
    )


# --- lab4.1: the lock of the boot stack -----------------------------------------------------------


@check("lab4.lock.entered", ONE_BY_ONE, also=THERE)
def first_ap_gets_through_the_lock(boot):
    """apinit_enter takes the free lock and jumps to ap_locked, without using a stack."""
    first = first_ap(boot, "apinitproc0")
    if first is None:
        not_at_the_pointer(boot)
        at_turn_1 = (cpu for cpu in boot.cpus if cpu.turn == 1)
        fail_if(not_reached(boot, next(at_turn_1, boot.cpus[1]), BOOT_STACK))
    first = needed(first)
    top = boot.addr("boot_stack_top")
    if not top - 64 <= first.state.rsp <= top:
        fail(
            "boot-stack-not-at-top",
            cpu=first.cpu,
            place=msg("apinitproc0, first instruction"),
            expected=msg("RSP just below boot_stack_top = {top:#x}", top=top),
            observed=f"RSP = {first.state.rsp:#x}",
        )


def without_a_stack(boot):
    """Fail if an AP used a stack before it had the lock."""
    for ap in boot.aps:
        before, after = boot.first("ap_entry", ap.index), boot.first("ap_locked", ap.index)
        if before is None or after is None:
            continue
        if before.state.rsp != after.state.rsp:
            fail(
                "stack-before-the-lock",
                cpu=ap.index,
                place=msg("apinit_enter, at its jump to ap_locked"),
                expected=msg("RSP = {rsp:#x}, as at ap_entry", rsp=before.state.rsp),
                observed=f"RSP = {after.state.rsp:#x}",
            )
        if ap.wrote_on_stack is not None:
            fail(
                "stack-before-the-lock",
                cpu=ap.index,
                place=msg("apinit_enter, at its jump to ap_locked"),
                expected=msg("the boot stack is as it was at ap_entry"),
                observed=msg(
                    "{cpu} has written to {address:#x}, which is in the boot stack",
                    cpu=ap.name,
                    address=ap.wrote_on_stack,
                ),
            )


def nobody_else_gets_in(boot):
    """Fail if an AP came to the boot stack while another one was there."""
    for one in boot.while_at("boot-stack"):
        if one.verdict == "reached":
            holder = next(h for h in boot.at("apinitproc0") if h.cpu != one.cpu)
            fail(
                "boot-stack-shared",
                cpu=one.cpu,
                step="lab4.1",
                place=one.end_place.text,
                expected=msg(
                    "CPU {cpu} waits in apinit_enter while CPU {holder} is in apinitproc0",
                    cpu=one.cpu,
                    holder=holder.cpu,
                ),
                observed=msg(
                    "both reached apinitproc0, with the same RSP {rsp:#x}", rsp=holder.state.rsp
                ),
            )


@check("lab4.lock.exclusive", EXCLUSION, also=ONE_BY_ONE, after="lab4.lock.entered")
def one_ap_at_a_time_on_the_boot_stack(boot):
    """While one AP is on the shared boot stack, no other AP gets there."""
    without_a_stack(boot)
    if boot.scenario == ONE_BY_ONE.name:
        return
    tried = list(boot.while_at("boot-stack"))
    if not tried:
        not_tried(boot, msg("two APs at one lock"))
    nobody_else_gets_in(boot)
    for one in tried:
        if one.verdict == "halted":
            halted_at_the_lock(one.cpu, one.end_place.text)
        if one.verdict == "shutdown":
            fail(
                "ap-died-at-the-lock",
                cpu=one.cpu,
                place=one.end_place.text,
                expected=msg("it waits"),
                observed=msg("the machine reset"),
                next=msg("Do you read apinitlock as a pointer first, and then access the lock?"),
            )
    atomic(boot)


def atomic(boot):
    """Fail if the lock is not taken by one locked instruction."""
    decoded = decode(boot.lock.take_code if boot.lock else b"", 0, 64)
    raced = any(one.verdict == "reached" for one in boot.while_at("lock-taken"))
    if raced or (decoded and decoded.changes_memory and not decoded.locked):
        fail(
            "lock-not-atomic",
            place=msg("apinit_enter, `{instruction}`", instruction=decoded.text),
            expected=msg("one locked instruction that reads the lock and takes it"),
            observed=msg(
                "two APs were about to execute it while the lock was free, and both got the lock"
            )
            if raced
            else msg(
                "it reads and writes the lock, but without the lock prefix another CPU can "
                "access the lock in between"
            ),
        )


# --- lab4.2 and lab4.3: a stack of one's own, and a number ----------------------------------------


@check("lab4.stack.first", ONE_BY_ONE, also=THERE, after="lab4.lock.entered")
def first_ap_changes_to_a_stack_from_alloc(boot):
    """apinitproc0 takes VMM_STACKSIZE bytes from alloc and enters apinitproc1 at their top."""
    size = boot.stack_size
    hit = first_ap(boot, "apinitproc1")
    if hit is None:
        cpu = boot.cpus[needed(first_ap(boot, "apinitproc0")).cpu]
        fail_if(not_reached(boot, cpu, OWN_STACK))
    hit = needed(hit)
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
            expected=msg("alloc (VMM_STACKSIZE), which is alloc({size:#x})", size=size),
            observed=msg(
                "apinitproc1 runs with RSP = {rsp:#x}, but alloc returned no such block",
                rsp=hit.state.rsp,
            ),
        )
    top = given[-1] + size
    if hit.state.rsp != top:
        word = boot.cpus[hit.cpu].word_at_entry  # a call leaves a return address there
        called = hit.state.rsp == top - 8 and (word is None or boot.in_image(word))
        cause = "call-instead-of-jmp" if called else "ap-stack-wrong"
        if hit.state.rsp == given[-1]:
            cause = "stack-base-instead-of-top"
        if hit.state.rsp in range(boot.addr("boot_stack"), boot.addr("boot_stack_top") + 1):
            cause = "ap-stays-on-boot-stack"
        fail(
            cause,
            cpu=hit.cpu,
            place=TO_OWN_STACK,
            expected=msg("RSP = {top:#x}, the top of the block that alloc returned", top=top),
            observed=f"RSP = {hit.state.rsp:#x}",
        )


def on_the_boot_stack(boot):
    """The APs that got the lock; the others are judged elsewhere. All, if none got it."""
    return [ap for ap in boot.aps if ap.reached(BOOT_STACK)] or boot.aps


def number_of(boot, ap):
    """The number that an AP called segment_init_ap with, or None if no CPU can have it."""
    number = argument(needed(boot.first("segment_init_ap", ap.index)))
    return number if 0 < number < NUM_OF_PCPU else None


@check("lab4.stack.own", ONE_BY_ONE, also=THERE, per=on_the_boot_stack, after="lab4.stack.first")
def has_its_own_stack(boot, ap):
    """Every AP runs apinitproc1 on a stack of its own, and stackaddr is its base."""
    if waits_for_ap_lock(boot, ap.index):
        return  # that lock is judged elsewhere
    ap.must_reach(NUMBERED)
    if number_of(boot, ap) is None:
        return  # the numbers are judged elsewhere
    rsp = needed(boot.first("apinitproc1", ap.index)).state.rsp
    for other in boot.aps[: ap.index - 1]:
        numbered = other.reached(NUMBERED) and number_of(boot, other) is not None
        entered = boot.first("apinitproc1", other.index)
        if numbered and entered and entered.state.rsp == rsp:
            fail(
                "stack-shared",
                cpu=ap.index,
                place=TO_OWN_STACK,
                expected=msg("a stack that no other CPU has"),
                observed=msg(
                    "{cpu} and CPU {other} both have RSP = {rsp:#x}",
                    cpu=ap.name,
                    other=other.index,
                    rsp=rsp,
                ),
            )
    early = ap.stackaddr_before_barrier
    base, right = ap.stackaddr if early is None else early, rsp - boot.stack_size
    if base is not None and base == ap.stackaddr_held:
        fail(
            "stackaddr-not-recorded",
            cpu=ap.index,
            place="apinitproc1",
            expected=f"currentcpu->stackaddr = {right:#x}",
            observed=msg(
                "currentcpu->stackaddr = {address:#x}, which the grader had put there when "
                "segment_init_ap returned",
                address=base,
            ),
            next=msg("Set it after segment_init_ap, whatever it held before."),
            goes_on=True,
        )
    if base != right:
        half = half_stored(base or 0, ap.stackaddr_held, right)
        fail(
            "stackaddr-not-recorded",
            cpu=ap.index,
            place="apinitproc1",
            expected=f"currentcpu->stackaddr = {right:#x}",
            observed=msg("currentcpu->stackaddr was never set")
            if base is None
            else f"currentcpu->stackaddr = {base:#x}",
            next=msg("This is inside its stack: stackaddr is what alloc returned.")
            if base is not None and right < base <= rsp
            else half,
            goes_on=bool(half),
        )


@check("lab4.lock.released", EXCLUSION, after=["lab4.lock.exclusive", "lab4.stack.own"])
def lock_is_held_until_the_boot_stack_is_left(boot):
    """An AP releases *apinitlock only when it is already on its own stack."""
    for one in [*boot.while_at("boot-stack.unlocked"), *boot.while_at("boot-stack.alloc")]:
        if one.verdict == "reached":
            fail(
                "lock-released-too-early",
                cpu=one.cpu,
                place=one.end_place.text,
                expected=msg("the lock stays taken while its holder is on the boot stack"),
                observed=msg(
                    "CPU {cpu} reached apinitproc0 while another AP was still on that "
                    "stack, in apinitproc0",
                    cpu=one.cpu,
                ),
            )
    for one in boot.while_at("released.late"):
        if one.verdict in ("shutdown", "halted"):
            fail(
                "lock-released-too-late",
                cpu=one.cpu,
                place=one.end_place.text,
                expected=msg("*apinitlock is released before the CPU counts itself"),
                observed=msg(
                    "CPU {cpu} had counted itself, so the BSP went on and unmapped the "
                    "trampoline; then the CPU wrote to *apinitlock and caused a fault",
                    cpu=one.cpu,
                ),
            )
    if not boot.at("lock-released") and not all(ap.reached(NUMBERED) for ap in boot.aps):
        not_at_the_pointer(boot)
        missing(
            "lock-never-released",
            cpu=boot.aps[0].index,
            place="apinitproc1",
            expected=msg("*apinitlock is released once the boot stack is free"),
            observed=msg(
                "it was not released before segment_init_ap was called; its 8 bytes are still "
                "{bytes}",
                bytes=boot.lock.released_bytes.hex(" "),
            )
            if boot.lock and boot.lock.released_bytes
            else msg("it was not released before segment_init_ap was called"),
            next=msg(
                "The next AP waits for it: release it as soon as this AP is on its own stack."
            ),
        )
    wrote = boot.lock.not_the_owner if boot.lock else None
    if wrote is not None:
        fail(
            "lock-released-twice",
            cpu=wrote.cpu,
            place="apinitproc1",
            expected=msg("an AP does not write to *apinitlock after it has released it"),
            observed=msg(
                "CPU {cpu} had released the lock. Its 8 bytes were {before} then, as if another "
                "AP had taken it, and {after} when CPU {cpu} came to the barrier",
                cpu=wrote.cpu,
                before=wrote.before.hex(" "),
                after=wrote.after.hex(" "),
            ),
        )
    if any(waits_for_ap_lock(boot, ap.index) for ap in boot.aps):
        return  # that lock is judged elsewhere
    # No CPU is held any more: one that still stands before the lock never gets it.
    for ap in boot.aps:
        if boot.how_ended == "quiet" and ap.highest == AP_ENTRY:
            never_got_it(boot, ap)
            better = (STUCK_IN_SOME_ORDER,) if tries_changed_it(boot) else ()
            fail_if(not_reached(boot, ap, BOOT_STACK), better=better)


def tries_changed_it(boot):
    """Whether APs that wait change the lock: what it holds then depends on how long they wait."""
    lock = boot.lock
    return bool(lock and lock.taken_bytes and lock.taken_bytes != lock.held_bytes)


def halted_at_the_lock(cpu, place):
    """Fail because an AP has halted before the lock."""
    fail(
        "ap-halts-at-the-lock",
        cpu=cpu,
        place=place,
        expected=msg("it waits in a loop, and looks at the lock again and again"),
        observed=msg("CPU {cpu} halted: it will not see that the lock is free", cpu=cpu),
    )


def never_got_it(boot, ap):
    """Fail if an AP stands before a lock that is free, or before one that was changed wrongly."""
    lock = boot.counters.apinit_lock
    if ap.end_kind == "halted":
        halted_at_the_lock(ap.index, ap.end_place.text)
    if lock is not None and not any(lock):
        fail(
            "ap-never-looks-again",
            cpu=ap.index,
            place=ap.end_place.text,
            expected=msg("CPU {cpu} takes the lock, which is free", cpu=ap.index),
            observed=msg(
                "all 8 bytes of *apinitlock are 0, and CPU {cpu} still waits", cpu=ap.index
            ),
        )
    spoilt_by_a_waiting_ap(boot, ap)
    differs = boot.lock and boot.lock.held_bytes != boot.lock.released_bytes
    if differs and not tries_changed_it(boot):
        fail(
            "lock-never-released",
            cpu=boot.first("lock-released").cpu,
            place="apinitproc1",
            expected=msg("the release undoes what apinit_enter has written to the lock"),
            observed=msg(
                "the 8 bytes of *apinitlock were {held} while the lock was taken, and {released} "
                "after its release; no other AP got it then",
                held=boot.lock.held_bytes.hex(" "),
                released=boot.lock.released_bytes.hex(" "),
            ),
        )


def spoilt_by_a_waiting_ap(boot, ap):
    """Fail if the release has left the lock free, and APs that waited have changed it."""
    released, now = boot.lock and boot.lock.released_bytes, boot.counters.apinit_lock
    held = any(one.reached(BOOT_STACK) and not one.reached(NUMBERED) for one in boot.aps)
    if released and now and not held and not any(released):
        fail(
            "lock-spoilt-by-a-waiting-ap",
            cpu=ap.index,
            place=ap.end_place.text,
            step="lab4.1",
            expected=msg("a lock that is free stays free until an AP takes it"),
            observed=msg(
                "the release made all 8 bytes of *apinitlock 0; now they are {bytes}, although no "
                "AP has the lock",
                bytes=now.hex(" "),
            ),
        )


@check("lab4.stack.private", EXCLUSION, after="lab4.lock.released")
def ap_knows_its_stack_before_it_lets_the_next_one_in(boot):
    """An AP delayed right after its unlock still records its own stack, not the next AP's."""
    private = boot.lock.private if boot.lock else None
    if private is None:
        if not boot.at("lock-released"):
            return  # a lock that is not where *apinitlock is
        ap_lock_is_freed(boot)
        not_tried(boot, msg("two APs at one lock"))
    if private.stackaddr != private.base:
        fail(
            "new-stack-read-after-unlock",
            cpu=private.cpu,
            place="apinitproc1",
            expected=msg("stackaddr = {base:#x}, its own stack", base=private.base),
            observed=msg(
                "stackaddr = {stackaddr:#x}, after another AP had run in between",
                stackaddr=private.stackaddr,
            ),
        )


@check("lab4.number.unique", ONE_BY_ONE, after="lab4.stack.own")
def numbers_are_1_to_n(boot):
    """The APs call segment_init_ap with the numbers 1 to n, in the order in which they arrive."""
    ap_lock_is_released(boot)
    for ap in boot.aps:
        if not ap.reached(NUMBERED):
            not_at_the_pointer(boot)
        fail_if(not_reached(boot, ap, NUMBERED))
    numbered_once(boot)
    hits = boot.at("segment_init_ap")
    numbers = [argument(hit) for hit in hits]
    right = list(range(1, len(boot.cpus)))
    total = boot.counters.num_of_processors
    called = msg("segment_init_ap was called with {numbers}", numbers=str(numbers))
    if sorted(numbers) != right:
        fail(
            "numbers-wrong",
            place="apinitproc1",
            expected=msg("the numbers {numbers}", numbers=str(right)),
            observed=called,
            next=""
            if total <= len(right)
            else msg(
                "num_of_processors is increased once for each AP, in apinitproc1: {total} "
                "for {count} APs is too much. Is it also increased in apinitproc0 or in "
                "ap_wait?",
                total=total,
                count=len(right),
            ),
        )
    if total != len(right):
        fail(
            "count-wrong",
            place=msg("apinitproc1, num_of_processors"),
            expected=msg("{count}, the number of APs", count=len(right)),
            observed=str(total),
            next=""
            if total < len(right)
            else msg(
                "The BSP is not counted, and no AP is counted twice. The numbers were "
                "right, so it was increased once more after them: look for that in ap_wait "
                "and in apinitproc1."
            ),
        )
    alone = all(ap.stackaddr_before_barrier is not None for ap in boot.aps)
    if numbers != right and alone:
        fail(
            "number-is-not-the-count",
            place="apinitproc1",
            expected=msg(
                "the numbers {numbers} for {cpus}, which arrived in this order, one by one",
                numbers=str(right),
                cpus=listed(f"CPU {hit.cpu}" for hit in hits),
            ),
            observed=called,
        )


def ap_lock_is_freed(boot):
    """Fail if an AP waits for ap_lock for ever, where it is not known which CPU has it."""
    waiting = next((ap for ap in boot.aps if waits_for_ap_lock(boot, ap.index)), None)
    if waiting is not None:
        fail(
            "ap-lock-never-released",
            cpu=waiting.index,
            place=waiting.end_place.text,
            expected=msg("ap_lock is free again when an AP has counted itself"),
            observed=msg("{cpu} waits for ap_lock, and no CPU releases it", cpu=waiting.name),
        )


def ap_lock_is_released(boot):
    """Fail if an AP waits for ap_lock for ever: another CPU keeps it, or the AP itself."""
    wait = [ap for ap in boot.aps if waits_for_ap_lock(boot, ap.index)]
    if not wait:
        return
    waiting = wait[0]
    by_turn = sorted((ap for ap in boot.aps if ap.reached(OWN_STACK)), key=lambda ap: ap.turn or 0)
    keeper = next((ap for ap in by_turn if ap.numbered_under_lock), None)
    if not by_turn:
        return
    first = by_turn[0]
    what = {
        "expected": msg("ap_lock is free again when an AP has counted itself"),
        "place": waiting.end_place.text,
    }
    if first.entered_under_lock:
        fail(
            "ap-lock-never-released",
            cpu=first.index,
            step="lab4.2",
            observed=msg(
                "{cpu} was the first AP to enter apinitproc1, and ap_lock was taken already: "
                "apinitproc0 has taken it",
                cpu=first.name,
            ),
            **what | {"place": "apinitproc0"},
        )
    if keeper is not None:
        fail(
            "ap-lock-never-released",
            cpu=keeper.index,
            observed=msg(
                "{keeper} held ap_lock when it called segment_init_ap, and has not released it; "
                "{cpu} waits for it",
                keeper=keeper.name,
                cpu=waiting.name,
            ),
            **what,
        )
    if first in wait and "spinlock_" in boot.bsp.end_place.symbol:
        fail(
            "ap-lock-never-released",
            cpu=first.index,
            observed=msg(
                "{cpu} waits for ap_lock and has not called segment_init_ap yet. No other AP has "
                "come so far, and the BSP waits as well: {cpu} has taken the lock before",
                cpu=first.name,
            ),
            **what,
        )


def numbered_once(boot):
    """Fail if an AP has called segment_init_ap more often than once."""
    for ap in boot.aps:
        numbers = [argument(hit) for hit in boot.at("segment_init_ap", ap.index)]
        if len(numbers) > 1:
            fail(
                "segment-init-ap-called-again",
                cpu=ap.index,
                place="apinitproc1",
                expected=msg("{cpu} calls segment_init_ap once", cpu=ap.name),
                observed=msg(
                    "{cpu} called it {count} times, with {numbers}",
                    cpu=ap.name,
                    count=len(numbers),
                    numbers=str(numbers),
                ),
            )


def the_store_is_guarded(boot):
    """Fail if an AP stores num_of_processors while ap_lock is free, and not by a locked one."""
    cpu = boot.lock.unguarded
    decoded = decode(boot.lock.store_code, 0, 64) if cpu is not None else None
    if decoded is not None and not decoded.locked:
        fail(
            "counted-without-ap-lock",
            cpu=cpu,
            place="apinitproc1",
            expected=msg(
                "CPU {cpu} holds ap_lock when it stores num_of_processors: `{instruction}`",
                cpu=cpu,
                instruction=decoded.text,
            ),
            observed=msg("ap_lock was free then"),
            goes_on=True,
        )


@check("lab4.number.alone", EXCLUSION, also=ONE_BY_ONE, after="lab4.number.unique")
def counting_is_guarded(boot):
    """While an AP reads and then stores num_of_processors, no other AP does the same."""
    for ap in boot.aps:
        if ap.numbered_under_lock:
            fail(
                "numbered-under-lock",
                cpu=ap.index,
                place=msg("apinitproc1, at its call of segment_init_ap"),
                expected=msg("ap_lock is released before segment_init_ap is called"),
                observed=msg("{cpu} still holds ap_lock there", cpu=ap.name),
            )
    if boot.lock is None:
        return
    guard_is_a_lock(boot)
    for one in boot.while_at("counting"):
        decoded = decode(needed(boot.lock).store_code, 0, 64)
        if one.verdict == "reached" and not (decoded and decoded.locked):
            fail(
                "count-without-lock",
                cpu=one.cpu,
                place=one.end_place.text,
                expected=msg("one AP at a time between load and store of num_of_processors"),
                observed=msg(
                    "two APs were about to execute the same store, `{instruction}`: one of "
                    "the counts would be lost",
                    instruction=decoded.text,
                ),
                better=(CLEARED,),
            )
    the_store_is_guarded(boot)
    if boot.lock.skipped_guard is not None:
        fail(
            "number-without-lock",
            cpu=boot.lock.skipped_guard,
            place="apinitproc1",
            expected=msg("CPU {cpu} waits for ap_lock", cpu=boot.lock.skipped_guard),
            observed=msg(
                "CPU {cpu} called segment_init_ap while another AP held ap_lock",
                cpu=boot.lock.skipped_guard,
            ),
        )
    numbers_are_unique(boot)
    twice = boot.lock.same_number
    if twice is not None:
        fail(
            "number-read-too-late",
            cpu=twice.cpu,
            place="apinitproc1",
            expected=msg(
                "the number is the value that this CPU itself has stored in num_of_processors"
            ),
            observed=msg(
                "CPU {cpu} was delayed right after it had counted itself; when another CPU "
                "had counted itself too, both took the number {number}",
                cpu=twice.cpu,
                number=twice.number,
            ),
        )


def guard_is_a_lock(boot):
    """Fail if the student's own code takes ap_lock by a plain store."""
    decoded = decode(boot.lock.guard_code, 0, 64) if boot.lock.guard_code else None
    if decoded and decoded.writes_memory and not decoded.locked:
        fail(
            "guard-not-atomic",
            place=msg("apinitproc1, `{instruction}`", instruction=decoded.text),
            expected=msg(
                "spinlock_lock, or one locked instruction that reads ap_lock and takes it"
            ),
            observed=msg(
                "it stores to ap_lock without the lock prefix: another CPU can find the lock free "
                "as well and store too"
            ),
        )


def numbers_are_unique(boot):
    """Fail if two APs called segment_init_ap with the same number.

    If they read it after they had counted themselves, the number before it is nobody's.
    """
    taken = {}
    all_numbers = {argument(hit) for hit in boot.at("segment_init_ap")}
    for hit in boot.at("segment_init_ap"):
        number = argument(hit)
        if taken.setdefault(number, hit.cpu) != hit.cpu:
            counted = boot.counters.num_of_processors == len(boot.aps)  # no count was lost
            early = counted and {*range(1, number)} <= all_numbers
            fail(
                "number-read-too-early" if early else "number-read-too-late",
                cpu=hit.cpu,
                place="apinitproc1",
                expected=msg(
                    "the number is the value that this CPU itself has stored in num_of_processors"
                ),
                observed=msg(
                    "CPU {cpu} and CPU {other} both called segment_init_ap with {number}",
                    cpu=hit.cpu,
                    other=taken[number],
                    number=number,
                ),
            )


# --- lab4.4: waiting for the others ---------------------------------------------------------------


def waits_for_ap_lock(boot, cpu):
    """Whether an AP wants to count itself and cannot, because another CPU keeps ap_lock."""
    ap = boot.cpus[cpu]
    at_lock = "spinlock_" in ap.end_place.symbol and not ap.reached(NUMBERED)
    return at_lock and boot.counters.ap_lock != 0 and ap.reached(BOOT_STACK)


def phases(boot):
    """The two situations of the late AP: its hit, the BSP's name for leaving, and what it means."""
    late = (SILENT if boot.scenario == SILENT.name else LATE).option("cpu")
    if boot.scenario != SILENT.name:  # without tables the BSP cannot know of it
        yield (
            msg("not entered"),
            "not-entered",
            msg("it went on to bsp_proc while CPU {cpu} had not executed anything yet", cpu=late),
        )
    yield (
        msg("not numbered"),
        "not-numbered",
        msg(
            "it went on to bsp_proc while CPU {cpu} had entered, but was still waiting for "
            "the lock",
            cpu=late,
        ),
    )


@check("lab4.wait.late", LATE, also=SILENT, per=phases, after="lab4.number.unique")
def bsp_waits_for_a_late_cpu(boot, phase, went_on):
    """The BSP does not go on while a CPU has not entered, or has entered but has no number."""
    late = boot.first(f"{phase}.held")
    too_early(boot)
    bsp_writes_the_lock(boot)
    bsp_at_the_barrier(boot)
    if late is None:
        not_tried(boot, msg("one AP is late"))
    if boot.first(f"left while {phase}"):
        fail(
            "bsp-went-on-without-cpu",
            cpu=0,
            place="ap_wait",
            expected=msg("the BSP waits for CPU {cpu}", cpu=late.cpu),
            observed=went_on,
        )
    ap_lock_is_kept_in_the_barrier(boot)
    if boot.first("bsp_proc", 0) is None and waits_for_ap_lock(boot, late.cpu):
        fail(
            "bsp-holds-ap-lock",
            cpu=late.cpu,
            place=boot.cpus[late.cpu].end_place.text,
            expected=msg(
                "ap_lock is free while the BSP pauses, so that the APs can count themselves"
            ),
            observed=msg(
                "CPU {cpu} waits for ap_lock, which the BSP holds, at {place}",
                cpu=late.cpu,
                place=boot.bsp.end_place.text,
            ),
        )
    if boot.first("bsp_proc", 0) is None:
        missing(
            "bsp-waits-for-ever",
            cpu=0,
            place=boot.bsp.end_place.text,
            expected=msg("once CPU {cpu} has arrived, the BSP goes on to bsp_proc", cpu=late.cpu),
            observed=msg("it is still at {place}", place=boot.bsp.end_place.text),
            next=msg(
                "There are no ACPI tables in this boot, so acpi_num_of_processors () is 0. What "
                "becomes of your condition then, if it is calculated in a u32?"
            )
            if boot.scenario == SILENT.name
            else msg("Does ap_wait read the values again each time?"),
        )


def ap_lock_is_kept_in_the_barrier(boot):
    """Fail if the BSP waits for ap_lock, and an AP waits in the barrier, which must have it.

    The BSP has polled before, with the APs held: then it has given the lock back each time.
    """
    inside = [ap for ap in boot.aps if ap.end_place.is_in("sync_all_processors")]
    waits = "spinlock_" in boot.bsp.end_place.symbol and in_ap_wait(boot.bsp)
    polled = boot.lock and boot.lock.guard_at_poll == 0
    if not boot.counters.ap_lock or not waits or not inside or not polled:
        return
    fail(
        "ap-lock-kept-in-the-barrier",
        cpu=inside[0].index,
        step="lab4.5",
        place=inside[0].end_place.text,
        expected=msg(
            "a CPU that waits in sync_all_processors holds no lock that another one needs"
        ),
        observed=msg(
            "the BSP waits for ap_lock, in ap_wait; these CPUs are in sync_all_processors and do "
            "not wait for it: {cpus}",
            cpus=listed(ap.name for ap in inside),
        ),
    )


def bsp_at_the_barrier(boot):
    """Fail if the BSP comes to the barrier from ap_wait; each call of it is a round."""
    came, went_on = boot.first("sync_all_processors", 0), boot.first("bsp_proc", 0)
    if came and (went_on is None or came.order < went_on.order):
        fail(
            "bsp-at-the-barrier-too-early",
            cpu=0,
            place="ap_wait",
            expected=msg("ap_wait waits by looking at the two counts, and returns"),
            observed=msg("the BSP called sync_all_processors before bsp_proc"),
        )


def too_early(boot):
    """Fail if the BSP names a missing CPU although its time is not over."""
    hit = boot.first("vmm_ap_missing", 0)
    if hit is not None:
        fail(
            "missing-called-too-early",
            cpu=0,
            place="ap_wait",
            expected=msg("the BSP waits: the time ap_delays.wait_us is not over"),
            observed=msg("it called vmm_ap_missing ({argument})", argument=argument(hit)),
        )


def bsp_writes_the_lock(boot):
    """Fail if the BSP has changed the lock of the boot stack."""
    wrote = boot.lock.not_the_owner if boot.lock else None
    if wrote is not None:
        fail(
            "bsp-writes-the-lock",
            cpu=0,
            place="ap_wait",
            expected=msg("the BSP never writes to *apinitlock: it belongs to the APs"),
            observed=msg(
                "its 8 bytes were {before} before some polls of the BSP, and {after} after them",
                before=wrote.before.hex(" "),
                after=wrote.after.hex(" "),
            ),
        )


@check("lab4.wait.goes_on", ONE_BY_ONE, after="lab4.number.unique")
def bsp_goes_on_when_all_have_come(boot):
    """Once every AP has its number, the BSP leaves ap_wait and runs bsp_proc."""
    too_early(boot)
    guard = boot.lock.guard_at_bsp_proc if boot.lock else None
    if boot.first("bsp_proc", 0) is not None and guard:
        fail(
            "bsp-keeps-ap-lock",
            cpu=0,
            place="ap_wait",
            expected=msg("ap_lock is free when ap_wait returns"),
            observed=msg("the first byte of ap_lock is {value}", value=guard),
        )
    if boot.first("bsp_proc", 0) is None:
        missing(
            "bsp-waits-for-ever",
            cpu=0,
            place=boot.bsp.end_place.text,
            expected=msg("bsp_proc runs on the BSP"),
            observed=msg(
                "all APs have their numbers, num_of_processors = {count}, but the BSP is still at "
                "{place}",
                count=boot.counters.num_of_processors,
                place=boot.bsp.end_place.text,
            ),
            next=msg(
                "Which condition does ap_wait wait for? Does it read the values again each time?"
            ),
        )


def names_the_missing(boot, cpu, wait_us):
    """Fail unless the BSP has said, after `wait_us` microseconds, that CPU `cpu` did not come."""
    hit = boot.first("vmm_ap_missing", 0)
    sleeps(boot, wait_us)
    if hit is None:
        on = boot.first("bsp_proc", 0) is not None
        poll_us = (boot.lock and boot.lock.poll_us) or wait_us
        missing(
            "missing-cpu-not-noticed",
            cpu=0,
            place="ap_wait",
            expected=msg(
                "vmm_ap_missing ({cpu}) after {wait} microseconds (ap_delays.wait_us in this boot)",
                cpu=cpu,
                wait=wait_us,
            ),
            observed=msg("the BSP went on to bsp_proc") if on else msg("the BSP waits forever"),
            next=msg(
                "The wait must end: add up the microseconds that you have slept, not the "
                "polls, and in 32 bits. After {count} polls of {poll} microseconds the time is "
                "over.",
                count=wait_us // poll_us,
                poll=poll_us,
            ),
        )
    named = argument(hit)
    if named != cpu:
        fail(
            "wrong-cpu-named",
            cpu=0,
            place="ap_wait",
            expected=msg(
                "vmm_ap_missing ({cpu}): the CPU with APIC id {cpu} did not arrive", cpu=cpu
            ),
            observed=f"vmm_ap_missing ({named})",
            next=msg(
                "CPU {named} came while the BSP was waiting. Ask ap_first_missing () when the time "
                "is over, not before: until then an AP may come. How many have come does not tell "
                "which: they come in any order.",
                named=named,
            )
            if boot.at("segment_init_ap", named)
            else "",
        )


def sleeps(boot, wait_us):
    """Fail unless the BSP has slept poll_us each time, and wait_us in all."""
    slept = [argument(hit) for hit in boot.at("usleep", 0)]
    poll_us = boot.lock.poll_us if boot.lock else None
    if poll_us is None:
        return
    expected = msg(
        "usleep ({poll}), which is ap_delays.poll_us in this boot, between two checks", poll=poll_us
    )
    named = boot.first("vmm_ap_missing", 0) is not None
    whole = slept[:-1] if named else slept  # the last one may be the rest of the time
    odd = [us for us in whole if us != poll_us] + [us for us in slept[len(whole) :] if us > poll_us]
    if odd:
        fail(
            "poll-interval-wrong",
            cpu=0,
            place="ap_wait",
            expected=expected,
            observed=f"usleep ({odd[0]})",
        )
    if not slept or boot.lock.own_timer:
        return  # it measures the time itself, and part of that is ours
    total = sum(slept)
    if named and not wait_us - poll_us < total <= wait_us + 2 * poll_us:
        fail(
            "wait-time-wrong",
            cpu=0,
            place="ap_wait",
            expected=msg(
                "the BSP sleeps for {wait} microseconds in all (ap_delays.wait_us in this boot)",
                wait=wait_us,
            ),
            observed=msg(
                "it slept {count} times, {total} microseconds in all, before vmm_ap_missing",
                count=len(slept),
                total=total,
            ),
            next=msg(
                "One AP came in this boot when the BSP had polled some times. The time does not "
                "begin again then: it is ap_delays.wait_us in all."
            )
            if total - wait_us in range(4 * poll_us, BEFORE_THE_STRAGGLER * poll_us + 1)
            else "",
        )


def long_wait_ends(boot):
    """Fail unless a wait of many polls has taken ap_delays.wait_us, too."""
    one = boot.lock.long_wait if boot.lock else None
    most = one.wait_us + 2 * one.poll_us if one else 0
    if one is None or (one.named and one.wait_us - one.poll_us < one.slept_us <= most):
        return
    if not one.named and one.slept_us <= most:
        return  # a busy host proves nothing
    fail(
        "long-wait-wrong",
        cpu=0,
        place="ap_wait",
        expected=msg(
            "with ap_delays.wait_us = {wait} and poll_us = {poll}, the BSP calls vmm_ap_missing "
            "after {count} polls",
            wait=one.wait_us,
            poll=one.poll_us,
            count=one.wait_us // one.poll_us,
        ),
        observed=msg(
            "it called vmm_ap_missing after {count} polls", count=one.slept_us // one.poll_us
        )
        if one.named
        else msg("after {count} polls it still waited", count=one.slept_us // one.poll_us),
        next=msg(
            "A product may need more than 32 bits: {wait} microseconds are {wait}000 nanoseconds. "
            "Count microseconds, or polls.",
            wait=one.wait_us,
        )
        if one.named and one.slept_us < one.wait_us
        else "",
        goes_on=True,
    )


def progress_gives_no_more_time(boot):
    """Fail if the BSP waits longer because an AP has entered while it waited."""
    one = boot.lock.long_wait if boot.lock else None
    if one is None or one.late_us is None or one.late_us <= (FEW_POLLS + 2) * one.poll_us:
        return
    fail(
        "wait-begins-again",
        cpu=0,
        place="ap_wait",
        expected=msg(
            "the BSP calls vmm_ap_missing after {count} polls in all (ap_delays.wait_us / poll_us)",
            count=FEW_POLLS,
        ),
        observed=msg(
            "an AP entered the trampoline after some polls, and got no further; the BSP called "
            "vmm_ap_missing after {count} polls",
            count=one.late_us // one.poll_us,
        ),
        goes_on=True,
    )


@check("lab4.wait.missing", MISSING, after=["lab4.wait.goes_on", "lab4.wait.late"])
def cpu_that_never_comes_is_named(boot):
    """After ap_delays.wait_us the BSP calls vmm_ap_missing with the APIC id of the missing CPU."""
    names_the_missing(boot, MISSING.option("cpu"), MISSING.option("wait_us"))
    long_wait_ends(boot)
    progress_gives_no_more_time(boot)


# --- lab4.5: the barrier --------------------------------------------------------------------------


def expected_wait(one):
    """What a CPU that came out of the barrier should have waited for."""
    if one.while_at == "round-1":
        return msg("CPU {cpu} waits in sync_all_processors for the last CPU", cpu=one.cpu)
    return msg("CPU {cpu} waits in sync_all_processors for a CPU of round 1", cpu=one.cpu)


def bsp_forgotten(boot, one):
    """Fail if a CPU that came out has read num_of_processors, and so many had come."""
    counted = boot.barrier.counted if boot.barrier else None
    if counted == len({other.cpu for other in boot.while_at("round-1")}):
        fail(
            "barrier-passed-early",
            cpu=one.cpu,
            place=one.end_place.text,
            expected=expected_wait(one),
            observed=msg(
                "it left the barrier when {count} of {all} CPUs had entered",
                count=counted,
                all=len(boot.cpus),
            ),
            next=msg(
                "num_of_processors was {count} then, which does not include the BSP. If "
                "sync_all_processors adds the BSP: does a CPU wait until the last one has "
                "entered?",
                count=counted,
            ),
        )


def waits_in_the_barrier(boot):
    """Every CPU that must wait in a round, and the last one, which goes through."""
    last = {
        (one.cpu, one.while_at): one
        for one in boot.interleavings
        if one.while_at in ("round-1", "round-2")
    }
    if not last:
        yield msg("the boot"), None
        return
    for one in last.values():
        yield msg("CPU {cpu} in {round}", cpu=one.cpu, round=one.while_at), one
    for one in boot.while_at("round-1.last"):
        yield msg("the last CPU"), one


@check("lab4.barrier.holds", BARRIER, per=waits_in_the_barrier, after="lab4.wait.goes_on")
def nobody_leaves_the_barrier_early(boot, one):
    """No CPU leaves sync_all_processors before every CPU has entered that round."""
    if one is None:
        skipped_the_barrier(boot)
        not_tried(boot, msg("one CPU in the barrier is held"))
    elif one.while_at == "round-1.last":
        last_cpu_goes_through(boot, one)
    else:
        cpu_waits(boot, one)


def skipped_the_barrier(boot):
    """Fail if a CPU has parked, but has not gone through all rounds of the barrier."""
    for cpu in boot.cpus:
        fail_if(parked_by_itself(cpu))
        passed = rounds_of(boot, cpu)
        if cpu.end_kind == "parked" and passed != [*range(1, ROUNDS + 1)]:
            fail(
                "parked-without-barrier",
                cpu=cpu.index,
                place="sync_all_processors" if passed else cpu.end_place.text,
                expected=msg(
                    "initproc_ap runs on every AP, and leads to {rounds} rounds of the barrier",
                    rounds=ROUNDS,
                ),
                observed=msg("{cpu} parked, and never came out of the barrier", cpu=cpu.name)
                if not passed
                else msg(
                    "{cpu} parked after {count} of {rounds} rounds of the barrier",
                    cpu=cpu.name,
                    count=len(passed),
                    rounds=ROUNDS,
                ),
                next=msg("The given code parks a CPU after the last round. Which code did it here?")
                if passed
                else "",
                step="lab4.5" if passed else "lab4.3",
            )


def rounds_of(boot, cpu):
    """The rounds that the given code says a CPU has come out of, in order."""
    synced = boot.at("vmm_synced", cpu.index)
    return [argument(hit) for hit in synced if not hit.by_student]


def cpu_waits(boot, one):
    """Fail unless a CPU waited in the barrier."""
    fail_if(stopped_at_todo(boot), expected=msg("every CPU waits in the barrier"))
    for last in boot.while_at("round-1.last"):
        last_cpu_goes_through(boot, last)  # a barrier that opens for no CPU is no barrier
    if one.verdict == "reached" and one.by_itself:
        fail(
            "barrier-gives-up",
            cpu=one.cpu,
            place=one.end_place.text,
            expected=expected_wait(one),
            observed=msg(
                "it left its waiting loop by itself: no other CPU had executed anything meanwhile"
            ),
        )
    if one.verdict == "reached":
        bsp_forgotten(boot, one)
        fail(
            "barrier-passed-early",
            cpu=one.cpu,
            place=one.end_place.text,
            expected=expected_wait(one),
            observed=msg(
                "it left the barrier when {count} of {all} CPUs had entered",
                count=len({other.cpu for other in boot.while_at("round-1")}),
                all=len(boot.cpus),
            )
            if one.while_at == "round-1"
            else msg("it left the barrier"),
            better=(READ_EARLY,) if one.while_at == "round-1" else (),
        )
    if one.verdict == "halted":
        fail(
            "barrier-halts",
            cpu=one.cpu,
            place=one.end_place.text,
            expected=msg("it waits in a loop"),
            observed=msg("it halted"),
        )


def last_cpu_goes_through(boot, one):
    """Fail unless the last CPU to come went through the barrier."""
    if one.verdict == "reached" or boot.all_parked:
        return
    fail_if(
        stopped_at_todo(boot) or first_fault(boot),
        expected=msg("the last CPU to enter goes through"),
    )
    overlap = boot.barrier.overlap_cpu if boot.barrier else None
    if overlap is not None:
        fail(
            "barrier-count-lost",
            cpu=overlap,
            place="sync_all_processors",
            expected=msg("one CPU at a time between load and store of the count"),
            observed=msg(
                "CPU {cpu} counted itself while another CPU was between load and store; "
                "then that CPU stored its count, and the barrier never opened",
                cpu=overlap,
            ),
            better=(CLEARED,),
        )
    gone = next((cpu for cpu in boot.cpus if cpu.index != one.cpu and rounds_of(boot, cpu)), None)
    if gone is not None:
        fail(
            "barrier-never-opens",
            cpu=one.cpu,
            place=one.end_place.text,
            expected=msg("the last CPU to enter goes through"),
            observed=msg(
                "CPU {cpu} waits for ever, although {other} has come out of this round",
                cpu=one.cpu,
                other=gone.name,
            ),
            next=msg(
                "Does CPU {cpu} wait for a value that a CPU in the next round changes again, or "
                "for one that it has read too late?",
                cpu=one.cpu,
            ),
        )
    fail(
        "barrier-never-opens",
        cpu=one.cpu,
        place=one.end_place.text,
        expected=msg("the last CPU to enter goes through"),
        observed=msg("CPU {cpu} waits as well", cpu=one.cpu),
        next=msg(
            "It waits for a spinlock that is never released: does sync_all_processors "
            "unlock before it begins to wait for the others?"
        )
        if "spinlock_" in one.end_place.symbol
        else "",
    )


def round_of(boot, cpu):
    """The round of the barrier that a CPU is in, from 1."""
    return len(rounds_of(boot, cpu)) + 1


@check("lab4.barrier.reusable", BARRIER, after="lab4.barrier.holds")
def barrier_works_again_at_once(boot):
    """A CPU that is slow to leave a round still leaves it when the others are in the next."""
    skipped_the_barrier(boot)
    if boot.all_parked:
        return
    fail_if(first_fault(boot), expected=msg("every CPU comes through all rounds"))
    for one in [*boot.while_at("round-1.woken"), *boot.while_at("round-2.woken")]:
        if one.verdict != "reached":
            fail(
                "barrier-never-releases",
                cpu=one.cpu,
                place=one.end_place.text,
                expected=msg("once every CPU has entered, every CPU leaves the round"),
                observed=msg(
                    "CPU {cpu} still waits; it had been delayed right after its last store",
                    cpu=one.cpu,
                )
                if one.while_at == "round-2.woken"
                else msg("CPU {cpu} still waits", cpu=one.cpu),
            )
    for one in boot.while_at("round-1.slow"):
        if one.verdict != "reached":
            fail(
                "barrier-not-reusable",
                cpu=one.cpu,
                place=one.end_place.text,
                expected=msg(
                    "CPU {cpu} leaves round 1 although the others are in round 2", cpu=one.cpu
                ),
                observed=msg("it waits forever: the value that it waits for has changed again"),
                next=msg(
                    "Wait for a value that never returns to an old one: the number of the round."
                ),
            )
    if not list(boot.while_at("round-1.last")):
        not_tried(boot, msg("one CPU in the barrier is held"))
    stuck = next(cpu for cpu in boot.cpus if cpu.end_kind != "parked")
    missing(
        "barrier-not-reusable",
        cpu=stuck.index,
        place=stuck.end_place.text,
        expected=msg("every CPU comes through all rounds"),
        observed=msg(
            "{cpu} waits forever in round {round}", cpu=stuck.name, round=round_of(boot, stuck)
        ),
        next=msg(
            "Is the count back at 0 before any CPU can enter the next round? A fast CPU is "
            "in the next round while a slow one has not left this one."
        ),
    )


def each_ending(boots):
    """Each boot, if the plain one ends as the others do."""
    fail_if(ends_otherwise(boots, EIGHT.name))
    for boot in boots:
        yield boot.scenario, boot


@check(
    "lab4.boot.cpus",
    ONE,
    SEABIOS,
    EIGHT,
    per=each_ending,
    # What depends on luck must be right first: only this check leaves the CPUs to it.
    after=["lab4.barrier.reusable", "lab4.stack.private", "lab4.number.alone"],
)
def every_cpu_parks(boots, boot):
    """With 1 and 8 CPUs, and with 2 under SeaBIOS, every CPU parks."""
    parks(boot)


def right_function(boot):
    """Fail unless each AP has called initproc_ap, and only the BSP initproc_bsp."""
    for ap in boot.aps:
        if boot.at("bsp_proc", ap.index):
            fail(
                "ap-runs-bsp-proc",
                cpu=ap.index,
                place="apinitproc1",
                expected=msg("an AP calls initproc_ap"),
                observed=msg("{cpu} runs bsp_proc, to which initproc_bsp points", cpu=ap.name),
            )
        calls = len(boot.at("initproc_ap", ap.index))
        if boot.scenario == SEABIOS.name and ap.reached(NUMBERED) and calls != 1:
            fail(
                "initproc-ap-not-called",
                cpu=ap.index,
                place="apinitproc1",
                expected=msg("apinitproc1 calls what initproc_ap points to, once"),
                observed=msg("{cpu} called it {count} times", cpu=ap.name, count=calls),
            )


def numbered_1_to_n(boot):
    """Fail unless the APs of a boot have the numbers 1 to n and have counted themselves."""
    numbers = sorted(argument(hit) for hit in boot.at("segment_init_ap"))
    right = list(range(1, len(boot.cpus)))
    if numbers != right:
        fail(
            "numbers-wrong",
            place="apinitproc1",
            expected=msg("the numbers {numbers}", numbers=str(right)),
            observed=msg("segment_init_ap was called with {numbers}", numbers=str(numbers)),
        )
    if boot.counters.num_of_processors != len(right):
        fail(
            "count-wrong",
            place=msg("apinitproc1, num_of_processors"),
            expected=msg("{count}, the number of APs", count=len(right)),
            observed=str(boot.counters.num_of_processors),
        )


def parks(boot):
    """Fail unless every CPU has parked, with its number, by way of initproc_ap."""
    right_function(boot)
    if boot.all_parked:
        numbered_1_to_n(boot)
    found = why_not_all_parked(boot)
    if found is not None and found.cause == "bsp-waits-for-ever" and in_ap_wait(boot.bsp):
        found = replace(found, step="lab4.4", function="ap_wait")
    fail_if(found, expected=msg("{count} CPUs park", count=len(boot.cpus)))


def in_ap_wait(cpu):
    """Whether a CPU is in ap_wait, or in given code that ap_wait has called."""
    return "ap_wait" in (cpu.end_place.lab_function, cpu.end_place.symbol.partition("+")[0])

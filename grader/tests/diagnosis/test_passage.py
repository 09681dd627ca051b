"""How an AP behaved in the trampoline: interrupts, stores, its count, other APs."""

from dataclasses import replace

import pytest
from handmade import SAMPLE, ap, boot, step

from vmmlab.diagnosis import counting, passage
from vmmlab.observe.cpu import Touch
from vmmlab.observe.evidence import Race, Trampoline
from vmmlab.observe.milestones import AP_ENTRY, PROTECTED_MODE

COPY, SIZE = SAMPLE.apinit_addr, len(SAMPLE.trampoline.image)
PROCS, LOCK = SAMPLE.trampoline.procs_at, SAMPLE.trampoline.lock_at
CLI = replace(step("cli"), touches=())


def on(code, text, *touches, **more):
    """An instruction with these bytes that reaches memory."""
    return replace(CLI, code=bytes.fromhex(code), text=text, touches=touches, **more)


def rw(address, size=4, *, reads=True, writes=True, **more):
    """Memory that is read and written."""
    return Touch(address, size, reads, writes, **more)


INC = on("66f0ff06c800", "lock inc dword ptr [0xc8]", rw(PROCS), counted=1)
BARE = on("66ff06c800", "inc dword ptr [0xc8]", rw(PROCS), counted=1)
XCHG = on("668706c800", "xchg dword ptr [0xc8], eax", rw(PROCS), counted=1)
OR = on("66f0830ec80001", "lock or dword ptr [0xc8], 1", rw(PROCS), counted=1)
BYTE = on("f0fe06c800", "lock inc byte ptr [0xc8]", rw(PROCS, 1), counted=1)
TWO = replace(INC, text="lock add dword ptr [0xc8], 2", counted=2)
DOWN = replace(INC, text="lock dec dword ptr [0xc8]", counted=-1)
BY_DS = on("66f0ff06c800", "lock inc dword ptr [0xc8]", rw(0xC8))
COMPARE = on("66f00fb10ec800", "lock cmpxchg dword ptr [0xc8], ecx", rw(PROCS), counted=0)
COUNTED = {
    "twice": ([INC, INC], "ap-counted-wrongly"),
    "two and one back": ([TWO, DOWN], "ap-counted-wrongly"),
    "two": ([TWO], "ap-counted-wrongly"),
    "one byte": ([BYTE], "ap-counted-wrongly"),
    "by DS": ([BY_DS], "ap-not-counted"),
    "never": ([CLI], "ap-not-counted"),
    "a compare that is not tried again": ([COMPARE], "ap-not-counted"),
}
UNLOCKED = {"no lock": BARE, "xchg": XCHG, "or": OR}
STORED = {
    "low memory": (rw(0x7000), "trampoline-overrun"),
    "the image": (rw(0x102000), "trampoline-overrun"),
    "the last byte and one more": (rw(COPY + SIZE - 2), "trampoline-overrun"),
    "nowhere": (rw(None), "trampoline-overrun"),
    "the lock": (rw(LOCK, value=b"\0" * 4), "trampoline-writes-lock"),
}
CONDUCT = {cause for _, cause in (*COUNTED.values(), *STORED.values())} | {
    "count-without-lock", "interrupts-on", "direction-flag-set", "trampoline-uses-stack",
    "trampoline-race", "ap-turned-away", "trampoline-waits", "trampoline-not-followed",
    "apinit-words-misplaced",
}  # fmt: skip


def at_entry(*steps, **more):
    """An AP that came to ap_entry by these instructions."""
    return ap(AP_ENTRY, steps=steps, **more)


@pytest.mark.parametrize("name", COUNTED)
def test_a_wrong_count(name):
    steps, cause = COUNTED[name]
    cpu = at_entry(*steps)
    assert counting.counted_wrongly(boot(cpu), cpu).cause == cause


@pytest.mark.parametrize("step", [INC, BARE, XCHG])
def test_one_store_that_added_one_has_counted(step):
    assert counting.counted_wrongly(boot(at_entry(step)), at_entry(step)) is None


def test_a_failed_compare_is_no_store():
    cpu = at_entry(COMPARE, replace(COMPARE, counted=1))
    assert counting.counted_wrongly(boot(cpu), cpu) is None
    assert counting.counted_without_lock(boot(cpu), cpu) is None


@pytest.mark.parametrize("name", UNLOCKED)
def test_a_count_that_is_not_atomic(name):
    cpu = at_entry(UNLOCKED[name])
    assert counting.counted_without_lock(boot(cpu), cpu).cause == "count-without-lock"
    assert counting.counted_without_lock(boot(cpu), at_entry(INC)) is None


@pytest.mark.parametrize("name", STORED)
def test_a_store_where_none_belongs(name):
    touch, cause = STORED[name]
    cpu = at_entry(on("66890700", "mov dword ptr [bx], eax", touch))
    assert passage.stored_outside(boot(cpu), cpu).cause == cause


def test_stores_in_the_copy_and_reads_elsewhere_are_right():
    cpu = at_entry(
        on("66890700", "mov dword ptr [bx], eax", rw(COPY)), on("8b07", "mov", rw(0, writes=False))
    )
    assert passage.stored_outside(boot(cpu), cpu) is None
    over = replace(cpu, overrun=0x7000)
    assert passage.stored_outside(boot(over), over).cause == "trampoline-overrun"


def test_interrupts_that_are_on_for_a_while():
    sti = replace(CLI, text="sti")
    with_if = replace(CLI, state=replace(CLI.state, eflags=0x202))
    found = passage.interrupts_on(at_entry(sti, with_if, CLI))
    assert found.cause == "interrupts-on"
    assert "after `sti`, EFLAGS = 0x202: IF (bit 9) is set, for 1 instructions" in str(
        found.observed
    )
    whole = at_entry(CLI, sti)
    states = {"ap-entry": replace(whole.at(AP_ENTRY), eflags=0x202)}
    still = replace(whole, milestones=whole.milestones | states)
    assert "still so at ap_entry" in str(passage.interrupts_on(still).observed)
    assert passage.interrupts_on(at_entry(CLI)) is None


def test_a_direction_flag_that_is_left_set():
    std = replace(CLI, text="std")
    whole = at_entry(CLI, std)
    states = {"ap-entry": replace(whole.at(AP_ENTRY), eflags=0x402)}
    found = passage.backwards(replace(whole, milestones=whole.milestones | states))
    assert found.cause == "direction-flag-set"
    assert "EFLAGS = 0x402" in str(found.observed)
    assert passage.backwards(whole) is None


def test_a_stack():
    cpu = at_entry(on("50", "push ax"))
    assert passage.stack_used(cpu).cause == "trampoline-uses-stack"
    assert passage.stack_used(at_entry(CLI)) is None


@pytest.mark.parametrize("how", ["overwritten", "left-out", "waits"])
def test_two_aps_that_disturb_each_other(how):
    loop = on("663b06c800", "cmp eax, dword ptr [0xc8]", rw(COPY + 0x40, writes=False))
    cpu = ap(PROTECTED_MODE, steps=(CLI, loop, CLI, loop), waits=how == "waits")
    race = Race(how, 1, 2, loop, INC, COPY + 0x40, b"\1", b"\2")
    found = passage.disturbed(boot(cpu, race=race), cpu)
    assert found.cause == ("trampoline-waits" if how == "waits" else "trampoline-race")
    assert "CPU 2" in str(found.observed)
    assert (
        passage.disturbed(boot(cpu, race=replace(race, cpu=3)), replace(cpu, waits=False)) is None
    )


@pytest.mark.parametrize(("before", "cause"), [(450, "ap-turned-away"), (2, "trampoline-race")])
def test_an_ap_that_halts_because_of_how_many_have_come(before, cause):
    counted = on(
        "66f0ff06c800",
        "lock inc dword ptr [0xc8]",
        rw(PROCS, value=(before + 1).to_bytes(4, "little")),
    )
    halt = on("f4", "hlt")
    cpu = ap(PROTECTED_MODE, steps=(counted, CLI, halt))
    race = Race("left-out", 1, 2, halt, INC, COPY + 0x40, b"", b"")
    assert passage.disturbed(boot(cpu, race=race), cpu).cause == cause


def test_a_store_outside_the_copy_that_another_ap_falls_over():
    clears = on("66c7060000", "mov dword ptr [0], 0", rw(0, reads=False))
    other = ap(PROTECTED_MODE, index=2, steps=(clears,))
    jump = replace(CLI, state=replace(CLI.state, pc=0))
    cpu = ap(PROTECTED_MODE, steps=(jump, CLI))
    found = passage.disturbed(boot(cpu, other), cpu)
    assert (found.cause, found.cpu) == ("trampoline-overrun", 2)
    assert "which CPU 1 uses too" in str(found.observed)
    beside = ap(PROTECTED_MODE, steps=(CLI,))
    assert passage.disturbed(boot(beside, other), beside) is None


def test_an_ap_that_waits_for_something():
    loop = on("663b06c800", "cmp eax, dword ptr [0xc8]", rw(PROCS, writes=False))
    cpu = ap(PROTECTED_MODE, steps=(CLI, loop, CLI, loop), waits=True, followed=False)
    found = passage.not_followed(boot(cpu), cpu)
    assert found.cause == "trampoline-waits"
    assert "reads apinit_procs" in str(found.observed)


def test_a_long_way_is_not_followed():
    cpu = at_entry(CLI, followed=False)
    assert passage.not_followed(boot(cpu), cpu).cause == "trampoline-not-followed"
    assert passage.not_followed(boot(cpu), at_entry(CLI)) is None


@pytest.mark.parametrize(
    ("procs", "lock", "fine"),
    [
        (SIZE - 16, SIZE - 8, True),
        (0x40, 0x48, True),
        (0x42, 0x48, False),
        (0x40, 0x4C, False),
        (SIZE - 2, 0x48, False),
        (0x40, SIZE, False),
        (0x40, 0x40, False),
    ],
)
def test_where_the_two_words_lie(procs, lock, fine):
    size = SIZE // 8 * 8
    procs, lock = (at - SIZE + size if at > 0x100 else at for at in (procs, lock))
    made = Trampoline(b"\0" * size, None, COPY + procs, COPY + lock)
    found = passage.misaligned(boot(trampoline=made))
    assert (found is None) == fine

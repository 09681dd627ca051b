"""What probes record of a boot besides its CPUs: one typed record for each subject.

A record, or a field of it, is None if the probe did not record it or did not get that far. New
evidence is a new field here; a lab's own probes derive their record from `LabEvidence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import PlainSerializer, PlainValidator

from vmmlab.base.jsondata import json_data
from vmmlab.base.registry import Registry, scope_in_use
from vmmlab.observe.cpu import Hex, TrampolineStep
from vmmlab.observe.place import Place

Verdict = Literal["reached", "waits", "budget", "halted", "shutdown"]
"""What came of letting a CPU run: it reached the place; its state repeated, so that it waits; it
used up its steps; it came to rest elsewhere; or the machine shut down."""


@dataclass(frozen=True, slots=True)
class Interleaving:
    """The outcome of letting one CPU run while others were held.

    Args:
        cpu: the CPU that ran.
        held: the CPUs that were held.
        while_at: the situation of the held CPUs, as the probe names it.
        reached: the watched place that the CPU reached, "" if it reached none.
        verdict: how it ended.
        end_place: where the CPU was at the end.
        by_itself: it was in a loop, and left that although no other CPU had executed anything.
    """

    cpu: int
    held: tuple[int, ...]
    while_at: str
    reached: str
    verdict: Verdict
    end_place: Place
    by_itself: bool = False


LostHow = Literal["ended", "no-answer", "refused", "no-time"]
"""How a machine was lost: QEMU ended in the middle of the boot; it answered no more; it refused to
start with this image; or the time of all boots together was up before this one was at its end."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A machine that could not be observed any more.

    Args:
        how: how it was lost.
        said: QEMU's last words and its exit status, "" if there are none; for people.
    """

    how: LostHow
    said: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Memory that a CPU uses, where the grader found none.

    Args:
        cpu: the CPU whose page tables do not map it; None for a physical address.
        address: the first byte.
        size: bytes.
    """

    cpu: int | None
    address: int
    size: int


@dataclass(frozen=True, slots=True)
class Physical0:
    """The first 16 bytes of physical memory.

    Args:
        before: what the grader put there before vmm_main.
        during: when the APs were started.
        not_entered: while an AP was held that had executed nothing yet.
        not_numbered: while an AP was held that had entered but had no number.
        after: at the end of the boot.
    """

    before: Hex = b""
    during: Hex | None = None
    not_entered: Hex | None = None
    not_numbered: Hex | None = None
    after: Hex = b""


@dataclass(frozen=True, slots=True)
class Trampoline:
    """The trampoline and its copy.

    Args:
        image: the bytes from cpuinit_start to cpuinit_end in the VMM's image.
        copy: as many bytes at apinit_addr when the APs were started.
        procs_at: physical address of apinit_procs in the copy.
        lock_at: physical address of apinit_lock in the copy.
        before: as many bytes at apinit_addr before the VMM began.
    """

    image: Hex = b""
    copy: Hex | None = None
    procs_at: int | None = None
    lock_at: int | None = None
    before: Hex = b""


@dataclass(frozen=True, slots=True)
class Pointer:
    """A pointer variable of the VMM when the APs were started.

    Args:
        virtual: its value.
        physical: the physical address that the BSP's page tables give for it; 0 if none.
    """

    virtual: int
    physical: int


@dataclass(frozen=True, slots=True)
class MappedPage:
    """A page that is still mapped by mapmem.

    Args:
        physical: physical address of the page.
        virtual: where it is mapped.
    """

    physical: int
    virtual: int


@dataclass(frozen=True, slots=True)
class BringUp:
    """What ap_start prepared and left behind.

    Args:
        apinitprocs: the pointer to the counter.
        apinitlock: the pointer to the lock.
        started_at_ap_wait: ap_started when the BSP reached ap_wait.
        started_at_bsp_proc: ap_started when the BSP reached bsp_proc.
        left_mapped: a page of physical 0 or of the copy that is mapped at bsp_proc.
    """

    apinitprocs: Pointer | None = None
    apinitlock: Pointer | None = None
    started_at_ap_wait: int | None = None
    started_at_bsp_proc: int | None = None
    left_mapped: MappedPage | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """Variables that CPUs share, at the end of the boot.

    Args:
        num_of_processors: that variable.
        ap_lock: the first byte of that lock.
        apinit_procs: the counter in the copy of the trampoline, if there is one.
        apinit_lock: the lock in the copy of the trampoline, if there is one.
    """

    num_of_processors: int = 0
    ap_lock: int = 0
    apinit_procs: int | None = None
    apinit_lock: Hex | None = None


@dataclass(frozen=True, slots=True)
class Switch:
    """The BSP's stack switch.

    Args:
        given_bsp: the first argument of start_all_processors, as the probe left it.
        given_ap: the second one.
        decoy_bsp: what was on the stack where an asmlinkage function has its first argument.
        decoy_ap: the same for the second one.
        initproc_bsp: that variable after bsp_continue.
        initproc_ap: that variable after bsp_continue.
        stackaddr: `currentcpu->stackaddr` of the BSP after bsp_continue, 0 if it has none.
        boot_stack_left: the boot stack at bspinitproc1.
        boot_stack_end: the boot stack when the BSP parked.
        top_filled: the highest bytes of the new stack as the probe filled them.
        top_found: the same bytes at bspinitproc1.
        above_filled: the bytes above the new stack when it was allocated.
        above_found: the same bytes at bspinitproc1.
        below_filled: the bytes below the new stack when it was allocated.
        below_found: the same bytes at bspinitproc1.
        held: what the probe had put into what was to be stored, before start_all_processors.
    """

    given_bsp: int | None = None
    given_ap: int | None = None
    decoy_bsp: int | None = None
    decoy_ap: int | None = None
    initproc_bsp: int | None = None
    initproc_ap: int | None = None
    stackaddr: int | None = None
    boot_stack_left: Hex | None = None
    boot_stack_end: Hex | None = None
    top_filled: Hex | None = None
    top_found: Hex | None = None
    above_filled: Hex | None = None
    above_found: Hex | None = None
    below_filled: Hex | None = None
    below_found: Hex | None = None
    held: int | None = None


@dataclass(frozen=True, slots=True)
class PlacedCall:
    """A call of asm_wrrsp_and_jmp that the grader itself made.

    Args:
        asked_rsp: the stack pointer that was asked for.
        decoy_rsp: a stack pointer in a register that holds no argument.
        asked_target: the function that was asked for; 0 if that was not recorded.
        shared: the variable of the student's that held an argument, and then one of another call;
            None if there is none.
        given: two functions above 4 GiB that start_all_processors was given before.
        kept: what initproc_bsp and initproc_ap held where that led.
        continued: where bsp_continue led when it was called for `asked_target`; None if it was not.
    """

    asked_rsp: int
    decoy_rsp: int
    asked_target: int = 0
    shared: int | None = None
    given: tuple[int, int] | None = None
    kept: tuple[int, int] | None = None
    continued: int | None = None


@dataclass(frozen=True, slots=True)
class PrivateStack:
    """What an AP recorded that was delayed right after it had released the lock.

    Args:
        cpu: the AP.
        base: base of the stack that it entered apinitproc1 on.
        stackaddr: its `currentcpu->stackaddr` at the barrier, 0 if it has none.
    """

    cpu: int
    base: int
    stackaddr: int


@dataclass(frozen=True, slots=True)
class SameNumber:
    """Two APs that took the same number.

    Args:
        cpu: the AP that was delayed after it had counted itself.
        number: the number.
    """

    cpu: int
    number: int


@dataclass(frozen=True, slots=True)
class LockWrite:
    """A change of the lock of the boot stack by a CPU that did not hold it.

    Args:
        cpu: the CPU; all others were held.
        before: the 8 bytes of the lock before; the probe may have put them there.
        after: the same afterwards.
    """

    cpu: int
    before: Hex
    after: Hex


@dataclass(frozen=True, slots=True)
class LongWait:
    """A call of ap_wait while an AP is missing, in which usleep returns at once.

    Args:
        poll_us: `ap_delays.poll_us`.
        wait_us: `ap_delays.wait_us`, many times as long.
        slept_us: what the BSP asked usleep for, in all.
        named: it called vmm_ap_missing.
        late_us: the same as `slept_us` in a call with time for 12 polls only, in which the missing
            AP was counted in after some of them; None: the BSP did not call vmm_ap_missing then.
    """

    poll_us: int
    wait_us: int
    slept_us: int
    named: bool
    late_us: int | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """What is known of the lock of the boot stack and of the count that ap_lock guards.

    Args:
        take: linear address of the instruction that took the free lock.
        take_code: the bytes there.
        store_code: the bytes of the instruction that stores num_of_processors.
        pointer: linear address of the variable apinitlock, if an AP waits at it in place of the
            lock.
        beside: distance in bytes from the lock, 8 bytes, to other memory that an AP waits at.
        beside_at: where that is.
        private: what an AP recorded that was delayed right after its release of the lock.
        same_number: two APs that took the same number.
        poll_us: `ap_delays.poll_us` of the boot.
        own_timer: the student's code reads a clock itself, so that the time it has slept is not all
            the time that it has waited.
        not_the_owner: a CPU that changed the lock of the boot stack without holding it.
        guard_code: the bytes of the instruction of the student that took the free ap_lock.
        skipped_guard: an AP that counted itself while another one held ap_lock.
        guard_at_bsp_proc: the first byte of ap_lock when the BSP alone had come to bsp_proc.
        guard_at_poll: the same when the BSP, which polled alone, called usleep; not 0 if it once
            was not.
        taken_bytes: the lock of the boot stack when the first AP had just taken it.
        held_bytes: the same when that AP was on its own stack, and others had tried to get in.
        released_bytes: the same after its first change of the lock, or at the barrier if there was
            none.
        unguarded: an AP that was about to store num_of_processors while ap_lock was free.
        long_wait: a wait of the BSP with many polls.
    """

    take: int | None = None
    take_code: Hex = b""
    store_code: Hex = b""
    pointer: int | None = None
    beside: int | None = None
    beside_at: Place | None = None
    private: PrivateStack | None = None
    same_number: SameNumber | None = None
    poll_us: int | None = None
    own_timer: bool = False
    not_the_owner: LockWrite | None = None
    guard_code: Hex = b""
    skipped_guard: int | None = None
    guard_at_bsp_proc: int | None = None
    guard_at_poll: int | None = None
    taken_bytes: Hex = b""
    held_bytes: Hex = b""
    released_bytes: Hex = b""
    unguarded: int | None = None
    long_wait: LongWait | None = None


@dataclass(frozen=True, slots=True)
class Barrier:
    """What is known of the state inside sync_all_processors.

    Args:
        counted: num_of_processors when a CPU that had read it left early.
        overlap_store: linear address of a store that one CPU was about to execute while another
            executed it.
        overlap_cpu: the CPU that passed.
    """

    counted: int | None = None
    overlap_store: int | None = None
    overlap_cpu: int | None = None


@dataclass(frozen=True, slots=True)
class Race:
    """Two APs in the trampoline, one of which came to harm by what the other did or did not do.

    Args:
        how: "overwritten": `cpu` stood before `mine`, and `other` executed `its` meanwhile;
            "left-out": `other` stood before `its`, and `cpu` never came to that instruction;
            "waits": `cpu` waited at `mine` for what only `other` could do; `its` is where that
            stood, or what it had done.
        cpu: the AP that came to harm.
        other: the other one.
        mine: an instruction of `cpu`.
        its: an instruction of `other`.
        address: physical address of the memory that both use; 0 if it is not known.
        meant: what `cpu` had to find there.
        found: what was there.
    """

    how: Literal["overwritten", "left-out", "waits"]
    cpu: int
    other: int
    mine: TrampolineStep
    its: TrampolineStep
    address: int = 0
    meant: Hex = b""
    found: Hex = b""


@dataclass(frozen=True)
class LabEvidence:
    """Base of the record of a lab's own probe: a frozen dataclass in labs/labN/probes.py."""

    def __init_subclass__(cls) -> None:
        """Keep the class for `evidence_in_use`."""
        if cls.__module__ != __name__:
            _CLASSES[cls.__name__] = cls


@dataclass(frozen=True)
class UnreadEvidence(LabEvidence):
    """What a lab's own probe recorded, read from JSON while the class of the lab is not known.

    Args:
        data: the fields.
    """

    data: dict[str, Any]


_CLASSES: Final[Registry[type[LabEvidence]]] = Registry()


def evidence_in_use() -> type[LabEvidence] | None:
    """Return the class that the probes of the lab in use record with, or None."""
    classes = [*scope_in_use().entries(_CLASSES).values()]
    return classes[0] if len(classes) == 1 else None


def _read(value: object) -> LabEvidence:
    if isinstance(value, LabEvidence):
        return value
    if isinstance(value, dict):
        return UnreadEvidence(value)
    raise ValueError("the evidence of a lab is an object with its fields")


def _written(record: LabEvidence) -> dict[str, Any]:
    """Return the data of any class: its module may be gone with the lab that it belonged to."""
    data = record.data if isinstance(record, UnreadEvidence) else json_data(record)
    return dict(data)


OfLab = Annotated[
    LabEvidence,
    PlainValidator(_read),
    PlainSerializer(_written, return_type=dict[str, Any]),
]
"""A record of any class that is derived from `LabEvidence`."""

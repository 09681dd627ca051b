"""What is recorded of a panic: the calls of panic_wakeup_all, and what the NMIs did to each CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from vmmlab.observe.evidence import Verdict
from vmmlab.observe.place import Place

NOWHERE: Final = range(0x7F12_0000_0000, 0x7F12_0000_1000)
"""Where GS points to, and nothing is mapped, while a CPU is made one without per-CPU data."""
Prints = Literal["printf", "vprintf", "serial_putchar", "vga_putchar"]
"""Given functions that print."""
TakesLocks = Literal["mapmem", "mapmem_hphys", "unmapmem", "alloc"]
"""Given functions that take a lock which any CPU may hold."""
Left = Literal["", "returned", "panic", "vmm_todo", "exception_panic"] | Prints | TakesLocks
"""Where a CPU went that did not halt in nmi_handler: it returned, or called one of these."""


@dataclass(frozen=True, slots=True)
class WakeupCall:
    """One call of panic_wakeup_all.

    Args:
        cpu: index of the CPU that called it.
        moment: "panic", or the place where the CPU was, before the APs were started.
        verdict: "reached": it returned while the other CPUs were held, or had taken their NMI.
        place: where the CPU was at the end.
        first: its writes of the ICR are those from this one on, by their order in the boot,
        last: and before this one.
        printed: the function by which it printed, or took a lock; "" if it did not.
        locks: the locks of other code that have changed meanwhile, by their names.
        past: how many of its writes of the ICR were not made by apic_write_icr, where that is
            watched.
    """

    cpu: int
    moment: str
    verdict: Verdict
    place: Place
    first: int
    last: int
    printed: Prints | TakesLocks | Literal[""] = ""
    locks: tuple[str, ...] = ()
    past: int = 0


@dataclass(frozen=True, slots=True)
class TakenNmi:
    """What a CPU did when an NMI had been sent to it; all other CPUs were held.

    Args:
        cpu: index of the CPU.
        situation: what it did before, as the probe names it.
        entered: whether it came to nmi_handler.
        verdict: "halted": it executed HLT; "reached": it left nmi_handler.
        left: how it left.
        interrupts: whether interrupts were on at the end.
        place: where it was at the end.
        code: the instruction that it was at, as text.
        by_grader: panic_wakeup_all had sent it nothing, so the grader sent this NMI.
        let_in: where nmi_handler had interrupts on, before it halted; None for nowhere.
        locks: the locks of other code that nmi_handler has changed, by their names.
    """

    cpu: int
    situation: str
    entered: bool
    verdict: Verdict
    left: Left
    interrupts: bool
    place: Place
    code: str = ""
    by_grader: bool = False
    let_in: Place | None = None
    locks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Panic:
    """A panic that the grader caused, or calls of panic_wakeup_all that it made.

    Args:
        cpu: index of the CPU that panicked; None if none did.
        message: the text that it was given to print.
        calls: the calls of panic_wakeup_all, in order.
        taken: the CPUs that were sent an NMI, in the order in which they took it; at last those to
            which the grader sent it.
        halted: whether the CPU that panicked halted afterwards, with interrupts off.
    """

    cpu: int | None = None
    message: str = ""
    calls: tuple[WakeupCall, ...] = ()
    taken: tuple[TakenNmi, ...] = ()
    halted: bool = False

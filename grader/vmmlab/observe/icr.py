"""ICR writes of a boot, from QEMU's trace. Only what happened after `vmm_main` counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from vmmlab.base.message import Text, listed, msg
from vmmlab.machine.trace import IcrWrite, TraceEvent
from vmmlab.x86.registers import ICR_ASSERT, ICR_LEVEL, ICR_LOGICAL

BROADCAST: Final = 0xFF
"""This destination means all CPUs, the sender too (Intel SDM vol. 3, 10.6.2.1)."""

_SHOWN: Final = 12  # writes
_KINDS: Final[dict[str, Text]] = {
    "fixed": msg("fixed"),
    "lowest priority": msg("lowest priority"),
    "reserved": msg("reserved"),
    "INIT level de-assert": msg("INIT level de-assert"),
}


@dataclass(frozen=True, slots=True)
class Icr:
    """One write to the interrupt command register (Intel SDM vol. 3, 10.6.1).

    Args:
        cpu: index of the vCPU that wrote it; None if the trace does not contain it.
        low: bits 31..0 as written.
        dest: destination APIC id (bits 63..56 in xAPIC mode); meaningless with a shorthand.
        time_s: host time in seconds since the first write.
    """

    cpu: int | None
    low: int
    dest: int
    time_s: float

    @property
    def kind(self) -> str:
        """Delivery mode as the SDM names it."""
        names = {0: "fixed", 1: "lowest priority", 2: "SMI", 4: "NMI", 5: "INIT", 6: "SIPI"}
        if self.is_deassert:
            return "INIT level de-assert"
        return names.get((self.low >> 8) & 7, "reserved")

    @property
    def is_deassert(self) -> bool:
        """INIT with level 0 and trigger mode level: starts and stops nothing on xAPIC CPUs."""
        return (self.low >> 8) & 7 == 5 and not self.low & ICR_ASSERT and bool(self.low & ICR_LEVEL)

    @property
    def logical(self) -> bool:
        """Whether the destination is a logical one, which no CPU has as long as LDR is 0."""
        return bool(self.low & ICR_LOGICAL)

    @property
    def vector(self) -> int:
        """Bits 7..0: for a SIPI the page number where the AP starts."""
        return self.low & 0xFF

    @property
    def shorthand(self) -> str:
        """Bits 19..18: the CPUs it is sent to regardless of `dest`."""
        return ("none", "self", "all including self", "all excluding self")[(self.low >> 18) & 3]

    def reaches(self, apic_id: int, sender: int) -> bool:
        """Whether it is sent to the CPU with `apic_id` when CPU `sender` writes it."""
        how = self.shorthand
        if how == "none":
            if self.logical:
                return False  # compared with LDR, which is 0 after reset and INIT (SDM 10.6.2.2)
            return self.dest in (apic_id, 0xFF)
        if how == "self":
            return apic_id == sender
        return how == "all including self" or apic_id != sender

    @property
    def text(self) -> Text:
        """The write in words."""
        to = self._whom
        kind = kind_text(self.kind)
        if self.kind in ("SIPI", "fixed"):
            return msg(
                "{kind}, vector {vector:#04x}, {to} (ICR = {low:#07x})",
                kind=kind,
                vector=self.vector,
                to=to,
                low=self.low,
            )
        return msg("{kind}, {to} (ICR = {low:#07x})", kind=kind, to=to, low=self.low)

    @property
    def _whom(self) -> Text:
        if self.shorthand == "none" and self.logical:
            return msg("to logical id {id:#x}", id=self.dest)
        if self.shorthand == "none" and self.dest == BROADCAST:
            return msg("to APIC id {id}, which is all CPUs", id=self.dest)
        return {
            "none": msg("to APIC id {id}", id=self.dest),
            "self": msg("to the sending CPU itself"),
            "all including self": msg("to all CPUs, the sending one included"),
            "all excluding self": msg("to all CPUs except the sending one"),
        }[self.shorthand]

    def __str__(self) -> str:
        """The write in English."""
        return str(self.text)


def kind_text(kind: str) -> Text:
    """Return a delivery mode in words; names such as INIT stay as they are."""
    return _KINDS.get(kind, kind)


def apic_id(ids: Sequence[int], cpu: int) -> int:
    """Return the APIC id of the CPU with this index; `ids` is empty where that is the index."""
    return ids[cpu] if cpu < len(ids) else cpu


def icr_text(writes: Iterable[Icr]) -> Text:
    """Return ICR writes in words, the first ones if they are many; "no write to the ICR"."""
    every = [one.text for one in writes]
    shown = every if len(every) <= _SHOWN else every[: _SHOWN - 1]
    more = len(every) - len(shown)
    told = [*shown, msg("and {count} more", count=more)] if more else shown
    return listed(told, "; ") if told else msg("no write to the ICR")


def icr_writes(trace: Iterable[TraceEvent], since_s: float) -> tuple[Icr, ...]:
    """The ICR writes in a trace, in order.

    Args:
        trace: events of the machine, in order.
        since_s: host time in seconds; what the firmware sent before is left out.
    """
    return tuple(icr for _, icr in timed_writes(trace, since_s))


def timed_writes(trace: Iterable[TraceEvent], since_s: float) -> list[tuple[IcrWrite, Icr]]:
    """Return the same, each with its event."""
    writes = [e for e in trace if isinstance(e, IcrWrite) and e.time_s >= since_s]
    zero = writes[0].time_s if writes else 0.0
    return [(w, Icr(w.cpu, w.value, w.dest >> 24, w.time_s - zero)) for w in writes]

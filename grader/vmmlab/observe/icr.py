"""ICR writes of a boot, from QEMU's trace. Only what happened after `vmm_main` counts."""

from __future__ import annotations

from collections.abc import Iterable

from vmmlab.machine.trace import IcrWrite, TraceEvent
from vmmlab.observe.observation import Icr


def icr_writes(trace: Iterable[TraceEvent], since_s: float) -> tuple[Icr, ...]:
    """The ICR writes in a trace, in order.

    Args:
        trace: events of the machine, in order.
        since_s: host time in seconds; what the firmware sent before is left out.
    """
    writes = [e for e in trace if isinstance(e, IcrWrite) and e.time_s >= since_s]
    zero = writes[0].time_s if writes else 0.0
    return tuple(Icr(w.cpu, w.value, w.dest >> 24, w.time_s - zero) for w in writes)

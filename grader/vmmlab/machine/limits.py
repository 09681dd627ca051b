"""The one source of time-outs for everything that waits for a machine.

All values are seconds. They say when to give up, never how long to wait: whoever waits, waits for
an event and uses these only to notice that it will not come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

#: From `Popen` to the first answer of a QEMU 7.2 with 4 CPUs on an idle 2-core machine, seconds.
NOMINAL_START_S = 0.06


def nominal_start_s(cpus: int) -> float:
    """The same for any number of CPUs: measured 0.06 s for 4, 0.3 s for 64, 4.3 s for 255."""
    return NOMINAL_START_S - 0.006 + 0.0012 * cpus + 0.00006 * cpus * cpus


@dataclass(frozen=True)
class Limits:
    """When to give up.

    Attributes:
        start_s: launch of QEMU to its first answer.
        reply_s: one debugger or QMP request, machine paused.
        step_s: one instruction, before looking whether the processor is halted.
        quiet_s: no event from a running machine.
        look_s: the same, before looking whether there can be one at all.
        alone_s: no event while one processor runs and all others are held.
        trouble_s: no event from a machine in which something has gone wrong already.
        total_s: one boot, all in all.
        end_s: a killed QEMU to be gone.
    """

    start_s: float = 20.0
    reply_s: float = 10.0
    step_s: float = 0.002
    quiet_s: float = 2.0
    look_s: float = 0.15
    alone_s: float = 0.4
    trouble_s: float = 0.25
    total_s: float = 30.0
    end_s: float = 10.0

    def times(self, factor: float) -> Limits:
        """All limits times `factor`, which is never taken below 1 (nor above 50)."""
        if math.isnan(factor):
            factor = 1.0
        factor = min(max(factor, 1.0), 50.0)
        return replace(self, **{f.name: getattr(self, f.name) * factor for f in fields(self)})

    def scaled(self, measured_start_s: float, cpus: int = 4) -> Limits:
        """Limits for a host on which this QEMU took `measured_start_s` to answer first.

        Above 16 CPUs everything also takes longer by itself: they share the host's few.
        """
        host = max(measured_start_s / nominal_start_s(cpus), 1.0)
        return self.times(host * max(cpus / 16, 1.0) ** 0.5)

    @classmethod
    def for_host(cls, factor: float = 1.0) -> Limits:
        """The default limits times `factor` (1 for an idle machine)."""
        return cls().times(factor)

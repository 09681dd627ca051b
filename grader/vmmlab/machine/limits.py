"""The one source of time-outs for everything that waits for a machine.

All values are seconds. They say when to give up, never how long to wait: code waits for an event
and uses a limit only to detect that the event will not occur.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

NOMINAL_START_S = 0.06
"""From `Popen` to the first answer of a QEMU 7.2 with 4 CPUs on an idle 2-core machine, seconds."""


MOST_WORK = 3.0
"""By how much processors can be slower: a busy host makes nothing take more processor time."""


def nominal_start_s(cpus: int) -> float:
    """Return `NOMINAL_START_S` for any number of CPUs: measured 0.3 s for 64, 4.3 s for 255."""
    return NOMINAL_START_S - 0.006 + 0.0012 * cpus + 0.00006 * cpus * cpus


@dataclass(frozen=True)
class Limits:
    """When to give up.

    Attributes:
        start_s: from the launch of QEMU to its first answer.
        reply_s: one request to the debug stub or QMP, machine paused.
        step_s: one instruction, before checking whether the processor is halted.
        quiet_s: no event from a running machine.
        look_s: no event, before checking whether there can be one at all.
        alone_s: no event while one processor runs and all others are held.
        trouble_s: no event from a machine in which something has gone wrong already.
        total_s: one whole boot, whatever happens in it.
        work_s: processor time of QEMU in one whole boot: a busy host does not shorten it.
        grade_s: all boots of one grade together.
        last_s: all that is read of a machine when its boot is over.
        end_s: until a killed QEMU is gone.
    """

    start_s: float = 20.0
    reply_s: float = 10.0
    step_s: float = 0.002
    quiet_s: float = 2.0
    look_s: float = 0.15
    alone_s: float = 0.4
    trouble_s: float = 0.25
    total_s: float = 25.0
    work_s: float = 10.0
    grade_s: float = 40.0
    last_s: float = 4.0
    end_s: float = 10.0

    def times(self, factor: float) -> Limits:
        """Return all limits times `factor`: 1 to 50, and for `work_s` `MOST_WORK` at most."""
        if math.isnan(factor):
            factor = 1.0
        factor = min(max(factor, 1.0), 50.0)
        made = replace(self, **{f.name: getattr(self, f.name) * factor for f in fields(self)})
        return replace(made, work_s=self.work_s * min(factor, MOST_WORK))

    def scaled(self, measured_start_s: float, cpus: int = 4) -> Limits:
        """Return the limits for a host on which QEMU took `measured_start_s` to its first answer.

        Above 16 CPUs everything also takes longer by itself, because they share the host's few.

        Args:
            measured_start_s: seconds.
            cpus: number of processors of the machine.
        """
        host = max(measured_start_s / nominal_start_s(cpus), 1.0)
        return self.times(host * max(cpus / 16, 1.0) ** 0.5)

    @classmethod
    def for_host(cls, factor: float = 1.0) -> Limits:
        """Return the default limits times `factor` (1 for an idle machine)."""
        return cls().times(factor)

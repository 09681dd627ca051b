"""What to boot, and on which machine."""

from __future__ import annotations

from dataclasses import dataclass

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.course.cohort import Role
from vmmlab.machine import firmware


@dataclass(frozen=True, slots=True)
class Boot:
    """What to boot, and on which machine.

    Attributes:
        lab: a lab's name, or `vmmlab.student.build.ALL`.
        cpus: how many processors; None: what the lab asks for.
        firmware: a name that `vmmlab.machine.firmware` knows; None: what the lab asks for.
        accel: "tcg" or "kvm".
        timeout_s: how long to wait for the end where there is no terminal, in seconds.
        arch: the architecture that the VMM is built for.
        other_cohort: build with the numbers of the other cohort of open checks.

    Raises:
        UsageError: there is no such firmware or accelerator.
    """

    lab: str
    cpus: int | None = None
    firmware: str | None = None
    accel: str = "tcg"
    timeout_s: float = 20.0
    arch: str = "x86_64"
    other_cohort: bool = False

    @property
    def role(self) -> Role:
        """Which cohort it is built for."""
        return "other" if self.other_cohort else "own"

    def __post_init__(self) -> None:
        if self.firmware is not None:
            firmware.find(self.firmware)
        if self.accel not in ("tcg", "kvm"):
            raise UsageError(
                msg("there is no accelerator {accel!r}.", accel=self.accel),
                expected=msg("tcg or kvm"),
            )

"""A case of a check: a named part with its share of the points, maximum × passed / all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vmmlab.base.message import Text
from vmmlab.failure import Failure

CaseOutcome = Literal["pass", "fail", "timeout"]
"""How one case of a check can end."""


@dataclass(frozen=True, slots=True)
class Case:
    """One named part of a check, and the failure if it has one."""

    name: Text
    failure: Failure | None = None

    @property
    def outcome(self) -> CaseOutcome:
        """How it ended."""
        if self.failure is None:
            return "pass"
        return "timeout" if self.failure.timeout else "fail"

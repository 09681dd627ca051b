"""What a report on a student's own work adds for the student: hints on request, the next lab."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guide:
    """What follows this report.

    Attributes:
        next_lab: the lab to go on with when this one is done; "" if all are.
        handout: its handout.
    """

    next_lab: str = ""
    handout: str = ""

    def hint_command(self, check: str) -> str:
        """Return the command that gives a hint on a check."""
        return f"vmmlab hint {check}"

"""Rules that a processor enforces and QEMU's TCG does not, each with its manual and section."""

from vmmlab.x86.rules.instruction import Situation, broken
from vmmlab.x86.rules.model import Refusal, Rule

__all__ = ["Refusal", "Rule", "Situation", "broken"]

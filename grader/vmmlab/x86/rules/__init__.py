"""Rules that a processor has and QEMU's translated code has not, each with its manual."""

from vmmlab.x86.rules.instruction import Situation, broken
from vmmlab.x86.rules.model import Refusal, Rule

__all__ = ["Refusal", "Rule", "Situation", "broken"]

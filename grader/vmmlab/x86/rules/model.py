"""The table of rules: what forbids an instruction, the exception that it raises, and the manual.

Sections of the SDM are those of June 2021; those of chapters 7 and up of volume 3 are one higher in
newer editions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

_GP, _SS, _NP, _UD = 13, 12, 11, 6

Rule = Literal[
    "segment-limit",
    "segment-null",
    "segment-read",
    "segment-write",
    "segment-expand-down",
    "code-limit",
    "mov-to-cs",
    "selector-null",
    "selector-beyond-table",
    "selector-local",
    "descriptor-type",
    "descriptor-privilege",
    "descriptor-not-present",
    "descriptor-long-and-big",
    "jump-beyond-limit",
    "cr0-upper-half",
    "paging-needs-protection",
    "write-through-needs-cache-disable",
    "paging-needs-pae",
    "long-mode-from-long-segment",
    "cr4-reserved",
    "cr4-pae-in-long-mode",
    "cr4-pcide",
    "cr4-la57-in-long-mode",
    "cr3-reserved",
    "efer-reserved",
    "efer-lme-while-paging",
    "efer-lma",
    "msr-unknown",
]
"""What a processor forbids and QEMU carries out, at least in some versions or modes."""


class Entry(NamedTuple):
    """One row of the table.

    Attributes:
        vector: the exception that a processor raises.
        manual: where its manual says so.
    """

    vector: int
    manual: str


RULES: Final[dict[Rule, Entry]] = {
    "segment-limit": Entry(_GP, "SDM vol. 3, 5.3; APM vol. 2, 4.12"),
    "segment-null": Entry(_GP, "SDM vol. 3, 5.4.1"),
    "segment-read": Entry(_GP, "SDM vol. 3, 5.5"),
    "segment-write": Entry(_GP, "SDM vol. 3, 5.5"),
    "segment-expand-down": Entry(_GP, "SDM vol. 3, 5.3; APM vol. 2, 4.12"),
    "code-limit": Entry(_GP, "SDM vol. 3, 5.3"),
    "mov-to-cs": Entry(_UD, "SDM vol. 2, MOV"),
    "selector-null": Entry(_GP, "SDM vol. 3, 5.4.1"),
    "selector-beyond-table": Entry(_GP, "SDM vol. 3, 3.5.1 and 5.3"),
    "selector-local": Entry(_GP, "SDM vol. 3, 3.4.2"),
    "descriptor-type": Entry(_GP, "SDM vol. 3, 3.4.5.1 and 5.5"),
    "descriptor-privilege": Entry(_GP, "SDM vol. 3, 5.6 to 5.8"),
    "descriptor-not-present": Entry(_NP, "SDM vol. 3, 3.4.5"),
    "descriptor-long-and-big": Entry(_GP, "SDM vol. 3, 5.2.1; APM vol. 2, 4.8.1"),
    "jump-beyond-limit": Entry(_GP, "SDM vol. 3, 5.3"),
    "cr0-upper-half": Entry(_GP, "SDM vol. 3, 2.5; APM vol. 2, 3.1.1"),
    "paging-needs-protection": Entry(_GP, "SDM vol. 3, 2.5 (PG); APM vol. 2, 3.1.1"),
    "write-through-needs-cache-disable": Entry(_GP, "SDM vol. 3, 2.5 and table 11-5"),
    "paging-needs-pae": Entry(_GP, "SDM vol. 3, 9.8.5; APM vol. 2, 14.6.1"),
    "long-mode-from-long-segment": Entry(_GP, "SDM vol. 2, MOV to control registers"),
    "cr4-reserved": Entry(_GP, "SDM vol. 3, 2.5; APM vol. 2, 3.1.3"),
    "cr4-pae-in-long-mode": Entry(_GP, "SDM vol. 3, 4.1.2"),
    "cr4-pcide": Entry(_GP, "SDM vol. 3, 4.10.1"),
    "cr4-la57-in-long-mode": Entry(_GP, "SDM vol. 2, MOV to control registers"),
    "cr3-reserved": Entry(_GP, "SDM vol. 2, MOV to control registers; vol. 3, 4.5"),
    "efer-reserved": Entry(_GP, "SDM vol. 3, 2.2.1; APM vol. 2, 3.1.7"),
    "efer-lme-while-paging": Entry(_GP, "SDM vol. 3, 4.1.2"),
    "efer-lma": Entry(_GP, "APM vol. 2, 3.1.7; read-only in SDM vol. 3, 2.2.1"),
    "msr-unknown": Entry(_GP, "SDM vol. 2, RDMSR and WRMSR"),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An instruction that ends a CPU on a processor, although QEMU may carry it out.

    Args:
        rule: what forbids it.
        vector: the exception that a processor raises.
        segment: the segment register, such as "ds"; "" if the rule is not about one.
        offset: of the last byte of the access, from the segment's base.
        limit: offset of the last byte that the segment or the table has.
        register: the control register or MSR that is written, such as "CR4"; "" if none is.
        value: what is written there, or the selector that is loaded.
        bits: the bits of `value` that are forbidden or missing; of a selector the descriptor.
        base: linear address at which the table of descriptors begins.
    """

    rule: Rule
    vector: int
    segment: str = ""
    offset: int = 0
    limit: int = 0
    register: str = ""
    value: int = 0
    bits: int = 0
    base: int = 0

    @property
    def manual(self) -> str:
        """Where the manual of the processor has the rule."""
        return RULES[self.rule].manual


def refusal(rule: Rule, *, vector: int | None = None, **values: int | str) -> Refusal:
    """Return a refusal with the exception of its rule.

    Args:
        rule: the rule.
        vector: another exception, where the register decides which one it is.
        values: the other fields.
    """
    return Refusal(rule, RULES[rule].vector if vector is None else vector, **values)  # type: ignore[arg-type]

"""What a processor refuses, in words: the rule, the value, its manual."""

from __future__ import annotations

from typing import Final

from vmmlab.base.message import Message, Text, filled, msg, template
from vmmlab.observe.cpu import TrampolineStep
from vmmlab.x86.registers import exception_name
from vmmlab.x86.rules import Refusal

_TEXTS: Final[dict[str, Message]] = {
    "segment-limit": template(
        "`{instruction}` accesses {offset:#x} through {segment}, which ends at {limit:#x}"
    ),
    "segment-null": template(
        "`{instruction}` accesses memory through {segment}, which holds no segment"
    ),
    "segment-read": template("`{instruction}` reads through {segment}, an execute-only segment"),
    "segment-write": template("`{instruction}` writes through {segment}, a read-only segment"),
    "segment-expand-down": template(
        "`{instruction}` accesses {offset:#x} through {segment}, an expand-down segment (bit 42 of "
        "its descriptor): only offsets above its limit, {limit:#x}, are in it"
    ),
    "code-limit": template("`{instruction}` lies at {offset:#x} in CS, which ends at {limit:#x}"),
    "mov-to-cs": template("`{instruction}` is no instruction: MOV cannot load CS"),
    "selector-null": template("`{instruction}` loads {segment} with {value:#x}, the null selector"),
    "selector-beyond-table": template(
        "`{instruction}` loads {segment} with selector {value:#x}, but the GDT at {base:#x} has "
        "the limit {limit:#x}: its last entry ends there"
    ),
    "selector-local": template(
        "`{instruction}` loads {segment} with selector {value:#x}: bit 2 means the LDT, and there "
        "is none"
    ),
    "descriptor-type": template(
        "`{instruction}` loads {segment} with selector {value:#x}, and the descriptor there, "
        "{bits:#018x}, is none for {segment}"
    ),
    "descriptor-privilege": template(
        "`{instruction}` loads {segment} with selector {value:#x}, and its privilege levels do not "
        "fit: RPL, bits 1 and 0 of the selector, is {rpl}, and DPL, bits 46 and 45 of the "
        "descriptor {bits:#018x}, is {dpl}; both are to be 0"
    ),
    "descriptor-not-present": template(
        "`{instruction}` loads {segment} with selector {value:#x}, and the descriptor there, "
        "{bits:#018x}, has P (bit 47) clear"
    ),
    "descriptor-long-and-big": template(
        "`{instruction}` loads {segment} with selector {value:#x}, and the descriptor there, "
        "{bits:#018x}, has L (bit 53) and D (bit 54) set, which is reserved"
    ),
    "jump-beyond-limit": template(
        "`{instruction}` goes to {offset:#x} in the segment of selector {value:#x}, which ends at "
        "{limit:#x}"
    ),
    "cr0-upper-half": template("`{instruction}` writes {value:#x}: bits 63 to 32 of CR0 must be 0"),
    "paging-needs-protection": template(
        "`{instruction}` writes {value:#x}: CR0.PG is set, and CR0.PE is clear"
    ),
    "write-through-needs-cache-disable": template(
        "`{instruction}` writes {value:#x}: CR0.NW (bit 29) is set, and CR0.CD (bit 30) is clear"
    ),
    "paging-needs-pae": template("`{instruction}` sets CR0.PG with EFER.LME set and CR4.PAE clear"),
    "long-mode-from-long-segment": template(
        "`{instruction}` sets CR0.PG with EFER.LME set while the L bit of CS is set"
    ),
    "cr4-reserved": template(
        "`{instruction}` writes {value:#x} to CR4, with the reserved bits {bits:#x}"
    ),
    "cr4-pae-in-long-mode": template(
        "`{instruction}` writes {value:#x} to CR4: PAE cannot be cleared in long mode"
    ),
    "cr4-pcide": template(
        "`{instruction}` writes {value:#x} to CR4: PCIDE (bit 17) can be set only in long mode, "
        "while bits 11 to 0 of CR3 are 0"
    ),
    "cr4-la57-in-long-mode": template(
        "`{instruction}` writes {value:#x} to CR4: LA57 (bit 12) cannot change in long mode"
    ),
    "cr3-reserved": template(
        "`{instruction}` writes {value:#x} to CR3, with the reserved bits {bits:#x}"
    ),
    "efer-reserved": template(
        "`{instruction}` writes {value:#x} to EFER, with the reserved bits {bits:#x}"
    ),
    "efer-lme-while-paging": template(
        "`{instruction}` writes {value:#x} to EFER: LME cannot change while CR0.PG is set"
    ),
    "efer-lma": template(
        "`{instruction}` writes {value:#x} to EFER: LMA (bit 10) must be written as it was read, "
        "and the processor sets it when paging is turned on"
    ),
    "msr-unknown": template("`{instruction}` names MSR {value:#x}, which no processor has"),
}


_EMPTY: Final[Message] = template(
    "`{instruction}` loads {segment} with selector {value:#x}, and that entry of the GDT at "
    "{base:#x} is empty: 8 bytes of 0"
)


def refused(refusal: Refusal, last: TrampolineStep) -> Text:
    """Return what a processor refuses.

    Args:
        refusal: the rule that an instruction breaks.
        last: the instruction.
    """
    empty = refusal.rule == "descriptor-type" and not refusal.bits
    what = filled(
        _EMPTY if empty else _TEXTS[refusal.rule],
        instruction=last.text,
        segment=refusal.segment.upper(),
        offset=refusal.offset,
        limit=refusal.limit,
        value=refusal.value,
        bits=refusal.bits,
        base=refusal.base,
        rpl=refusal.value & 3,
        dpl=refusal.bits >> 45 & 3,
    )
    return msg(
        "{what}, and causes {exception} ({manual})",
        what=what,
        exception=exception_name(refusal.vector),
        manual=refusal.manual,
    )

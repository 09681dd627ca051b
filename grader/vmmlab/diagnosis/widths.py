"""Deaths in code of another width than it was made for: no far jump, or one to a wrong segment."""

from __future__ import annotations

from typing import Final

from vmmlab.base.message import msg
from vmmlab.diagnosis.death import Death, far_jumps, in_protected_mode
from vmmlab.observe.cpu import CpuRecord, TrampolineStep
from vmmlab.observe.observation import Observation
from vmmlab.x86.registers import DESC_LONG, EFER_LMA, EFER_LME

_SIXTEEN: Final = 16  # bits


def no_far_jump(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    """Explain a death in 16-bit code after CR0.PE, without a far jump."""
    after = in_protected_mode(cpu)
    made_for_more = any(step.made_for > _SIXTEEN for step in after)
    jumped = [step for step in far_jumps(cpu) if not made_for_more or step is not last]
    if not after or jumped or last.state.bits != _SIXTEEN:
        return None
    if not made_for_more and (_is_far(last) or last.text == "hlt"):
        return None
    return Death(
        "no-far-jump",
        msg(
            "CR0.PE was set by `{setter}`, and no far jump followed: CS is still {cs:#06x}, and "
            "the code is still read as 16-bit code; {count} instructions later it ended at "
            "`{instruction}`",
            setter=_setter(cpu, after[0]).text,
            cs=last.state.cs,
            count=len(after),
            instruction=last.text,
        ),
        msg("A far jump with the selector of a 32-bit code segment comes right after CR0.PE."),
        step=after[0],
    )


def _setter(cpu: CpuRecord, after: TrampolineStep) -> TrampolineStep:
    """Return the instruction before one."""
    return cpu.steps[max(cpu.steps.index(after) - 1, 0)]


def _is_far(step: TrampolineStep) -> bool:
    return step.register == "cs" or step.text.startswith(("ljmp", "jmp ptr", "jmp far"))


def other_width(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    """Explain a death in code that was made for another width than it ran in."""
    wrong = next((step for step in cpu.steps if step.made_for), None)
    if wrong is None:
        return None
    before = cpu.steps[: cpu.steps.index(wrong)]
    jumps = [step for step in far_jumps(cpu) if step in before]
    if not jumps:
        return None
    jump, state = jumps[-1], wrong.state
    high = (jump.descriptor or 0) >> 32
    values: dict[str, str | int] = {
        "instruction": wrong.text,
        "selector": jump.value or 0,
        "descriptor": jump.descriptor or 0,
    }
    if state.bits == 16:
        return _sixteen_bit_segment(cpu, jump, wrong, high, values)
    if state.bits == 32 and wrong.made_for == 16:
        return Death(
            "assembled-for-another-width",
            msg(
                "the code there was assembled as 16-bit code and runs as 32-bit code: "
                "`{instruction}` is what its bytes mean then",
                **values,
            ),
            msg("Write .code32 before the code that the first far jump leads to."),
            step=wrong,
        )
    if state.bits == 32:
        return Death(
            "ap-not-in-64-bit-code",
            msg(
                "the code there was assembled as 64-bit code and runs as 32-bit code: CS holds "
                "selector {selector:#x}, and its descriptor, {descriptor:#018x}, has no L bit",
                **values,
            ),
            step=wrong,
        )
    return Death(
        "assembled-for-another-width",
        msg(
            "the code there was assembled as {width}-bit code and runs as 64-bit code: "
            "`{instruction}` is what its bytes mean then",
            width=wrong.made_for,
            **values,
        ),
        msg("Write .code64 before the code that the last far jump leads to."),
        step=wrong,
    )


def _sixteen_bit_segment(
    cpu: CpuRecord,
    jump: TrampolineStep,
    wrong: TrampolineStep,
    high: int,
    values: dict[str, str | int],
) -> Death | None:
    """Explain a far jump into a segment that is neither 32-bit nor 64-bit."""
    if high & DESC_LONG and not wrong.state.efer & EFER_LMA:
        if wrong.state.efer & EFER_LME:
            return Death(
                "paging-not-on",
                msg(
                    "the far jump to selector {selector:#x} wants 64-bit code, but long mode is "
                    "not active: CR0 = {cr0:#x}, and PG (bit 31) is clear. So the code is read as "
                    "16-bit code",
                    cr0=wrong.state.cr0,
                    **values,
                ),
                msg("Set CR0.PG before the far jump to 64-bit code."),
                step=jump,
            )
        return Death(
            "gdt-entry-wrong",
            msg(
                "selector {selector:#x} chooses the descriptor {descriptor:#018x}, a 64-bit code "
                "segment: before long mode its L bit means nothing, and D is clear, so the code is "
                "read as 16-bit code",
                **values,
            ),
            msg("Compare the order of your GDT with the selectors: SEL_CODE is the second entry."),
            step=jump,
        )
    return Death(
        "gdt-entry-wrong",
        msg(
            "selector {selector:#x} chooses the descriptor {descriptor:#018x}, whose D bit is "
            "clear: the code is read as 16-bit code",
            **values,
        ),
        msg("A 32-bit code segment has D (bit 54) set: DESC_CODE32."),
        step=jump,
    )

"""How an AP counts itself in the trampoline: apinit_procs, one locked addition for each AP."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vmmlab.base.message import Message, Text, listed, msg, template
from vmmlab.base.message import filled as _filled
from vmmlab.diagnosis.passage import COUNTER, at, memory
from vmmlab.failure import Failure
from vmmlab.observe.cpu import CpuRecord, TrampolineStep
from vmmlab.observe.observation import Observation
from vmmlab.x86.decode import decode

_ADDING: Final = ("inc", "add", "adc", "sub", "sbb", "dec", "xadd", "cmpxchg")
"""Instructions that can add one to memory and leave what other CPUs have added."""
_STORING: Final = ("mov", "xchg", "stos", "movs")
"""Instructions that store a number which was worked out before."""


def counting_steps(boot: Observation, cpu: CpuRecord) -> list[TrampolineStep]:
    """Return the instructions of an AP that stored to apinit_procs; a failed CMPXCHG does not."""
    counter = boot.trampoline.procs_at
    return [
        step
        for step in cpu.steps
        if step.counted
        or (
            counter is not None
            and not _failed_compare(step)
            and any(touch.writes and touch.covers(counter, COUNTER) for touch in step.touches)
        )
    ]


def _failed_compare(step: TrampolineStep) -> bool:
    return "cmpxchg" in step.text and not step.counted


def counted_wrongly(boot: Observation, cpu: CpuRecord) -> Failure | None:
    """Return how an AP missed to add exactly one to apinit_procs, with exactly one store."""
    steps = counting_steps(boot, cpu)
    total = sum(step.counted for step in steps)
    if total == 1 and len(steps) == 1:
        (step,) = steps
        counter = boot.trampoline.procs_at
        narrow = [t for t in step.touches if t.writes and t.address == counter and t.size < COUNTER]
        if not narrow:
            return None
        observed: Text = msg(
            "`{instruction}` adds to {size} of its {whole} bytes only",
            instruction=step.text,
            size=narrow[0].size,
            whole=COUNTER,
        )
        whole = msg("Count with an instruction of 32 bits: lock incl.")
        return replace(_counted("ap-counted-wrongly", cpu, step, observed), next=whole)
    if total == 0 and not steps:
        return _counted_elsewhere(boot, cpu)
    did = listed(
        [msg("`{instruction}` added {by}", instruction=s.text, by=s.counted) for s in steps], "; "
    )
    if len(steps) == 1:
        return _one_store(boot, cpu, steps[0], did)
    return _counted(
        "ap-counted-wrongly",
        cpu,
        steps[1],
        msg("{count} instructions stored there: {did}", count=len(steps), did=did),
    )


def _one_store(boot: Observation, cpu: CpuRecord, step: TrampolineStep, did: Text) -> Failure:
    """Return that the only store of an AP to apinit_procs did not add one."""
    counter = boot.trampoline.procs_at or 0
    found = _counted("ap-counted-wrongly" if step.counted else "ap-not-counted", cpu, step, did)
    decoded = decode(step.code, step.state.pc, step.state.bits)
    if "cmpxchg" in step.text and step.counted < 0:
        return replace(
            found,
            observed=msg(
                "other CPUs counted before `{instruction}`, and when it was tried again, it stored "
                "the sum that was worked out before: their counts are lost",
                instruction=step.text,
            ),
            next=msg(
                "A compare-and-exchange that fails has loaded EAX with the count of now: work out "
                "the new count from it before each try."
            ),
        )
    if decoded is not None and decoded.name not in (*_ADDING, *_STORING):
        return replace(
            found,
            cause="ap-counted-wrongly",
            observed=msg(
                "`{instruction}` does not add: what it makes of the counter is no longer the "
                "number of APs when the next one comes",
                instruction=step.text,
            ),
            next=msg("The instruction has to add to what is there: lock incl, or lock addl $1."),
        )
    there = [touch for touch in step.touches if touch.covers(counter, COUNTER)]
    if any(touch.reads for touch in there) or not there:
        return found
    return replace(
        found,
        observed=msg("{did}: it stores a number, whatever other CPUs have counted", did=did),
        next=msg("The instruction has to add to what is there: lock incl, or lock addl $1."),
    )


def _counted(cause: str, cpu: CpuRecord, step: TrampolineStep | None, observed: Text) -> Failure:
    return Failure(
        cause,
        cpu=cpu.index,
        place=at(step) if step else msg("trampoline"),
        expected=msg("{cpu} adds 1 to apinit_procs in the copy", cpu=cpu.name),
        observed=observed,
    )


def _counted_elsewhere(boot: Observation, cpu: CpuRecord) -> Failure:
    """Return that an AP did not count, and what it added to in place of the counter."""
    compares = [step for step in cpu.steps if "cmpxchg" in step.text]
    if compares:
        again = msg(
            "Try again until it succeeds. Each failure means that another AP has counted, and "
            "there may be 510 of them."
        )
        found = _counted(
            "ap-not-counted",
            cpu,
            compares[-1],
            msg(
                "another CPU counted just before `{instruction}`, which then stores nothing, and "
                "it was not tried again",
                instruction=compares[-1].text,
            )
            if len(compares) == 1
            else msg(
                "another CPU counted just before `{instruction}`, {count} times in turn, and then "
                "it was not tried again",
                instruction=compares[-1].text,
                count=len(compares),
            ),
        )
        return replace(found, next=again)
    for step in cpu.steps:
        for touch in step.touches:
            if touch.reads and touch.writes and not touch.by_stack:
                return _counted(
                    "ap-not-counted",
                    cpu,
                    step,
                    msg(
                        "it added 0; `{instruction}` changed {where}; apinit_procs is at physical "
                        "{counter:#x}",
                        instruction=step.text,
                        where=memory(boot, touch.address),
                        counter=boot.trampoline.procs_at or 0,
                    ),
                )
    return _counted("ap-not-counted", cpu, None, msg("it added {count}", count=0))


def counted_without_lock(boot: Observation, cpu: CpuRecord) -> Failure | None:
    """Return the store to apinit_procs that is no locked addition, if there is one."""
    for step in counting_steps(boot, cpu):
        decoded = decode(step.code, step.state.pc, step.state.bits)
        if decoded is None:
            continue
        adds = decoded.name in _ADDING
        if decoded.locked and adds:
            continue
        observed: Text = f"`{step.text}`"
        if decoded.name == "xchg":
            observed = _filled(_XCHG, instruction=step.text)
        elif decoded.locked:
            observed = msg("`{instruction}` does not add", instruction=step.text)
        return Failure(
            "count-without-lock",
            cpu=cpu.index,
            place=at(step),
            expected=msg("one instruction with the lock prefix that adds 1"),
            observed=observed,
        )
    return None


_XCHG: Final[Message] = template(
    "`{instruction}` stores a sum that was worked out before: what another CPU has counted in "
    "between is lost"
)

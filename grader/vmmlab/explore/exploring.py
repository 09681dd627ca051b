"""From an image to its Exploration: both scenarios, first with stores seen in order, then without.

A pure function of the image: no files but the image's own, no clock but as a limit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vmmlab.errors import UsageError
from vmmlab.explore.machine import LOOK_AHEAD, Machine
from vmmlab.explore.model import Bounds, Exploration, Limit, Memory, Part, Verdict
from vmmlab.explore.program import CohortLike, Program
from vmmlab.explore.scenarios import Barrier, Registration
from vmmlab.explore.search import BUFFERED, Found, Search
from vmmlab.explore.trace import Tracer

if TYPE_CHECKING:
    from vmmlab.build import Image

CPUS: Final = 3
_SCENARIOS: Final = (Registration, Barrier)
_MEMORIES: Final[tuple[Memory, ...]] = ("in order", "store buffers")


def explore(
    image: Image,
    cohort: CohortLike,
    *,
    sources: Mapping[str, bytes] | None = None,
    bounds: Bounds | None = None,
    scenarios: Sequence[str] | None = None,
    cpus: int = CPUS,
) -> Exploration:
    """Try all orders of the lab-4 code in an image.

    Args:
        image: x86_64, with lab 4 in it, the student's or any.
        cohort: the one that the image was built for.
        sources: the student's files by path, for the text of source lines.
        bounds: when to stop.
        scenarios: which ones: "registration", "barrier"; None: both.
        cpus: how many CPUs, the BSP among them.

    Raises:
        InfraError: the image is not one of this kit.
        UsageError: it is for another architecture.
    """
    if image.options.arch != "x86_64":
        raise UsageError(
            f"Orders are not explored for {image.options.arch}.", expected="an image for x86_64"
        )
    limits = bounds or Bounds()
    machine = Machine(Program(image, cohort, cpus))
    parts: list[Part] = []
    for kind in _SCENARIOS:
        if scenarios is not None and kind.name not in scenarios:
            continue
        all_orders = True
        for memory in _MEMORIES:
            search = Search(machine, kind(machine), buffers=memory == "store buffers")
            tracer = Tracer(machine, search, sources or {})
            # What is too much without store buffers is more with them.
            part, all_orders = _part(machine, search, memory, limits, tracer, all_orders)
            parts.append(part)
            if part.verdict not in ("correct", "no error found"):
                break
    options = image.options
    return Exploration(image.key, f"{options.compiler} {options.opt}", cpus, tuple(parts))


def _part(
    machine: Machine,
    search: Search,
    memory: Memory,
    limits: Bounds,
    tracer: Tracer,
    all_orders: bool,
) -> tuple[Part, bool]:
    """One part, and whether there was room for all orders."""
    began = time.thread_time()
    known = set(machine.counted)
    found = Found()
    if all_orders:
        found = search.run(states=limits.states, seconds=limits.seconds)
    states, transitions = found.states, found.transitions
    bound = ""
    if memory == "store buffers" and search.filled:
        bound = f"at most {BUFFERED} stores of a CPU on their way"
    if found.unsure:
        words = "whether a loop that counts comes to its end is not known"
        bound = ", ".join(filter(None, [bound, words]))
    all_orders = found.complete or found.wrong is not None
    if not all_orders:
        more = search.run(
            states=limits.fallback_states,
            seconds=limits.fallback_seconds,
            preemptions=limits.preemptions,
        )
        states, transitions = states + more.states, transitions + more.transitions
        how = "" if more.complete else "not even all of these"
        parts = [
            bound,
            f"no error up to {limits.preemptions} preemptions",
            how,
            "waiting for ever not judged",
        ]
        bound = ", ".join(filter(None, parts))
        found = more
    part = Part(
        scenario=search.scenario.name,
        memory=memory,
        verdict=_verdict(machine, found, bound),
        states=states,
        transitions=transitions,
        bound="" if found.wrong else bound,
        assumptions=_assumptions(machine, known),
        limits=_limits(machine, tracer, found),
        counterexample=tracer.counterexample(found) if found.wrong else None,
        seconds=time.thread_time() - began,
    )
    return part, all_orders


def _verdict(machine: Machine, found: Found, bound: str) -> Verdict:
    if found.wrong:
        return "wrong"
    phases = {machine.locals[lid].phase for lid in found.limits}
    if "unsupported" in phases:
        return "unsupported"
    if "unfinished" in phases:
        return "unfinished"
    return "no error found" if bound else "correct"


def _limits(machine: Machine, tracer: Tracer, found: Found) -> tuple[Limit, ...]:
    """What could not be followed, each place once; of a wrong program it does not matter."""
    if found.wrong:
        return ()
    limits = [Limit(machine.locals[lid].why[1], tracer.where(lid)) for lid in found.limits]
    return tuple(dict.fromkeys(limits))


def _assumptions(machine: Machine, known: set[int]) -> tuple[str, ...]:
    program = machine.program
    told = []
    for rip, passes in sorted(machine.counted.items()):
        if rip in known:
            continue
        place = program.place(rip) or program.symbols.nearest(rip)
        end = (
            f"it ends at pass {passes}"
            if passes
            else f"that changes nothing for {LOOK_AHEAD} passes"
        )
        told.append(f"a waiting loop at {place} counts: {end}")
    return tuple(dict.fromkeys(told))

"""From an image to its Exploration: both scenarios, with stores that are seen late and in order.

Every order in which stores are seen at once is also one with store buffers, so that is tried first:
if nothing is wrong there, that is all. If something is, and it is wrong with stores seen in order
too, that is the simpler story, and the one that is told. A pure function of the image: no files but
the image's own, no clock but as a limit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.explore.machine import LOOK_AHEAD, Machine
from vmmlab.explore.model import CPUS, Bounds, Exploration, Limit, Memory, Part, Verdict
from vmmlab.explore.program import CohortLike, ImageLike, Program
from vmmlab.explore.scenarios import Barrier, Registration, Scenario
from vmmlab.explore.search import BUFFERED, Found, Search
from vmmlab.explore.trace import Tracer

_SCENARIOS: Final = (Registration, Barrier)


def explore(
    image: ImageLike,
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
    machine = Machine(Program(image, cohort, cpus))
    pools = _Pools(bounds or Bounds())
    parts: list[Part] = []
    for kind in _SCENARIOS:
        if scenarios is None or kind.name in scenarios:
            parts += _parts(machine, kind(machine), pools, sources or {})
    options = image.options
    return Exploration(image.key, f"{options.compiler} {options.opt}", cpus, tuple(parts))


def _parts(
    machine: Machine, scenario: Scenario, pools: _Pools, sources: Mapping[str, bytes]
) -> Iterator[Part]:
    """The parts of one scenario: stores in order, then, if nothing is wrong, store buffers."""
    counted = set(machine.counted)
    late = _Trial(machine, scenario, "store buffers", sources)
    late.exhaust(pools, explain=False)
    if late.says_all:
        yield Part(scenario.name, "in order", "correct", 0, 0, included=True)
        yield late.part(pools, counted)
        return
    in_order = _Trial(machine, scenario, "in order", sources)
    in_order.exhaust(pools)
    part = in_order.part(pools, counted)
    if part.verdict not in ("correct", "no error found"):
        yield replace(part, seconds=part.seconds + late.seconds)
        return
    yield part
    counted = set(machine.counted)
    if late.unexplained:
        late.exhaust(pools)
    yield late.part(pools, counted)


class _Pool:
    """What is left of the states and the time that several searches have together.

    Args:
        states: at most so many.
        seconds: CPU time.
        share: the part of what is left that one search gets.
    """

    def __init__(self, states: int, seconds: float, share: float) -> None:
        self._states, self._seconds, self._share = states, seconds, share

    def run(self, search: Search, *, preemptions: int | None = None, explain: bool = True) -> Found:
        """Let a search have its share; its other arguments are those of `Search.run`."""
        began = time.thread_time()
        found = search.run(
            states=int(self._states * self._share),
            seconds=self._seconds * self._share,
            preemptions=preemptions,
            explain=explain,
        )
        self._states = max(0, self._states - found.states)
        self._seconds = max(0.0, self._seconds - (time.thread_time() - began))
        return found


class _Pools:
    """What the searches of all parts have together, without a bound on preemptions and with it."""

    def __init__(self, bounds: Bounds) -> None:
        self.preemptions = bounds.preemptions
        self.exhaustive = _Pool(bounds.states, bounds.seconds, 3 / 4)
        self.fallback = _Pool(bounds.fallback_states, bounds.fallback_seconds, 1 / 2)


class _Trial:
    """One scenario under one memory model."""

    def __init__(
        self, machine: Machine, scenario: Scenario, memory: Memory, sources: Mapping[str, bytes]
    ) -> None:
        self._machine = machine
        self._memory = memory
        self._search = Search(machine, scenario, buffers=memory == "store buffers")
        self._tracer = Tracer(machine, self._search, sources)
        self._found = Found()
        self.seconds = 0.0

    def exhaust(self, pools: _Pools, *, explain: bool = True) -> None:
        """Try all orders, as far as that goes.

        Args:
            pools: how far.
            explain: False: it is enough to know whether it `says_all`.
        """
        began = time.thread_time()
        self._found = pools.exhaustive.run(self._search, explain=explain)
        self.seconds += time.thread_time() - began

    @property
    def says_all(self) -> bool:
        """Whether nothing is wrong, and nothing can be when stores are seen in order."""
        found = self._found
        return found.complete and found.in_order and found.wrong is None and not found.limits

    @property
    def unexplained(self) -> bool:
        """Whether there is more to find out by a search that shall explain."""
        found = self._found
        open_end = found.complete and not found.in_order
        return found.wrong is None and (open_end or bool(found.limits))

    def part(self, pools: _Pools, counted: Set[int]) -> Part:
        """What came of it; if not all orders could be tried, with those of few preemptions.

        Args:
            pools: how many of them.
            counted: loops that count which were told of before.
        """
        began = time.thread_time()
        search, found = self._search, self._found
        states, transitions = found.states, found.transitions
        bounds = []
        if self._memory == "store buffers" and search.filled:
            bounds.append(f"at most {BUFFERED} stores of a CPU on their way")
        if found.unsure:
            bounds.append("whether a loop that counts comes to its end is not known")
        if not found.complete and found.wrong is None:
            most = pools.preemptions
            found = pools.fallback.run(search, preemptions=most)
            states, transitions = states + found.states, transitions + found.transitions
            bounds.append(f"no error up to {most} preemptions")
            if not found.complete:
                bounds.append("not even all of these")
            bounds.append("waiting for ever not judged")
        self._found = found
        bound = ", ".join(bounds)
        return Part(
            scenario=search.scenario.name,
            memory=self._memory,
            verdict=_verdict(self._machine, found, bound),
            states=states,
            transitions=transitions,
            bound="" if found.wrong else bound,
            assumptions=_assumptions(self._machine, counted),
            limits=_limits(self._machine, self._tracer, found),
            counterexample=self._tracer.counterexample(found) if found.wrong else None,
            seconds=self.seconds + time.thread_time() - began,
        )


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


def _assumptions(machine: Machine, known: Set[int]) -> tuple[str, ...]:
    program = machine.program
    told = []
    for rip, passes in sorted(machine.counted.items()):
        if rip in known:
            continue
        place = program.place(rip) or program.symbols.nearest(rip)
        if passes:
            told.append(f"a waiting loop at {place} counts: it ends at pass {passes}")
        else:
            told.append(
                f"a waiting loop at {place} counts: for {LOOK_AHEAD} passes that changes nothing"
            )
    return tuple(dict.fromkeys(told))

"""Runs all searches for one image: each scenario of a lab, under both memory models.

Every interleaving with stores in order is also one with store buffers, so store buffers come first:
if nothing is wrong there, no other search is needed. If something is, and it is also wrong with
stores in order, that is the simpler counterexample, and the one that is reported.

The result depends on the image alone: no file but the image is read, and clocks only limit how long
a search runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace

from vmmlab.base.errors import UsageError
from vmmlab.base.message import Text, listed, msg
from vmmlab.explore.bfs import SearchResult
from vmmlab.explore.counterexample import CounterexampleBuilder
from vmmlab.explore.cpumodel import CpuModel
from vmmlab.explore.declaration import Declaration
from vmmlab.explore.exploration import (
    Bounds,
    Exploration,
    Limit,
    MemoryModel,
    Part,
    Verdict,
)
from vmmlab.explore.freerun import FreeRun
from vmmlab.explore.harness import Harness
from vmmlab.explore.onerun import OneRun
from vmmlab.explore.ownership import StackExposed
from vmmlab.explore.program import CohortLike, ImageLike, Program
from vmmlab.explore.search import Search
from vmmlab.explore.transitions import BUFFER_CAPACITY


def explore(
    image: ImageLike,
    cohort: CohortLike,
    declaration: Declaration,
    *,
    sources: Mapping[str, bytes] | None = None,
    bounds: Bounds | None = None,
    scenarios: Sequence[str] | None = None,
) -> Exploration:
    """Search all interleavings of a lab's code in an image.

    Args:
        image: x86_64, with the lab in it.
        cohort: the cohort that it was built for.
        declaration: what the lab declares.
        sources: the student's files by path, for the text of source lines.
        bounds: when to stop.
        scenarios: names of the scenarios to search; None: all.

    Raises:
        InfraError: the image cannot be read, or was not built from this kit.
        UsageError: the image is for another architecture.
    """
    if image.options.arch != "x86_64":
        raise UsageError(
            msg("The explorer does not support {arch}.", arch=image.options.arch),
            expected=msg("an image for x86_64"),
        )
    pools = _Pools(bounds or Bounds())
    parts: list[Part] = []
    # One model for all searches, and one for all single orders of as many CPUs: they need the same
    # code, and an engine for many CPUs takes long to make.
    models: dict[int | None, CpuModel] = {}

    def made(cpus: int | None, exposed: frozenset[int] = frozenset()) -> CpuModel:
        one_order = cpus is not None
        program = Program(image, cohort, declaration, exposed, cpus)
        return CpuModel(program, loops=not one_order)

    for scenario in declaration.named(scenarios):
        cpus = scenario.cpus if scenario.one_order else None
        if cpus not in models:
            models[cpus] = made(cpus)
        while True:
            model = models[cpus]
            try:
                parts += list(_parts(model, scenario(model), pools, sources or {}))
            except StackExposed as found:
                models[cpus] = made(cpus, model.program.exposed | found.words)
            else:
                break
        if parts[-1].verdict == "wrong":
            break
    options = image.options
    return Exploration(image.key, f"{options.compiler} {options.opt}", tuple(parts))


def _parts(
    model: CpuModel, harness: Harness, pools: _Pools, sources: Mapping[str, bytes]
) -> Iterator[Part]:
    """Yield the parts of one harness: stores in order, then store buffers unless that is wrong."""
    reported = set(model.counting)
    if harness.one_order:
        yield _one_order(model, harness, pools, sources)
        return
    if not harness.buffers:
        in_order = _PartSearch(model, harness, "in order", sources)
        in_order.exhaust(pools)
        yield in_order.part(pools, reported)
        return
    buffered = _PartSearch(model, harness, "store buffers", sources)
    buffered.exhaust(pools, explain=False)
    if buffered.proves_all:
        name, title = harness.name, harness.title
        yield Part(name, title, harness.cpus, "in order", "correct", 0, 0, included=True)
        yield buffered.part(pools, reported)
        return
    in_order = _PartSearch(model, harness, "in order", sources)
    in_order.exhaust(pools)
    part = in_order.part(pools, reported)
    if part.verdict not in ("correct", "no error found"):
        yield replace(part, seconds=part.seconds + buffered.seconds)
        return
    yield part
    reported = set(model.counting)
    if buffered.needs_explanation:
        buffered.exhaust(pools)
    yield buffered.part(pools, reported)


def _one_order(
    model: CpuModel, harness: Harness, pools: _Pools, sources: Mapping[str, bytes]
) -> Part:
    """Return the part of a harness whose CPUs run in one order."""
    began = time.thread_time()
    run = OneRun(model, harness)
    found = _free_run(model, harness, pools) or run.run(pools.one_order_seconds)
    bound = "" if found.complete or found.violation else msg("not followed to its end")
    builder = CounterexampleBuilder(model, run.transitions, sources)
    return Part(
        scenario=harness.name,
        title=harness.title,
        cpus=harness.cpus,
        memory="in order",
        verdict=_verdict(model, found, bound),
        states=found.states,
        transitions=found.transitions,
        bound=bound,
        limits=_limits(model, builder, found),
        counterexample=builder.build(found) if found.violation else None,
        one_order=True,
        seconds=time.thread_time() - began,
    )


def _free_run(model: CpuModel, harness: Harness, pools: _Pools) -> SearchResult | None:
    """Return the result of a run at full speed; None: there is none, or something is unusual."""
    calls = harness.repeated()
    if calls is None:
        return None
    run = FreeRun(model.program, calls, (*harness.initial_writes(), *calls.writes))
    if not run.run(pools.one_order_seconds):
        return None
    count = calls.rounds * harness.cpus
    return SearchResult(count, count, complete=True, in_order=True)


class _Pool:
    """A budget of states and CPU time that several searches share.

    Args:
        states: for all searches together.
        seconds: CPU time for all searches together.
        share: the fraction of what is left that one search gets.
    """

    def __init__(self, states: int, seconds: float, share: float) -> None:
        self._states, self._seconds, self._share = states, seconds, share

    def run(
        self, search: Search, *, preemptions: int | None = None, explain: bool = True
    ) -> SearchResult:
        """Run a search with its share; the other arguments are those of `Search.run`."""
        began = time.thread_time()
        found = search.run(
            max_states=int(self._states * self._share),
            seconds=self._seconds * self._share,
            preemptions=preemptions,
            explain=explain,
        )
        self._states = max(0, self._states - found.states)
        self._seconds = max(0.0, self._seconds - (time.thread_time() - began))
        return found


class _Pools:
    """The budgets of all parts, without and with a bound on preemptions."""

    def __init__(self, bounds: Bounds) -> None:
        self.preemptions = bounds.preemptions
        self.one_order_seconds = bounds.one_order_seconds
        self.exhaustive = _Pool(bounds.states, bounds.seconds, 3 / 4)
        self.buffered = _Pool(bounds.states // 4, bounds.seconds / 3, 3 / 4)
        self.fallback = _Pool(bounds.fallback_states, bounds.fallback_seconds, 1 / 2)


class _PartSearch:
    """The search for one part: one harness under one memory model."""

    def __init__(
        self,
        model: CpuModel,
        harness: Harness,
        memory: MemoryModel,
        sources: Mapping[str, bytes],
    ) -> None:
        self._model = model
        self._memory = memory
        self._search = Search(model, harness, buffers=memory == "store buffers")
        self._builder = CounterexampleBuilder(model, self._search.transitions, sources)
        self._found = SearchResult()
        self.seconds = 0.0

    def exhaust(self, pools: _Pools, *, explain: bool = True) -> None:
        """Search all interleavings, as far as the budget goes.

        Args:
            pools: the budgets.
            explain: False: it is enough to find out whether `proves_all` holds.
        """
        began = time.thread_time()
        pool = pools.buffered if self._memory == "store buffers" else pools.exhaustive
        self._found = pool.run(self._search, explain=explain)
        self.seconds += time.thread_time() - began

    @property
    def proves_all(self) -> bool:
        """True if nothing is wrong, and nothing can be wrong with stores in order."""
        found = self._found
        return found.complete and found.in_order and found.violation is None and not found.limits

    @property
    def needs_explanation(self) -> bool:
        """True if a search that explains could find out more."""
        found = self._found
        open_end = found.complete and not found.in_order
        return found.violation is None and (open_end or bool(found.limits))

    def part(self, pools: _Pools, reported: Set[int]) -> Part:
        """Return the result; search with few preemptions if the full search was incomplete.

        Args:
            pools: the budgets.
            reported: addresses of counting loops that an earlier part has reported.
        """
        began = time.thread_time()
        search, found = self._search, self._found
        states, transitions = found.states, found.transitions
        bounds: list[Text] = []
        if found.uncertain:
            bounds.append(msg("unknown: whether a counting loop ends"))
        if not found.complete and found.violation is None:
            if self._memory == "store buffers":
                bounds.append(msg("only the shortest orders with store buffers"))
            else:
                most = pools.preemptions
                found = pools.fallback.run(search, preemptions=most)
                states, transitions = states + found.states, transitions + found.transitions
                bounds.append(msg("no error up to {count} preemptions", count=most))
                if not found.complete:
                    bounds.append(msg("not even these completely"))
            bounds.append(msg("not judged: waiting forever"))
        bound: Text = listed(bounds) if bounds else ""
        return Part(
            scenario=search.harness.name,
            title=search.harness.title,
            cpus=search.harness.cpus,
            memory=self._memory,
            verdict=_verdict(self._model, found, bound),
            states=states,
            transitions=transitions,
            bound="" if found.violation else bound,
            assumptions=tuple(self._assumptions(reported)),
            limits=_limits(self._model, self._builder, found),
            counterexample=self._builder.build(found) if found.violation else None,
            seconds=self.seconds + time.thread_time() - began,
        )

    def _assumptions(self, reported: Set[int]) -> Iterator[Text]:
        yield from _assumptions(self._model, reported)
        if self._memory == "store buffers" and self._search.transitions.buffer_filled:
            yield msg("at most {count} pending stores per CPU", count=BUFFER_CAPACITY)


def _verdict(model: CpuModel, found: SearchResult, bound: Text) -> Verdict:
    if found.violation:
        return "wrong"
    phases = {model.locals[lid].phase for lid in found.limits}
    if "unsupported" in phases:
        return "unsupported"
    if "unfinished" in phases:
        return "unfinished"
    return "no error found" if bound else "correct"


def _limits(
    model: CpuModel, builder: CounterexampleBuilder, found: SearchResult
) -> tuple[Limit, ...]:
    """Return what could not be followed, each place once; nothing if the program is wrong."""
    if found.violation:
        return ()
    limits = [Limit(model.locals[lid].reason[1], builder.where(lid)) for lid in found.limits]
    return tuple(dict.fromkeys(limits))


def _assumptions(model: CpuModel, reported: Set[int]) -> tuple[Text, ...]:
    """Return what is assumed about each counting loop that has not been reported before."""
    program = model.program
    told: list[Text] = []
    for rip, passes in sorted(model.counting.items()):
        if rip in reported:
            continue
        place = program.source_line(rip) or program.symbols.nearest(rip)
        if passes:
            told.append(
                msg(
                    "the waiting loop at {place} counts: it ends at iteration {passes}",
                    place=place,
                    passes=passes,
                )
            )
        else:
            told.append(
                msg(
                    "the waiting loop at {place} counts, and no end of it was found",
                    place=place,
                )
            )
    return tuple(dict.fromkeys(told))

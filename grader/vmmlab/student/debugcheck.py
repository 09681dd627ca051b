"""`vmmlab debug CHECK`: the very boot in which a check fails, under gdb, stopped at the evidence.

The check is judged first, so that the evidence is of the files as they are now. Then its scenario
boots again, watched in the same way, until the CPU stands where the evidence was taken; there gdb
takes over.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import Text, msg
from vmmlab.base.scratch import scratch_folder
from vmmlab.course.model import Lab
from vmmlab.failure import Failure
from vmmlab.grading.boots import LabRunner
from vmmlab.grading.grade import Grade
from vmmlab.grading.inprocess import run_checks
from vmmlab.grading.results import CheckResult
from vmmlab.host import tools
from vmmlab.host.sandbox import Sandbox
from vmmlab.i18n.translate import Reader
from vmmlab.images.model import Image
from vmmlab.machine.gdb.server import GdbServer
from vmmlab.machine.gdb.stops import Stop
from vmmlab.observe.boot import Watching, observe
from vmmlab.observe.cpu import CpuState
from vmmlab.observe.evidence import Verdict
from vmmlab.observe.observation import Hit, Observation
from vmmlab.observe.session import RUN_ATTEMPTS, Session
from vmmlab.probes.placewords import is_symbol, place_words
from vmmlab.probes.scenario import Scenario
from vmmlab.report.make import report_of
from vmmlab.report.model import CheckReport, Report
from vmmlab.student import show
from vmmlab.student.debug import attach, gdb_path, helper_commands, quoted, seen_elf, seen_folder
from vmmlab.student.evidence import Student, Target, boot_of, target_of
from vmmlab.student.gdbanswers import COMMANDS, Answers
from vmmlab.student.grading import OwnWork, own_lab
from vmmlab.student.hint import checks_meant, does_not_compile

_JUDGED: Final = ("fail", "partial", "timeout")
_HELP: Final = (
    msg("continue: let all CPUs run. A boot that does not end by itself runs until Ctrl-C."),
    msg("{commands}: help NAME says what they show", commands=", ".join(COMMANDS)),
)


class _Reached(Exception):
    """A CPU stands where the evidence was taken.

    Args:
        cpu: this CPU.
    """

    def __init__(self, cpu: int) -> None:
        super().__init__(cpu)
        self.cpu = cpu


class StoppingSession(Session):
    """A boot that stops where the evidence was taken.

    Args:
        of: the session that it takes the place of; nothing has run yet.
        target: where to stop.
    """

    def __init__(self, of: Session, target: Target) -> None:
        super().__init__(of.view.machine, of.view.symbols, of.inputs)
        self._target = target
        self._calls = 0

    async def arrive(self, stop: Stop) -> Hit | None:
        """Record a stop at a place; watch the place of the evidence from the first one on."""
        if self._target.any_cpu and not self._target.call:
            await self.places.watch(self._target.place)
        return await super().arrive(stop)

    async def run_to(
        self, cpu: int, *places: str, attempts: int = RUN_ATTEMPTS
    ) -> tuple[Verdict, CpuState]:
        """Let one CPU run; stop before the grader's own call of a function that is the evidence."""
        target = self._target
        if target.call and (await self.view.state(cpu)).pc == self.view.symbols.maybe(target.place):
            self._calls += 1
            if self._calls == target.call:
                raise _Reached(cpu)
        return await super().run_to(cpu, *places, attempts=attempts)

    async def step(self, cpu: int, *, peek: Iterable[tuple[int, int]] = ()) -> bool:
        """Execute one instruction, unless it is the one at the evidence."""
        self._look(cpu)
        return await super().step(cpu, peek=peek)

    async def note(self, cpu: int, place: str, state: CpuState) -> Hit:
        """Record that a CPU is at a place; stop if that is the evidence."""
        hit = await super().note(cpu, place, state)
        target = self._target
        if target.call:
            return hit
        if target.any_cpu and place == target.place:
            raise _Reached(cpu)
        here = (cpu, place) == (target.cpu, target.place)
        if here and len(self.log.at(place, cpu)) >= target.visit:
            raise _Reached(cpu)
        return hit

    def give_up(self, cpu: int) -> None:
        """Hold a CPU for the rest of the boot; stop if that is the evidence."""
        super().give_up(cpu)
        self._look(cpu)

    def _look(self, cpu: int) -> None:
        target = self._target
        asked = cpu == target.cpu and target.steps is not None
        if asked and len(self.log.cpus[cpu].steps) >= (target.steps or 0):
            raise _Reached(cpu)


@dataclass(frozen=True)
class _Failure:
    """A check that fails, and the boot that shows it."""

    check: CheckReport
    report: Report
    scenario: Scenario
    target: Target


def debug(work: OwnWork, wanted: str, say: Reader) -> int:
    """Debug a failing check on this terminal and return gdb's exit code; 0 if it passes.

    Args:
        work: whose work it is.
        wanted: the check, or a part of its name that no other one has.
        say: the reader's language.

    Raises:
        UsageError: gdb is missing, there is no such check, or it could not be judged.
        VmmlabError: the lab cannot be graded or booted.
    """
    gdb_path()
    sandbox = Sandbox.choose(require=work.copied)
    tools.require(tools.FOR_GRADING)
    name = _check_named(work, wanted)
    lab = name.partition(".")[0]
    say = say.of(work.course.labs_dir / lab)
    failure = _failure(work, lab, name)
    if failure is None:
        tools_say(say, msg("{check} passes: there is nothing to debug.", check=name))
        return 0
    if failure.check.id != name:
        tools_say(
            say, msg("{check} waits for {other}, which fails.", check=name, other=failure.check.id)
        )
    runner = LabRunner(own_lab(work, lab).grading.request)
    with contextlib.closing(runner), scratch_folder("gdb") as folder:
        stage = _Stage(failure, folder, say)
        over = runner.boot_with(failure.scenario, stage.observe)
        concurrent.futures.wait((over, stage.ready), return_when="FIRST_COMPLETED")
        if over.done():
            over.result()  # raises why the boot was lost
        try:
            image = runner.image(failure.scenario)
            seen = seen_folder(folder, sandbox, untrusted=work.copied)
            own = folder / "vmm.elf"  # younger than the sources, or gdb would complain
            shutil.copyfile(image.elf, own)
            elf = seen_elf(own, sandbox, untrusted=work.copied)
            commands = "\n".join([*stage.commands(image, elf, seen), ""])
            return attach(own, commands, folder, work.root, sandbox, untrusted=work.copied)
        finally:
            stage.finish()
            over.result()


def tools_say(say: Reader, text: Text) -> None:
    """Write one line."""
    from vmmlab.student.command import tell

    tell(say(text))


def _check_named(work: OwnWork, wanted: str) -> str:
    """Return the check that is meant: of several the first that failed in the last grading.

    Raises:
        UsageError: there is none, or there are several and none is known to fail.
    """
    found = checks_meant(work.course, wanted, work.arch)
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(msg("{lab} has no checks.", lab=wanted))
    if failed := _failed_before(work, found):
        return failed
    raise UsageError(
        msg("{name} may be several checks.", name=wanted), expected=", ".join(found[:8])
    )


def _failed_before(work: OwnWork, checks: Sequence[str]) -> str:
    """Return the first of some checks that failed in the last grading of its lab; "" if none."""
    for lab in dict.fromkeys(one.partition(".")[0] for one in checks):
        with contextlib.suppress(UsageError):  # not graded yet, or not readable
            for check in show.last(work.root, lab, work.arch).report.checks:
                if check.id in checks and check.outcome in _JUDGED:
                    return check.id
    return ""


def _failure(work: OwnWork, lab: str, name: str) -> _Failure | None:
    """Judge a check now; return how it fails, or the one that it waits for; None if it passes."""
    mine = own_lab(work, lab)
    with contextlib.closing(mine.grading.observations):
        mine.grading.observations.start()
        run_checks(mine.grading.run, mine.grading.selection.tests_dir, name)
        grade = mine.grading.grade()
    report = report_of(grade, causes=mine.causes, again=mine.again)
    if not report.build.ok:
        raise does_not_compile(report)
    by_id = {check.id: check for check in report.checks}
    check = by_id[name]
    while check.outcome == "skipped" and check.waited_for in by_id:
        check = by_id[check.waited_for]
    if check.outcome == "pass":
        return None
    scenarios = _scenarios(grade, check.id)
    if check.outcome not in _JUDGED or not scenarios:
        raise UsageError(
            msg("{check} could not be judged.", check=check.id),
            found=check.reason,
            next_step=msg("grade the lab again"),
        )
    boots = [grade.boots[one] for one in scenarios]
    failed = _result(grade, check.id).failure or Failure("")
    chosen = boot_of(check, boots, failed)
    target = target_of(check, boots[chosen], _written(work.course.lab(lab), check), failed.call)
    return _Failure(check, report, scenarios[chosen], target)


def _scenarios(grade: Grade, check: str) -> list[Scenario]:
    """Return the scenarios that a check looked at and that were booted."""
    return [one for one in _result(grade, check).check.scenarios if one in grade.boots]


def _result(grade: Grade, check: str) -> CheckResult:
    return next(one.result for one in grade.checks if one.result.check.id == check)


def _written(lab: Lab, check: CheckReport) -> Student:
    """Return what the student writes in the lab, and where the mistake is."""
    step = lab.step(check.step) if check.step else None
    function = check.mistake.function if check.mistake else step.function if step else ""
    return Student(function, tuple(one.function for one in lab.steps))


class _Stage:
    """The boot, from its start to the end of gdb.

    Args:
        failure: the check that fails.
        folder: for gdb's socket.
        say: the reader's language.

    Attributes:
        ready: done when gdb may connect.
    """

    def __init__(self, failure: _Failure, folder: Path, say: Reader) -> None:
        self.ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._failure = failure
        self._target = failure.target
        self._folder = folder
        self._say = say
        self._over: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._reached = False
        self._copy: tuple[int, int | None] = (0, None)

    async def observe(self, session: Session, probe: Watching, over: Any) -> Observation | None:
        """Boot until the evidence, then serve gdb until `finish`."""
        target = self._target
        stopping = StoppingSession(session, target)
        try:
            await observe(stopping, probe, over)
        except _Reached as reached:
            self._reached = True
            self._target = target = replace(target, cpu=reached.cpu)
        gdb = stopping.gdb
        await gdb.clear_breaks(gdb.breakpoints)
        inputs, symbols = stopping.inputs, stopping.view.symbols
        self._copy = (inputs.apinit_addr, symbols.maybe("cpuinit_start"))
        answers = Answers(stopping, self._say)
        server = GdbServer(
            gdb, answers, target.cpu, narrow=inputs.arch == "i386", halted=answers.halted
        )
        async with await server.serve(self._folder / "gdb"):
            self.ready.set_result(None)
            await asyncio.wrap_future(self._over)
        return None

    def finish(self) -> None:
        """End the boot."""
        if not self._over.done():
            self._over.set_result(None)

    def commands(self, image: Image, elf: Path, seen: Path) -> list[str]:
        """Return gdb's commands: symbols, connection, the CPU, and what is to be seen.

        Args:
            image: what is booted.
            elf: what gdb calls its file.
            seen: what gdb calls the folder with its socket.
        """
        target = self._target
        copy, linked = self._copy
        found = []
        if linked is not None:
            offset = (copy - linked) & 0xFFFFFFFFFFFFFFFF
            found.append(f"add-symbol-file {quoted(elf)} -o {offset:#x}")
        found += [
            *helper_commands(self._say),
            f"target remote {seen / 'gdb'}",
            "set scheduler-locking step",
            f"thread {target.cpu + 1}",
            *(f"hbreak *{at:#x}" for at in map(image.symbols.maybe, self._breaks()) if at),
            *(rf"echo {line}\n" for line in self._greeting()),
            "code",
        ]
        return found

    def _breaks(self) -> list[str]:
        """Return the functions at which the boot stops if gdb lets it go on."""
        target = self._target
        return [target.after] if target.after else [target.place] if target.any_cpu else []

    def _greeting(self) -> list[str]:
        check, target, say = self._failure.check, self._target, self._say
        where = msg("The boot has ended. This is where CPU {cpu} is.", cpu=target.cpu)
        if target.any_cpu and not self._reached:
            where = msg(
                "The boot has ended, and {place} was not called. This is where CPU {cpu} is.",
                place=target.place,
                cpu=target.cpu,
            )
        elif self._reached and target.call:
            where = msg(
                "CPU {cpu} is at the beginning of {place}, in the call that the evidence is about.",
                cpu=target.cpu,
                place=target.place,
            )
        elif self._reached and target.any_cpu:
            where = msg(
                "CPU {cpu} is at the beginning of {place}, for the first time. The evidence may be "
                "about a later call: continue comes to the next one.",
                cpu=target.cpu,
                place=target.place,
            )
        elif self._reached and target.place and not is_symbol(target.place):
            where = msg(
                "CPU {cpu} is where the evidence was taken: {place}.",
                cpu=target.cpu,
                place=place_words(target.place, say),
            )
        elif self._reached and target.place:
            where = msg(
                "CPU {cpu} is at the beginning of {place}, which the evidence is about.",
                cpu=target.cpu,
                place=target.place,
            )
        elif self._reached:
            where = msg(
                "CPU {cpu} is about to execute the instruction that the evidence is about.",
                cpu=target.cpu,
            )
        rows = {"expected": check.expected, "observed": check.observed, "next": check.next}
        lines = [f"{check.id}: {say(check.title)}"]
        colon = ": " if say.label(":") == ":" else say.label(":")
        lines += [f"{say.label(name)}{colon}{say(text)}" for name, text in rows.items() if text]
        lines += [say(where), *map(say, _HELP)]
        return [" ".join(line.split()).replace("\\", "\\\\") for line in lines]

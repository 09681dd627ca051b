"""Random mutants: change instructions of the compiled reference and list what survives.

A survivor is code that the checks do not cover, unless the change has no effect. To distinguish the
two, the instruction is replaced by a trap: if no check detects that either, no boot executes the
instruction.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from vmmlab.author.mutants import instructions, tables
from vmmlab.author.mutants.changes import Change, changes, keystone
from vmmlab.author.mutants.instructions import Instruction
from vmmlab.author.mutants.jobs import course_at, run_all
from vmmlab.author.mutants.liveness import unseen
from vmmlab.author.mutants.model import SEED, mutants_dir
from vmmlab.author.mutants.progress import Watch
from vmmlab.base.choice import Choice
from vmmlab.base.errors import UsageError, VmmlabError
from vmmlab.base.message import Text, label, listed, msg
from vmmlab.course.cohort import Cohort
from vmmlab.course.model import Course
from vmmlab.course.reference import reference
from vmmlab.grading.boots import LabRunner, make_builder
from vmmlab.grading.request import RunRequest
from vmmlab.host.sandbox import Sandbox
from vmmlab.i18n.translate import Reader
from vmmlab.images.model import ObjectPatch
from vmmlab.report import Report
from vmmlab.report.make import report_lab

_COHORT: Final = "dev"

Ending = Literal["killed", "survived", "error"]
Reached = Literal["executed", "never executed", ""]


@dataclass(frozen=True)
class RandomMutant:
    """One changed instruction.

    Attributes:
        lab: whose object it is in.
        change: what was changed.
        of: SHA-256 of the object.
    """

    lab: str
    change: Change
    of: str


@dataclass(frozen=True)
class Outcome:
    """The outcome of grading one changed instruction.

    Attributes:
        mutant: the changed instruction.
        ending: `killed` if any check failed.
        by: the check and the cause that killed it, or what went wrong.
        reached: for a survivor, whether any boot executes the instruction.
        seconds: duration of the grading.
    """

    mutant: RandomMutant
    ending: Ending
    by: Text = ""
    reached: Reached = ""
    seconds: float = 0.0


def choose(
    course: Course, count: int, labs: Iterable[str] | None = None, *, seed: int = SEED
) -> tuple[RandomMutant, ...]:
    """Return random changes of the reference's objects that may make a difference.

    Args:
        course: the course.
        count: how many; fewer if not as many are possible.
        labs: names of labs; None for all that have mutants.
        seed: the same seed chooses the same changes of the same object.

    Raises:
        UsageError: keystone is not installed, or there is nothing to change.
        InfraError: the reference cannot be built.
    """
    assemble = keystone()
    builder = make_builder(course, Sandbox.choose(require=False), None, Cohort.derive(_COHORT))
    names = [
        name
        for name in (course.labs if labs is None else labs)
        if course.lab(name).files and (mutants_dir(course) / f"{name}.yml").is_file()
    ]
    every: list[tuple[str, str, Instruction, list[Change]]] = []
    for lab in names:
        files = reference(course, [lab]).files
        content = builder.merged(lab, files, Cohort.derive(_COHORT))
        image = builder.build(lab, files, Cohort.derive(_COHORT))
        of = hashlib.sha256(content).hexdigest()
        found = instructions.find(content, lab, image.symbols, files)
        for one in found:
            possible = [change for change in changes(one, assemble) if not unseen(change, found)]
            if possible:
                every.append((lab, of, one, possible))
    if not every:
        raise UsageError(
            msg("there is no instruction to change."),
            expected=msg("a lab with a reference in C or assembly"),
        )
    chance = Choice("vmmlab random mutants 1", seed)
    chosen: list[RandomMutant] = []
    # Each round takes every instruction at most once, to spread the changes over the code.
    while every and len(chosen) < count:
        every = chance.shuffled(every)
        for lab, of, _, possible in every[: count - len(chosen)]:
            change = possible.pop(chance.below(len(possible)))
            chosen.append(RandomMutant(lab, change, of))
        every = [one for one in every if one[3]]
    return tuple(chosen)


def run_random(
    course: Course,
    count: int,
    labs: Iterable[str] | None = None,
    *,
    seed: int = SEED,
    jobs: int = 1,
    tell: Callable[[Outcome], object] | None = None,
    watch: Watch | None = None,
) -> tuple[Outcome, ...]:
    """Grade random changes of the reference.

    Args:
        course: the course.
        count: how many changes.
        labs: names of labs; None for all that have mutants.
        seed: chooses the changes.
        jobs: number of gradings at the same time, each in a process of its own.
        tell: called with each outcome when it is known.
        watch: called with the number of finished gradings and their total.

    Raises:
        UsageError: keystone is not installed.
    """
    chosen = choose(course, count, labs, seed=seed)
    work = [(course.root, one) for one in chosen]
    return run_all(_job, work, jobs, tell, watch)


def _job(job: tuple[Path, RandomMutant]) -> Outcome:
    root, mutant = job
    began = time.monotonic()
    course = course_at(root)
    try:
        outcome = judge(mutant, _graded(course, mutant, mutant.change.patch(mutant.of)))
        if outcome.ending == "survived":
            trapped = judge(mutant, _graded(course, mutant, mutant.change.trap(mutant.of)))
            noticed = trapped.ending == "killed"
            outcome = replace(outcome, reached="executed" if noticed else "never executed")
    except VmmlabError as error:
        outcome = Outcome(mutant, "error", str(error))
    return replace(outcome, seconds=time.monotonic() - began)


def _graded(course: Course, mutant: RandomMutant, patch: ObjectPatch) -> Report:
    request = RunRequest(
        course=course,
        lab=mutant.lab,
        files=reference(course, [mutant.lab]).files,
        cohort=Cohort.derive(_COHORT),
        seed=SEED,
        sandbox_required=False,
    )
    return report_lab(
        request,
        submission="reference",
        runner_factory=functools.partial(LabRunner, patch=patch),
    )


def judge(mutant: RandomMutant, report: Report) -> Outcome:
    """Return whether any check noticed the change. Pure."""
    broken = next((c for c in report.checks if c.points is None), None)
    if broken is not None:
        return Outcome(
            mutant,
            "error",
            msg(
                "{broken} could not be judged: {infra}", broken=broken.id, infra=broken.infra or ""
            ),
        )
    failed = next((c for c in report.checks if c.outcome != "pass"), None)
    if failed is None and report.build.ok:
        return Outcome(mutant, "survived")
    return Outcome(mutant, "killed", f"{failed.id}: {failed.cause}" if failed else msg("the build"))


def survivors(outcomes: Sequence[Outcome], say: Reader | None = None) -> list[str]:
    """Return the survivors as lines of a Markdown table, and a line with totals.

    Args:
        outcomes: the outcomes of the changes.
        say: the reader's language; None: English.
    """
    say = Reader() if say is None else say
    head = (
        label("lab"),
        label("place"),
        label("instruction"),
        label("changed to"),
        msg("change"),
        label("result"),
    )
    rows = [tables.heads(head, say)]
    for one in outcomes:
        if one.ending == "killed":
            continue
        change = one.mutant.change
        told = say(one.by if one.ending == "error" else _TOLD[one.reached])
        made, kind = say(change.text), say(change.kind)
        rows.append((one.mutant.lab, change.at.where, change.at.text, made, kind, told))
    endings = [one.ending for one in outcomes]
    killed, wrong = endings.count("killed"), endings.count("error")
    never = sum(one.reached == "never executed" for one in outcomes)
    words: list[Text] = [
        msg("{killed} of {count} changes detected", killed=killed, count=len(outcomes))
    ]
    if never:
        words.append(msg("{never} in code that no boot executes", never=never))
    if wrong:
        words.append(msg("{wrong} could not be judged", wrong=wrong))
    return [
        *(tables.markdown(rows) if len(rows) > 1 else ()),
        "",
        say(listed(words)) + say.label("."),
    ]


_TOLD: Final[dict[str, Text]] = {
    "never executed": msg("no boot executes it"),
    "executed": msg("executed: does the change have any effect?"),
    "": "",
}

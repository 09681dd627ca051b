"""How far a student has come, from the workspace's own file: labs, checks, points, gradings."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.table import Table
from rich.text import Text as RichText

from vmmlab.base.message import Message, Text, label, msg, nmsg
from vmmlab.base.workspacefile import STATE_FOLDER
from vmmlab.course.handout import handout_of
from vmmlab.course.model import ARCHES, CheckSpec, Course, Lab
from vmmlab.i18n.translate import Reader
from vmmlab.report.console import console
from vmmlab.report.guide import Guide
from vmmlab.report.model import Report
from vmmlab.report.wrapping import text_of
from vmmlab.workspace import progress
from vmmlab.workspace.progress import CheckProgress, Grading, LabProgress, Progress

_PASS: Final = "pass"


@dataclass(frozen=True)
class Standing:
    """How far one lab is for one architecture.

    Attributes:
        lab: the lab.
        arch: the architecture.
        points: those of the checks when they last ran.
        max: the most points.
        passed: how many checks passed then.
        checks: how many there are.
        gradings: how often it was graded.
    """

    lab: Lab
    arch: str
    points: float
    max: int
    passed: int
    checks: int
    gradings: int

    @property
    def done(self) -> bool:
        """Whether all checks pass; a lab that has none to judge yet is done, too."""
        return self.passed == self.checks


def note(root: Path, reports: Iterable[Report]) -> None:
    """Remember the reports of one run in a workspace."""
    progress.note_run(
        root,
        [
            Grading(
                lab=report.lab,
                arch=report.arch,
                checks={
                    check.id: CheckProgress(outcome=check.outcome, points=check.points)
                    for check in report.checks
                },
                partial=report.partial_run,
            )
            for report in reports
        ],
    )


def standings(course: Course, known: Progress) -> list[Standing]:
    """Return how far each open lab is; another architecture only where it was graded.

    Args:
        course: the course.
        known: what the workspace remembers.
    """
    found = []
    for lab in course.open_labs:
        for arch in ARCHES:
            kept = known.labs.get(progress.key_of(lab.name, arch))
            if arch == ARCHES[0] or (kept is not None and lab.checks_of(arch)):
                specs = course.students_checks(lab, arch)
                found.append(_standing(lab, arch, specs, kept or LabProgress()))
    return found


def _standing(lab: Lab, arch: str, specs: Mapping[str, CheckSpec], kept: LabProgress) -> Standing:
    ran = [one for check, one in kept.checks.items() if check in specs]
    return Standing(
        lab=lab,
        arch=arch,
        points=sum(one.points or 0 for one in ran),
        max=sum(one.points for one in specs.values()),
        passed=sum(one.outcome == _PASS for one in ran),
        checks=len(specs),
        gradings=kept.gradings,
    )


def next_lab(course: Course, known: Progress, after: str = "") -> Lab | None:
    """Return the lab to go on with: the first that is not done; None if all are.

    Args:
        course: the course.
        known: what the workspace remembers.
        after: prefer a lab that comes later than this one.
    """
    names = [lab.name for lab in course.open_labs]
    start = names.index(after) + 1 if after in names else 0
    own = {one.lab.name: one for one in standings(course, known) if one.arch == ARCHES[0]}
    for name in (*names[start:], *names[:start]):
        if name != after and not own[name].done:
            return own[name].lab
    return None


def guide(root: Path, course: Course, report: Report, language: str) -> Guide:
    """Return what follows a report on a student's own work.

    Args:
        root: the workspace.
        course: the course.
        report: the report.
        language: of the handout.
    """
    if any(check.outcome != _PASS for check in report.checks):
        return Guide()
    known, _ = progress.load(root)
    lab = next_lab(course, known, report.lab)
    if lab is None:
        return Guide()
    return Guide(lab.name, f"{lab.name}/{handout_of(root / lab.name, language).name}")


def render(
    course: Course, known: Progress, say: Reader, *, damaged: bool, width: int, color: bool
) -> str:
    """Return the table of all labs, and what to do next, as text with line ends.

    Args:
        course: the course.
        known: what the workspace remembers.
        say: the reader's language, with the texts of the labs.
        damaged: the file of the workspace cannot be read.
        width: columns.
        color: whether to use ANSI colours.
    """
    rows = standings(course, known)
    out = io.StringIO()
    to = console(out, width, color)
    to.print(_table(rows, say))
    to.print()
    for text, style in _closing(course, known, rows, say.language, damaged=damaged):
        to.print(text_of(say(text), style))
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def _table(rows: Sequence[Standing], say: Reader) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    heads = (label("lab"), label("points"), label("checks"), label("gradings"), "")
    table.add_row(*(RichText(say.label(head) if head else "", "dim") for head in heads))
    for one in rows:
        arch = "" if one.arch == ARCHES[0] else f" {one.arch}"
        style = "green" if one.done else "yellow" if one.gradings else "dim"
        table.add_row(
            RichText(one.lab.name + arch, style),
            RichText(f"{one.points:g}/{one.max}"),
            RichText(f"{one.passed}/{one.checks}"),
            RichText(str(one.gradings)),
            text_of(say(Message(one.lab.title))),
        )
    own = [one for one in rows if one.arch == ARCHES[0]]
    table.add_row(
        RichText(say.label(label("all labs")), "bold"),
        RichText(f"{sum(one.points for one in own):g}/{sum(one.max for one in own)}", "bold"),
        RichText(f"{sum(one.passed for one in own)}/{sum(one.checks for one in own)}"),
        RichText(str(sum(one.gradings for one in rows))),
        RichText(""),
    )
    return table


def _current(course: Course, known: Progress, rows: Sequence[Standing]) -> Lab | None:
    """Return the lab of the last run if it is not done; None: there is none."""
    last = {lab for lab, _ in known.last}
    open_ = (one.lab for one in rows if one.lab.name in last and not one.done)
    return next((lab for lab in open_ if lab.name in course.labs), None)


def _closing(
    course: Course, known: Progress, rows: Sequence[Standing], language: str, *, damaged: bool
) -> Iterator[tuple[Text, str]]:
    """Yield the last lines: the lab to go on with."""
    if damaged:
        yield (
            msg(
                "{file} could not be read, so this begins anew. Grade the labs again; your files "
                "are as they were.",
                file=f"{STATE_FOLDER}/{progress.FILE}",
            ),
            "yellow",
        )
    after = known.last[-1][0] if known.last else ""
    lab = _current(course, known, rows) or next_lab(course, known, after)
    if lab is None:
        yield msg("All points of all labs."), "bold green"
        return
    own = next(one for one in rows if one.lab is lab and one.arch == ARCHES[0])
    if not own.gradings:
        before = any(one.done and one.gradings for one in rows)
        text = msg("All points: next is {lab}.", lab=lab.name)
        yield text if before else msg("Begin with {lab}.", lab=lab.name), "bold"
        handout = handout_of(course.labs_dir / lab.name, language).name
        yield msg("Its handout: {handout}", handout=f"{lab.name}/{handout}"), ""
        return
    left = own.checks - own.passed
    yield (
        nmsg(
            "Next: {lab}, {count} check to go.",
            "Next: {lab}, {count} checks to go.",
            count=left,
            lab=lab.name,
        ),
        "bold",
    )
    yield msg("A hint: {command}", command=f"vmmlab hint {lab.name}"), ""

"""What an export may say: the points of a report, and for each open check a title and a text.

A renderer gets a Sheet and nothing else, so that it can neither name a hidden check nor compute
points. All texts are clean and in the reader's language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, Literal

from vmmlab.base.errors import UsageError
from vmmlab.base.message import Text, label, listed, msg
from vmmlab.base.text import clean, clean_line
from vmmlab.course.ids import CHECK_ID
from vmmlab.course.model import ARCHES
from vmmlab.grading.score import Points, rounded, total
from vmmlab.i18n.translate import Reader
from vmmlab.report.model import CheckReport, Diagnostic, Outcome, Report
from vmmlab.report.opened import opened

_CASES_SHOWN: Final = 12
_DIAGNOSTICS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Line:
    """One check, or the hidden checks of the lab together.

    Attributes:
        name: the check's id, unique in the report; with the architecture if that is not the usual.
        title: one line on what the check looks at.
        outcome: how it ended.
        points: what it earned; None if it could not be judged, never to be read as 0.
        max: what it is worth.
        text: why points are missing, and what to look at; "" if nothing is.
        cause: the identifier of the failure, or "".
        file: the student's file that contains the mistake, relative; "" if unknown.
        line: that of the evidence if it is in this file, or else of the step's TODO, from 1; 0 if
            unknown.
        function: the function that contains it, or "".
    """

    name: str
    title: str
    outcome: Outcome
    points: Points | None
    max: Points
    text: str = ""
    cause: str = ""
    file: str = ""
    line: int = 0
    function: str = ""

    @property
    def score(self) -> str:
        """The points and what they are of, such as 2.5/3; "?/3" if it could not be judged."""
        return _score(self.points, self.max)

    @property
    def headline(self) -> str:
        """The id and the title; a check that never ran may have no title but its id."""
        return self.name if self.title == self.name else f"{self.name}: {self.title}"

    @property
    def passed(self) -> bool:
        """Whether nothing is missing."""
        return self.outcome == "pass"


@dataclass(frozen=True, slots=True)
class Remark:
    """What a compiler said, at its place, or why nothing was compiled.

    Attributes:
        source: who says it.
        severity: as the compiler has it.
        text: its words.
        file: the student's file, relative; "" if unknown.
        line: from 1; 0 if unknown.
        column: from 1; 0 if unknown.
    """

    source: Literal["compiler", "submission"]
    severity: Literal["error", "warning", "note"]
    text: str
    file: str
    line: int
    column: int

    @property
    def told(self) -> str:
        """Place, severity and text as compilers write them."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return (
            f"{place}: {self.severity}: {self.text}" if place else f"{self.severity}: {self.text}"
        )


@dataclass(frozen=True, slots=True)
class Sheet:
    """One report as an export may show it.

    Attributes:
        lab: the lab.
        points: what was earned; None if the report is no grade yet.
        max: what could be earned.
        lines: the checks.
        remarks: what the compiler said.
        summary: some lines on the whole report.
        seconds: how long the grading took.
        version: of vmmlab, when it graded.
        passed: all open checks pass.
    """

    lab: str
    points: Points | None
    max: Points
    lines: tuple[Line, ...]
    remarks: tuple[Remark, ...]
    summary: str
    seconds: float
    version: str
    passed: bool

    @property
    def score(self) -> str:
        """The points and what they are of, such as 13.33/35; "?/35" if it is no grade yet."""
        return _score(self.points, self.max)

    @property
    def share(self) -> float | None:
        """The points as a number from 0 to 1; None if the report is no grade, or worth nothing."""
        if self.points is None or not self.max:
            return None
        return float(Fraction(str(self.points)) / Fraction(str(self.max)))

    def shortened(self, room: int) -> Sheet:
        """Return a sheet in which no text is longer than `room` characters."""
        return replace(
            self,
            summary=_cut(self.summary, room),
            lines=tuple(replace(line, text=_cut(line.text, room)) for line in self.lines),
            remarks=tuple(replace(one, text=_cut(one.text, room)) for one in self.remarks),
        )


def _score(points: Points | None, most: Points) -> str:
    shown = ["?" if one is None else str(rounded(Fraction(str(one)))) for one in (points, most)]
    return "/".join(shown)


def hundredths(points: Points) -> int:
    """Return points, which have at most two decimals, as a whole number of hundredths."""
    return int(Fraction(str(points)) * 100)


def sheet_of(report: Report, say: Reader | None = None, *, hidden: bool = False) -> Sheet:
    """Return what an export may say of a report.

    Args:
        report: the instructor's or the student's.
        say: the reader's language, with the texts of the lab; else English.
        hidden: add the points of the hidden checks, as one line without names.

    Raises:
        UsageError: the report contradicts itself, or has no points for hidden checks.
    """
    _must_add_up(report)
    say = say or Reader()
    shown = opened(report)
    lines = [_line(check, shown, say) for check in shown.checks]
    judged = report.handed_in and not report.needs_attention
    if hidden:
        lines.append(_hidden_line(report, say))
    return Sheet(
        lab=report.lab,
        points=total(line.points for line in lines) if judged else None,
        max=total(line.max for line in lines) or 0,
        lines=tuple(lines),
        remarks=tuple(
            _remark(one, say, "compiler" if shown.usable else "submission")
            for one in _diagnostics(shown)
        ),
        summary="\n".join(_summary(shown, lines, judged, say, hidden)),
        seconds=shown.duration_s,
        version=clean_line(shown.versions.get("vmmlab", ""), 40),
        passed=all(line.passed for line in lines),
    )


# --- what is refused ------------------------------------------------------------------------------


def _must_add_up(report: Report) -> None:
    found = next(_contradictions(report), None)
    if found:
        raise UsageError(
            msg("the report contradicts itself: it was changed, or is damaged."),
            found=found,
            next_step=msg("grade the submission again"),
        )


def _contradictions(report: Report) -> Iterator[Text]:
    if report.arch not in ARCHES:
        yield msg("the architecture {name!r}", name=clean_line(report.arch, 40))
    for name, count in Counter(check.id for check in report.checks).items():
        if not CHECK_ID.fullmatch(name):
            yield msg("the check {name!r}", name=clean_line(name, 40))
        if count > 1:
            yield msg("{name} stands there {count} times", name=name, count=count)
    for check in report.checks:
        for number in (check.points, check.max):
            if number is not None and Fraction(str(number)) * 100 % 1:
                yield msg("{name}: {number} points", name=check.id, number=number)
        if check.points is not None and check.points > check.max:
            yield msg(
                "{name}: {points:g} of {max:g} points",
                name=check.id,
                points=check.points,
                max=check.max,
            )
    yield from _wrong_sums(report)


def _wrong_sums(report: Report) -> Iterator[Text]:
    visible = [check for check in report.checks if check.visibility == "visible"]
    hidden = [check for check in report.checks if check.visibility == "hidden"]
    sums = [(report.points, report.max, visible)]
    if hidden:
        sums.append((report.hidden_points, report.hidden_max, hidden))
    for points, most, checks in sums:
        right = total(check.points for check in checks)
        worth = total(check.max for check in checks)
        if (points, most) != (right, worth):
            yield msg(
                "{points} of {max:g} points, but its checks add up to {sum} of {worth:g}",
                points="?" if points is None else points,
                max=most,
                sum="?" if right is None else right,
                worth=worth or 0,
            )
    missing = any(check.points is None for check in report.checks)
    if missing and not report.needs_attention:
        yield msg("a check has no points, but it says that nothing needs attention")


# --- lines ----------------------------------------------------------------------------------------


def _hidden_line(report: Report, say: Reader) -> Line:
    if not report.hidden_judged:
        raise UsageError(
            msg("the report has no points for hidden checks."),
            next_step=msg("grade the submission again with --hidden, or leave it out here"),
        )
    points, most = report.hidden_points, report.hidden_max
    outcome: Outcome = "infra-error" if points is None else "pass" if points == most else "fail"
    return Line(
        name=f"{report.lab}.hidden{_arch(report)}",
        title=say(msg("Hidden checks: the report does not show what they test.")),
        outcome="partial" if outcome == "fail" and points else outcome,
        points=points,
        max=most,
    )


def _arch(report: Report) -> str:
    return "" if report.arch == ARCHES[0] else f"-{report.arch}"


def _line(check: CheckReport, report: Report, say: Reader) -> Line:
    at = check.mistake
    return Line(
        name=f"{check.id}{_arch(report)}",
        title=clean_line(say(check.title), 300) or check.id,
        outcome=check.outcome,
        points=check.points,
        max=check.max,
        text="\n".join(_said(check, report, say)),
        cause=clean_line(check.cause or "", 100),
        file=_relative(at.file) if at else "",
        line=_line_in(at.file, check.place) or at.line or 0 if at else 0,
        function=clean_line(at.function, 200) if at else "",
    )


def _line_in(file: str, place: Text) -> int:
    """Return the line of a file that the evidence of a failure names; 0 if it names none."""
    found = file and re.search(rf"(?<![\w./-]){re.escape(file)}:([1-9]\d{{0,6}})\b", str(place))
    return int(found[1]) if found else 0


def _relative(path: str) -> str:
    """Return the path of a student's file; "" if it is not one inside the submission."""
    parts = path.split("/")
    if path != clean_line(path) or "\\" in path or set(parts) & {"", ".", ".."}:
        return ""
    return path


def _said(check: CheckReport, report: Report, say: Reader) -> Iterator[str]:
    """Say why points are missing, row by row."""
    if check.outcome == "pass":
        return
    if check.outcome == "skipped":
        waited = check.waited_for
        yield clean_line(
            say(msg("Not run: it waits for {waited}.", waited=waited))
            if waited
            else say(msg("Not run: {reason}.", reason=say(check.reason)))
        )
        return
    if check.outcome == "build-error":
        if report.usable:
            yield say(msg("The code does not compile, so nothing could be graded."))
            errors = [one for one in report.build.diagnostics if one.severity == "error"]
            yield from (_remark(one, say).told for one in errors[:1])
        else:
            yield clean_line(say(msg("Not graded: {reason}.", reason=say(check.reason))))
        return
    if check.outcome == "infra-error" or check.points is None:
        yield say(
            msg(
                "The grader could not judge this, and that is not your fault. It does not count "
                "as 0: a person will look at it."
            )
        )
        return
    for name, text in _rows(check, report):
        if shown := clean(say(text)).strip("\n"):
            yield f"{say.label(name)}{say.label(': ')}{shown}"
    for case in [case for case in check.cases if case.outcome != "pass"][:_CASES_SHOWN]:
        name = f"{clean_line(say(case.name))}{say.label(': ')}"
        shown = clean_line(say(case.message)) or clean_line(case.outcome)
        yield f"  {name}{shown.removeprefix(name)}"


def _rows(check: CheckReport, report: Report) -> Iterator[tuple[str, Text]]:
    at = check.mistake
    where: list[Text] = [] if check.cpu is None else [msg("CPU {cpu}", cpu=check.cpu)]
    yield label("where"), listed([*where, check.place] if check.place else where)
    yield label("expected"), check.expected
    yield label("observed"), check.observed or (check.cause or "").replace("-", " ")
    yield label("next"), check.next
    yield label("hint"), check.hints[0] if check.hints else ""
    yield label("cohort"), check.numbers
    if at is not None:
        place = msg("{step}: {function} in {file}", step=at.id, function=at.function, file=at.file)
        yield label("step"), place
    yield label("again"), check.again if report.label else _again(check, report)


def _again(check: CheckReport, report: Report) -> str:
    """Return the command for the student's folder; the report's names one of the instructor's."""
    arch = "" if report.arch == ARCHES[0] else f" --arch {report.arch}"
    return f"vmmlab grade {report.lab} --submission . --seed {report.seed}{arch} -k {check.id}"


# --- the whole report -----------------------------------------------------------------------------


def _diagnostics(report: Report) -> tuple[Diagnostic, ...]:
    return (*report.build.diagnostics, *report.build.warnings)


def _remark(
    one: Diagnostic, say: Reader, source: Literal["compiler", "submission"] = "compiler"
) -> Remark:
    return Remark(
        source=source,
        severity=one.severity,
        text=clean_line(say(one.message)) or one.severity,
        file=_relative(one.file),
        line=one.line,
        column=one.column,
    )


def _summary(
    report: Report, lines: list[Line], judged: bool, say: Reader, hidden: bool
) -> Iterator[str]:
    if not report.handed_in:
        yield say(msg("nothing was handed in, so there is no grade"))
    elif not judged:
        yield say(msg("needs attention, no grade yet"))
    if report.partial_run:
        yield say(msg("partial run, not a grade"))
    if report.review:
        yield say(msg("a person will look at it"))
    if not report.build.ok:
        yield say(report.why_nothing_ran)
        for one in report.build.diagnostics[:_DIAGNOSTICS_SHOWN]:
            yield _remark(one, say).told
    if report.hidden_max and not hidden:
        text = msg(
            "hidden checks: {hidden_max:g} more points, judged elsewhere",
            hidden_max=report.hidden_max,
        )
        yield say(text)
    if report.later:
        text = msg(
            "judged later, when the next labs are open: {points:g} more points ({checks})",
            points=report.later_max,
            checks=", ".join(report.later),
        )
        yield clean_line(say(text))
    told = {diagnostic.message for diagnostic in report.build.diagnostics}
    for note in (one for one in report.notes if one not in told):
        yield f"{say.label('note: ')}{clean_line(say(note))}"


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(room - 1, 0)] + "…" * bool(room)

"""Turns a report into marks for the gradebook, one for each check. Pure; does not know nbgrader.

The texts of a mark are in the reader's language.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import Text, label, msg
from vmmlab.base.text import clean, clean_line
from vmmlab.course.model import ARCHES, CheckSpec, Lab
from vmmlab.i18n.translate import ENGLISH, Reader
from vmmlab.report.model import CheckReport, Diagnostic, Report

_COMMENT_MAX: Final = 1200
_CASES_SHOWN: Final = 12
_DIAGNOSTICS_SHOWN: Final = 20
_HIDDEN: Final = msg("a hidden check")
_UNUSABLE: Final = "unusable"
_WORDS: Final = {
    "pass": label("pass"),
    "partial": label("partly"),
    "fail": label("fail"),
    "timeout": label("time-out"),
    "skipped": label("not run"),
    "build-error": label("does not build"),
    "infra-error": label("not judged"),
    _UNUSABLE: label("not graded"),
}
_NOT_JUDGED: Final = msg(
    "The grader could not judge this, and that is not your fault. It does not count as 0: "
    "a person will look at it."
)


@dataclass(frozen=True, slots=True)
class Mark:
    """The content of one grade cell.

    Attributes:
        cell: the grade cell's name, from `cell_name` or `hidden_cell`.
        check: the check's id; "" for the hidden ones together.
        title: what the check looks at.
        score: points; None if the check could not be judged, which is not 0.
        max: points at most.
        word: the outcome in a word or two.
        comment: what the student reads next to the score, "" for none; not escaped for Markdown.
        lines: what a reviewer, and the student in the feedback, read in the cell.
        trouble: why there is no score, for the instructor's terminal only.
    """

    cell: str
    check: str
    title: str
    score: float | None
    max: float
    word: str
    comment: str = ""
    lines: tuple[str, ...] = ()
    trouble: str = ""


def cell_name(check_id: str) -> str:
    """Return the name of a check's grade cell: nbgrader allows only letters, digits, - and _."""
    return check_id.replace(".", "-")


def hidden_cell(lab: str) -> str:
    """Return the name of the one cell that all hidden checks of a lab share."""
    return f"{lab}-hidden"


def from_report(report: Report, lab: Lab, say: Reader | None = None) -> tuple[Mark, ...]:
    """Return the marks of a report, in the order of course.yml.

    Hidden checks become one mark without names or reasons: nbgrader's feedback shows students every
    cell of a notebook.

    Args:
        report: one student's report on `lab`.
        lab: the same lab in course.yml, which says what each check is worth.
        say: the language, with the texts of the lab; else English.

    Raises:
        UsageError: the report is no grade, or does not fit course.yml.
    """
    _must_be_a_grade(report)
    _must_fit(report, lab)
    say = say or Reader()
    by_id = {check.id: check for check in report.checks}
    ordered = [by_id[check_id] for check_id in _specs(lab, report)]
    hidden = [check for check in ordered if check.visibility == "hidden"]
    secret = frozenset(check.id for check in hidden)
    marks = [_mark(check, report, secret, say) for check in ordered if check.id not in secret]
    if hidden:
        marks.append(_hidden_mark(report.lab, hidden, say))
    twice = [name for name, count in Counter(mark.cell for mark in marks).items() if count > 1]
    if twice:
        raise UsageError(
            msg(
                "two checks of {lab} would share the grade cell {twice}.",
                lab=report.lab,
                twice=twice[0],
            ),
            next_step=msg(
                "rename one in course.yml: in the name of a grade cell a dot becomes a hyphen"
            ),
        )
    return tuple(marks)


def compiler_lines(report: Report, say: Reader | None = None) -> tuple[str, ...]:
    """Return the compiler's messages about code that does not build, for the notebook."""
    if report.build.ok:
        return ()
    say = say or Reader()
    found = report.build.diagnostics
    lines = [_diagnostic(one, say) for one in found[:_DIAGNOSTICS_SHOWN]]
    if len(found) > _DIAGNOSTICS_SHOWN:
        lines.append(say(msg("... and {count} more", count=len(found) - _DIAGNOSTICS_SHOWN)))
    return tuple(lines)


# --- what is refused -------------------------------------------------------------------------


def _must_be_a_grade(report: Report) -> None:
    if report.mode != "standalone":
        raise UsageError(
            msg("a report of mode {mode!r} is not a grade.", mode=report.mode),
            expected=msg("mode standalone: the student's lab with prebuilt objects for the others"),
            next_step=msg("grade the student's submission with vmmlab grade"),
        )
    if report.partial_run:
        raise UsageError(
            msg("only some of the checks ran, so this is not a grade."),
            next_step=msg("grade it again without -k"),
        )


def _specs(lab: Lab, report: Report) -> Mapping[str, CheckSpec]:
    """Return the checks that a report on `lab` must have; hidden ones if course.yml names them."""
    return lab.every_check_of(report.arch)


def _must_fit(report: Report, lab: Lab) -> None:
    again = msg("grade {lab} again with this course.yml", lab=report.lab)
    specs = _specs(lab, report)
    if lab.hidden and not report.hidden_judged:
        again = msg("grade {lab} again with this course.yml, and with --hidden", lab=report.lab)
    twice = [name for name, count in Counter(c.id for c in report.checks).items() if count > 1]
    if twice:
        raise UsageError(
            msg("{few}: more than once in the report.", few=_few(twice)), next_step=again
        )
    ids = {check.id for check in report.checks}
    missing = [name for name in specs if name not in ids]
    if missing:
        raise UsageError(
            msg("the report lacks checks that course.yml has."),
            found=_few(missing),
            next_step=again,
        )
    unknown = [check.id for check in report.checks if check.id not in specs]
    if unknown:
        raise UsageError(
            msg("the report has checks that course.yml does not have."),
            found=_few(unknown),
            next_step=again,
        )
    for check in report.checks:
        worth = specs[check.id].points
        if check.max != worth:
            raise UsageError(
                msg("the report was made with other points than course.yml has."),
                expected=f"{check.id}: {worth}",
                found=f"{check.max:g}",
                next_step=msg(
                    "compute its points again: vmmlab gradebook rescore; or grade {lab} again",
                    lab=report.lab,
                ),
            )
        if check.points is not None and not check.points <= check.max:
            raise UsageError(
                msg("{check} has more points than it is worth.", check=check.id),
                expected=msg("at most {max:g}", max=check.max),
                found=f"{check.points:g}",
                next_step=again,
            )


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 4} more" if len(listed) > 4 else ""
    return clean_line(", ".join(listed[:4])) + more


# --- one mark --------------------------------------------------------------------------------


def _score(check: CheckReport) -> float | None:
    judged = check.outcome != "infra-error" and check.points is not None
    return float(check.points) if judged and check.points is not None else None


def _mark(check: CheckReport, report: Report, secret: frozenset[str], say: Reader) -> Mark:
    def text(value: str) -> str:
        shown = clean_line(value)
        for name in secret:
            shown = shown.replace(name, say(_HIDDEN))
        return shown

    score = _score(check)
    comment = say(_NOT_JUDGED) if score is None else text(_comment(check, report, say))
    return Mark(
        cell=cell_name(check.id),
        check=check.id,
        title=text(say(check.title)),
        score=score,
        max=float(check.max),
        word=say.label(_WORDS[_kind(check, report)]),
        comment=comment if len(comment) <= _COMMENT_MAX else comment[: _COMMENT_MAX - 1] + "…",
        lines=tuple(_lines(check, report, score, text, say)),
        trouble=clean_line(check.infra or str(check.reason) or say(msg("no points")))
        if score is None
        else "",
    )


def _kind(check: CheckReport, report: Report) -> str:
    """Return the key of `_WORDS` that says how a check ended."""
    if _score(check) is None:
        return "infra-error"
    return _UNUSABLE if check.outcome == "build-error" and not report.usable else check.outcome


def _comment(check: CheckReport, report: Report, say: Reader) -> str:
    """Say why points are missing, and give the first hint."""
    if check.outcome == "pass":
        return ""
    if check.outcome == "skipped":
        waited = check.waited_for
        why = (
            msg("Not run: it waits for {waited}.", waited=waited)
            if waited
            else msg("Not run: {reason}.", reason=say(check.reason))
        )
        return say(why)
    if _kind(check, report) == _UNUSABLE:
        return say(msg("Not graded: {reason}.", reason=say(check.reason)))
    if check.outcome == "build-error":
        errors = [one for one in report.build.diagnostics if one.severity == "error"]
        said = f" {_diagnostic(errors[0], say)}" if errors else ""
        return say(msg("The code does not compile, so nothing could be graded.")) + said
    said = say(check.next or check.reason)
    said = said or "; ".join(say(case.message) for case in check.cases if case.message)
    colon = say.label(": ")
    what = check.cause or say.label(_WORDS[check.outcome])
    parts = [f"{what}{colon}{said}" if said else (check.cause or "")]
    parts += [f"{say.label('Hint')}{colon}{say(hint)}" for hint in check.hints[:1]]
    return " ".join(part for part in parts if part)


def _lines(
    check: CheckReport,
    report: Report,
    score: float | None,
    text: Callable[[str], str],
    say: Reader,
) -> Iterator[str]:
    colon = say.label(": ")

    def row(name: str, value: str) -> str:
        plain = say.language == ENGLISH
        return f"{name:<9} {value}" if plain else f"{say.label(name)}{colon}{value}"

    if score is None:
        words = say(msg("the points are still to be given by a person"))
        yield f"{say.label(_WORDS['infra-error'])}{colon}{words}"
        return
    earned = say(msg("{score:g} of {max:g} points", score=score, max=check.max))
    yield f"{say.label(_WORDS[_kind(check, report)])}{colon}{earned}"
    if check.outcome == "pass":
        return
    rows: dict[str, Text] = {
        label("cause"): check.cause or "",
        "CPU": "" if check.cpu is None else str(check.cpu),
        label("place"): check.place,
        label("expected"): check.expected,
        label("observed"): check.observed,
        label("reason"): check.reason,
        label("next"): check.next,
        label("hint"): check.hints[0] if check.hints else "",
    }
    for name, value in rows.items():
        if value:
            yield row(name, text(say(value)))
    for case in [case for case in check.cases if case.outcome != "pass"][:_CASES_SHOWN]:
        message = text(say(case.message)) or say.label(_WORDS[case.outcome])
        yield row(label("case"), f"{text(say(case.name))}{colon}{message}")
    if check.outcome not in ("skipped", "build-error") and not report.label:
        # Not the report's own command, which names a folder of the instructor.
        arch = "" if report.arch == ARCHES[0] else f" --arch {report.arch}"
        again = f"vmmlab grade {report.lab} --submission . --seed {report.seed}{arch} -k {check.id}"
        yield row(label("again"), again)


def _hidden_mark(lab: str, hidden: list[CheckReport], say: Reader) -> Mark:
    scores = [_score(check) for check in hidden]
    known = [score for score in scores if score is not None]
    most = float(sum(check.max for check in hidden))
    judged = len(known) == len(scores)
    total = float(sum(known)) if judged else None
    trouble = "; ".join(
        f"{check.id}: {clean_line(check.infra or str(check.reason) or say(msg('no points')))}"
        for check, score in zip(hidden, scores, strict=True)
        if score is None
    )
    unknown = say.label(_WORDS["infra-error"])
    first = (
        say(msg("{total:g} of {most:g} points", total=total, most=most))
        if total is not None
        else unknown
    )
    return Mark(
        cell=hidden_cell(lab),
        check="",
        title=say(msg("Hidden checks: the report does not show what they test.")),
        score=total,
        max=most,
        word=say.label("hidden") if judged else unknown,
        comment="" if judged else say(_NOT_JUDGED),
        lines=(first,),
        trouble=trouble,
    )


def _diagnostic(one: Diagnostic, say: Reader) -> str:
    place = ":".join(str(part) for part in (one.file, one.line, one.column) if part)
    return clean_line(f"{place + ': ' if place else ''}{one.severity}: {clean(say(one.message))}")

"""Reports in the formats of learning platforms and CI hosts. Names no hidden check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.message import msg
from vmmlab.i18n.translate import Reader
from vmmlab.report.export import findings, github, junit, platforms
from vmmlab.report.export.sheet import Sheet, sheet_of
from vmmlab.report.model import Report

__all__ = ["FORMATS", "Format", "export", "must_be_a_grade"]

_MB: Final = 1_000_000
_ROOMS: Final = (100_000, 4000, 1000, 200, 40, 0)
"""Characters of a text, from plenty to nothing, until the file is small enough."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format of a file.

    Attributes:
        render: returns the file's text, from the reports and the environment.
        file: the name that its platform expects, or a usual one.
        most: bytes at most; texts are shortened until the file fits.
        together: one file for several reports; else one for each.
        grade: it carries a grade, so a run of some checks only is refused.
        ungraded: it can say that there is no grade yet; else such a report is refused.
    """

    render: Callable[[Sequence[Sheet], Mapping[str, str]], str]
    file: str
    most: int = _MB
    together: bool = False
    grade: bool = True
    ungraded: bool = False


def _one(render: Callable[[Sheet], str]) -> Callable[[Sequence[Sheet], Mapping[str, str]], str]:
    return lambda sheets, environment: render(sheets[0])


def _all(
    render: Callable[[Sequence[Sheet]], str],
) -> Callable[[Sequence[Sheet], Mapping[str, str]], str]:
    return lambda sheets, environment: render(sheets)


FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "gradescope": Format(_one(platforms.gradescope), "results.json"),
        "classroom50": Format(
            lambda sheets, environment: platforms.classroom50(sheets[0], environment),
            "result.json",
        ),
        # The limit of 1 MB is PrairieLearn's own.
        "prairielearn": Format(_one(platforms.prairielearn), "results.json", ungraded=True),
        "artemis": Format(_one(junit.artemis), "artemis.xml"),
        "autolab": Format(_one(platforms.autolab), "autolab.txt"),
        "submitty": Format(_one(platforms.submitty), "validation_results.json", ungraded=True),
        "vpl": Format(_one(platforms.vpl), "vpl.txt", ungraded=True),
        "junit": Format(
            _all(junit.junit), "junit.xml", 30 * _MB, together=True, grade=False, ungraded=True
        ),
        "github-summary": Format(
            _all(github.summary), "summary.md", together=True, grade=False, ungraded=True
        ),
        "github-annotations": Format(
            _all(github.commands), "annotations.txt", together=True, grade=False, ungraded=True
        ),
        "gitlab-codequality": Format(
            _all(findings.codequality),
            "gl-code-quality-report.json",
            together=True,
            grade=False,
            ungraded=True,
        ),
        "editor": Format(
            _all(findings.editor), "problems.txt", together=True, grade=False, ungraded=True
        ),
        "sarif": Format(
            _all(findings.sarif),
            "vmmlab.sarif",
            10 * _MB,
            together=True,
            grade=False,
            ungraded=True,
        ),
    }
)
"""The formats by name."""


def export(
    form: Format,
    reports: Sequence[Report],
    say: Callable[[Report], Reader] = lambda report: Reader(),
    *,
    hidden: bool = False,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return reports in one format.

    Args:
        form: the format; one that is not `together` takes a single report.
        reports: reports on one student's work.
        say: gives the reader's language, with the texts of the report's lab.
        hidden: count the hidden checks, as one line without names.
        environment: variables of the platform.

    Raises:
        UsageError: a report contradicts itself, is no grade, or does not fit the format.
        InfraError: a report has no points yet, and the format cannot say so.
    """
    for report in reports:
        if form.grade:
            must_be_a_grade(report)
        if form.grade and not form.ungraded and not report.handed_in:
            raise InfraError(
                msg("there is no grade: nothing was handed in."),
                next_step=msg("leave this report out"),
            )
        if report.needs_attention and not form.ungraded:
            raise InfraError(
                msg("there is no grade yet: the grader could not judge all checks."),
                next_step=msg("look at the report, and grade the submission again"),
            )
    sheets = [sheet_of(report, say(report), hidden=hidden) for report in reports]
    _must_be_unique(sheets)
    for room in _ROOMS:
        text = form.render([sheet.shortened(room) for sheet in sheets], environment)
        if len(text.encode()) <= form.most:
            return text
    raise UsageError(
        msg("the report is too large for this format."),
        expected=msg("at most {count} bytes", count=form.most),
    )


def must_be_a_grade(report: Report) -> None:
    """Raise UsageError if only some of the checks ran."""
    if report.partial_run:
        raise UsageError(
            msg("only some of the checks ran, so this is not a grade."),
            next_step=msg("grade it again without -k"),
        )


def _must_be_unique(sheets: Sequence[Sheet]) -> None:
    names = [line.name for sheet in sheets for line in sheet.lines]
    if len(names) != len(set(names)):
        raise UsageError(
            msg("two of these reports are on the same lab."),
            expected=msg("reports on one student's work, each on another lab"),
        )

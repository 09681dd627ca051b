"""Official grading: the course's secret, its seeds, and the report for the student."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmmlab.base.message import msg
from vmmlab.cli.options import GROUP, LangOption

if TYPE_CHECKING:
    from vmmlab.course.cohort import Cohort
    from vmmlab.course.model import Course
    from vmmlab.course.secret import Secret
    from vmmlab.grading.request import RunRequest
    from vmmlab.i18n.translate import Reader
    from vmmlab.report import Report
    from vmmlab.workspace.source import Source

StudentJsonOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Also write the student's report to this file: no seed, no hidden checks.",
    ),
]
SecretOption = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        metavar="FILE",
        help="File with the course's secret, from which the seed follows.",
    ),
]
RoundOption = Annotated[
    str,
    typer.Option(metavar="NAME", help="With a secret: each round has its own seeds."),
]


@dataclass(frozen=True)
class Official:
    """What the options of `vmmlab grade` say of seeds and secrets.

    Attributes:
        seed: the value of --seed.
        secret: the course's secret.
        round: the value of --round.
        student_json: where the student's report goes.
    """

    seed: int | None
    secret: Secret | None
    round: str
    student_json: Path | None

    def fields(self, lab: str, cohort: Cohort) -> dict[str, Any]:
        """Return these fields of the request to grade a lab."""
        from vmmlab.grading.request import default_seed

        if self.seed is not None:
            return {"seed": self.seed, "secret": self.secret}
        if self.secret is None:
            return {"seed": default_seed(lab, cohort.name)}
        seed = self.secret.seed(lab, self.round)
        return {"seed": seed, "secret": self.secret, "round": self.round}

    def finish(self, report: Report, request: RunRequest, *, alone: bool) -> Report:
        """Write the student's report if it is asked for; return the instructor's.

        Args:
            report: the instructor's.
            request: what was graded.
            alone: it is the only lab; else the name of the lab is added to the file's.
        """
        if self.student_json is not None:
            from vmmlab.report.student import report_for_student

            self._write(report_for_student(report, request), request.course, alone)
        return report

    def refused(self, report: Report, course: Course, *, alone: bool) -> Report:
        """Write the student's report on what could not be graded; return the instructor's.

        Args:
            report: the instructor's.
            course: the course.
            alone: as for `finish`.
        """
        if self.student_json is not None:
            from vmmlab.report.opened import opened

            self._write(opened(report), course, alone)
        return report

    def _write(self, report: Report, course: Course, alone: bool) -> None:
        from vmmlab.report import write_json
        from vmmlab.report.hiding import places

        assert self.student_json is not None
        path = self.student_json if alone else Path(f"{self.student_json}.{report.lab}")
        write_json(report, path, places(course.root))


def official_of(
    course: Course,
    source: Source,
    seed: int | None,
    secret_file: Path | None,
    round: str,
    student_json: Path | None,
) -> Official:
    """Return what the options say; they are named as those of the command.

    Raises:
        UsageError: the secret file is in the course or the submission, or holds no secret.
    """
    if secret_file is None:
        return Official(seed, None, round, student_json)
    from vmmlab.course import secret

    outside = [course.root] if source.is_reference else [course.root, Path(source.name)]
    return Official(seed, secret.read(secret_file, outside), round, student_json)


commands = typer.Typer(
    **GROUP,
    help="The course's secret, from which official seeds follow.",
)


@commands.command(name="new")
def new(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Must be outside the course.")],
    lang: LangOption = None,
) -> None:
    """Write a new secret to a file that only you can read."""
    from vmmlab.course import secret

    secret.make(file, None)
    say: Reader = context.obj
    typer.echo(
        say(msg("{file}: a new secret. Without it no official grading can be repeated.", file=file))
    )
    typer.echo(say(msg("Next: vmmlab grade LAB --submission DIR --secret-file {file}", file=file)))

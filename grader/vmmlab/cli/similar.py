"""`vmmlab similar`: which submissions of a class are alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmmlab.base.errors import InfraError, UsageError, os_reason
from vmmlab.base.message import listed, msg
from vmmlab.base.text import clean_line
from vmmlab.cli.options import CourseOption, LangOption, open_course

if TYPE_CHECKING:
    from vmmlab.classroom.similar import Alike, Source
    from vmmlab.course.model import Course
    from vmmlab.i18n.translate import Reader

_LISTED = 20


def similar(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="FOLDER|ZIP", help="The class's submissions.")],
    lab: Annotated[list[str] | None, typer.Option(help="Only this lab; may be repeated.")] = None,
    earlier: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="FOLDER|ZIP", help="Compare with these, too: last year's."),
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Compare with the reference solution, too.")
    ] = False,
    least: Annotated[
        int, typer.Option(min=1, max=100, metavar="PERCENT", help="List pairs from here on.")
    ] = 80,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page.")] = Path(
        "similar.html"
    ),
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """List submissions that are alike after renaming, and show them side by side."""
    from vmmlab.base.files import write_atomically
    from vmmlab.classroom.similar import compared, page
    from vmmlab.course import materials
    from vmmlab.i18n.translate import LANGUAGES

    say: Reader = context.obj
    loaded = open_course(course, say)
    texts = _texts(loaded, source, lab or (), earlier or (), reference)
    pairs: list[Alike] = []
    for file, sources in texts.items():
        given = [materials.starter(loaded, file, one) for one in LANGUAGES]
        slow: list[str] = []
        pairs += compared(file, sources, given, least / 100, slow)
        if slow:
            who = listed(clean_line(name) for name in slow)
            typer.echo(say(msg("{file}: comparing takes too long: {who}", file=file, who=who)))
    pairs.sort(key=lambda pair: (-pair.share, pair.file, pair.left.name, pair.right.name))
    count = sum(len(sources) for sources in texts.values())
    try:
        write_atomically(out, page(pairs, count, say).encode())
    except OSError as error:
        raise InfraError(
            msg("{path} cannot be written.", path=out),
            found=os_reason(error),
            next_step=msg("name another file with --out"),
        ) from error
    for line in _lines(pairs, out, say):
        typer.echo(line)


def _lines(pairs: Sequence[Alike], out: Path, say: Reader) -> Iterator[str]:
    for pair in pairs[:_LISTED]:
        shares = f"{pair.left.share:4.0%} {pair.right.share:4.0%}"
        yield f"{shares}  {pair.file}  {pair.left.name} – {pair.right.name}"
    yield say(
        msg("{count} pairs are alike; {path}: open it in a browser", count=len(pairs), path=out)
    )


def _texts(
    course: Course, source: Path, labs: Sequence[str], earlier: Sequence[Path], reference: bool
) -> dict[str, list[Source]]:
    """Return the texts of each file that the labs ask for."""
    from vmmlab.classroom.similar import Source
    from vmmlab.course.reference import reference_text

    names = labs or [one.name for one in course.open_labs]
    files = [file for name in names for file in course.lab(name).files]
    texts: dict[str, list[Source]] = {file: [] for file in files}
    for place, ours in ((source, True), *((one, False) for one in earlier)):
        for name, file, text in _handed_in(course, place, names):
            shown = name if ours else f"{place.name}/{name}"
            texts[file].append(Source(shown, text, ours))
    if reference:
        if not course.reference_dir.is_dir():
            raise UsageError(msg("this course has no reference solution."))
        for file in files:
            texts[file].append(Source("reference", reference_text(course, file), False))
    return texts


def _handed_in(course: Course, source: Path, labs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield student, file and text of what was handed in."""
    from vmmlab.base.scratch import scratch_folder
    from vmmlab.classroom.intake import intake

    with scratch_folder("similar") as folder:
        for one in intake(source, course, folder, labs=labs).submissions:
            for lab in one.labs:
                for file in course.lab(lab).files:
                    path = one.folder / file
                    if path.is_file():
                        text = path.read_text(encoding="utf-8", errors="replace")
                        yield one.name or one.student, file, text

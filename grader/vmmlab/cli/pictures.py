"""Reports as pages and pictures: `vmmlab show`, and `--html` of `vmmlab grade`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from vmmlab.base.message import msg
from vmmlab.cli.options import (
    ArchOption,
    CourseOption,
    LangOption,
    WorkspaceOption,
    open_course,
    workspace_at,
)

if TYPE_CHECKING:
    from vmmlab.course.model import Course
    from vmmlab.i18n.translate import Reader
    from vmmlab.report import Report
    from vmmlab.report.make import Judged
    from vmmlab.report.runrecord import RunRecord
    from vmmlab.workspace.source import Source

_REPORT: Final = ".json"
"""How the name of a report ends; no lab's name does."""

_StudentOption = Annotated[
    bool, typer.Option("--student", help="Of a report: only what its student may see.")
]
HtmlOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Also write the report as a page with pictures; with several labs, to FILE.labN.html.",
    ),
]


class Pictures:
    """What `vmmlab grade` draws and keeps.

    Args:
        course: the course.
        source: whose work is graded.
        say: the reader's language.
        html: where the page goes; None for nowhere.
        alone: there is one lab; else the name of the lab is added to the file's.
    """

    def __init__(
        self, course: Course, source: Source, say: Reader, html: Path | None, *, alone: bool
    ) -> None:
        self._course = course
        self._source = source
        self._say = say
        self._html = html
        self._alone = alone

    def kept(self, found: Judged, report: Report) -> Report:
        """Write the page, and keep the record in the reader's own workspace; return the report.

        Args:
            found: the grading.
            report: the report on it.

        Raises:
            UsageError: the page cannot be written.
        """
        own = self._source.own
        if self._html is None and own is None:
            return report
        from vmmlab.report.runrecord import without_host
        from vmmlab.student import progress, show

        record = found.record(report)
        if own is not None:
            show.keep(record, own.root)
            progress.note(own.root, [report])
        if self._html is not None:
            path = self._html if self._alone else Path(f"{self._html}.{report.lab}.html")
            record = without_host(record, places_of(self._source, self._course))
            page = show.html_of(record, self._course, self._say, beside=self._beside(report.lab))
            show.write(page, path)
        return report

    def _beside(self, lab: str) -> bool:
        """Whether the right run may stand beside this one; with the whole kit it may."""
        from vmmlab.workspace.solutions import may_compare

        own = self._source.own
        if own is None:
            return self._course.kind == "kit" or self._course.self_study
        return may_compare(self._course, own.root, lab)


def places_of(source: Source, course: Course) -> Mapping[str, str]:
    """Return the places of this host that a report on other people's work must not have."""
    from vmmlab.report.hiding import places

    return {} if source.trusted else places(course.root, source.name)


def show(
    context: typer.Context,
    lab: Annotated[
        str,
        typer.Argument(
            metavar="LAB", help="A lab that was graded here, or a report such as ada/lab3.json."
        ),
    ],
    text: Annotated[
        bool,
        typer.Option("--text", help="Show the timeline, or that report, in this terminal instead."),
    ] = False,
    perfetto: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the timeline to this file, for ui.perfetto.dev, instead."
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the page to this file, and do not open it."),
    ] = None,
    open: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = True,
    student: _StudentOption = False,
    directory: WorkspaceOption = None,
    arch: ArchOption = "x86_64",
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Show the last grading of a lab as a page: timeline, replay, memory map, what to do next."""
    from vmmlab.report import perfetto as traces
    from vmmlab.student import show as shown
    from vmmlab.workspace.solutions import may_compare

    if lab.endswith(_REPORT):
        _show_report(Path(lab), text, html, open, student, course, context.obj)
        return
    here = workspace_at(directory)
    loaded = open_course(course, context.obj, here)
    loaded.lab(lab)
    say: Reader = context.obj.of(loaded.labs_dir / lab)
    record = shown.last(here.root, lab, arch)
    if changed := ", ".join(shown.changed_since(record, here.root)):
        note = msg("note: changed since this grading: {files}", files=changed)
        typer.echo(say(note), err=True)
    if text:
        _print(record, say)
    if perfetto is not None:
        shown.write(traces.trace(record.boots, say), perfetto)
        typer.echo(say(msg("{path}: open it in ui.perfetto.dev", path=perfetto)))
    if not text and perfetto is None:
        page = shown.html_of(
            record, loaded, context.obj, beside=may_compare(loaded, here.root, lab)
        )
        kept = shown.path_of(here.root, lab, arch).with_name(shown.PAGE)
        _show_page(page, html or kept, open and html is None, say)


def _show_page(page: str, path: Path, open: bool, say: Reader) -> None:
    """Write a page, and open it in a browser if that is wanted and possible."""
    from vmmlab.student import show as shown

    shown.write(page, path)
    opened = open and opened_in_browser(path)
    typer.echo(str(path) if opened else say(msg("{path}: open it in a browser", path=path)))


def _show_report(
    path: Path, text: bool, html: Path | None, open: bool, student: bool,
    course: Path | None, say: Reader,
) -> None:  # fmt: skip
    """Show a report.json: in the terminal, or as a page, without pictures.

    The page never takes the place of lab3.html, which has pictures if the grading has made it.

    Raises:
        UsageError: the file is no report, or the page cannot be written.
    """
    from vmmlab.report import read_json
    from vmmlab.report.opened import opened
    from vmmlab.report.runrecord import RunRecord
    from vmmlab.report.terminal import print_report
    from vmmlab.student import show as shown

    report = read_json(path)
    if student:
        report = opened(report)
    loaded = open_course(course, say)
    if text:
        print_report(report, say=say.of(loaded.labs_dir / report.lab))
        return
    record = RunRecord.model_validate({"report": report})
    page = shown.html_of(record, loaded, say, beside=False)
    kept = path.with_suffix(".student.html" if student else ".report.html")
    _show_page(page, html or kept, open and html is None, say)


def _print(record: RunRecord, say: Reader) -> None:
    """Print the timelines of all boots, first of those in which a check fails."""
    from vmmlab.report import console, lanetext
    from vmmlab.report.bootorder import failing, in_order
    from vmmlab.report.timeline import timeline

    def text(width: int, color: bool) -> str:
        told = []
        for boot in in_order(record, failing(record)):
            told += [*lanetext.lines(timeline(boot.seen), say, boot.title, width), ""]
        return "\n".join([*told, *lanetext.legend(say, width), ""])

    console.show(text)


def opened_in_browser(path: Path) -> bool:
    """Open a page in the reader's browser; return whether there is one."""
    import os
    import webbrowser

    if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")):
        return False  # a text browser would take the terminal over
    try:
        return webbrowser.open(path.resolve().as_uri())
    except (OSError, webbrowser.Error):
        return False

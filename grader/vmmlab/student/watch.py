"""Grades a lab each time one of its files is saved, in one process that stays warm.

Modules are loaded, the course is read and pytest is imported once; what is left of a grading is
the compiler and the boots. The table is shown in place, with marks at what has changed.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from vmmlab.base.errors import UsageError, VmmlabError
from vmmlab.base.message import Text, msg
from vmmlab.grading.inprocess import run_checks
from vmmlab.host import tools
from vmmlab.i18n.translate import Reader, error_text
from vmmlab.report import Report
from vmmlab.report.guide import Guide
from vmmlab.report.terminal import print_report
from vmmlab.student import progress
from vmmlab.student.grading import OwnWork, own_lab

Changes = Iterator[object]
"""Yields whenever files may have changed."""

_STEP_MS: Final = 15
"""How long no file may change before a save counts as whole: editors write in several steps."""
_DEBOUNCE_MS: Final = 200
_LOOK_MS: Final = 2000
"""How often to look without being told: some file systems report no changes."""
_CLEAR: Final = "\x1b[H\x1b[2J"


def watch(
    work: OwnWork,
    lab: str,
    say: Reader,
    out: IO[str] | None = None,
    changes: Callable[[Sequence[Path]], Changes] | None = None,
) -> None:
    """Grade a lab now and after each save, until the user interrupts it.

    Args:
        work: whose work it is.
        lab: the lab.
        say: the reader's language, with the texts of the lab.
        out: where the reports go; None for standard output.
        changes: yields whenever a file in one of some folders may have changed; None: when the
            kernel says so, and every other second where it says nothing.

    Raises:
        UsageError: the lab has no files to watch, or cannot be graded here.
        InfraError: tools are missing.
    """
    names = work.course.graded_for(lab, work.arch).files
    if not names:
        raise UsageError(
            msg("{lab} has no files to watch.", lab=lab),
            next_step=msg("grade it first: {command}", command=f"pytest {lab}"),
        )
    tools.require(tools.FOR_GRADING)
    screen = _Screen(out or sys.stdout, say)
    folders = sorted({(work.root / name).parent for name in names})
    saved = (changes or _changes)(folders)
    seen: Mapping[str, bytes] | None = None
    before: Report | None = None
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            now = _contents(work.root, names)
            if now != seen:
                seen = now
                before = _once(work, lab, names, screen, before)
            if next(saved, None) is None:
                return


def _once(
    work: OwnWork, lab: str, names: Sequence[str], screen: _Screen, before: Report | None
) -> Report | None:
    """Grade once and show the report; return what the next one is compared with."""
    began = time.monotonic()
    screen.begin(lab)
    try:
        report = _graded(work, lab)
    except VmmlabError as error:
        screen.failed(error)
    else:
        progress.note(work.root, [report])
        guide = progress.guide(work.root, work.course, report, screen.say.language)
        screen.show(report, before, guide)
        before = report if report.build.ok else before
    screen.end(names, time.monotonic() - began)
    return before


def _graded(work: OwnWork, lab: str) -> Report:
    """Return the report on the files as they are now.

    Raises:
        VmmlabError: the lab cannot be graded.
    """
    mine = own_lab(work, lab)
    grading = mine.grading
    with contextlib.closing(grading.observations):
        grading.observations.start()
        grading.observations.prepare(grading.selection.scenarios(grading.run.package))
        run_checks(grading.run, grading.selection.tests_dir)
        if grading.run.error is not None:
            raise grading.run.error
        return mine.report(work.root)


def _contents(root: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Return the files that are there; the grading says what is wrong with the others."""
    found = {}
    for name in names:
        with contextlib.suppress(OSError):
            found[name] = (root / name).read_bytes()
    return found


def _changes(folders: Sequence[Path]) -> Changes:
    """Yield the changes that the kernel reports.

    Raises:
        UsageError: watchfiles is not installed.
    """
    try:
        from watchfiles import watch as changed
    except ImportError:
        raise UsageError(
            msg("watchfiles is not installed."),
            next_step="python -m pip install watchfiles",
        ) from None
    found: Changes = changed(
        *folders,
        step=_STEP_MS,
        debounce=_DEBOUNCE_MS,
        recursive=False,
        rust_timeout=_LOOK_MS,
        yield_on_timeout=True,
    )
    return found


class _Screen:
    """Shows one report at a time.

    Args:
        out: a terminal or a file.
        say: the reader's language.
    """

    def __init__(self, out: IO[str], say: Reader) -> None:
        self.say = say
        self._out = out
        self._in_place = out.isatty() and os.environ.get("TERM") != "dumb"

    def begin(self, lab: str) -> None:
        """Say that a grading has begun."""
        if self._in_place:
            self._line(msg("grading {lab} …", lab=lab))

    def show(self, report: Report, before: Report | None, guide: Guide) -> None:
        """Show a report, with marks at what has changed."""
        self._clear()
        print_report(report, self._out, self.say, guide, before)

    def failed(self, error: VmmlabError) -> None:
        """Show why the lab could not be graded."""
        self._clear()
        self._out.write(error_text(error, self.say) + "\n")

    def end(self, names: Sequence[str], seconds: float) -> None:
        """Say what is awaited."""
        self._line(
            msg(
                "{seconds:.1f} s · watching {files} · Ctrl-C ends this",
                seconds=seconds,
                files=", ".join(names),
            )
        )

    def _line(self, text: Text) -> None:
        self._out.write(self.say(text) + "\n")
        self._out.flush()

    def _clear(self) -> None:
        if self._in_place:
            self._out.write(_CLEAR)

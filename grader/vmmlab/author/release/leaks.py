"""Searches a release for forbidden content: solutions, hidden checks, answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.author.release.selfstudy import ANSWERS
from vmmlab.base.message import Text, msg
from vmmlab.course.markup import regions
from vmmlab.course.materials import WORKSHEET_MARKS
from vmmlab.course.model import Course
from vmmlab.course.reference import reference_text

_NOT_TEXT: Final = (".o", ".png", ".ico")
_SHORT: Final = 8
_LONG: Final = 30
_INSTRUCTORS: Final = frozenset({"contract.yml", "grader/tests", "grader/mutants", "grader/bench"})


@dataclass(frozen=True, slots=True)
class Leak:
    """Something that must not be in a release.

    Attributes:
        file: relative to the release.
        line: from 1.
        what: one sentence.
        text: the line of the solution, or the id.
    """

    file: str
    line: int
    what: Text
    text: Text


def leaks(course: Course, folder: Path) -> Iterator[Leak]:
    """Yield the leaks of a release: lines of solutions, hidden checks, instructors' worksheets.

    Spaces do not count. Lines that are in a starter or in the given code as well, and lines with
    fewer than eight characters, are no secrets.

    Args:
        course: the instructor's course.
        folder: the release.
    """
    secrets: dict[str, Text] = dict(_solution_lines(course, folder)) | dict(_answers(course))
    for lab in course.labs.values():
        secrets |= {
            check: msg("the hidden check {check} is named", check=check) for check in lab.hidden
        }
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix in _NOT_TEXT:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".ipynb":
            for mark in WORKSHEET_MARKS:
                if mark in text:
                    at = text.count("\n", 0, text.index(mark)) + 1
                    yield Leak(name, at, msg("this is the instructor's worksheet."), mark)
        whole = _squeezed(text)
        for secret, what in secrets.items():
            if secret in whole:
                yield Leak(name, _line_of(text, secret), msg("{what}.", what=what), secret)


def misplaced(course: Course, folder: Path) -> Iterator[Leak]:
    """Yield what even a release for self-study must not have: what only instructors need.

    Args:
        course: the instructor's course.
        folder: the release.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name in _INSTRUCTORS or name in _INSTRUCTORS:
            yield Leak(name, 1, msg("only instructors need this."), name)


def _answers(course: Course) -> Iterator[tuple[str, Text]]:
    """Yield the lines of the answers to the handouts' questions, without their spaces."""
    for page in ANSWERS:
        path = course.reference_dir / page
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        for line in map(_squeezed, text.splitlines()):
            if len(line) >= _LONG:
                yield line, msg("an answer to a question of a handout ({page})", page=page)


def _solution_lines(course: Course, folder: Path) -> Iterator[tuple[str, Text]]:
    """Yield each secret line of a solution without its spaces, and what it belongs to."""
    known = "\n".join(
        _squeezed(path.read_text(encoding="utf-8", errors="replace"))
        for path in [*course.tree.rglob("*"), *(folder / "vmm-skeleton/starters").rglob("*")]
        if path.is_file()
    )
    for lab in course.labs.values():
        for file in lab.files:
            for part in regions(reference_text(course, file), path=f"reference/{file}"):
                for line in map(_squeezed, part.solution):
                    comment = line.startswith(("/*", "*", "//"))
                    if len(line) >= _SHORT and line not in known and not comment:
                        yield (
                            line,
                            msg(
                                "a line of the solution of {step} ({file})",
                                step=part.step,
                                file=file,
                            ),
                        )


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _line_of(text: str, secret: str) -> int:
    """Return the number of the first line that contains `secret`, spaces ignored."""
    for number, line in enumerate(text.splitlines(), 1):
        if secret in _squeezed(line):
            return number
    return 1

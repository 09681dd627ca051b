"""Shows the solution of a lab beside the student's own files, in a course that has solutions."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.base.text import cells, clean
from vmmlab.course.comments import translated_too
from vmmlab.course.markup import starter_text
from vmmlab.course.model import Course
from vmmlab.course.reference import reference_text
from vmmlab.i18n.translate import ENGLISH, Reader
from vmmlab.workspace.model import Workspace

_TAB: Final = 4
_NARROW: Final = 100  # columns; below that one file is shown after the other
_GONE: Final = "…"


def solution(course: Course, lab: str, lang: str = "") -> dict[str, str]:
    """Return the files of a lab as the reference solution has them, by path.

    Args:
        course: the course.
        lab: the lab.
        lang: the language of the comments that its starter has, too; "" is English.

    Raises:
        UsageError: the course has no solutions; it says where a release with them is.
        CourseError: the reference is damaged.
    """
    files = course.lab(lab).files
    if not course.reference_dir.is_dir():
        raise UsageError(
            msg("{title}: this course has no solutions.", title=course.title),
            expected=msg("the release for self-study, which has them"),
            found=msg("a release for a class"),
            next_step=course.self_study_at
            or msg(
                "ask those who gave you this course; or make one from the whole kit: "
                "vmmlab release --self-study DIR"
            ),
        )
    if not files:
        raise UsageError(msg("{lab} has nothing to write, so it has no solution.", lab=lab))
    return {path: _solution(course, lab, path, lang) for path in files}


def _solution(course: Course, lab: str, path: str, lang: str) -> str:
    text, name = reference_text(course, path), f"reference/{path}"
    steps = frozenset(step.id for step in course.lab(lab).steps)
    whole = starter_text(text, path=name, keep=steps)
    if lang in ("", ENGLISH):
        return whole
    starter = starter_text(text, path=name)
    return translated_too(whole, starter, path, course.reference_dir / lab, lang)


def lines(here: Workspace, course: Course, lab: str, say: Reader, width: int) -> Iterator[str]:
    """Yield the student's files and the solution side by side, or one after the other.

    Args:
        here: the workspace.
        course: the course.
        lab: the lab.
        say: the reader's language.
        width: of the terminal, in columns.

    Raises: as for `solution`.
    """
    mine, theirs = say(msg("yours")), say.label("solution")
    for path, text in solution(course, lab, here.lang).items():
        try:
            own = (here.root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            own = ""
        yield ""
        if width < _NARROW:
            yield f"=== {path}: {theirs}"
            yield from map(_plain, text.splitlines())
            continue
        yield f"=== {path}"
        half = (width - 3) // 2
        yield _row(mine, " ", theirs, half)
        yield from _side_by_side(own.splitlines(), text.splitlines(), half)


def _side_by_side(left: list[str], right: list[str], half: int) -> Iterator[str]:
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        for n in range(max(b - a, d - c)):
            one = left[a + n] if a + n < b else ""
            two = right[c + n] if c + n < d else ""
            yield _row(_plain(one), " " if kind == "equal" else "|", _plain(two), half)


def _row(left: str, mark: str, right: str, half: int) -> str:
    left, right = _cut(left, half), _cut(right, half)
    return f"{left}{' ' * (half - cells(left))} {mark} {right}".rstrip()


def _plain(line: str) -> str:
    return clean(line, tabs=True).expandtabs(_TAB)


def _cut(line: str, half: int) -> str:
    while cells(line) > half:
        line = line[: max(0, len(line) - len(_GONE) - 1)] + _GONE
    return line

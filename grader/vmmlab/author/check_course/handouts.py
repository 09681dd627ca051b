"""Handouts and the book: what is missing, still to be written, or unlike course.yml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from vmmlab.author.check_course.finding import Forgotten, text_of
from vmmlab.base.markdown import headings
from vmmlab.base.message import msg
from vmmlab.course.ids import LAB_NAME
from vmmlab.course.model import Course, Lab

LEFT_OVER: Final = "<!-- new-lab:"
"""The beginning of a line that `vmmlab new-lab` has left for the author."""

_ROW: Final = re.compile(rf"\| *`({LAB_NAME.pattern}\.[a-z0-9._-]+)` *\| *([0-9]+) *\|")
_BOOK_PAGES: Final = ("docs/index.md", "docs/index.ja.md")


def in_handouts(course: Course, lab: Lab) -> Iterator[Forgotten]:
    """Yield what is wrong with the handouts of a lab, in both languages."""
    levels: dict[str, list[int]] = {}
    for name, language in (("README.md", msg("English")), ("README.ja.md", msg("Japanese"))):
        file = f"labs/{lab.name}/{name}"
        text = text_of(course, file)
        if text is None:
            yield Forgotten(
                file,
                0,
                msg("the {language} handout is missing", language=language),
                msg("write it"),
            )
            continue
        levels[name] = [level for level, _ in headings(text)]
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            if LEFT_OVER in line:
                wish = line.split(LEFT_OVER, 1)[1].removesuffix("-->").strip()
                yield Forgotten(file, number, msg("still to be written"), wish)
        yield from _rows(lab, file, lines)
    if len(levels) == 2 and levels["README.md"] != levels["README.ja.md"]:
        yield Forgotten(
            f"labs/{lab.name}/README.ja.md",
            0,
            msg("its headings differ from those of README.md"),
            msg("give both the same sections in the same order"),
        )


def _rows(lab: Lab, file: str, lines: Sequence[str]) -> Iterator[Forgotten]:
    """Compare the table of checks in a handout with course.yml."""
    told: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(lines, 1):
        if row := _ROW.match(line):
            told[row.group(1)] = (int(row.group(2)), number)
    checks = lab.all_checks
    for check_id, check in checks.items():
        if check_id not in told:
            if check.points:
                yield Forgotten(
                    file,
                    0,
                    msg("no row for the check {check_id}", check_id=check_id),
                    msg("add it to the table of checks"),
                )
        elif told[check_id][0] != check.points:
            yield Forgotten(
                file,
                told[check_id][1],
                msg(
                    "{check_id} has {told} points here, but {points} in course.yml",
                    check_id=check_id,
                    told=told[check_id][0],
                    points=check.points,
                ),
                msg("make the two equal"),
            )
    for check_id, (_, number) in told.items():
        if check_id not in checks:
            yield Forgotten(
                file,
                number,
                msg("course.yml has no check {check_id}", check_id=check_id),
                msg("remove the row, or add the check"),
            )


def in_the_book(course: Course, lab: Lab) -> Iterator[Forgotten]:
    """Yield the pages of the book that do not mention a lab."""
    for page in _BOOK_PAGES:
        text = text_of(course, page)
        if text is not None and f"labs/{lab.name}/README" not in text:
            yield Forgotten(
                page, 0, msg("no row for {lab}", lab=lab.name), msg("add it to the table of labs")
            )

"""Handouts and the book: what is missing, still to be written, or unlike course.yml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from vmmlab.author.check_course.finding import Forgotten, text_of
from vmmlab.base.errors import CourseError
from vmmlab.base.markdown import headings
from vmmlab.base.message import Message, msg
from vmmlab.course.ids import LAB_NAME, STEP_ID
from vmmlab.course.model import Course, Lab
from vmmlab.i18n.translate import ENGLISH, Reader

LEFT_OVER: Final = "<!-- new-lab:"
"""The beginning of a line that `vmmlab new-lab` has left for the author."""

_ROW: Final = re.compile(rf"\| *`({LAB_NAME.pattern}\.[a-z0-9._-]+)` *\| *([0-9]+) *\|")
_STEP: Final = re.compile(rf"#+ +({STEP_ID.pattern}) *[:：] *(.+?) *")
_HANDOUTS: Final = (
    ("README.md", "en", msg("English")),
    ("README.ja.md", "ja", msg("Japanese")),
)
_BOOK_PAGES: Final = ("docs/index.md", "docs/index.ja.md")


def in_handouts(course: Course, lab: Lab) -> Iterator[Forgotten]:
    """Yield what is wrong with the handouts of a lab, in the languages of the course."""
    levels: dict[str, list[int]] = {}
    for name, lang, language in _HANDOUTS:
        if lang not in (ENGLISH, *course.languages):
            continue
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
        yield from _steps(lab, file, lines, Reader(lang).of(course.labs_dir / lab.name))
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


def _steps(lab: Lab, file: str, lines: Sequence[str], say: Reader) -> Iterator[Forgotten]:
    """Compare the headings of the steps with their titles in course.yml and in the catalog."""
    found = ((_STEP.fullmatch(line), number) for number, line in enumerate(lines, 1))
    told = {one[1]: (one[2], number) for one, number in found if one}
    try:
        titles = {step.id: say(Message(step.title)) for step in lab.steps}
    except CourseError:
        return  # the catalog cannot be read: another part of this package reports it
    for step, title in titles.items():
        said, number = told.get(step, ("", 0))
        if said != title:
            yield Forgotten(
                file,
                number,
                msg("the heading of {step} differs from its title in course.yml", step=step)
                if said
                else msg("no heading for the step {step}", step=step),
                msg("the title is defined in course.yml, and its Japanese in the lab's catalog"),
                expected=title,
                found=said,
            )
    for step in told.keys() - titles.keys():
        yield Forgotten(
            file,
            told[step][1],
            msg("course.yml has no step {step}", step=step),
            msg("remove the heading, or add the step"),
        )


def in_the_book(course: Course, lab: Lab) -> Iterator[Forgotten]:
    """Yield the pages of the book that do not mention a lab."""
    for page in _BOOK_PAGES if course.in_japanese else _BOOK_PAGES[:1]:
        text = text_of(course, page)
        if text is not None and f"labs/{lab.name}/README" not in text:
            yield Forgotten(
                page, 0, msg("no row for {lab}", lab=lab.name), msg("add it to the table of labs")
            )

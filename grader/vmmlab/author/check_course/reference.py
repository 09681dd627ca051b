"""The reference solution of a lab: what is missing, or not marked as course.yml asks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmmlab.author.check_course.finding import Forgotten, of_error, text_of
from vmmlab.base.errors import VmmlabError
from vmmlab.base.message import msg
from vmmlab.course.find import COURSE_FILE
from vmmlab.course.markup import regions, starter_text
from vmmlab.course.model import Course, Lab


def in_reference(course: Course, lab: Lab) -> Iterator[Forgotten]:
    """Yield what is wrong with a lab's reference solution, and its given files that are missing."""
    for name in lab.given:
        if not (course.tree / name).is_file():
            yield Forgotten(
                COURSE_FILE,
                lab.line,
                msg("this lab's given file {file} does not exist.", file=name),
                msg("write it, or remove its name"),
            )
    marked: set[str] = set()
    whole = True
    for name in lab.files:
        file = f"reference/{name}"
        text = text_of(course, file)
        if text is None:
            yield Forgotten(file, 0, msg("the reference solution is missing"), msg("write it"))
            whole = False
            continue
        try:
            parts = regions(text, path=file)
            starter_text(text, path=file)
        except VmmlabError as error:
            yield of_error(error, file)
            whole = False
            continue
        steps = {step.id for step in lab.steps}
        for part in parts:
            marked.add(part.step)
            if part.step not in steps:
                yield Forgotten(
                    file,
                    part.begin,
                    msg("course.yml has no step {step}", step=part.step),
                    msg("add it there"),
                )
        for symbol in lab.symbols[name]:
            if not re.search(rf"\b{re.escape(symbol)}\b", text):
                yield Forgotten(
                    file,
                    0,
                    msg("{symbol} is not defined in it", symbol=symbol),
                    msg("define it, as course.yml says"),
                )
    for step in lab.steps:
        if whole and step.id not in marked:
            yield Forgotten(
                f"reference/{step.file}",
                0,
                msg("nothing is marked as the solution of {step}", step=step.id),
                msg("add BEGIN SOLUTION {step} and END SOLUTION", step=step.id),
            )

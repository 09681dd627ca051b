"""A student's worksheet, without solutions: made of the instructor's by nbgrader's own steps.

A release has them ready-made. The whole kit makes one when a student asks for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.course import materials
from vmmlab.course.model import Course

NEEDS: Final = "pip install 'vmmlab[worksheets]'"
"""The command that installs what worksheets need."""


def stripper(cohort: str) -> Callable[[Path], str]:
    """Return the function that makes the text of a student's worksheet: nbgrader's steps, in order.

    Args:
        cohort: its numbers are in the questions.

    Raises:
        ImportError: nbgrader is not installed.
    """
    from nbgrader import preprocessors as steps
    from traitlets.config import Config

    from vmmlab.worksheet.autograde import configure

    nbformat: Any = importlib.import_module("nbformat")
    config = Config()
    configure(config, cohort)
    # All steps of `nbgrader generate_assignment` that need neither a gradebook nor a header file.
    wanted = [
        one
        for one in config.GenerateAssignment.preprocessors
        if one not in (steps.IncludeHeaderFooter, steps.InstantiateTests, steps.SaveCells)
    ]

    def strip(source: Path) -> str:
        notebook = nbformat.read(source, as_version=nbformat.NO_CONVERT)
        resources: Mapping[str, Any] = {
            "nbgrader": {"notebook": source.stem, "assignment": source.parent.name},
            "metadata": {},
        }
        for one in wanted:
            notebook, resources = one(config=config).preprocess(notebook, resources)
        return f"{nbformat.writes(notebook).rstrip()}\n"

    return strip


def text_for(course: Course, lab: str, cohort: str, lang: str) -> tuple[str, str] | None:
    """Return name and text of a lab's worksheet without solutions; None if it has no worksheet.

    Args:
        course: the whole kit, or a release with ready-made worksheets.
        lab: the lab.
        cohort: whose numbers the questions have.
        lang: the reader's language; "" is English.

    Raises:
        InfraError: it has to be made, and nbgrader is not installed.
    """
    if (ready := materials.ready_worksheet(course, lab, lang)) is not None:
        return ready.name, ready.read_text(encoding="utf-8")
    if (source := materials.worksheet(course, lab, lang)) is None:
        return None
    try:
        return source.name, stripper(cohort)(source)
    except ImportError as error:
        raise InfraError(
            msg("the worksheet of {lab} cannot be made without nbgrader.", lab=lab),
            found=str(error),
            next_step=NEEDS,
        ) from error


def without_nbgrader() -> Text:
    """Return the note about worksheets that could not be made."""
    return msg("no worksheets: nbgrader is not installed; {command}", command=NEEDS)

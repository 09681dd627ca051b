"""Makes the formgrader's buttons say what to do for the assignments of checks, as lab3-checks.

There is nothing in them that nbgrader could generate or autograde, and its own answer would be a
traceback.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from vmmlab.base.message import Message, Text, msg
from vmmlab.course.ids import LAB_NAME
from vmmlab.i18n.translate import Reader, choose

CHECKS: Final = "-checks"
"""How the names of these assignments end."""
_HANDLERS: Final = "nbgrader.server_extensions.formgrader.base"
_MARK: Final = "vmmlab_wrapped"


def is_of_checks(assignment: str) -> bool:
    """Return whether an assignment is that of a lab's checks, as lab3-i386-checks."""
    lab, _, arch = assignment.removesuffix(CHECKS).partition("-")
    ours = LAB_NAME.fullmatch(lab) is not None and arch in ("", "i386")
    return ours and assignment.endswith(CHECKS)


def instead_for_checks(assignment: str) -> Message:
    """Return why there is nothing to generate or autograde."""
    return msg(
        "{assignment} has the points of a lab's checks: nbgrader cannot grade them.",
        assignment=assignment,
    )


def next_for_checks(assignment: str) -> Message:
    """Return what to do instead."""
    grade, sync = _commands(assignment)
    return msg("{grade}, then {sync}", grade=grade, sync=sync)


def _commands(assignment: str) -> tuple[Message, str]:
    """Return the two commands that bring the points of checks into the gradebook."""
    lab = assignment.partition("-")[0]
    grade = msg("vmmlab batch SUBMISSIONS --out results --labs {lab}", lab=lab)
    return grade, "vmmlab gradebook sync results/reports"


def _instead_of_grading(assignment: str) -> tuple[Text, ...]:
    """Return the same in lines that fit the formgrader's dialog, which does not wrap them."""
    return (
        instead_for_checks(assignment),
        msg("These two commands do it:"),
        *_commands(assignment),
    )


def _instead_of_release(assignment: str) -> tuple[Text, ...]:
    """Return why nbgrader cannot release the feedback, and what to do instead."""
    return (
        msg(
            "{assignment} was not handed in through nbgrader, so nbgrader cannot give it back.",
            assignment=assignment,
        ),
        msg(
            "Give each student the folder feedback/STUDENT/{assignment}.",
            assignment=assignment,
        ),
        msg("vmmlab moodle packs the same reports for Moodle."),
    )


def install() -> None:
    """Let the buttons of a running formgrader answer for the assignments of checks.

    The formgrader reads nbgrader_config.py again and again; only the first call does something.
    """
    handlers = sys.modules.get(_HANDLERS)
    if handlers is None:
        return  # this is not a Jupyter server
    api: Any = handlers.NbGraderAPI
    for name, answer in _ANSWERS.items():
        plain = getattr(api, name)
        if not hasattr(plain, _MARK):
            setattr(api, name, _answering(plain, answer))


def _answering(
    plain: Callable[..., Mapping[str, Any]], answer: Callable[[str], tuple[Text, ...]]
) -> Callable[..., Mapping[str, Any]]:
    """Return a method of nbgrader that says what to do if the assignment is one of checks."""

    @functools.wraps(plain)
    def method(self: Any, assignment_id: str, *more: Any, **named: Any) -> Mapping[str, Any]:
        if not is_of_checks(assignment_id):
            return plain(self, assignment_id, *more, **named)
        say = Reader(choose(None, os.environ))
        return {"success": False, "log": "\n".join(map(say, answer(assignment_id)))}

    setattr(method, _MARK, True)
    return method


_ANSWERS: Final[Mapping[str, Callable[[str], tuple[Text, ...]]]] = {
    "autograde": _instead_of_grading,
    "generate_assignment": _instead_of_grading,
    "release_feedback": _instead_of_release,
}

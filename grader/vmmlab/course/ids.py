"""The names of labs, steps, checks and files, as course.yml, tests and handouts spell them."""

from __future__ import annotations

import re
from typing import Final

LAB_NAME: Final = re.compile(r"lab(?:0|[1-9][0-9]?)")
"""The name of a lab: `lab3`."""

STEP_ID: Final = re.compile(rf"{LAB_NAME.pattern}\.[0-9]+")
"""The id of a step: `lab3.1`."""

CHECK_ID: Final = re.compile(rf"{LAB_NAME.pattern}(?:\.[a-z0-9][a-z0-9_-]*){{2}}")
"""The id of a check, stable for ever: `labN.topic.name`."""

MUTANT_ID: Final = CHECK_ID
"""The id of a known-wrong solution, in grader/mutants/labN.yml: it looks like that of a check."""

CAUSE: Final = re.compile(r"[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*")
"""The identifier of a cause: `far-jump-missing`."""

SOURCE_PATH: Final = re.compile(rf"{LAB_NAME.pattern}/[A-Za-z0-9_][A-Za-z0-9_.-]*\.[cS]")
"""The path of a file that a student writes: `lab3/ap_start.c`."""

HIDDEN_TOPIC: Final = "hidden"
"""The topic of all hidden checks: `labN.hidden.name`. It is their key in course.yml as well."""


def is_hidden(check_id: str) -> bool:
    """Return whether an id is one of a hidden check."""
    return check_id.split(".")[1:2] == [HIDDEN_TOPIC]

"""Where a lab's handout describes a step: the heading that begins with the step's id."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEADING: Final = re.compile(r"^#{2,} (?P<title>(?P<id>\w+\.\d+)\b.*)$")
_ENGLISH: Final = "README.md"


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a handout.

    Attributes:
        file: the file, as `lab3/README.md`.
        line: of its heading, from 1.
        title: the heading.
    """

    file: str
    line: int
    title: str


def handout_of(lab: Path, language: str) -> Path:
    """Return the handout in a language; the English one if there is none.

    Args:
        lab: the folder of a lab, in a course or in a workspace.
        language: such as `ja`.
    """
    own = lab / f"README.{language}.md"
    return own if own.is_file() else lab / _ENGLISH


def section_of(lab: Path, step: str, language: str) -> Section | None:
    """Return the section of the handout that describes a step; None if there is none.

    Args:
        lab: the folder of a lab, in a course or in a workspace.
        step: its id.
        language: such as `ja`.
    """
    path = handout_of(lab, language)
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return None
    for number, line in enumerate(text.splitlines(), 1):
        found = _HEADING.match(line)
        if found is not None and found["id"] == step:
            return Section(f"{lab.name}/{path.name}", number, found["title"])
    return None

"""A student's own numbers: the same on every machine, and other ones for each student.

They are not secret. They make an answer wrong that is copied from another student.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vmmlab.base.choice import Choice
from vmmlab.base.message import msg
from vmmlab.i18n.translate import ENGLISH, Reader, known
from vmmlab.worksheet.language import begin, reader

PRACTICE: Final = "practice"
"""The name of the student if none is given."""


@dataclass(frozen=True, slots=True)
class Student:
    """The student whose numbers a worksheet shows.

    Attributes:
        name: the student's id in the gradebook.
        cohort: the name of the class.
        lang: en or ja: the language of the notebook. It does not change the numbers.
    """

    name: str
    cohort: str
    lang: str = ENGLISH

    @property
    def say(self) -> Reader:
        """Shows texts in the student's language."""
        return reader(self.lang)

    def __repr__(self) -> str:
        """Return the text that a notebook shows."""
        say = self.say
        if self.name == PRACTICE:
            return "\n".join(
                (
                    say(msg("These are practice numbers: VMMLAB_STUDENT is not set.")),
                    say(msg("Your work is graded with your own numbers.")),
                    say(msg("Set VMMLAB_STUDENT to your id before you start Jupyter.")),
                )
            )
        return say(
            msg(
                "The numbers of {name}, cohort {cohort}. Is that you?",
                name=self.name,
                cohort=self.cohort,
            )
        )


def reader_for(who: Student | None) -> Reader:
    """Return the reader of a student; an English one for None."""
    return who.say if who else reader(ENGLISH)


def student(environment: Mapping[str, str], cohort: str = "dev", lang: str = ENGLISH) -> Student:
    """Return the student that VMMLAB_STUDENT names, and show errors in the student's language.

    Args:
        environment: usually `os.environ`; case and blanks around the name do not matter.
        cohort: the name of the class; nbgrader writes it into released worksheets.
        lang: en or ja; the Japanese notebooks pass ja.
    """
    name = _name(environment.get("VMMLAB_STUDENT", "")) or PRACTICE
    begin(known(lang))
    return Student(name, cohort, known(lang))


def _name(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()


class Numbers(Choice):
    """Draws the numbers of one question.

    The same draws in the same order give the same numbers, with every version of Python.

    Args:
        who: the student.
        question: the question's id.
    """

    def __init__(self, who: Student, question: str) -> None:
        super().__init__("vmmlab worksheet 1", who.cohort, who.name, question)


class Given:
    """The numbers of a question, by name. They cannot be changed; in a notebook they are a list.

    Args:
        counts: names of values that are shown in decimal; all others are addresses and the like.
        values: the values by name: numbers, bytes, text, and lists, tuples and dicts of these.
    """

    def __init__(self, *counts: str, **values: Any) -> None:
        self.__dict__.update(values)
        self.__dict__["_counts"] = counts

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} is given and cannot be changed")

    def __repr__(self) -> str:
        values = {name: value for name, value in self.__dict__.items() if name != "_counts"}
        width = max(map(len, values), default=0)
        lines = []
        for name, value in values.items():
            first, *rest = _shown(value, name in self._counts).split("\n")
            lines.append(f"{name:{width}}  {first}")
            lines += [" " * (width + 2) + line for line in rest]
        return "\n".join(lines)

    _counts: tuple[str, ...]


def _shown(value: Any, count: bool) -> str:
    """Show numbers that are no counts in hexadecimal, bytes in pairs, long lists by lines."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if count or value < 10 else hex(value)
    if isinstance(value, bytes):
        rows = [value[at : at + 16].hex(" ") for at in range(0, len(value), 16)]
        return "\n".join(rows)
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_shown(one, count)}" for name, one in value.items())
    if isinstance(value, list) and any(isinstance(one, tuple | list | bytes) for one in value):
        return "\n".join(_shown(one, count) for one in value)
    if isinstance(value, tuple | list):
        return ", ".join(_shown(one, count) for one in value)
    return str(value)

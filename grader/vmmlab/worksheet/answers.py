"""Turns answers into points in the form that nbgrader reads. It has no right answers.

nbgrader takes the last value of a test cell as its points if it is a float; an exception or any
output on stderr means 0. So no answer makes anything here raise, and remarks go to stdout.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Collection
from typing import Any, Final

from vmmlab.base.message import Text, msg
from vmmlab.worksheet.numbers import Student, reader_for

_MISSING: Final = object()
_KINDS: Final = {int: msg("a whole number"), str: msg("a text")}


class Foreign:
    """Takes the place of an answer that is no plain value. It equals only itself."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def plain(text: str) -> object:
    """Return the value that a kernel sent as the `repr` of its `repr`: numbers, text, lists.

    Nothing is executed. A value that is not written as a literal becomes a `Foreign`.
    """
    shown: object = text
    try:
        shown = ast.literal_eval(text)
        return ast.literal_eval(shown) if isinstance(shown, str) else Foreign(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return Foreign(shown if isinstance(shown, str) else text)


class Check:
    """The points of one question.

    The visible part comes first: `number`, `code`, `text` and the others check the form of an
    answer, and print what is wrong with it. The hidden part compares. Without a hidden part, as in
    the student's copy, the form alone counts.

    Args:
        maximum: the points of the cell.
        who: the student, for the language of the remarks; None for English.
    """

    def __init__(self, maximum: float, who: Student | None = None) -> None:
        self._say = reader_for(who)
        self._maximum = float(maximum)
        self._answers: dict[str, Any] = {}
        self._formed: list[bool] = []
        self._earned = 0.0
        self._offered = 0.0

    def number(self, name: str, answer: object, bits: int = 64) -> None:
        """Require a whole number that fits in `bits` bits, without a sign."""
        fits = type(answer) is int and 0 <= answer < 1 << bits
        self._form(name, answer, fits, msg("a whole number from 0 to 2**{bits} - 1", bits=bits))

    def flag(self, name: str, answer: object) -> None:
        """Require True or False."""
        self._form(name, answer, type(answer) is bool, msg("True or False"))

    def code(self, name: str, answer: object, length: int | None = None) -> None:
        """Require bytes, such as `bytes.fromhex ("90 90")` returns."""
        fits = type(answer) is bytes and len(answer) > 0 and length in (None, len(answer))
        wanted = msg('bytes, such as bytes.fromhex("90 90")')
        if length is not None:
            wanted = msg('{length} bytes, such as bytes.fromhex("90 90")', length=length)
        self._form(name, answer, fits, wanted)

    def text(self, name: str, answer: object, choices: Collection[str] = ()) -> None:
        """Require text, and one of the choices if there are any."""
        fits = type(answer) is str and answer.strip() != "" and (not choices or answer in choices)
        wanted = (
            msg("one of these: {choices}", choices=", ".join(map(repr, choices)))
            if choices
            else msg("a text")
        )
        self._form(name, answer, fits, wanted)

    def items(self, name: str, answer: object, kind: type, length: int | None = None) -> None:
        """Require a list of values of one kind."""
        fits = (
            type(answer) is list
            and all(type(one) is kind for one in answer)
            and length in (None, len(answer))
        )
        wanted = (
            msg("a list") if length is None else msg("a list of {length} entries", length=length)
        )
        self._form(
            name,
            answer,
            fits,
            msg("{wanted}, each of them {kinds}", wanted=wanted, kinds=_KINDS[kind]),
        )

    def right(self, points: float, name: str, expected: object) -> None:
        """Give the points if the answer called `name` is well-formed and equals `expected`."""
        self.case(points, lambda answer: answer == expected, name)

    def case(self, points: float, holds: Callable[..., object], *names: str) -> None:
        """Give the points if `holds (answers…)` for the well-formed answers called `names`."""
        self._offered += points
        answers = [self._answers[name] for name in names]
        if any(answer is _MISSING for answer in answers):
            return
        try:
            if holds(*answers):
                self._earned += points
        except Exception:
            # An answer can be anything; one that cannot be judged is wrong.
            return

    @property
    def points(self) -> float:
        """The points of the cell; a test cell ends with this value."""
        if self._offered:
            if abs(self._offered - self._maximum) > 1e-9:
                raise ValueError(f"{self._offered} points offered, {self._maximum} expected")
            share = self._earned
        else:
            if all(self._formed):
                right = self._say(
                    msg("The form is right. Grading decides whether the answer is right.")
                )
                sys.stdout.write(f"{right}\n")
            share = self._maximum * sum(self._formed) / max(len(self._formed), 1)
        return round(min(share, self._maximum), 4)

    def _form(self, name: str, answer: object, fits: bool, wanted: Text) -> None:
        self._formed.append(fits)
        self._answers[name] = answer if fits else _MISSING
        if not fits:
            found = repr(answer)
            found = found if len(found) <= 60 else found[:57] + "..."
            wrong = self._say(msg("expected {wanted}; found {found}", wanted=wanted, found=found))
            sys.stdout.write(f"{name}{self._say.label(': ')}{wrong}\n")

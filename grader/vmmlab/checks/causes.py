"""causes.yml of a lab: for each cause of a failure, what to look at, the hint levels and its step.

    far-jump-missing:
      step: lab3.4
      next: Is the memory that you write to really physical address 0?
      hints:
        - What is at physical 0 when the APs are started?
        - Write through the pointer that mapmem_hphys returned.

All keys are optional: a check may give `step` and `next` itself, and a cause need not have hints.
`step` is the step that contains the mistake, which need not be the step that earns the points.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from vmmlab.base import yamlfile
from vmmlab.base.errors import CourseError
from vmmlab.base.message import Text, msg
from vmmlab.base.yamlfile import Loc, YamlFile

FILE: Final = "causes.yml"
_KEYS: Final = ("step", "next", "hints")
_HOW_TO_WRITE_TEXT: Final = msg("quote it, or use > for a longer text")


@dataclass(frozen=True, slots=True)
class Cause:
    """What the student is told about a cause.

    Args:
        next: the next thing to look at, unless the check says it; "" if there is none.
        hints: the hint levels, the gentlest first.
        step: the step that contains the mistake; "" if the cause does not tell.
    """

    next: str = ""
    hints: tuple[str, ...] = ()
    step: str = ""


class Causes:
    """The causes of one lab, read when they are first needed. A missing file holds none.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._causes: Mapping[str, Cause] | None = None

    def load(self) -> Mapping[str, Cause]:
        """Return all causes by their identifiers.

        Raises:
            CourseError: the file is not a mapping of causes.
        """
        if self._causes is None:
            try:
                found = self._path.stat()
            except FileNotFoundError:
                self._causes = MappingProxyType({})
            else:
                self._causes = _read_once(self._path, found.st_mtime_ns, found.st_size)
        return self._causes

    def of(self, cause: str) -> Cause:
        """Return what is told about `cause`; an empty record if nothing is."""
        return self.load().get(cause, Cause())


@functools.lru_cache(maxsize=32)
def _read_once(path: Path, changed: int, size: int) -> Mapping[str, Cause]:
    """Return what is in a file that was changed then: a grading finds it read by its parent."""
    return MappingProxyType(_read(path))


def _read(path: Path) -> dict[str, Cause]:
    file = yamlfile.read(path)
    if file.data is None:
        return {}
    if not isinstance(file.data, dict):
        raise CourseError(
            msg("{shown}:1: this file does not list causes.", shown=file.shown),
            expected="far-jump-missing:\n              hints:\n                - a hint",
        )
    return {str(cause): _cause(file, cause) for cause in file.data}


def _cause(file: YamlFile, cause: Any) -> Cause:
    if not isinstance(cause, str):
        raise _wrong(file, (cause,), msg("a cause must be text."))
    said: Any = file.data[cause]
    keys = msg('"step:", "next:" or "hints:"')
    if not isinstance(said, dict) or not said:
        raise _wrong(file, (cause,), msg("nothing is said about this cause."), expected=keys)
    for key in said:
        if key not in _KEYS:
            unknown = msg("there is no key {key}.", key=repr(key))
            raise _wrong(file, (cause, key), unknown, expected=keys)
    levels = _levels(file, cause) if "hints" in said else ()
    return Cause(_line(file, cause, "next"), levels, _line(file, cause, "step"))


def _line(file: YamlFile, cause: str, key: str) -> str:
    """Return the text of a key, "" if it is not there."""
    text = file.data[cause].get(key, "")
    if not isinstance(text, str) or (key in file.data[cause] and not text.strip()):
        what = msg('"{key}:" must be text.', key=key)
        raise _wrong(file, (cause, key), what, next_step=_HOW_TO_WRITE_TEXT)
    return text.strip()


def _levels(file: YamlFile, cause: str) -> tuple[str, ...]:
    levels: Any = file.data[cause]["hints"]
    if not isinstance(levels, list) or not levels:
        raise _wrong(
            file,
            (cause, "hints"),
            msg("the hints must be a list."),
            expected=msg('lines that begin with "- ", gentle hints first'),
        )
    for index, level in enumerate(levels):
        if not isinstance(level, str) or not level.strip():
            raise _wrong(
                file,
                (cause, "hints", index),
                msg("hint {number} must be text.", number=index + 1),
                found=msg("nothing") if level is None else str(level),
                next_step=_HOW_TO_WRITE_TEXT,
            )
    return tuple(level.strip() for level in levels)


def _wrong(
    file: YamlFile,
    loc: Loc,
    what: Text,
    *,
    expected: Text = "",
    found: Text = "",
    next_step: Text = "",
) -> CourseError:
    """Return the error of a mistake in the entry of a cause, which `loc` begins with."""
    where = f"{file.shown}:{file.line(loc)}: {loc[0]}"
    return CourseError(
        msg("{where}: {what}", where=where, what=what),
        expected=expected,
        found=found,
        next_step=next_step,
    )

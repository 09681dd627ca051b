"""causes.yml of a lab: for each cause of a failure, the next step and the hint levels.

    far-jump-missing:
      next: Is the memory that you write to really physical address 0?
      hints:
        - What is at physical 0 when the APs are called?
        - Write through the pointer that mapmem_hphys returned.

Both keys are optional: a check may give the next step itself, and a cause need not have hints.
"""

from __future__ import annotations

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
_KEYS: Final = ("next", "hints")
_HOW_TO_WRITE_TEXT: Final = msg("put it in quotes, or write > before a longer one")


@dataclass(frozen=True, slots=True)
class Cause:
    """What the student is told about a cause.

    Args:
        next: the next thing to look at, unless the check says it; "" if there is none.
        hints: the hint levels, the gentlest first.
    """

    next: str = ""
    hints: tuple[str, ...] = ()


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
            self._causes = MappingProxyType(_read(self._path) if self._path.exists() else {})
        return self._causes

    def of(self, cause: str) -> Cause:
        """Return what is told about `cause`; an empty record if nothing is."""
        return self.load().get(cause, Cause())


def _read(path: Path) -> dict[str, Cause]:
    file = yamlfile.read(path)
    if file.data is None:
        return {}
    if not isinstance(file.data, dict):
        raise CourseError(
            msg("{shown}:1: these are not causes.", shown=file.shown),
            expected="far-jump-missing:\n              hints:\n                - a hint",
        )
    return {str(cause): _cause(file, cause) for cause in file.data}


def _cause(file: YamlFile, cause: Any) -> Cause:
    if not isinstance(cause, str):
        raise _wrong(file, (cause,), msg("a cause is text."))
    said: Any = file.data[cause]
    keys = msg('"next:" or "hints:"')
    if not isinstance(said, dict) or not said:
        raise _wrong(file, (cause,), msg("nothing is said about it."), expected=keys)
    for key in said:
        if key not in _KEYS:
            unknown = msg("there is no key {key}.", key=repr(key))
            raise _wrong(file, (cause, key), unknown, expected=keys)
    next_step = said.get("next", "")
    if not isinstance(next_step, str) or ("next" in said and not next_step.strip()):
        raise _wrong(
            file, (cause, "next"), msg("the next step is not text."), next_step=_HOW_TO_WRITE_TEXT
        )
    levels = _levels(file, cause) if "hints" in said else ()
    return Cause(next_step.strip(), levels)


def _levels(file: YamlFile, cause: str) -> tuple[str, ...]:
    levels: Any = file.data[cause]["hints"]
    if not isinstance(levels, list) or not levels:
        raise _wrong(
            file,
            (cause, "hints"),
            msg("no list of hints."),
            expected=msg('lines that begin with "- ", gentle hints first'),
        )
    for index, level in enumerate(levels):
        if not isinstance(level, str) or not level.strip():
            raise _wrong(
                file,
                (cause, "hints", index),
                msg("hint {number} is not text.", number=index + 1),
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

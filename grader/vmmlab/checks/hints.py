"""hints.yml of a lab: for each cause a ladder of hints, given one rung at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vmmlab.base import yamlfile
from vmmlab.base.errors import CourseError
from vmmlab.base.yamlfile import YamlFile


class Hints:
    """The hints of one lab, read when they are first needed. A missing file holds none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ladders: Mapping[str, tuple[str, ...]] | None = None

    def load(self) -> Mapping[str, tuple[str, ...]]:
        """Return all ladders by cause.

        Raises:
            CourseError: the file is not a mapping of lists of texts.
        """
        if self._ladders is None:
            self._ladders = MappingProxyType(_read(self._path) if self._path.exists() else {})
        return self._ladders

    def first(self, cause: str) -> tuple[str, ...]:
        """The first rung for `cause`, or nothing."""
        return self.load().get(cause, ())[:1]


def _read(path: Path) -> dict[str, tuple[str, ...]]:
    file = yamlfile.read(path)
    if file.data is None:
        return {}
    if not isinstance(file.data, dict):
        raise CourseError(
            f"{file.shown}:1: these are not hints.",
            expected="far-jump-missing:\n              - a hint",
        )
    return {str(cause): _ladder(file, cause) for cause in file.data}


def _ladder(file: YamlFile, cause: Any) -> tuple[str, ...]:
    rungs: Any = file.data[cause]
    where = f"{file.shown}:{file.line((cause,))}: {cause}"
    if not isinstance(cause, str):
        raise CourseError(f"{where}: a cause is text.")
    if not isinstance(rungs, list) or not rungs:
        raise CourseError(
            f"{where}: no list of hints.", expected='lines that begin with "- ", gentle hints first'
        )
    for index, rung in enumerate(rungs):
        if not isinstance(rung, str) or not rung.strip():
            raise CourseError(
                f"{file.shown}:{file.line((cause, index))}: {cause}: hint {index + 1} is not text.",
                found="nothing" if rung is None else str(rung),
                next_step="put it in quotes, or write > before a longer one",
            )
    return tuple(rung.strip() for rung in rungs)

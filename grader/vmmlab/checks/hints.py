"""hints.yml of a lab: for each cause a ladder of hints, given one rung at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vmmlab.errors import CourseError


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
    # Imported here: most runs of a lab without hints never need it, and it takes 40 ms.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        document: Any = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CourseError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CourseError(f"{path}: this is not UTF-8 text.") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = " ".join(str(error.problem or error.context).split())
        raise CourseError(f"{path}:{line}: {problem}.") from None
    except YAMLError as error:
        raise CourseError(f"{path}:1: {' '.join(str(error).split())}.") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise CourseError(
            f"{path}:1: these are not hints.", expected="far-jump-missing:\n              - a hint"
        )
    return {str(cause): _ladder(path, document, cause) for cause in document}


def _ladder(path: Path, document: Any, cause: Any) -> tuple[str, ...]:
    rungs: Any = document[cause]
    line = document.lc.key(cause)[0] + 1
    where = f"{path}:{line}: {cause}"
    if not isinstance(cause, str):
        raise CourseError(f"{where}: a cause is text.")
    if not isinstance(rungs, list) or not rungs:
        raise CourseError(
            f"{where}: no list of hints.", expected='lines that begin with "- ", gentle hints first'
        )
    for index, rung in enumerate(rungs):
        if not isinstance(rung, str) or not rung.strip():
            line = document[cause].lc.item(index)[0] + 1
            raise CourseError(
                f"{path}:{line}: {cause}: hint {index + 1} is not text.",
                found="nothing" if rung is None else str(rung),
                next_step="put it in quotes, or write > before a longer one",
            )
    return tuple(str(rung).strip() for rung in rungs)

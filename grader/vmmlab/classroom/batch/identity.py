"""What a verdict depends on besides the submission: the grader, the course and the tools.

Each is a hash. A result is still valid, and two workers agree, while all three are the same.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vmmlab.base.errors import InfraError
from vmmlab.base.workspacefile import PREBUILT_FOLDER
from vmmlab.course.model import Course
from vmmlab.host.versions import tool_versions
from vmmlab.images import toolchain

_PACKAGE: Final = Path(__file__).resolve().parents[2]
_PASSED_OVER: Final = frozenset({"__pycache__", "build", ".pytest_cache", "locale", ".git"})


def of(course: Course) -> str:
    """Return the hash of this grader, a course and this host's tools.

    Args:
        course: the course.

    Raises:
        InfraError: a tool is missing.
    """
    parts = (_hash_of(_PACKAGE), *map(_hash_of, _folders(course)), *versions().items())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@functools.cache
def versions() -> dict[str, str]:
    """Return the version of everything that makes or runs an image.

    Raises:
        InfraError: gcc, binutils or QEMU is missing.
    """
    found = {
        "python": ".".join(map(str, sys.version_info[:2])),
        "qemu": tool_versions().qemu_text,
    }
    for compiler in toolchain.COMPILERS:
        try:
            found.update(toolchain.find(compiler).versions())
        except InfraError:
            if compiler == toolchain.COMPILERS[0]:
                raise
    return found


def _folders(course: Course) -> tuple[Path, ...]:
    top = course.root
    given = top / PREBUILT_FOLDER
    return (top / "course.yml", course.labs_dir, course.tree, course.reference_dir, given)


def _hash_of(top: Path) -> str:
    """Return the hash of a file, or of all regular files below a folder with their names."""
    hasher = hashlib.sha256()
    for path in _files(top):
        data = path.read_bytes()
        hasher.update(f"{path.relative_to(top)}\0{len(data)}\0".encode(errors="surrogateescape"))
        hasher.update(data)
    return hasher.hexdigest()


def _files(top: Path) -> Iterator[Path]:
    if top.is_file():
        yield top
    elif top.is_dir():
        for path in sorted(top.iterdir()):
            if path.name not in _PASSED_OVER and not path.is_symlink():
                yield from _files(path)

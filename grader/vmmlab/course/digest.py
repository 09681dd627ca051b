"""Hashes that say what was graded, and by which version of the course."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from vmmlab.course.find import COURSE_FILE
from vmmlab.course.model import Course


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return for each lab the SHA-256 of its files and their names.

    Args:
        files: content by name, `lab3/ap_start.c`.
    """
    found: dict[str, hashlib._Hash] = {}
    for name in sorted(files):
        lab = found.setdefault(name.partition("/")[0], hashlib.sha256())
        data = files[name]
        lab.update(f"{name}\0{len(data)}\0".encode() + data)
    return {lab: one.hexdigest() for lab, one in found.items()}


def file_digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file's content, by name."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def course_version(course: Course, lab: str) -> str:
    """Return the SHA-256 of what decides on a lab: course.yml, checks, probes, causes.

    Args:
        course: the course.
        lab: the lab.
    """
    hasher = hashlib.sha256()
    for path in (course.root / COURSE_FILE, *_deciding(course.labs_dir / lab)):
        data = path.read_bytes()
        hasher.update(f"{path.relative_to(course.root)}\0{len(data)}\0".encode() + data)
    return hasher.hexdigest()


def _deciding(folder: Path) -> list[Path]:
    places = (folder, folder / "hidden")
    kinds = ("*.py", "*.yml")
    return sorted(path for place in places for kind in kinds for path in place.glob(kind))

"""Autograders to upload: for Gradescope, PrairieLearn, Autolab and Artemis, with the open checks.

Sources: gradescope-autograders.readthedocs.io/en/latest/specs; the page "External grading" of
PrairieLearn; the "Guide for Lab Authors" of Autolab; the build plans of ls1intum/Artemis for C.
"""

from __future__ import annotations

import io
import json
import tarfile
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.course.model import Course, Lab

_FILES: Final = Path(__file__).with_name("files")
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_NOT_PACKED: Final = frozenset({"__pycache__", ".git", ".venv", "build"})
_SPACE: Final = uuid.UUID("6f6f0d6c-6b0e-5b1e-9c55-5d1f0a3c2a11")
_MAX_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class Order:
    """What to make a bundle of.

    Attributes:
        course: a release; what it holds goes to the platform.
        lab: the lab to grade.
        image: a container image in which `vmmlab` and this course are installed, for platforms
            that start one.
        no_sandbox: grade even if no sandbox is available there.
    """

    course: Course
    lab: Lab
    image: str = "vmmlab-grader"
    no_sandbox: bool = False


def gradescope(order: Order) -> bytes:
    """Return a zip file with setup.sh and run_autograder at its root, and the release.

    Raises:
        UsageError: the course is no release: it has solutions or hidden checks.
    """
    _must_be_a_release(order.course)
    files = {
        "setup.sh": _script("gradescope-setup", order),
        "run_autograder": _script("gradescope-run", order),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(_entry(name, 0o755), data)
        for path in _packed(order.course.root):
            name = f"release/{path.relative_to(order.course.root).as_posix()}"
            archive.writestr(_entry(name, path.stat().st_mode & 0o755), path.read_bytes())
    return out.getvalue()


def prairielearn(order: Order) -> bytes:
    """Return a zip file with the folder of a question whose external grader runs in the image."""
    name = order.lab.name
    info = {
        "uuid": str(uuid.uuid5(_SPACE, f"{order.course.cohort}/{name}")),
        "title": f"{name}: {order.lab.title}",
        "topic": "VMM",
        "type": "v3",
        "gradingMethod": "External",
        "externalGradingOptions": {
            "enabled": True,
            "image": order.image,
            "entrypoint": "/grade/tests/run.sh",
            "timeout": _MAX_SECONDS,
        },
    }
    wanted = ", ".join(Path(path).name for path in order.lab.files)
    page = (
        "<pl-question-panel>\n"
        f"  <p>{name}</p>\n"
        f'  <pl-file-upload file-names="{wanted}"></pl-file-upload>\n'
        "</pl-question-panel>\n"
        "<pl-submission-panel>\n"
        "  <pl-external-grader-results></pl-external-grader-results>\n"
        "  <pl-file-preview></pl-file-preview>\n"
        "</pl-submission-panel>\n"
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_entry(f"{name}/info.json", 0o644), json.dumps(info, indent=2) + "\n")
        archive.writestr(_entry(f"{name}/question.html", 0o644), page)
        run = _script("prairielearn-run", order)
        archive.writestr(_entry(f"{name}/tests/run.sh", 0o755), run)
    return out.getvalue()


def autolab(order: Order) -> bytes:
    """Return a tar file with autograde-Makefile and autograde.tar; students hand in a tar file."""
    makefile = "all:\n\ttar xf autograde.tar\n\tbash driver.sh handin.tar\n"
    inner = _tar({"driver.sh": (0o755, _script("autolab-driver", order))})
    return _tar({"autograde-Makefile": (0o644, makefile.encode()), "autograde.tar": (0o644, inner)})


def artemis(order: Order) -> bytes:
    """Return a tar file with the script of a build plan, which runs in the image."""
    return _tar({"build.sh": (0o755, _script("artemis-build", order))})


BUNDLES: Final[Mapping[str, Callable[[Order], bytes]]] = MappingProxyType(
    {
        "gradescope-bundle": gradescope,
        "prairielearn-bundle": prairielearn,
        "autolab-bundle": autolab,
        "artemis-bundle": artemis,
    }
)
"""The bundles by name."""


def _must_be_a_release(course: Course) -> None:
    secret = [course.reference_dir, *course.labs_dir.glob("*/hidden")]
    found = next((path for path in secret if path.exists()), None)
    if found is not None:
        raise UsageError(
            msg("{path} would be uploaded.", path=found),
            expected=msg("a release: no solutions, no hidden checks"),
            next_step=msg("make one with vmmlab release, and name its folder"),
        )


def _script(name: str, order: Order) -> bytes:
    text = (_FILES / f"{name}.sh.txt").read_text(encoding="utf-8")
    sandbox = " --no-sandbox" if order.no_sandbox else ""
    return text.replace("@LAB@", order.lab.name).replace(" @SANDBOX@", sandbox).encode()


def _packed(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).parts
        if path.is_file() and not path.is_symlink() and not _NOT_PACKED & set(inside):
            yield path


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.external_attr = (0o100000 | mode) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _tar(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, (mode, data) in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = mode, len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()

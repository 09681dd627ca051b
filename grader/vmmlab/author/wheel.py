"""Packs a release into a wheel, so that pip or pipx installs the command and the course."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vmmlab.author.release import release
from vmmlab.base.errors import InfraError, UsageError, os_reason
from vmmlab.base.message import msg
from vmmlab.base.scratch import scratch_folder
from vmmlab.base.text import clean_line
from vmmlab.course.find import COURSE_FILE
from vmmlab.course.materials import BOOK
from vmmlab.course.model import Course

_PACKAGE: Final = Path("grader") / "vmmlab"
_DATA: Final = (COURSE_FILE, "labs", "docs", "vmm-skeleton", BOOK)
"""What `vmmlab.course.find` looks for in the folder `data` of the installed package."""
_MANUAL: Final = """
[tool.hatch.build.targets.wheel.shared-data]
"{name}" = "share/man/man1/{name}"
"""
_BUILD_S: Final = 300.0


def wheel(
    course: Course,
    dest: Path,
    cohorts: Sequence[str] = (),
    until: str = "",
    man: Path | None = None,
) -> Path:
    """Build a wheel whose data is a release of `course`, and return its path.

    Args:
        course: the instructor's course, with its reference.
        dest: the folder for the wheel; made if it does not exist.
        cohorts: as for `vmmlab.author.release.release`.
        until: as for `vmmlab.author.release.release`.
        man: the manual page, to be installed with the command; None for none.

    Raises:
        UsageError: the course is a release itself, or this vmmlab is not in a clone.
        CourseError: the course is at fault.
        InfraError: the disk, a tool or pip is at fault.
    """
    with scratch_folder("wheel") as scratch:
        made = release(course, scratch / "release", cohorts, until).folder
        return pack(made, dest, man)


def pack(made: Path, dest: Path, man: Path | None = None) -> Path:
    """Build a wheel of the release in `made`, which is changed, and return the path of the wheel.

    Args:
        made: a release that includes vmmlab.
        dest: the folder for the wheel; made if it does not exist.
        man: the manual page, to be installed with the command; None for none.

    Raises:
        UsageError: the release does not include vmmlab.
        InfraError: the disk or pip is at fault.
    """
    package = made / _PACKAGE
    if not package.is_dir():
        raise UsageError(
            msg("a wheel holds vmmlab itself, and this vmmlab is not in a clone."),
            expected=msg("the vmmlab of the kit that has the course"),
            next_step=msg("run .venv/bin/vmmlab of the clone"),
        )
    try:
        (package / "data").mkdir()
        for name in filter(lambda name: (made / name).exists(), _DATA):
            shutil.move(made / name, package / "data" / name)
        if man is not None:
            shutil.copy(man, made / man.name)
            with (made / "pyproject.toml").open("a", encoding="utf-8") as file:
                file.write(_MANUAL.format(name=man.name))
        out = made / "dist"
        _pip_wheel(made, out)
        (built,) = out.glob("*.whl")
        dest.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(built, dest / built.name))
    except OSError as error:
        raise InfraError(
            msg("the wheel could not be written to {dest}.", dest=dest),
            found=os_reason(error),
            next_step=msg("fix this and try again"),
        ) from error


def _pip_wheel(made: Path, out: Path) -> None:
    """Run pip, whose build backend comes from the package index."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--wheel-dir", str(out), str(made)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_BUILD_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InfraError(
            msg("pip did not finish within {limit_s:g} s.", limit_s=_BUILD_S),
            next_step=msg("can this machine reach the package index?"),
        ) from error
    if done.returncode:
        raise InfraError(
            msg("pip could not build the wheel."),
            found=clean_line(done.stderr.strip().rpartition("\n")[2]),
            next_step=msg("can this machine reach the package index?"),
        )

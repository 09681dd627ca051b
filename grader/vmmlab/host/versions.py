"""Which QEMU is used, and whether the project was tested with its version."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vmmlab.base.errors import InfraError
from vmmlab.base.message import msg

TRIED = ((7, 2), (10, 0))
"""Major versions on which the whole test suite was run."""
QEMU_VARIABLE = "VMMLAB_QEMU"
"""The environment variable that names another QEMU than the one on PATH."""
_DEFAULT = "qemu-system-x86_64"


@dataclass(frozen=True)
class ToolVersions:
    """Versions for reports.

    Attributes:
        qemu: such as (7, 2, 22).
        qemu_text: the first line that `--version` prints.
        qemu_path: the executable.
        tried: whether this QEMU is one of those in `TRIED`.
        qmp: version of the Python package `qemu.qmp`.
    """

    qemu: tuple[int, int, int]
    qemu_text: str
    qemu_path: Path
    tried: bool
    qmp: str


def qemu_path() -> Path:
    """Return the QEMU to use: $VMMLAB_QEMU, else `qemu-system-x86_64` on PATH.

    Raises:
        InfraError: there is none.
    """
    wanted = os.environ.get(QEMU_VARIABLE, "") or _DEFAULT
    found = shutil.which(wanted)
    if found is None:
        raise InfraError(
            msg("QEMU is not installed."),
            expected=msg("an executable {wanted}", wanted=wanted),
            found=msg("none on PATH"),
            next_step=msg(
                "Install qemu-system-x86 (Debian, Ubuntu: apt install qemu-system-x86), "
                "or run `vmmlab doctor`."
            ),
        )
    return Path(found)


def parse_version(text: str) -> tuple[int, int, int]:
    """Return the version in the output of `qemu-system-x86_64 --version`.

    Raises:
        InfraError: there is no version in it.
    """
    match = re.search(r"version (\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None:
        raise InfraError(
            msg("QEMU did not report its version."),
            expected=msg('"QEMU emulator version 7.2…"'),
            found=text.strip()[:200] or msg("nothing"),
            next_step=msg(
                "Check ${qemu_variable} and that QEMU runs.", qemu_variable=QEMU_VARIABLE
            ),
        )
    return int(match[1]), int(match[2]), int(match[3] or 0)


def is_tried(version: tuple[int, ...]) -> bool:
    """Return whether the test suite was run on this version."""
    return tuple(version[:2]) in TRIED


def version_of(qemu: Path) -> tuple[int, int, int]:
    """Return the version of a QEMU (asks each executable only once).

    Raises:
        InfraError: it does not run.
    """
    return _versions(qemu, qemu.stat().st_mtime_ns).qemu


def tool_versions() -> ToolVersions:
    """Return the versions of QEMU and its Python package (asks each executable only once).

    Raises:
        InfraError: QEMU is missing or does not run.
    """
    path = qemu_path()
    return _versions(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _versions(path: Path, mtime_ns: int) -> ToolVersions:
    try:
        done = subprocess.run(
            [str(path), "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InfraError(
            msg("QEMU does not run: {error}", error=str(error)),
            found=str(path),
            next_step=msg("Run it yourself with --version."),
        ) from error
    version = parse_version(done.stdout + done.stderr)
    return ToolVersions(
        qemu=version,
        qemu_text=done.stdout.splitlines()[0] if done.stdout else "",
        qemu_path=path,
        tried=is_tried(version),
        qmp=importlib.metadata.version("qemu.qmp"),
    )

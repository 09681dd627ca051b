"""The course's secret, from which official seeds and the cohort of hidden checks follow.

It is one line in a file outside the course, and in no other place: not in course.yml, in a release,
in a report or in a message.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vmmlab.base.errors import InfraError, UsageError, os_reason
from vmmlab.base.files import staged
from vmmlab.base.message import Text, msg
from vmmlab.base.workspacefile import WORKSPACE_FILE
from vmmlab.course.find import COURSE_FILE

_LINE: Final = re.compile(r"vmmlab-secret-1 ([0-9a-f]{64})\n")
_SEED_BITS: Final = 62  # as a number of JSON, which many readers take for 64 bits with a sign
_OTHERS: Final = 0o077
_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that was read from its file.

    Args:
        key: 64 hexadecimal digits; neither `repr` nor `str` shows them.
    """

    key: str = field(repr=False)

    def seed(self, lab: str, round: str) -> int:
        """Return the official seed of a lab.

        Args:
            lab: for example `lab3`.
            round: names the occasion, for example `2027-retake`; another round has another seed.
        """
        return int.from_bytes(self._hash("seed", lab, round)[:8], "big") >> (64 - _SEED_BITS)

    def label(self, lab: str, round: str) -> str:
        """Return what a student may know of an official grading; the seed does not follow."""
        return f"{round}-{self._hash('label', lab, round)[:4].hex()}"

    def _hash(self, *words: str) -> bytes:
        text = "\0".join(("vmmlab official 1", *words)).encode()
        return hmac.digest(bytes.fromhex(self.key), text, hashlib.sha256)


def make(path: Path, course: Path | None) -> None:
    """Write a new secret to a file that only its owner can read.

    Args:
        path: a file that does not exist.
        course: the folder of the course, in which it must not be; None if there is none here.

    Raises:
        UsageError: the file exists, or lies in a course, a release or a workspace.
        InfraError: it cannot be written.
    """
    _must_be_outside(path, [] if course is None else [course])
    if path.exists() or path.is_symlink():
        raise UsageError(
            msg("{path} already exists; nothing was changed.", path=path),
            next_step=msg("another secret gives other seeds: choose another name for it"),
        )
    data = f"vmmlab-secret-1 {secrets.token_hex(32)}\n".encode()
    try:
        with staged(path, data, mode=_MODE, durable=True) as put_in_place:
            put_in_place()
    except OSError as error:
        raise InfraError(
            msg("the secret could not be written to {path}.", path=path), found=os_reason(error)
        ) from None


def read(path: Path, outside: Iterable[Path]) -> Secret:
    """Return the secret in a file.

    Args:
        path: the file that `make` has written.
        outside: folders in which it must not be: the course's and the submission's.

    Raises:
        UsageError: it is in one of them, others can read it, or it is not a secret.
    """
    _must_be_outside(path, outside)
    try:
        with path.open(encoding="ascii") as file:
            found = os.fstat(file.fileno())
            if stat.S_ISREG(found.st_mode) and found.st_mode & _OTHERS:
                raise UsageError(
                    msg("others can read the secret in {path}.", path=path),
                    expected=msg("permissions {mode}", mode="0600"),
                    found=msg("permissions {mode}", mode=f"{stat.S_IMODE(found.st_mode):04o}"),
                    next_step=f"chmod 600 {path}",
                )
            line = _LINE.fullmatch(file.read(200))
    except (OSError, UnicodeDecodeError) as error:
        why: Text = os_reason(error) if isinstance(error, OSError) else msg("no text")
        raise UsageError(msg("{path} cannot be read.", path=path), found=why) from None
    if line is None:
        raise UsageError(
            msg("{path} is not a secret.", path=path),
            expected=msg("the single line that `vmmlab secret new` writes"),
        )
    return Secret(line[1])


def _must_be_outside(path: Path, folders: Iterable[Path]) -> None:
    """Raise UsageError if a file lies where it could be given away."""
    real = path.resolve()
    named = {folder.resolve() for folder in folders}
    for folder in real.parents:
        marks = (folder / COURSE_FILE, folder / WORKSPACE_FILE)
        if folder in named or any(mark.is_file() for mark in marks):
            raise UsageError(
                msg("the secret may not be in {folder}.", folder=folder),
                expected=msg("a file outside every course, release, workspace and submission"),
                found=str(path),
                next_step=msg("keep it where only you can read it, such as your home directory"),
            )

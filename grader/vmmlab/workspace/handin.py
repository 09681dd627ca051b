"""A hand-in: a small archive of the files that course.yml lists, with a manifest; made and read.

The same files make the same archive, byte by byte. What an archive says about itself is shown to a
reader, and nothing else depends on it.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vmmlab import __version__
from vmmlab.base import archive
from vmmlab.base.box import BoxError
from vmmlab.base.errors import SubmissionError, UsageError
from vmmlab.base.message import Text, listed, msg
from vmmlab.base.text import clean_line
from vmmlab.course.model import Course
from vmmlab.course.submission import Submission, take, take_files
from vmmlab.workspace.model import Workspace

MANIFEST: Final = "vmmlab-handin.json"
"""The file at the top of the archive that says what is in it."""

FOLDER: Final = "handin"
"""The folder of a workspace in which hand-ins are put."""

_SHOWN: Final = 80
_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the oldest that a zip archive can have
_MODE: Final = 0o100644 << 16
_Name = Annotated[str, Field(max_length=200)]


class Manifest(BaseModel):
    """What an archive says about itself.

    Attributes:
        version: of this format.
        course: the title of the course.
        cohort: the cohort of the workspace.
        vmmlab: the version that made the archive.
        student: the name given when the workspace was made.
        labs: the labs that are handed in.
        files: the SHA-256 of each file, by path.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[Literal[1], Field(alias="schema")] = 1
    course: _Name
    cohort: _Name
    vmmlab: _Name
    student: _Name
    labs: Annotated[tuple[_Name, ...], Field(max_length=100)]
    files: Annotated[dict[_Name, _Name], Field(max_length=1000)]


def pack(here: Workspace, course: Course, labs: Sequence[str]) -> tuple[bytes, Submission]:
    """Return a hand-in of some labs of a workspace, and the files in it.

    Args:
        here: the workspace.
        course: the course.
        labs: the labs.

    Raises:
        UsageError: no files are handed in for these labs.
        SubmissionError: some of the files are missing or could not be graded; it names them all.
    """
    taken = take(here.root, labs, course, own=not here.copied)
    if not taken.files:
        raise UsageError(
            msg("there is nothing to hand in for {labs}.", labs=", ".join(labs)),
            expected=msg(
                "one of {labs}", labs=", ".join(lab.name for lab in course.open_labs if lab.files)
            ),
        )
    manifest = Manifest(
        course=course.title,
        cohort=here.cohort.name,
        vmmlab=__version__,
        student=here.student,
        labs=tuple(labs),
        files={path: _digest(data) for path, data in taken.files.items()},
    )
    text = json.dumps(manifest.model_dump(by_alias=True), indent=1, ensure_ascii=False)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for path, data in {MANIFEST: f"{text}\n".encode(), **taken.files}.items():
            entry = zipfile.ZipInfo(path, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, on every host
            entry.external_attr = _MODE
            packed.writestr(entry, data)
    return made.getvalue(), taken


def unpack(path: Path, labs: Sequence[str], course: Course) -> Submission:
    """Return the files of some labs in a hand-in, or in an archive that a student packed by hand.

    Args:
        path: the archive.
        labs: the labs.
        course: the course.

    Raises:
        SubmissionError: it is no archive that may be used, its files are not those that its
            manifest names, or some of them cannot be graded.
        UsageError: the course has no such lab.
    """
    files = dict(_files_in(path))
    manifest = manifest_of(files)
    files.pop(MANIFEST, None)
    if manifest is None:
        return take_files(_without_folder(files, course), path, labs, course)
    _must_fit(manifest, files, path)
    taken = take_files(files, path, labs, course)
    note = msg(
        "the archive says: {student}, cohort {cohort}, vmmlab {version}",
        student=clean_line(manifest.student, _SHOWN),
        cohort=clean_line(manifest.cohort, _SHOWN),
        version=clean_line(manifest.vmmlab, _SHOWN),
    )
    return Submission(taken.files, (note, *taken.notes))


def manifest_of(files: Mapping[str, bytes]) -> Manifest | None:
    """Return the manifest among the files of an archive; None if there is none.

    Raises:
        SubmissionError: it cannot be read.
    """
    if (data := files.get(MANIFEST)) is None:
        return None
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise SubmissionError(
            msg("{manifest} in the archive cannot be read.", manifest=MANIFEST),
            expected=msg("the file as vmmlab handin wrote it"),
            found=clean_line(str(error.errors(include_url=False)[0]["msg"]), _SHOWN),
            next_step=msg("make the archive again: vmmlab handin"),
        ) from None


def _files_in(path: Path) -> Mapping[str, bytes]:
    """Return the files of an archive.

    Raises:
        SubmissionError: it cannot be read, is too large, or something in it is refused.
    """
    try:
        found = archive.read(path)
    except BoxError as error:
        raise _not_usable(path, error.message, error.expected) from None
    if found.refused:
        raise _not_usable(path, listed([one.line for one in found.refused[:10]], "\n            "))
    return found.files


def _not_usable(path: Path, found: Text, expected: Text = "") -> SubmissionError:
    return SubmissionError(
        msg("the archive {name} cannot be used.", name=clean_line(path.name, _SHOWN)),
        expected=expected or msg("a zip or tar archive with plain files and folders"),
        found=found,
        next_step=msg("pack it again: vmmlab handin makes one; nothing was unpacked"),
    )


def _must_fit(manifest: Manifest, files: Mapping[str, bytes], path: Path) -> None:
    """Raise SubmissionError if the files are not those that the manifest names."""
    wrong = [
        msg("{name}: is missing", name=clean_line(name, _SHOWN))
        if name not in files
        else msg("{name}: was changed", name=clean_line(name, _SHOWN))
        for name, digest in manifest.files.items()
        if name not in files or _digest(files[name]) != digest
    ]
    if wrong:
        raise SubmissionError(
            msg("the archive {path} is not as it was made.", path=clean_line(path.name, _SHOWN)),
            expected=msg("the files that its {manifest} names", manifest=MANIFEST),
            found=listed(wrong[:10], "\n            "),
            next_step=msg("make the archive again: vmmlab handin"),
        )


def _without_folder(files: Mapping[str, bytes], course: Course) -> Mapping[str, bytes]:
    """Return the files without the one folder around them, if there is one and it is no lab's."""
    tops = {path.partition("/")[0] for path in files}
    if len(tops) != 1 or tops & set(course.labs) or not all("/" in path for path in files):
        return files
    return {path.partition("/")[2]: data for path, data in files.items()}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

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
from vmmlab.base.box import SUBMISSION, Box, BoxError, Unusable, refusal, too_large
from vmmlab.base.errors import SubmissionError, UsageError
from vmmlab.base.message import Text, listed, msg
from vmmlab.base.text import clean_line
from vmmlab.course.model import Course
from vmmlab.course.submission import Submission, take, take_files
from vmmlab.course.upload import WORKSHEETS, Upload, files_of
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

    The second may have the files in their labs' folders, in a folder around these, or on their own:
    `vmmlab.course.upload` finds them, as it does in the uploads of a class.

    Args:
        path: the archive.
        labs: the labs.
        course: the course.

    Raises:
        SubmissionError: it is no archive that may be used, its files are not those that its
            manifest names, or some of them cannot be graded.
        UsageError: the course has no such lab.
    """
    try:
        with archive.opened(path) as box:
            _must_be_harmless(box, path)
            if MANIFEST not in box.names:
                return _packed_by_hand(files_of(box, course, labs), path, labs, course)
            files = {name: box.read(name) for name in box.names}
    except BoxError as error:
        raise _not_usable(path, error.message, error.expected) from None
    except Unusable as error:
        raise _not_usable(path, error.why) from None
    manifest = _manifest(files.pop(MANIFEST))
    _must_fit(manifest, files, path)
    taken = take_files(files, path, labs, course)
    note = msg(
        "the archive says: {student}, cohort {cohort}, vmmlab {version}",
        student=clean_line(manifest.student, _SHOWN),
        cohort=clean_line(manifest.cohort, _SHOWN),
        version=clean_line(manifest.vmmlab, _SHOWN),
    )
    return Submission(taken.files, (note, *taken.notes))


def _packed_by_hand(upload: Upload, path: Path, labs: Sequence[str], course: Course) -> Submission:
    """Return the files of some labs in an archive without a manifest.

    Raises:
        SubmissionError: some of them cannot be graded; it says why those that were found cannot.
    """
    files = {name: data for name, data in upload.files.items() if not name.endswith(WORKSHEETS)}
    unused = [one.line for one in upload.refused]
    others = [file for lab in course.labs.values() for file in lab.files]
    extra = [
        one for one in upload.left_out if not f"/{one}".endswith(tuple(f"/{o}" for o in others))
    ]
    return take_files(files, path, labs, course, unused=unused, extra=extra)


def _must_be_harmless(box: Box, path: Path) -> None:
    """Raise SubmissionError for an archive with links, bad names, or more than a student needs."""
    wrong = [one.line for one in box.refused]
    large = [name for name, one in box.names.items() if one.size > SUBMISSION.file]
    wrong += [refusal(name, too_large(SUBMISSION.file)).line for name in large]
    if wrong:
        raise _not_usable(path, listed(wrong[:10], "\n            "))


def _manifest(data: bytes) -> Manifest:
    """Return the manifest of an archive.

    Raises:
        SubmissionError: it cannot be read.
    """
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise SubmissionError(
            msg("{manifest} in the archive cannot be read.", manifest=MANIFEST),
            expected=msg("the file as vmmlab handin wrote it"),
            found=clean_line(str(error.errors(include_url=False)[0]["msg"]), _SHOWN),
            next_step=msg("make the archive again: vmmlab handin"),
        ) from None


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


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

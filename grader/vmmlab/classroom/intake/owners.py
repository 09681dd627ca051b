"""Finds out whose each entry of a class's folder or archive is, by the names that platforms give.

Sources: mod/assign/classes/downloader.php and feedback/file/importziplib.php of moodle/moodle;
lib/content_zipper.rb of instructure/canvas-lms; submission_metadata.yml of Gradescope's exports.

Moodle: `Full name_123_assignsubmission_file/…` (before 4.1 with `_` at the end), or without
folders `Full name_123_assignsubmission_file_ap_start.c`. With blind marking the name is
`Participant`, in the downloader's language. Of a group it is the group's name with the
group's number; without a group there is no number. No full name has an underscore.
Canvas: `familygiven_LATE_501_9001_ap_start.c`, with the numbers of the user and of the file;
anonymous: `anon_aB3dE_9001_ap_start.c`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from vmmlab.base.archive import SUFFIXES, named_archive
from vmmlab.base.box import Refused, refusal
from vmmlab.base.message import EMPTY, Text, msg
from vmmlab.classroom.intake.gradescope import METADATA, named
from vmmlab.classroom.intake.model import Platform
from vmmlab.classroom.intake.source import Piece, Source
from vmmlab.classroom.roster import with_number

_MOODLE: Final = re.compile(
    r"(?P<name>[^_]*)(?:_(?P<number>\d+))?_assign(?:submission|feedback)_(?P<plugin>[a-z]+)"
    r"(?:_(?P<rest>.*))?",
    re.DOTALL,
)
_CANVAS: Final = re.compile(
    r"(?:(?P<name>.*?)_)??(?:(?P<late>LATE)_)?(?P<number>\d+|anon_\w+?)_"
    r"(?:(?P<file>\d+)_(?P<rest>.+)|(?P<online>text|link)\.html)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Owner:
    """A student, or a group, who has handed something in.

    Attributes:
        key: what the platform calls the submission.
        name: the name of the person or the group, as the platform has it.
        hints: ids and addresses that the platform says.
        number: the platform's number for the person or the group; "" if it says none.
        group: members have the same; "" for one person.
        late: whether the platform says that it is late; None: it does not say.
        received: when it was received; None: the platform does not say.
        pieces: what belongs to it.
        problem: why it cannot be opened.
    """

    key: str
    name: str
    hints: tuple[str, ...] = ()
    number: str = ""
    group: str = ""
    late: bool | None = None
    received: datetime | None = None
    pieces: tuple[Piece, ...] = ()
    problem: Text = EMPTY

    @property
    def shown(self) -> str:
        """The name for people; with blind marking the number is a part of it."""
        return with_number(self.name, self.number)


@dataclass(frozen=True, slots=True)
class Owners:
    """Everyone who has handed in, and the files that have no owner."""

    platform: Platform
    owners: tuple[Owner, ...]
    others: tuple[Refused, ...] = field(default=())


def owners_of(source: Source, platform: Platform | None = None) -> Owners:
    """Return who has handed in, by the names at the top.

    Args:
        source: the class's folder or archive, below folders that only wrap it.
        platform: where it comes from; None: its names say so.

    Raises:
        UsageError: Gradescope's list cannot be read.
    """
    if platform is None:
        platform = recognised(source)
    if platform == "gradescope":
        return _gradescope(source)
    find = {"moodle": _moodle, "canvas": _canvas}.get(platform, _folders)
    owners: dict[str, Owner] = {}
    others: list[Refused] = []
    for name, is_folder in source.top.items():
        found = find(name, is_folder)
        if isinstance(found, Refused):
            others.append(found)
            continue
        before = owners.get(found.key, replace(found, pieces=()))
        pieces = before.pieces + found.pieces
        if before.pieces and found.pieces and not all(piece.name for piece in pieces):
            owners[name] = replace(found, key=name)  # a second folder: another submission
            continue
        owners[found.key] = replace(before, pieces=pieces)
    tops = {piece.top for owner in owners.values() for piece in owner.pieces}
    for one in source.refused:
        if "/" not in one.name and platform in ("folder", "nbgrader"):
            owners[one.name] = Owner(one.name, one.name, (one.name,), problem=one.why)
        elif one.name.partition("/")[0] not in tops:
            others.append(one)
    return Owners(platform, tuple(owners.values()), tuple(others))


def recognised(source: Source) -> Platform:
    """Return which platform has given the names at the top."""
    if METADATA in source.top:
        return "gradescope"
    names = list(source.top)
    if any(_MOODLE.fullmatch(name) for name in names):
        return "moodle"
    files = [name for name, is_folder in source.top.items() if not is_folder]
    like_canvas = [name for name in files if _CANVAS.fullmatch(name)]
    return "canvas" if len(like_canvas) * 2 > len(names) else "folder"


def _moodle(name: str, is_folder: bool) -> Owner | Refused:
    match = _MOODLE.fullmatch(name)
    if match is None:
        return refusal(name, msg("is not named as Moodle names submissions"))
    person, number, rest = match["name"].strip(), match["number"] or "", match["rest"] or ""
    if match["plugin"] != "file" and not is_folder:
        return refusal(name, msg("is no submitted file"))
    pieces: tuple[Piece, ...] = (Piece(name, "" if is_folder else rest or name),)
    if match["plugin"] != "file":
        pieces = ()  # text that was typed into Moodle: it cannot be graded
    return Owner(number or person, person, (), number, pieces=pieces)


def _canvas(name: str, is_folder: bool) -> Owner | Refused:
    match = None if is_folder else _CANVAS.fullmatch(name)
    if match is None:
        return refusal(name, msg("is not named as Canvas names submissions"))
    number = match["number"]
    anonymous = number.startswith("anon_")
    return Owner(
        number,
        (match["name"] or "") if not anonymous else number.replace("_", " "),
        (),
        "" if anonymous else number,
        late=match["late"] is not None,
        pieces=(Piece(name, match["rest"]),) if match["rest"] else (),
    )


def _folders(name: str, is_folder: bool) -> Owner | Refused:
    if is_folder and not name.startswith("."):
        return Owner(name, name, (name,), pieces=(Piece(name),))
    if named_archive(name):
        suffix = next(one for one in SUFFIXES if name.lower().endswith(one))
        stem = name[: -len(suffix)]
        return Owner(name, stem, (stem,), pieces=(Piece(name, name),))
    return refusal(name, msg("has no owner"))


def _gradescope(source: Source) -> Owners:
    entries = named(source.read(METADATA))
    owners: list[Owner] = []
    others: list[Refused] = []
    for key, entry in entries.items():
        pieces = (Piece(key),) if source.top.get(key) else ()
        group = key if len(entry.people) > 1 else ""
        for one in entry.people:
            hints = tuple(filter(None, (one.sid, one.email)))
            known = hints[0] if hints else one.name
            owners.append(
                Owner(f"{key}/{known}", one.name, hints, "", group, None, entry.received, pieces)
            )
        if pieces and not entry.people:
            others.append(refusal(key, msg("{metadata} names nobody for it", metadata=METADATA)))
    others += [
        refusal(name, msg("is not in {metadata}", metadata=METADATA))
        for name in source.top
        if name not in {METADATA, *entries}
    ]
    return Owners("gradescope", tuple(owners), tuple(others))


def wrapped(source: Source, like_a_submission: Iterable[str]) -> Source:
    """Return what lies below folders that only wrap a class's submissions.

    Args:
        source: a folder or an archive.
        like_a_submission: names at the top of one student's submission.
    """
    inside = set(like_a_submission)
    while True:
        tops = [name for name in source.top if not name.startswith((".", "__MACOSX"))]
        if len(tops) != 1 or not source.top[tops[0]] or recognised(source) != "folder":
            return source
        children = source.children(tops[0])
        if inside & children.keys() or not _of_a_class(children, source.packed):
            return source
        source = source.below(tops[0])


def _of_a_class(names: Mapping[str, bool], packed: bool) -> bool:
    """Return whether names are those of many students rather than of one student's files.

    Args:
        names: the names in a folder, and whether each is a folder.
        packed: it is a folder in an archive, where a folder around everything is usual.
    """
    if METADATA in names or any(_MOODLE.fullmatch(n) or _CANVAS.fullmatch(n) for n in names):
        return True
    folders = [name for name, is_folder in names.items() if is_folder]
    archives = [name for name, is_folder in names.items() if not is_folder and named_archive(name)]
    return len(folders) + len(archives) >= (1 if packed and folders else 2)

"""Finds the files of labs in what a student has uploaded.

Students hand in `lab3/ap_start.c`, a folder around it, `ap_start.c` alone, or an archive of one of
these, and platforms rename files that come twice. Whatever is found gets the name that course.yml
has for it; nothing is guessed where two files could be meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from vmmlab.base import archive
from vmmlab.base.box import SUBMISSION, Box, BoxError, Limits, Refused, Unusable, refusal, too_large
from vmmlab.base.message import msg
from vmmlab.course.likeness import packed_otherwise
from vmmlab.course.model import Course
from vmmlab.course.submission import MAX_BYTES

WORKSHEETS: Final = ("worksheet.ipynb", "worksheet.ja.ipynb")
"""The names of a worksheet's notebook, in the folder of its lab."""

_ARCHIVES: Final = 4
_RENAMED: Final = re.compile(r"(.+?)(?:-\d{1,3}| ?\(\d{1,3}\))(\.[^.]+|\.ja\.ipynb)")
_LITTER: Final = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class Upload:
    """The files of an upload.

    Attributes:
        files: content by the name that course.yml has for it, or `lab3/worksheet.ipynb`.
        renamed: for each of these files that had another name in the upload, this name.
        refused: what could have been meant, or is no plain file, and the reason.
        left_out: the names of other files: not asked for.
    """

    files: Mapping[str, bytes]
    renamed: Mapping[str, str]
    refused: tuple[Refused, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A file of the upload that could be one of those asked for.

    Attributes:
        target: the name that it would get.
        root: the folder, or the archive, in which the upload seems to lie.
        rank: 0: in its lab's folder; 1: by its own name alone; 2: by a name with a number.
        name: its name in the upload.
        read: reads it.
    """

    target: str
    root: tuple[str, ...]
    rank: int
    name: str
    read: Callable[[], bytes]


def files_of(box: Box, course: Course, labs: Sequence[str], limits: Limits = SUBMISSION) -> Upload:
    """Find the files of labs, and their worksheets, in an upload.

    Args:
        box: the upload: a folder or an archive. An archive in it is opened, one in that is not.
        course: the course.
        labs: the labs that could have been handed in.
        limits: for archives in the upload.

    Raises:
        BoxError: it is too large.
    """
    asked = _asked(course, labs)
    refused = list(box.refused)
    others: list[str] = []
    with ExitStack() as opened:
        boxes: list[tuple[str, Box]] = [("", box)]
        for name in box.names:
            if _litter(name):
                continue
            if why := packed_otherwise(name):
                refused.append(refusal(name, why))
            elif archive.named_archive(name):
                try:
                    if len(boxes) > _ARCHIVES:
                        raise Unusable(msg("is one archive too many"))
                    inner = opened.enter_context(archive.opened(box.read(name), limits))
                except Unusable as error:
                    refused.append(refusal(name, error.why))
                except BoxError as error:
                    refused.append(refusal(name, error.message))
                else:
                    boxes.append((name, inner))
                    refused += [refusal(f"{name}: {one.name}", one.why) for one in inner.refused]
        candidates: list[_Candidate] = []
        for around, inside in boxes:
            for name in inside.names:
                if _packed(name):
                    if around:
                        why = msg("is an archive in an archive: it is not opened")
                        refused.append(refusal(f"{around}: {name}", why))
                    continue
                found = _candidate(around, name, inside, asked)
                if found is not None:
                    candidates.append(found)
                elif not _litter(name):
                    others.append(f"{around}: {name}" if around else name)
        files, renamed, wrong = _read(_chosen(candidates, refused))
    return Upload(
        MappingProxyType(files), MappingProxyType(renamed), (*refused, *wrong), tuple(others)
    )


def _asked(course: Course, labs: Sequence[str]) -> tuple[str, ...]:
    """Return the names of all files that could be handed in."""
    found: list[str] = []
    for name in labs:
        found += course.lab(name).files
        found += [f"{name}/{one}" for one in WORKSHEETS]
    return tuple(found)


def _litter(name: str) -> bool:
    """Return whether macOS or Windows has put a file there, or a tool that students use."""
    return any(part in _LITTER or part.startswith("._") for part in name.split("/"))


def _packed(name: str) -> bool:
    """Return whether a file is an archive by its name, one that is opened or not."""
    return not _litter(name) and bool(archive.named_archive(name) or packed_otherwise(name))


def _candidate(around: str, name: str, box: Box, asked: Sequence[str]) -> _Candidate | None:
    if _litter(name):
        return None
    parts = ((around,) if around else ()) + tuple(name.split("/"))
    shown = f"{around}: {name}" if around else name
    inside = "/".join(parts[-2:])
    if inside in asked:
        return _Candidate(inside, parts[:-2], 0, shown, lambda: box.read(name))
    match = _RENAMED.fullmatch(parts[-1])
    for rank, plain in ((1, parts[-1]), (2, match[1] + match[2] if match else "")):
        meant = [one for one in asked if one.partition("/")[2] == plain]
        in_folder = [one for one in meant if len(parts) > 1 and one == f"{parts[-2]}/{plain}"]
        if in_folder:
            return _Candidate(in_folder[0], parts[:-2], rank, shown, lambda: box.read(name))
        if len(meant) == 1:
            return _Candidate(meant[0], parts[:-1], rank, shown, lambda: box.read(name))
        if meant:
            return _Candidate("", parts[:-1], rank, shown, lambda: box.read(name))
    return None


def _chosen(candidates: Sequence[_Candidate], refused: list[Refused]) -> Iterator[_Candidate]:
    """Yield one candidate for each file; add the others to `refused`.

    The sources of a lab are taken from one place: from folders named as labs, if there are
    any; from the place that is nearest to the top. A file that this place lacks is taken from
    elsewhere if there is only one.
    """
    by_lab: dict[tuple[str, bool], list[_Candidate]] = {}
    for one in candidates:
        key = (one.target.partition("/")[0], one.target.endswith(WORKSHEETS))
        by_lab.setdefault(key, []).append(one)
    for one in by_lab.pop(("", False), []):
        why = msg("could be of several labs: put it in a folder with the lab's name")
        refused.append(refusal(one.name, why))
    for group in by_lab.values():
        places: dict[tuple[bool, tuple[str, ...]], list[_Candidate]] = {}
        for one in group:
            places.setdefault((one.rank > 0, one.root), []).append(one)
        best = min((flat, len(root)) for flat, root in places)
        nearest = [place for place in places if (place[0], len(place[1])) == best]
        winners = [one for place in nearest for one in places[place]]
        if len(nearest) > 1 and len({one.target for one in winners}) < len(winners):
            most = max(len(places[place]) for place in nearest)
            fullest = [place for place in nearest if len(places[place]) == most]
            winners = places[fullest[0]] if len(fullest) == 1 else []
            if not winners:
                twice = [one for place in fullest for one in places[place]]
                refused += [refusal(one.name, msg("is there more than once")) for one in twice]
                continue
        there = {one.target for one in winners}
        elsewhere = [one.target for one in group if one.target not in there]
        winners = [*winners, *(one for one in group if elsewhere.count(one.target) == 1)]
        others = [one for one in group if one not in winners]
        refused += [refusal(one.name, msg("is another copy, and not used")) for one in others]
        yield from _one_each(winners, refused)


def _one_each(found: Sequence[_Candidate], refused: list[Refused]) -> Iterator[_Candidate]:
    """Yield one candidate for each file of one place."""
    by_target: dict[str, list[_Candidate]] = {}
    for one in found:
        by_target.setdefault(one.target, []).append(one)
    for rivals in by_target.values():
        best = min(one.rank for one in rivals)
        same = [one for one in rivals if one.rank == best]
        for one in rivals:
            if one.rank > best:
                refused.append(refusal(one.name, msg("is another copy, and not used")))
            elif len(same) > 1:
                refused.append(refusal(one.name, msg("is there more than once")))
            else:
                yield one


def _read(
    chosen: Iterator[_Candidate],
) -> tuple[dict[str, bytes], dict[str, str], list[Refused]]:
    files: dict[str, bytes] = {}
    renamed: dict[str, str] = {}
    refused: list[Refused] = []
    for one in chosen:
        try:
            data = one.read()
            if len(data) > MAX_BYTES and not one.target.endswith(WORKSHEETS):
                raise Unusable(too_large(MAX_BYTES))
        except Unusable as error:
            refused.append(replace(refusal(one.name, error.why), damaged=error.damaged))
            continue
        files[one.target] = data
        if one.name != one.target:
            renamed[one.target] = one.name
    return files, renamed, refused

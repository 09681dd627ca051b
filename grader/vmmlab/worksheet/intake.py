"""Checks a submitted worksheet's folder before nbgrader copies and reads it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vmmlab.base.errors import SubmissionError
from vmmlab.base.files import read_regular
from vmmlab.base.message import Text, msg
from vmmlab.base.text import clean_line

FILE_MIB: Final = 8
"""The size of the largest file, in MiB. A worksheet has 0.1; pictures in it may need more."""
FOLDER_MIB: Final = 32
"""The most that all files have together, in MiB."""
ENTRIES: Final = 1000
"""The most files and folders."""
DEPTH: Final = 8
"""The deepest nesting of folders."""
NESTING: Final = 100
"""The deepest nesting of a notebook's JSON; a usual one has ten."""
_SHOWN: Final = 120  # characters of a name


def check_folder(folder: Path) -> None:
    """Check a submission, submitted/STUDENT/LAB: files and folders, not too many nor too large.

    nbgrader would follow links, wait for pipes and copy everything.

    Raises:
        SubmissionError: something in it cannot be used.
    """
    for path in (folder.parent, folder):
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise _refused(folder, path, msg("is a link or a special file"))
    count = total = 0
    for path, depth, found in _entries(folder):
        count, total = count + 1, total + found.st_size
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise _refused(folder, path, msg("is a link or a special file"))
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            raise _refused(folder, path, msg("is also the file of another name (a hard link)"))
        if found.st_size > FILE_MIB << 20:
            raise _refused(folder, path, msg("is larger than {mib} MiB", mib=FILE_MIB))
        if depth > DEPTH or count > ENTRIES or total > FOLDER_MIB << 20:
            raise _refused(
                folder,
                folder,
                msg(
                    "holds more than {count} files, {mib} MiB or {depth} folders in each other",
                    count=ENTRIES,
                    mib=FOLDER_MIB,
                    depth=DEPTH,
                ),
            )
        sheet = path.suffix == ".ipynb" and stat.S_ISREG(found.st_mode)
        if sheet and not _can_be_copied(path, found.st_size):
            raise _refused(folder, path, msg("is not a notebook that can be graded"))


def _can_be_copied(path: Path, size: int) -> bool:
    """Return whether a notebook can be read and written again; one that is no JSON counts so.

    What nests in itself a thousand times, or has halves of characters, stops whoever tries.
    """
    try:
        waiting = [(json.loads(read_regular(path, size)), 0)]
        while waiting:
            one, depth = waiting.pop()
            if depth > NESTING:
                return False
            if isinstance(one, dict):
                waiting += [(text, depth + 1) for text in one]
                waiting += [(value, depth + 1) for value in one.values()]
            elif isinstance(one, list):
                waiting += [(value, depth + 1) for value in one]
            elif isinstance(one, str):
                one.encode()
    except (RecursionError, UnicodeEncodeError):
        return False
    except ValueError:
        pass  # it is no JSON
    return True


def _entries(folder: Path) -> Iterator[tuple[Path, int, os.stat_result]]:
    """Yield everything in a folder, each with the number of folders around it."""
    waiting = [(folder, 1)]
    while waiting:
        here, depth = waiting.pop()
        with os.scandir(here) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                path = Path(entry.path)
                yield path, depth, found
                if stat.S_ISDIR(found.st_mode):
                    waiting.append((path, depth + 1))


def _refused(folder: Path, path: Path, why: Text) -> SubmissionError:
    name = clean_line(str(path.relative_to(folder.parent.parent)), _SHOWN)
    return SubmissionError(
        msg("{name} {why}.", name=name, why=why),
        expected=msg("the worksheet itself, as a regular file"),
        next_step=msg("ask the student for it, or remove what does not belong to it"),
    )

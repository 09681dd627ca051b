"""What was handed in instead: a file under a slightly other name, or something that is no source.

Only words for people are made here: nothing is taken that course.yml does not ask for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from vmmlab.base.message import EMPTY, Text, msg
from vmmlab.base.text import clean_line

_SHOWN: Final = 120
_PACKED: Final = (
    (".7z", ".rar", ".zst", ".zstd", ".lzh", ".lha", ".lz", ".lz4", ".cab", ".ace", ".arj"),
    (".gz", ".bz2", ".xz", ".z"),
)
"""How the names of archives end that nothing here opens, and those of single files."""

# What Windows, macOS and Linux add to the name of a copy, in English and Japanese.
_COPY: Final = re.compile(
    r"(?: - copy| copy|[ -]*のコピー|コピー|^コピー ?[~～-] ?|^copy of )(?: ?\(?\d{1,3}\)?)?",
    re.IGNORECASE,
)
_MORE: Final = re.compile(r"(?:\.(?:txt|orig|bak|old|gz|c|s)|~|[\s.])+$", re.IGNORECASE)
_BEGINNINGS: Final[tuple[tuple[bytes, Text], ...]] = (
    (b"\xff\xfe", msg("UTF-16 text: save it as UTF-8")),
    (b"\xfe\xff", msg("UTF-16 text: save it as UTF-8")),
    (b"PK\x03\x04", msg("a zip archive, or the document of an office program")),
    (b"\x1f\x8b", msg("a file packed by gzip")),
    (b"7z\xbc\xaf\x27\x1c", msg("a 7z archive")),
    (b"Rar!", msg("a RAR archive")),
    (b"%PDF-", msg("a PDF document")),
    (b"{\\rtf", msg("the document of a word processor (RTF)")),
    (b"\x7fELF", msg("an object file or a program")),
    (b"\x89PNG", msg("a picture")),
    (b"\xff\xd8\xff", msg("a picture")),
    (b"\xd0\xcf\x11\xe0", msg("the document of an office program")),
    (b"version https://git-lfs", msg("a pointer of Git LFS, not the file that it stands for")),
    (b"<!doctype html", msg("a web page: download the file itself")),
    (b"<html", msg("a web page: download the file itself")),
)
_HEAD: Final = 64


def other_kind(data: bytes) -> Text:
    """Return what a file is instead of source code; "" if it may be some."""
    head = data[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip()
    small = head.lower()
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning) or small.startswith(beginning):
            return kind
    odd, even = data[1:_HEAD:2], data[:_HEAD:2]
    if len(odd) > 2 and (not any(odd) or not any(even)) and any(data[:_HEAD]):
        return msg("UTF-16 text: save it as UTF-8")
    return EMPTY


def packed_otherwise(name: str) -> Text:
    """Return why something is not opened, by its name; "" if it is no archive, or a known one."""
    small = name.lower()
    if small.endswith(_PACKED[0]) or re.search(r"\.(?:7z|zip|part\d+)\.\d{2,3}$", small):
        return msg("is an archive of a kind that is not opened: a zip or tar file is expected")
    if small.endswith(_PACKED[1]):
        return msg("is packed: a plain file, or a zip or tar file, is expected")
    return EMPTY


def instead_of(path: str, there: Iterable[str]) -> Text:
    """Return what is there instead of a file, and in what its name differs; "" if nothing is.

    Args:
        path: the file's name; folders before it do not count.
        there: the names, which may have other folders or an archive before them, as
            `upload.zip: lab3/AP_start.c`.
    """
    name = _last_part(path)
    names = [one for one in there if _last_part(one) != name]
    for one in names:
        if _last_part(one).casefold() == name.casefold():
            return msg(
                "{alike} is there, but upper and lower case differ", alike=clean_line(one, _SHOWN)
            )
    for one in names:
        if _plain(_last_part(one)) == _plain(name):
            return msg(
                "{alike} is there, which is another name", alike=clean_line(f"'{one}'", _SHOWN)
            )
    return EMPTY


def _last_part(path: str) -> str:
    return path.rpartition("/")[2].rpartition(": ")[2]


def _plain(name: str) -> str:
    """Return a name without what systems and editors add to that of a copy."""
    name = unicodedata.normalize("NFKC", name[:_SHOWN]).casefold()
    stem = _COPY.sub("", _MORE.sub("", name))
    return re.sub(r"[\W_]+", "", _MORE.sub("", stem))

"""Reads an untrusted zip or tar archive into memory, within limits; writes nothing to the disk.

What an archive says about itself is not believed: sizes are counted while unpacking. It knows
neither courses nor submissions.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from vmmlab.base.errors import SubmissionError, os_reason
from vmmlab.base.files import read_regular
from vmmlab.base.message import Text, msg
from vmmlab.base.text import clean_line

ENCODINGS: Final = ("utf-8", "cp932")
"""Encodings of names that a zip archive does not declare to be UTF-8, in the order of trial."""

_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_PACKED: Final[Mapping[bytes, Callable[[IO[bytes]], io.BufferedIOBase]]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_TAR_MAGIC: Final = slice(257, 262)
_TAR_HEADERS: Final = 4096  # bytes that an entry of a tar archive may have besides its content
_END: Final = b"PK\x05\x06"  # .ZIP File Format Specification (APPNOTE) 4.3.16
_ENTRY: Final = b"PK\x01\x02"  # 4.3.12
_SIGNATURES: Final = 8
_ENCRYPTED: Final = 0x1
_UTF8: Final = 0x800
_NAME: Final = 255
"""The longest part of a path, in characters."""
_SHOWN: Final = 80
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_LITTER: Final = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold.

    Attributes:
        entries: the number of files and folders.
        each: the bytes of one file.
        total: the bytes of all files together.
        packed: the bytes of the archive itself.
    """

    entries: int = 1_000
    each: int = 1 << 20
    total: int = 16 << 20
    packed: int = 16 << 20


def is_archive(path: Path) -> bool:
    """Return whether this is a regular file that begins as a zip or tar archive does."""
    try:
        start = read_regular(path, 512)
    except OSError:
        return False
    return (
        start.startswith(_ZIP)
        or any(start.startswith(magic) for magic in _PACKED)
        or start[_TAR_MAGIC] == b"ustar"
    )


def read(
    source: Path | bytes,
    limits: Limits = Limits(),
    *,
    name: str = "",
    encodings: Sequence[str] = ENCODINGS,
) -> Mapping[str, bytes]:
    """Return the files of an archive by path, `lab3/ap_start.c`, in the archive's order.

    Paths are relative, with `/` between their parts, in Unicode's form NFC. Folders, and files that
    macOS and Windows add by themselves, are left out.

    Args:
        source: the archive, zip or tar (plain, gzip, bzip2, xz), or its bytes: one in another.
        limits: what it may hold.
        name: what messages call it; by default the name of the file.
        encodings: as for `ENCODINGS`.

    Raises:
        SubmissionError: it is no such archive, damaged, encrypted or larger than the limits; or it
            has links, special files, names that lead out of it, or a name twice.
    """
    shown = clean_line(name or (source.name if isinstance(source, Path) else "archive"), _SHOWN)
    try:
        data = source if isinstance(source, bytes) else _bytes_of(source, limits)
        if len(data) > limits.packed:
            raise _too_large(limits.packed)
        entries = (
            _zip_entries(data, limits, encodings)
            if data.startswith(_ZIP)
            else _tar_entries(data, limits)
        )
        return _collected(entries, limits)
    except _Refused as refused:
        raise SubmissionError(
            msg("the archive {name} cannot be used.", name=shown),
            expected=refused.expected or msg("a zip or tar archive with plain files and folders"),
            found=refused.why,
            next_step=msg("pack it again: vmmlab handin makes one; nothing was unpacked"),
        ) from None


class _Refused(Exception):
    """An archive is refused.

    Args:
        why: what it has.
        expected: what it should have.
    """

    def __init__(self, why: Text, expected: Text = "") -> None:
        super().__init__(str(why))
        self.why = why
        self.expected = expected


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry: its name as the archive has it, and how to read at most some bytes of it.

    Attributes:
        name: may have anything in it.
        folder: it is one.
        read: reads up to so many bytes.
    """

    name: str
    folder: bool
    read: Callable[[int], bytes]


def _collected(entries: Iterator[_Entry], limits: Limits) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    taken: dict[str, str] = {}  # names without case: Windows and macOS would confuse them
    folders: set[str] = set()
    left, total = limits.entries, 0
    for entry in entries:
        left -= 1
        if left < 0:
            raise _too_many(limits)
        parts = _parts(entry.name)
        if not parts or any(part in _LITTER for part in parts):
            continue
        keys = ["/".join(parts[: n + 1]).casefold() for n in range(len(parts))]
        above = keys if entry.folder else keys[:-1]
        if clash := next((taken[one] for one in above if one in taken), None):
            raise _Refused(msg("{name} is both a file and a folder", name=_shown(clash)))
        folders.update(above)
        if entry.folder:
            continue
        path = "/".join(parts)
        if keys[-1] in folders:
            raise _Refused(msg("{name} is both a file and a folder", name=_shown(path)))
        if keys[-1] in taken:
            raise _Refused(msg("there is more than one {name}", name=_shown(path)))
        data = entry.read(limits.each + 1)
        if len(data) > limits.each:
            raise _Refused(
                msg("{name} is larger than {size}", name=_shown(path), size=_size(limits.each))
            )
        total += len(data)
        if total > limits.total:
            raise _too_large(limits.total)
        taken[keys[-1]] = path
        files[path] = data
    return files


def _parts(name: str) -> list[str]:
    """Return the parts of an entry's name.

    Raises:
        _Refused: it could lead out of the folder that it is unpacked to, or cannot be shown.
    """
    name = unicodedata.normalize("NFC", name.replace("\\", "/"))
    if name.startswith("/") or _DRIVE.match(name):
        raise _Refused(msg("the path {name} is absolute", name=_shown(name)))
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise _Refused(msg("the path {name} leads out of the archive", name=_shown(name)))
    for part in parts:
        if not part.isprintable() or len(part) > _NAME:
            raise _Refused(msg("{name} is not a valid name", name=_shown(name)))
    return parts


@contextmanager
def _damage() -> Iterator[None]:
    """Turn what Python says about a damaged archive into a refusal."""
    try:
        yield
    except (
        zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError,
        NotImplementedError, RuntimeError, ValueError, struct.error,
    ) as error:  # fmt: skip
        reason = clean_line(str(error), _SHOWN) or type(error).__name__
        raise _Refused(msg("it is damaged, or no archive: {reason}", reason=reason)) from None


# --- zip ------------------------------------------------------------------------------------------


def _zip_entries(data: bytes, limits: Limits, encodings: Sequence[str]) -> Iterator[_Entry]:
    # Python makes an object for each entry before anything can be counted.
    if _entries_in(data) > limits.entries:
        raise _too_many(limits)
    with _damage(), zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            name = _zip_name(info, encodings)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _special(name)
            if info.flag_bits & _ENCRYPTED:
                raise _Refused(msg("{name} is encrypted", name=_shown(name)))
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _Refused(msg("{name} is compressed by an unusual method", name=_shown(name)))
            yield _Entry(name, info.is_dir(), _reader(archive, info))


def _reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[int], bytes]:
    def read_most(most: int) -> bytes:
        with _damage(), archive.open(info) as file:
            return file.read(most)

    return read_most


def _entries_in(data: bytes) -> int:
    """Return how many entries the directory of a zip archive can have."""
    end = data.rfind(_END)
    if end < 0:
        return 0
    size = int.from_bytes(data[end + 12 : end + 16], "little")
    return data.count(_ENTRY, max(0, end - size - 22 - _SIGNATURES) if size < end else 0, end)


def _zip_name(info: zipfile.ZipInfo, encodings: Sequence[str]) -> str:
    """Return the name of an entry; without the flag for UTF-8, Python took it for code page 437."""
    name = info.orig_filename
    if info.flag_bits & _UTF8:
        return name
    raw = name.encode("cp437")
    for encoding in encodings:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return name


# --- tar ------------------------------------------------------------------------------------------


def _tar_entries(data: bytes, limits: Limits) -> Iterator[_Entry]:
    most = limits.total + limits.entries * _TAR_HEADERS
    with _damage():
        for magic, unpack in _PACKED.items():
            if data.startswith(magic):
                with unpack(io.BytesIO(data)) as file:
                    data = file.read(most + 1)
                break
        if len(data) > most:
            raise _too_large(limits.total)
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for info in archive:
                plain = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
                if not plain or info.issparse():
                    raise _special(info.name)
                yield _Entry(info.name, info.isdir(), _member(archive, info))


def _member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[int], bytes]:
    def read_most(most: int) -> bytes:
        with _damage():
            file = archive.extractfile(info)
            return file.read(most) if file is not None else b""

    return read_most


# --- words ----------------------------------------------------------------------------------------


def _bytes_of(path: Path, limits: Limits) -> bytes:
    try:
        return read_regular(path, limits.packed + 1)
    except OSError as error:
        raise _Refused(msg("it cannot be read: {reason}", reason=os_reason(error))) from None


def _shown(name: str) -> str:
    return clean_line(name, _SHOWN)


def _size(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def _special(name: str) -> _Refused:
    return _Refused(msg("{name} is a link or a special file", name=_shown(name)))


def _too_large(most: int) -> _Refused:
    return _Refused(
        msg("more than {size}", size=_size(most)),
        msg("an archive that holds at most {size}", size=_size(most)),
    )


def _too_many(limits: Limits) -> _Refused:
    return _Refused(
        msg("more than {count} files and folders", count=limits.entries),
        msg("an archive of at most {count} files and folders", count=limits.entries),
    )

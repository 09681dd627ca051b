"""Reads zip and tar archives that a stranger has made, without unpacking them onto the disk.

Links, devices, names that lead elsewhere and names that collide are refused one by one; an archive
that is too large, has too many members or cannot be read is refused as a whole. What a tar unpacks
to is counted while it is unpacked, and of a zip only what is wanted is unpacked at all.
"""

from __future__ import annotations

import bz2
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, Protocol

from vmmlab.base.box import (
    SUBMISSION,
    Box,
    BoxError,
    Contents,
    Limits,
    Listing,
    Member,
    Refused,
    Unusable,
    amount,
    broken,
    contents,
    everything,
    too_large,
)
from vmmlab.base.errors import os_reason
from vmmlab.base.gzipped import GZIP, Gzip
from vmmlab.base.message import Text, msg

SUFFIXES: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
"""How the names of archives end."""

_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_TAR_AT: Final = 257  # POSIX: `ustar` stands there in the first header
_HEAD: Final = 512
_EOCD: Final = b"PK\x05\x06"  # APPNOTE.TXT 4.3.16: end of central directory record
_EOCD_MIN: Final = 22
_EOCD64: Final = b"PK\x06\x06"  # 4.3.14
_LOCATOR64: Final = b"PK\x06\x07"  # 4.3.15
_COMMENT_MAX: Final = 0xFFFF
_DIRECTORY_ENTRY: Final = 512  # bytes on the average, name included: far more than usual
_ENCRYPTED: Final = 0x1
_UTF8: Final = 0x800
_UNIX: Final = 3
# Of bzip2 zipfile unpacks 4 KiB at once, which can be gigabytes.
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENDS_MOST: Final = 8  # so often tarfile may look behind the end
_NO_HEADER: Final = tuple(
    getattr(tarfile, name) for name in ("InvalidHeaderError", "TruncatedHeaderError")
)
_ADDED_MOST: Final = 64 << 10  # bytes of an extended header of a tar; usual are some hundred
_DAMAGED: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    UnicodeError,
    ValueError,
)


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip or a tar, by its content; False for links and other files."""
    try:
        with _regular(path) as file:
            return _kind(file) is not None
    except (OSError, BoxError):
        return False


def named_archive(name: str) -> bool:
    """Return whether a file's name is that of an archive."""
    return name.lower().endswith(SUFFIXES)


@contextmanager
def opened(source: Path | bytes, limits: Limits = SUBMISSION) -> Iterator[Box]:
    """Open an archive.

    Args:
        source: a file, not by a symbolic link; or the content of one.
        limits: the most that is taken.

    Yields:
        the files in it. Those of a tar are in memory already.

    Raises:
        BoxError: it cannot be read, or is too large.
    """
    with _file(source, limits) as file:
        kind = _kind(file)
        if kind is None:
            raise BoxError(msg("it is no archive."), expected=msg("a zip or tar file"))
        if kind == _ZIP_KIND:
            with _zip(file, limits) as box:
                yield box
        else:
            yield _tar(file, kind, limits)


def read(
    source: Path | bytes,
    limits: Limits = SUBMISSION,
    wanted: Callable[[str], bool] = everything,
) -> Contents:
    """Read the files of an archive for whose name `wanted` is true.

    Raises:
        BoxError: it cannot be read, or is too large.
    """
    with opened(source, limits) as box:
        return contents(box, wanted)


@contextmanager
def _file(source: Path | bytes, limits: Limits) -> Iterator[IO[bytes]]:
    if isinstance(source, bytes):
        _must_fit(len(source), limits)
        yield io.BytesIO(source)
        return
    with _regular(source) as file:
        _must_fit(os.fstat(file.fileno()).st_size, limits)
        yield file


@contextmanager
def _regular(path: Path) -> Iterator[IO[bytes]]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        handle = os.open(path, flags)
    except OSError as error:
        raise broken(os_reason(error)) from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise BoxError(msg("it is no archive."), expected=msg("a zip or tar file"))
    with open(handle, "rb") as file:  # noqa: PTH123
        yield file


def _must_fit(size: int, limits: Limits) -> None:
    if size > limits.archive:
        raise BoxError(
            msg("the archive is larger than {limit}.", limit=amount(limits.archive)),
            found=amount(size),
            next_step=limits.instead,
        )


# --- zip -------------------------------------------------------------------------------------


class _ZipBox:
    """The files of a zip."""

    def __init__(self, archive: zipfile.ZipFile, limits: Limits) -> None:
        self._archive = archive
        self._limits = limits
        self._infos: dict[str, zipfile.ZipInfo] = {}
        self._unpacked = 0
        listing = Listing(limits)
        for info in archive.infolist():
            raw = _zip_name(info)
            if not listing.count(raw) or raw.endswith(("/", "\\")):
                continue
            if why := _zip_refusal(info):
                listing.refuse(raw, why)
            elif name := listing.add(raw, Member(info.file_size, _zip_time(info))):
                self._infos[name] = info
        self.names: Mapping[str, Member] = listing.names()
        self.refused: tuple[Refused, ...] = listing.refused()

    def read(self, name: str) -> bytes:
        if name not in self.names:
            raise Unusable(msg("is missing"))
        info = self._infos[name]
        if info.file_size > self._limits.file:
            raise Unusable(too_large(self._limits.file))
        self._unpacked += info.file_size  # zipfile reads no more than that
        if self._unpacked > self._limits.total:
            raise _too_much(self._limits)
        try:
            with self._archive.open(info) as file:
                return file.read(self._limits.file + 1)
        except (*_DAMAGED, OSError) as error:
            raise Unusable(
                msg("cannot be unpacked: {reason}", reason=_reason(error)), damaged=True
            ) from None


@contextmanager
def _zip(file: IO[bytes], limits: Limits) -> Iterator[_ZipBox]:
    size = _directory_size(file)
    if size > limits.members * _DIRECTORY_ENTRY:
        Listing(limits, members=limits.members).count()
    try:
        archive = zipfile.ZipFile(file)
    except _DAMAGED as error:
        raise broken(_reason(error)) from None
    with archive:
        yield _ZipBox(archive, limits)


def _directory_size(file: IO[bytes]) -> int:
    """Return the bytes of a zip's list of members: zipfile reads it as a whole, before we count."""
    size = file.seek(0, os.SEEK_END)
    start = file.seek(max(0, size - _EOCD_MIN - _COMMENT_MAX - 20))
    tail = file.read()
    at = tail.rfind(_EOCD)
    if at < 0 or len(tail) - at < _EOCD_MIN:
        raise broken(msg("its end is missing"))
    said = int.from_bytes(tail[at + 12 : at + 16], "little")
    if at >= 20 and tail[at - 20 : at - 16] == _LOCATOR64:
        file.seek(min(int.from_bytes(tail[at - 12 : at - 4], "little"), start + at))
        record = file.read(56)
        if record[:4] == _EOCD64:
            said = max(said if said != 0xFFFFFFFF else 0, int.from_bytes(record[40:48], "little"))
    file.seek(0)
    return min(said, size)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name. Without its flag for UTF-8 it can be UTF-8 still, or Shift-JIS.

    The explorers of Windows in Japan and of older macOS write such names.
    """
    raw = info.orig_filename
    if info.flag_bits & _UTF8 or raw.isascii():
        return raw
    try:
        data = raw.encode("cp437")  # zipfile has decoded it so: APPNOTE.TXT, appendix D
    except UnicodeEncodeError:
        return raw
    for encoding in ("utf-8", "cp932"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw


def _zip_refusal(info: zipfile.ZipInfo) -> Text:
    """Return why a member is not taken; "" if it is."""
    mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
    if stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        return msg("is a symbolic link") if stat.S_ISLNK(mode) else msg("is a special file")
    if info.flag_bits & _ENCRYPTED:
        return msg("is encrypted")
    if info.compress_type not in _METHODS:
        return msg("is packed by a method that is not supported")
    return ""


def _zip_time(info: zipfile.ZipInfo) -> datetime | None:
    try:
        return datetime(*info.date_time)
    except ValueError:
        return None


# --- tar -------------------------------------------------------------------------------------


class _Readable(Protocol):
    """What a tar is read from."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes."""


class _Counted(io.RawIOBase):
    """The tar inside its compression, up to a number of bytes."""

    def __init__(self, file: _Readable, limits: Limits) -> None:
        super().__init__()
        self._file = file
        self._limits = limits
        self._count = self._ends = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        data = self._file.read(-1 if size is None else size)  # tarfile asks for blocks
        self._count += len(data)
        if self._count > self._limits.total:
            raise _too_much(self._limits)
        self._ends += not data
        if self._ends > _ENDS_MOST:  # tarfile reads on and on to a place that a header invents
            raise EOFError("it ends before what its headers say")
        return data


@dataclass(frozen=True, slots=True)
class _TarBox:
    """The files of a tar, all of them in memory."""

    names: Mapping[str, Member]
    refused: tuple[Refused, ...]
    files: Mapping[str, bytes]

    def read(self, name: str) -> bytes:
        if name not in self.names:
            raise Unusable(msg("is missing"))
        return self.files[name]


class _Header(tarfile.TarInfo):
    """A member of a tar, without what can take memory before its size is known."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            found = super().frombuf(buf, encoding, errors)
        except _NO_HEADER:
            # tarfile takes it for the end, and what follows would be missing without a word.
            raise broken(msg("a header in it is damaged")) from None
        if found.type in _ADDED and found.size > _ADDED_MOST:
            raise broken(msg("a header in it is larger than {limit}", limit=amount(_ADDED_MOST)))
        return found

    def _proc_gnusparse_10(self, member: tarfile.TarInfo, *others: object) -> None:
        """Read no map of a sparse file, which can be as large as the archive: it is refused."""
        member.sparse = b""

    def _proc_sparse(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """Read no map here either."""
        self.sparse = b""
        return self._proc_builtin(archive)  # type: ignore[attr-defined,no-any-return]


def _tar(file: IO[bytes], kind: str, limits: Limits) -> _TarBox:
    listing = Listing(limits)
    files: dict[str, bytes] = {}
    plain = _Counted(_OPENERS[kind](file), limits)
    try:
        with tarfile.open(fileobj=plain, mode="r|", tarinfo=_Header) as tar:
            for info in tar:
                tar.members = []  # type: ignore[attr-defined]  # each has a copy of all global headers
                if not listing.count(info.name) or info.isdir():
                    continue
                if why := _tar_refusal(info, limits):
                    listing.refuse(info.name, why)
                    continue
                content = tar.extractfile(info)
                data = content.read(limits.file + 1) if content else b""
                if name := listing.add(info.name, Member(len(data), _tar_time(info))):
                    files[name] = data
        while plain.read(tarfile.RECORDSIZE):  # its checksum is at its end
            pass
    except (*_DAMAGED, OSError) as error:
        raise broken(_reason(error)) from None
    return _TarBox(listing.names(), listing.refused(), files)


def _tar_refusal(info: tarfile.TarInfo, limits: Limits) -> Text:
    """Return why a member is not taken; "" if it is."""
    if info.issym():
        return msg("is a symbolic link")
    if info.islnk():
        return msg("is the same file as another name (a hard link)")
    if info.issparse():
        return msg("is a sparse file")
    if not info.isreg():
        return msg("is a special file")
    if info.size > limits.file:
        return too_large(limits.file)
    return ""


def _tar_time(info: tarfile.TarInfo) -> datetime | None:
    try:
        return datetime.fromtimestamp(info.mtime, UTC)
    except (ValueError, OverflowError, OSError):
        return None


# --- both ------------------------------------------------------------------------------------


_ZIP_KIND: Final = "zip"
_OPENERS: Final[Mapping[str, Callable[[IO[bytes]], _Readable]]] = {
    "tar": lambda file: file,
    "gz": Gzip,
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
_ADDED: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_MAGIC: Final = {"gz": GZIP, "bz2": b"BZh", "xz": b"\xfd7zXZ\x00"}


def _kind(file: IO[bytes]) -> str | None:
    """Return "zip", or a key of `_OPENERS` for a tar; None: it is no archive."""
    head = file.read(_HEAD)
    file.seek(0)
    if head.startswith(_ZIP):
        return _ZIP_KIND
    kind = next((name for name, magic in _MAGIC.items() if head.startswith(magic)), "tar")
    if kind != "tar":
        try:
            head = _OPENERS[kind](file).read(_HEAD)
        except (*_DAMAGED, OSError):
            return None
        finally:
            file.seek(0)
    return kind if _is_tar(head) else None


def _is_tar(head: bytes) -> bool:
    """Return whether this is the first header of a tar, or the end of an empty one."""
    return head[_TAR_AT : _TAR_AT + 5] == b"ustar" or (len(head) == _HEAD and not any(head))


def _too_much(limits: Limits) -> BoxError:
    return BoxError(
        msg("the archive unpacks to more than {limit}.", limit=amount(limits.total)),
        next_step=limits.instead,
    )


def _reason(error: Exception) -> Text:
    """Return what is wrong with a damaged archive, to be part of a sentence.

    Python's own words are English only, and speak of its own functions.
    """
    words = str(error)
    if isinstance(error, EOFError) or "unexpected end" in words or "ended before" in words:
        return msg("it ends too early")
    if "CRC" in words or "data check" in words or "length check" in words:
        return msg("a checksum in it is wrong")
    if isinstance(error, zlib.error | lzma.LZMAError):
        return msg("what is packed in it is damaged")
    if isinstance(error, NotImplementedError):
        return msg("it is packed in a way that is not supported")
    if isinstance(error, zipfile.BadZipFile | struct.error):
        return msg("its list of files is damaged")
    if isinstance(error, tarfile.TarError):
        return msg("a header in it is damaged")
    return msg("it is damaged")

"""Reads what gzip has packed, up to a number of parts.

A file of gzip can have any number of parts, and Python's own reader goes through all of them in one
call: a million empty ones, in 20 MiB, take it minutes.
"""

from __future__ import annotations

import zlib
from typing import IO, Final

from vmmlab.base.box import broken
from vmmlab.base.message import msg

GZIP: Final = b"\x1f\x8b"
"""What a part begins with."""

_MEMBERS_MOST: Final = 1000  # a tool writes one, some write one for each MiB
_FORMAT: Final = 16 + zlib.MAX_WBITS
_PIECE: Final = 64 << 10


class Gzip:
    """What a file of gzip unpacks to."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._packed = b""
        self._members = 0
        self._member: zlib._Decompress | None = None

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; b"" at the end, and before what is no member of gzip."""
        while True:
            self._packed = self._packed or self._file.read(_PIECE)
            if self._member is None:
                if not self._packed.startswith(GZIP[: len(self._packed)] or b"?"):
                    return b""
                self._members += 1
                if self._members > _MEMBERS_MOST:
                    raise broken(msg("it has more than {count} parts", count=_MEMBERS_MOST))
                self._member = zlib.decompressobj(_FORMAT)
            if not self._packed:
                raise EOFError
            data = self._member.decompress(self._packed, max(size, 0))
            self._packed = self._member.unconsumed_tail
            if self._member.eof:
                self._packed, self._member = self._member.unused_data, None
            if data:
                return data

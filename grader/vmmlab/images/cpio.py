"""A cpio archive in the format "newc": what Linux takes for its initial file system.

Documentation/driver-api/early-userspace/buffer-format.rst in Linux. Pure: bytes in, bytes out, the
same ones each time, so a file that belongs to root needs no root to be made.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from typing import Final

_MAGIC: Final = b"070701"
_TRAILER: Final = "TRAILER!!!"
_ALIGNED: Final = 4


def initramfs(files: Mapping[str, bytes], folders: tuple[str, ...] = ()) -> bytes:
    """Return an archive of files that everybody may execute; they belong to root.

    Args:
        files: content by path, such as `bin/busybox`. Their folders are made, too.
        folders: more folders, which are empty.

    Raises:
        ValueError: a path is not a relative one without `.` and `..`.
    """
    made: dict[str, bytes | None] = {}
    for path in sorted({*files, *folders}):
        parts = path.split("/")
        if not path.isascii() or any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"not a path inside an archive: {path!r}")
        for end in range(1, len(parts)):
            made.setdefault("/".join(parts[:end]), None)
        made[path] = files.get(path)
    entries = [
        _entry(path, number, stat.S_IFDIR | 0o755, b"")
        if data is None
        else _entry(path, number, stat.S_IFREG | 0o755, data)
        for number, (path, data) in enumerate(made.items(), start=1)
    ]
    return b"".join((*entries, _entry(_TRAILER, 0, 0, b"")))


def _entry(path: str, number: int, mode: int, data: bytes) -> bytes:
    name = path.encode("ascii") + b"\0"
    links, owner, time, device = 1, 0, 0, 0
    fields = (
        *(number, mode, owner, owner, links, time, len(data)),
        *(device, device, device, device, len(name), 0),
    )
    header = _MAGIC + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNED)

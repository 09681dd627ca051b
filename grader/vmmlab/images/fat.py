"""A FAT12 file system with a few files: what UEFI firmware reads from a disk or a CD.

Microsoft Extensible Firmware Initiative FAT32 File System Specification 1.03; UEFI Specification
2.10, 13.3. Pure: bytes in, bytes out, the same ones each time.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

_SECTOR: Final = 512
_ROOT_ENTRIES: Final = 16
_ENTRY: Final = struct.Struct("<11sBBBHHHHHHHI")
_DIRECTORY, _FILE = 0x10, 0x20
_END: Final = 0xFFF
_FIRST: Final = 2
"""The number of the first cluster."""
_MOST: Final = 4084
"""Clusters of a FAT12 file system, at most."""
_SECTORS: Final = (1, 2, 4, 8)
"""How many sectors a cluster may have here."""


def fat_image(files: Mapping[str, bytes]) -> bytes:
    """Return a file system with these files.

    Args:
        files: content by path, such as `EFI/BOOT/BOOTX64.EFI`: names in capitals, 8.3.

    Raises:
        ValueError: a name is not 8.3, or the files are too large (about 16 MB).
    """
    tree = _tree(files)
    for sectors in _SECTORS:
        clusters = _Clusters(sectors * _SECTOR)
        root = _directory(clusters, tree, parent=None)
        if clusters.count <= _MOST:
            break
    fat_sectors = -(-(clusters.count + _FIRST) * 3 // 2 // _SECTOR) + 1
    root_sectors = _ROOT_ENTRIES * _ENTRY.size // _SECTOR
    total = 1 + 2 * fat_sectors + root_sectors + clusters.count * sectors
    if clusters.count > _MOST or len(root) > root_sectors * _SECTOR:
        raise ValueError("too much for a FAT12 file system")
    fat = clusters.table().ljust(fat_sectors * _SECTOR, b"\0")
    return b"".join(
        (
            _boot_sector(total, fat_sectors, sectors),
            *(fat, fat),
            root.ljust(root_sectors * _SECTOR, b"\0"),
            *clusters.content,
        )
    )


class _Clusters:
    """The clusters that are in use, and which one follows which.

    Args:
        size: bytes of a cluster.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.content: list[bytes] = []
        self._next: list[int] = []

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.content)

    def add(self, data: bytes) -> int:
        """Store data in clusters of its own; return the number of the first, 0 for no data."""
        pieces = [
            data[at : at + self.size].ljust(self.size, b"\0")
            for at in range(0, len(data), self.size)
        ]
        first = _FIRST + self.count
        self.content += pieces
        self._next += [*range(first + 1, first + len(pieces)), _END] if pieces else []
        return first if pieces else 0

    def put(self, first: int, data: bytes) -> None:
        """Replace the content of one cluster."""
        self.content[first - _FIRST] = data.ljust(self.size, b"\0")

    def table(self) -> bytes:
        """Return the file allocation table: 12 bits for each cluster."""
        entries = [0xFF8, _END, *self._next]
        entries += [0] * (len(entries) % 2)
        pairs = zip(entries[::2], entries[1::2], strict=True)
        return b"".join((low | high << 12).to_bytes(3, "little") for low, high in pairs)


def _tree(files: Mapping[str, bytes]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path, data in sorted(files.items()):
        *folders, name = path.split("/")
        here = root
        for folder in folders:
            here = here.setdefault(folder, {})
        here[name] = data
    return root


def _directory(clusters: _Clusters, tree: Mapping[str, Any], parent: int | None) -> bytes:
    """Store what is in a directory; return its entries. `parent` is its cluster's number."""
    entries = b""
    for name, what in tree.items():
        if isinstance(what, bytes):
            entries += _entry(_short(name), _FILE, clusters.add(what), len(what))
        else:
            here = clusters.add(bytes(clusters.size))
            dots = _entry(b".".ljust(11), _DIRECTORY, here, 0)
            dots += _entry(b"..".ljust(11), _DIRECTORY, parent or 0, 0)
            inside = dots + _directory(clusters, what, here)
            if len(inside) > clusters.size:
                raise ValueError(f"too many files in {name}")
            clusters.put(here, inside)
            entries += _entry(_short(name), _DIRECTORY, here, 0)
    return entries


def _short(name: str) -> bytes:
    base, _, extension = name.partition(".")
    if not 1 <= len(base) <= 8 or len(extension) > 3 or name != name.upper():
        raise ValueError(f"{name} is not an 8.3 name")
    return base.encode("ascii").ljust(8) + extension.encode("ascii").ljust(3)


def _entry(name: bytes, kind: int, cluster: int, size: int) -> bytes:
    date = 1 << 5 | 1  # the first of January 1980
    return _ENTRY.pack(name, kind, 0, 0, 0, date, date, 0, 0, date, cluster, size)


def _boot_sector(total: int, fat_sectors: int, sectors: int) -> bytes:
    fields = struct.pack(
        "<3s8sHBHBHHBHHHIIBBBI11s8s",
        *(b"\xeb\x3c\x90", b"vmmlab  ", _SECTOR, sectors, 1, 2, _ROOT_ENTRIES, total, 0xF8),
        *(fat_sectors, 32, 2, 0, 0, 0x80, 0, 0x29, 0x564D4D, b"VMMLAB     ", b"FAT12   "),
    )
    return fields.ljust(_SECTOR - 2, b"\0") + b"\x55\xaa"

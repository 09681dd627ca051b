"""The limits that a container around vmmlab enforces, as the kernel reports them. Judges nothing.

Source: proc(5) (`status`, `self/cgroup`), cgroups(7), and the marks that Docker and podman leave.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.base.message import Text, listed, msg

_MARKS: Final = (".dockerenv", "run/.containerenv")
_VARIABLE: Final = "container"  # podman's; its file may be hidden by a /run of the container
_CONTROLLERS: Final = "sys/fs/cgroup"
_HUGE: Final = 1 << 60  # version 1 writes "no limit" as the largest number of pages


@dataclass(frozen=True, slots=True)
class Confinement:
    """The limits of every process in this container.

    Attributes:
        uid: the user of this process (inside; a container may map it to another one).
        capabilities: whether it or its children can have any; also true if that is unknown.
        new_privileges: whether a set-user-id program could give it more rights.
        filtered: whether a seccomp filter checks its system calls.
        root_writable: whether the root file system is mounted for writing.
        network: whether there is a network interface other than the loopback.
        processes: how many processes and threads there can be at once, None for no limit.
        memory_mib: how much memory they can use together, in MiB, None for no limit.
    """

    uid: int
    capabilities: bool
    new_privileges: bool
    filtered: bool
    root_writable: bool
    network: bool
    processes: int | None
    memory_mib: int | None

    @property
    def words(self) -> Text:
        """One line for a person."""
        processes, memory = msg("processes not limited"), msg("memory not limited")
        if self.processes is not None:
            processes = msg("at most {count} processes", count=self.processes)
        if self.memory_mib is not None:
            memory = msg("{size} MiB", size=self.memory_mib)
        return listed(
            (
                "root" if self.uid == 0 else msg("user {id}", id=self.uid),
                msg("capabilities") if self.capabilities else msg("no capabilities"),
                msg("may gain privileges") if self.new_privileges else msg("no new privileges"),
                msg("system calls filtered") if self.filtered else msg("system calls not filtered"),
                msg("root writable") if self.root_writable else msg("root read-only"),
                msg("network") if self.network else msg("no network"),
                processes,
                memory,
            )
        )

    def __str__(self) -> str:
        """The same in English."""
        return str(self.words)


def inside(root: Path = Path("/")) -> bool:
    """Return whether this is a container of Docker or podman.

    Args:
        root: where their marks are looked for (for tests; the environment is then ignored).
    """
    if root == Path("/") and _VARIABLE in os.environ:
        return True
    return any((root / mark).exists() for mark in _MARKS)


def examine(root: Path = Path("/")) -> Confinement | None:
    """Return what the kernel enforces here, None outside of a container.

    Args:
        root: where /proc and /sys are looked for (for tests).
    """
    if not inside(root):
        return None
    status = dict(
        line.split(":", 1) for line in _text(root / "proc/self/status").splitlines() if ":" in line
    )

    def number(key: str, base: int = 10) -> int | None:
        try:
            return int(status.get(key, ""), base)
        except ValueError:
            return None

    memory = _limit(root, "memory", ("memory.max", "memory.limit_in_bytes"))
    return Confinement(
        uid=os.getuid(),
        capabilities=(number("CapPrm", 16), number("CapBnd", 16)) != (0, 0),
        new_privileges=number("NoNewPrivs") != 1,
        filtered=number("Seccomp") == 2,
        root_writable=not os.statvfs(root).f_flag & os.ST_RDONLY,
        network=any(name != "lo" for name in _names(root / "sys/class/net")),
        processes=_limit(root, "pids", ("pids.max",)),
        memory_mib=None if memory is None else memory >> 20,
    )


def _limit(root: Path, controller: str, names: tuple[str, ...]) -> int | None:
    """Return the lowest of the limits that are in force, None for none."""
    found = []
    for folder in _folders(root, controller):
        for name in names:
            words = _text(folder / name).strip()
            if words.isdigit() and int(words) < _HUGE:
                found.append(int(words))
    return min(found, default=None)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders with this process's limits, of cgroup 2 and 1, up to the topmost one."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if kinds and controller not in kinds.split(","):
            continue
        top = root / _CONTROLLERS / controller if kinds else root / _CONTROLLERS
        here = top / path.strip("/")
        # In a container that sees only its own part, the limits are at the top; the path is not.
        yield from (folder for folder in (here, *here.parents) if folder.is_relative_to(top))


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""

"""A directory of built things, each named by the hash of what it was made from.

An entry is a directory that appears at once, by rename, so two gradings may build the same thing at
the same time. When the cache has grown too large, the least recently used entries are deleted.
Knows nothing of compilers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import random
import shutil
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmmlab.base.errors import InfraError, os_reason
from vmmlab.base.message import msg
from vmmlab.base.removal import remove_tree
from vmmlab.base.scratch import scratch_folder

MIB = 1024 * 1024
DEFAULT_LIMIT_BYTES = 512 * MIB
_PRUNE_EVERY_BYTES = 32 * MIB
_YOUNG_S = 600.0
_STALE_TMP_S = 24 * 3600.0
_TOUCH_S = 60.0
_LARGE_BYTES = 4 * MIB
_FULL = (errno.ENOSPC, errno.EDQUOT)
_META = "entry.json"
_LAYOUT = "5"  # increase it when what is kept in an entry, or may be in one, changes
_ROOM_ASKED_BYTES = 32 * MIB
_ROOM_BYTES = MIB // 4


def digest(*parts: object) -> str:
    """Return a name for what an entry is made from. Order and borders between parts count."""
    hasher = hashlib.sha256(_LAYOUT.encode())
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode(errors="surrogateescape")
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.hexdigest()


def digest_files(files: Mapping[str, bytes]) -> str:
    """Return a name for a set of files with their contents."""
    return digest(*(part for name in sorted(files) for part in (name, files[name])))


@dataclass(frozen=True)
class Entry:
    """One built thing: the files in `path`, and the data kept with them."""

    path: Path
    data: Mapping[str, Any]


def _size(path: Path) -> int:
    """Return the size of a regular file in bytes; an untrusted program may have made the path.

    Raises:
        OSError: there is no regular file.
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return found.st_size


class Cache:
    """The cache in one directory. Safe for threads and processes.

    Args:
        directory: where; made when first written to.
        limit_bytes: size to prune to. Entries used in the last ten minutes always stay.

    Raises (every method): InfraError when the disk is full or the directory cannot be written.
    """

    def __init__(self, directory: Path, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.directory = directory
        self.limit_bytes = limit_bytes
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._large: list[Path] = []

    @contextmanager
    def only_once(self, key: str) -> Iterator[None]:
        """Let one thread of this process at a time make `key`; the others then find it."""
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            yield

    def get(self, key: str) -> Entry | None:
        """Return an entry, or None if there is none or it is damaged; it stays for ten minutes."""
        with self._in_use(fcntl.LOCK_SH):
            return self._get(self._place(key))

    def _get(self, path: Path) -> Entry | None:
        try:
            text = self._meta(path)
            if text is None:
                return None
            meta = json.loads(text)
            for name, size in meta["files"].items():
                if (path / name).stat().st_size != size:
                    raise ValueError(name)
            entry = Entry(path, meta["data"])
        except FileNotFoundError:
            if path.exists():
                self._discard(path)
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            self._discard(path)
            return None
        except OSError as error:
            raise self._trouble(error) from error
        with contextlib.suppress(OSError):
            now = time.time()
            if now - path.stat().st_mtime > _TOUCH_S:
                os.utime(path, (now, now))
        return entry

    def _meta(self, path: Path) -> bytes | None:
        """Return what an entry says of itself, or None if there is no entry.

        Raises:
            FileNotFoundError: it is damaged. An entry comes as a whole, maybe after the first look.
        """
        try:
            return (path / _META).read_bytes()
        except FileNotFoundError:
            return (path / _META).read_bytes() if path.exists() else None

    def put(self, key: str, files: Mapping[str, Path], data: Mapping[str, Any]) -> Entry:
        """Store files and data as `key`, and return the entry.

        Args:
            key: the name, from `digest`.
            files: name in the entry to present path; the files are moved.
            data: anything that JSON can hold.
        """
        path = self._place(key)
        try:
            sizes = {name: _size(source) for name, source in files.items()}
            with self.scratch() as work:
                fresh = work / "entry"
                fresh.mkdir()
                for name, source in files.items():
                    source.replace(fresh / name)
                (fresh / _META).write_text(json.dumps({"files": sizes, "data": data}))
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    fresh.rename(path)
                except OSError as error:
                    # Another process was faster with the same content.
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
        except OSError as error:
            raise self._trouble(error) from error
        if sum(sizes.values()) > _LARGE_BYTES:
            with self._guard:
                self._large.append(path)
        if random.random() < sum(sizes.values()) / _PRUNE_EVERY_BYTES:
            self.prune()
        entry = self.get(key)
        if entry is None:
            raise InfraError(
                msg("{path} disappeared or was damaged right after it was written.", path=path),
                next_step=msg("Run the command again."),
            )
        return entry

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Provide a new private directory on the cache's file system, deleted afterwards."""
        try:
            parent = self.directory / "tmp"
            parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with scratch_folder("build", parent) as work:
                yield work
        except OSError as error:
            raise self._trouble(error) from error

    def check_room(self, work: Path, *, asked: bool) -> None:
        """Check whether a tool may have failed because the disk is full; tries to write a file.

        Args:
            work: the scratch directory that the tool wrote to.
            asked: whether the tool has said that there was no room.

        Raises:
            InfraError: the disk is full.
        """
        trial = work / "room"
        try:
            trial.write_bytes(bytes(_ROOM_ASKED_BYTES if asked else _ROOM_BYTES))
        except OSError as error:
            if error.errno in _FULL:
                raise self._full_error() from error
        finally:
            with contextlib.suppress(OSError):
                trial.unlink(missing_ok=True)

    def _full_error(self) -> InfraError:
        return InfraError(
            msg(
                "The disk is full: nothing more can be written below {directory}.",
                directory=self.directory,
            ),
            next_step=msg(
                "Free some space (deleting {directory} is safe), or put the cache "
                "elsewhere with XDG_CACHE_HOME=DIR, and run the command again.",
                directory=self.directory,
            ),
        )

    def drop(self, key: str) -> None:
        """Delete an entry, because it is of no use."""
        with self._in_use(fcntl.LOCK_EX):
            self._discard(self._place(key))

    def drop_large(self) -> None:
        """Delete the large entries that this object has made: they are not worth their room.

        A lab of a student makes less than 2 MiB. Nothing may use the entries any more.
        """
        with self._guard:
            large, self._large = self._large, []
        for path in large:
            with self._in_use(fcntl.LOCK_EX):
                self._discard(path)

    def prune(self) -> int:
        """Delete the least recently used entries beyond the limit; return the bytes freed."""
        lock_path = self.directory / "prune.lock"
        try:
            lock = lock_path.open("w")
        except OSError:
            return 0
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return 0
            return self._prune()

    def _prune(self) -> int:
        now = time.time()
        for left in self._children(self.directory / "tmp"):
            with contextlib.suppress(OSError):
                if now - left.stat().st_mtime > _STALE_TMP_S:
                    remove_tree(left)
        entries: list[tuple[float, int, Path]] = []
        for group in self._children(self.directory / "entries"):
            for entry in self._children(group):
                with contextlib.suppress(OSError):
                    size = sum(item.stat().st_size for item in entry.iterdir())
                    entries.append((entry.stat().st_mtime, size, entry))
        total = sum(size for _, size, _ in entries)
        freed = 0
        for used, size, path in sorted(entries):
            if total - freed <= self.limit_bytes:
                break
            if now - used >= _YOUNG_S and self._discard_unused(path):
                freed += size
        return freed

    def _discard_unused(self, path: Path) -> bool:
        """Delete an entry, unless it was used since it was listed."""
        with self._in_use(fcntl.LOCK_EX):
            try:
                if time.time() - path.stat().st_mtime < _YOUNG_S:
                    return False
            except OSError:
                return False
            self._discard(path)
            return True

    @contextmanager
    def _in_use(self, kind: int) -> Iterator[None]:
        """Exclude the use of an entry and its deletion from each other, also between processes."""
        try:
            lock = (self.directory / "use.lock").open("a")
        except OSError:  # nothing is there yet, or nothing can be written: nothing is deleted
            yield
            return
        with lock:
            fcntl.flock(lock, kind)
            yield

    def _children(self, directory: Path) -> list[Path]:
        try:
            return list(directory.iterdir())
        except OSError:
            return []

    def _place(self, key: str) -> Path:
        return self.directory / "entries" / key[:2] / key

    def _discard(self, path: Path) -> None:
        """Move an entry out of sight at once, then delete it: half an entry is never found."""
        try:
            with self.scratch() as work:
                path.rename(work / "gone")
        except (OSError, InfraError):
            shutil.rmtree(path, ignore_errors=True)

    def _trouble(self, error: OSError) -> InfraError:
        if error.errno in _FULL:
            return self._full_error()
        return InfraError(
            msg("The build cache in {directory} cannot be used.", directory=self.directory),
            found=msg("{path}: {why}", path=error.filename or self.directory, why=os_reason(error)),
            next_step=msg(
                "Make that directory writable, or put the cache elsewhere with XDG_CACHE_HOME=DIR."
            ),
        )

"""Files out of Debian packages. Nothing is installed, and no root is needed.

A file is taken from this machine if the package is installed there; else from the package's file,
which is in the cache of the kit or of apt, or which `apt-get download` fetches by its name.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from vmmlab.base.errors import InfraError, os_reason
from vmmlab.base.files import cache_dir as default_cache_dir
from vmmlab.base.message import Text, msg
from vmmlab.base.notices import notify
from vmmlab.images.cache import Cache, digest

ARCHIVES: Final = Path("/var/cache/apt/archives")
"""Where apt keeps the files of packages that it has installed."""
_FOLDER: Final = "debian"
"""Of the kit's cache: where downloaded packages stay."""
_FILE: Final = "file"
_TIMEOUT_S: Final = 600.0
_MOST_BYTES: Final = 256 * 1024 * 1024
_HEAD_BYTES: Final = 64 * 1024
"""How much of a file `Wanted.usable` is shown."""


@dataclass(frozen=True)
class Wanted:
    """A file of a Debian package.

    Attributes:
        package: the name of the package for apt. If it only depends on the one that has the file,
            as linux-image-amd64 does, apt is asked for that one.
        holder: a pattern for the name of the package that has the file.
        member: a pattern for the path of the file in the package, such as `./boot/vmlinuz-6.1`.
        installed: where the file is if the package is installed: a pattern for `Path.glob`,
            relative to the root.
        usable: whether a file that begins so, up to 64 KiB, is one that serves.
    """

    package: str
    holder: str
    member: str
    installed: str
    usable: Callable[[bytes], bool]


class Packages:
    """Finds files of packages.

    Args:
        cache_dir: the kit's cache; default $XDG_CACHE_HOME/vmmlab.
        root: the root of the system that may have the packages.
        archives: the folders that may have their files, besides the kit's own.

    Raises (every method): InfraError when a package is nowhere and cannot be fetched.
    """

    def __init__(
        self,
        cache_dir: Path | None = None,
        root: Path = Path("/"),
        archives: Sequence[Path] = (ARCHIVES,),
    ) -> None:
        base = (cache_dir or default_cache_dir()).absolute()
        self._cache = Cache(base)
        self._folder = base / _FOLDER
        self._root = root
        self._archives = (self._folder, *archives)

    def find(self, wanted: Wanted) -> Path:
        """Return the file."""
        for path in _newest(self._root, wanted.installed):
            with suppress(OSError), path.open("rb") as file:
                if wanted.usable(file.read(_HEAD_BYTES)):
                    return path
        return self._extracted(self._archive(wanted) or self._fetched(wanted), wanted)

    def _archive(self, wanted: Wanted) -> Path | None:
        name = re.compile(rf"{wanted.holder}_[^_]+_(amd64|all)\.deb")
        for folder in self._archives:
            for path in _newest(folder, "*.deb"):
                if name.fullmatch(path.name) and os.access(path, os.R_OK):
                    return path
        return None

    def _fetched(self, wanted: Wanted) -> Path:
        if shutil.which("apt-get") is None:
            raise self._failed(wanted, msg("this machine has no apt-get"))
        package = self._holder(wanted)
        notify(msg("apt-get downloads the package {package}", package=package))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed(wanted, os_reason(error)) from None
        said = _run(["apt-get", "-qq", "download", package], self._folder)
        found = self._archive(wanted)
        if found is None:
            raise self._failed(wanted, said or msg("apt-get gave no reason"))
        return found

    def _holder(self, wanted: Wanted) -> str:
        if re.fullmatch(wanted.holder, wanted.package):
            return wanted.package
        said = _run(["apt-cache", "depends", wanted.package], Path("/"))
        for line in said.splitlines():
            kind, _, name = line.strip().partition(": ")
            if kind == "Depends" and re.fullmatch(wanted.holder, name):
                return name
        raise self._failed(wanted, said or msg("apt knows no such package"))

    def _extracted(self, archive: Path, wanted: Wanted) -> Path:
        status = archive.stat()
        key = digest(
            "package 1", archive.name, status.st_size, status.st_mtime_ns, wanted.member
        )  # fmt: skip
        with self._cache.only_once(key):
            if found := self._cache.get(key):
                return found.path / _FILE
            with self._cache.scratch() as work:
                made = work / _FILE
                data = _member(archive, wanted)
                if data is None or not wanted.usable(data[:_HEAD_BYTES]):
                    raise InfraError(
                        msg("The package {archive} cannot be used.", archive=archive),
                        expected=msg("a Debian package with a file {file}", file=wanted.member),
                        next_step=msg("delete it, and run the command again"),
                    )
                made.write_bytes(data)
                return self._cache.put(key, {_FILE: made}, {}).path / _FILE

    def _failed(self, wanted: Wanted, found: Text) -> InfraError:
        return InfraError(
            msg("The Debian package {package} cannot be had.", package=wanted.package),
            expected=msg(
                "the package installed, its .deb file in {folder}, or apt with a network",
                folder=self._folder,
            ),
            found=found,
            next_step=msg(
                "run `sudo apt-get update` and try again, or copy the .deb file to {folder}",
                folder=self._folder,
            ),
        )


def _newest(folder: Path, pattern: str) -> Iterator[Path]:
    try:
        found = [(path.stat().st_mtime_ns, path) for path in folder.glob(pattern)]
    except OSError:
        return
    yield from (path for _, path in sorted(found, reverse=True) if path.is_file())


def _run(argv: Sequence[str], folder: Path) -> str:
    """Run a command of apt; return what it said, its warnings left out."""
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = (done.stdout + done.stderr).splitlines()
    return "\n".join(line for line in lines if not line.startswith("W:")).strip()[-1000:]


def _member(archive: Path, wanted: Wanted) -> bytes | None:
    """Return a file of a package, None if it has none or is damaged."""
    with (
        suppress(OSError, tarfile.TarError),
        _opened(archive) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        for entry in tar:
            small = entry.isfile() and entry.size <= _MOST_BYTES
            if small and re.fullmatch(wanted.member, entry.name):
                file = tar.extractfile(entry)
                return file.read() if file is not None else None
    return None


@contextmanager
def _opened(archive: Path) -> Iterator[IO[bytes]]:
    """Provide the tar archive inside a package, by dpkg-deb, which knows its compression."""
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", archive],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()  # what follows the file is not needed

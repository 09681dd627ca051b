"""Where the program keeps files of its own, and writing a file in one go."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from vmmlab.base.errors import UsageError, os_reason
from vmmlab.base.message import msg


def cache_dir() -> Path:
    """Return the folder for what can be made again: $XDG_CACHE_HOME/vmmlab, else ~/.cache/vmmlab.

    It need not exist.

    Raises:
        RuntimeError: the variable is not set and the user has no home directory.
    """
    return _folder("XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """Return the folder for what must last: $XDG_STATE_HOME/vmmlab, else ~/.local/state/vmmlab.

    It need not exist.

    Raises:
        RuntimeError: the variable is not set and the user has no home directory.
    """
    return _folder("XDG_STATE_HOME", ".local/state")


def _folder(variable: str, usual: str) -> Path:
    base = Path(os.environ.get(variable, ""))
    return (base if base.is_absolute() else Path.home() / usual) / "vmmlab"


def read_regular(path: Path, most: int) -> bytes:
    """Return the first `most` bytes of a file that an untrusted program may have made.

    Raises:
        OSError: it cannot be read, or is a symbolic link, a pipe or another special file.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with open(os.open(path, flags), "rb") as file:  # noqa: PTH123
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        return file.read(most)


def is_regular(path: Path) -> bool:
    """Return whether there is a regular file, not by a symbolic link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old content or the whole new one.

    A symbolic link stays one; a pipe or a device such as /dev/stdout is written to directly.

    Args:
        path: where to; its folder exists.
        data: the content.

    Raises:
        OSError: it cannot be written there.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    with staged(path, data, durable=True) as put_in_place:
        put_in_place()


def write_for_user(path: Path, data: bytes) -> None:
    """Write a file that a person has asked for, and make its folder if that is missing.

    Args:
        path: where to.
        data: the content.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise UsageError(
            msg("{path}: cannot be written: {reason}.", path=path, reason=os_reason(error))
        ) from None


@contextlib.contextmanager
def staged(
    path: Path, data: bytes, *, mode: int | None = None, durable: bool = False
) -> Iterator[Callable[[], None]]:
    """Write a file beside `path`; calling the function puts it in place of what is there.

    Unless that is called before the block is left, nothing has changed. A symbolic link at `path`
    is replaced, not followed.

    Args:
        path: where to; its folder exists.
        data: the content.
        mode: the file's permissions; None for those of any new file.
        durable: the content is on the disk before it is in place; a power failure may otherwise
            leave an empty file.

    Raises:
        OSError: it cannot be written there.
    """
    beside = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex[:8]}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    done = False

    def put_in_place() -> None:
        nonlocal done
        os.replace(beside, path)  # noqa: PTH105
        done = True

    try:
        with open(os.open(beside, flags, 0o666 if mode is None else 0o600), "wb") as file:  # noqa: PTH123
            file.write(data)
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        yield put_in_place
    finally:
        if not done:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)

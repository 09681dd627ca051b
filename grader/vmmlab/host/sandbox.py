"""Runs all untrusted programs: compiler, linker, QEMU, notebook kernels.

A sandbox is either `bwrap` (bubblewrap: own namespaces, no network, only /usr readable) or `none`
(plain, for one's own work). Both have resource limits and a wall time-out, and end the whole
process group. `Sandbox.note` says what is enforced. Must not know labs or checks.

Paths are the same inside and outside, so unix sockets in a `rw` directory can be reached from
outside.

Source: bwrap(1).
"""

from __future__ import annotations

import functools
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Literal

from vmmlab.base.errors import InfraError, os_reason
from vmmlab.base.message import Text, msg
from vmmlab.host import bubblewrap, container
from vmmlab.host.cgroup import Group
from vmmlab.host.rlimits import MIB, ResourceLimits
from vmmlab.host.running import Running

Kind = Literal["bwrap", "none"]

SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_BWRAP_FAILED = 1
_CAPTURE_BYTES = 1 * MIB
_FILE_MIB = 64

_NOT_ASKED_FOR = msg("not requested")


@dataclass(frozen=True)
class Completed:
    """The result of one run. `returncode` is 128 + N when signal N ended it."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes
    duration_s: float
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.returncode == 0 and not self.timed_out


@dataclass(frozen=True)
class Sandbox:
    """A way to run untrusted programs.

    Args:
        kind: "bwrap" or "none".
        note: one sentence that says what is enforced; belongs in every report.
        bwrap: path of bubblewrap for kind "bwrap".
        hidden: paths that stay invisible inside even if they are below /usr, or below a directory
            that is bound for reading (an installed kit's reference solutions). /usr/local is
            always hidden unless bound explicitly.
        running: what `run` has started and not ended; `stop` ends it.
        group: the control group that everything runs in, None for none.
    """

    kind: Kind
    note: Text
    bwrap: str = ""
    hidden: tuple[Path, ...] = ()
    running: Running = field(default_factory=Running, compare=False, repr=False)
    group: Group | None = None

    @classmethod
    def choose(cls, require: bool) -> Sandbox:
        """Return bubblewrap if it works here, otherwise `none`.

        Args:
            require: True when other people's code will run; `none` is not enough then.

        Raises:
            InfraError: it is required and does not work; says why and what to do.
        """
        found = bubblewrap.examine()
        if found.works:
            return cls(
                "bwrap",
                f"sandbox: bubblewrap {found.version}: own namespaces, no network, only /usr "
                "readable; file size, processor time and memory of each process are limited, "
                f"the number of processes {_crowd(container.examine())}",
                found.path,
            )
        if require:
            raise InfraError(
                msg("Other people's code needs a sandbox, and bubblewrap does not work here."),
                expected=msg("a bwrap that can create namespaces"),
                found=found.reason,
                next_step=found.next_step,
            )
        return cls.none(found.reason)

    @classmethod
    def none(cls, reason: Text = _NOT_ASKED_FOR) -> Sandbox:
        """Return a sandbox without isolation, only limits: for one's own work."""
        return cls(
            "none",
            msg(
                "no sandbox ({reason}): programs run with your permissions; file size, "
                "processor time and memory of each process are limited",
                reason=reason,
            ),
        )

    def hiding(self, *paths: Path) -> Sandbox:
        """Return the same sandbox with `paths` invisible inside."""
        return replace(self, hidden=(*self.hidden, *paths))

    def within(self, group: Group | None) -> Sandbox:
        """Return the same sandbox, in a control group."""
        return replace(self, group=group)

    @property
    def level(self) -> str:
        """What limits a submission, in short: for example "bwrap+cgroup"."""
        return f"{self.kind}+{'rlimits' if self.group is None else 'cgroup'}"

    def wrap(
        self,
        argv: Sequence[str],
        ro: Sequence[Path] = (),
        rw: Sequence[Path] = (),
        *,
        cwd: Path | None = None,
        devices: Sequence[Path] = (),
        limits: ResourceLimits | None = None,
        env: Mapping[str, str] | None = None,
        names: Mapping[Path, Path] | None = None,
        data: Mapping[Path, int] | None = None,
    ) -> list[str]:
        """Return the command line that runs `argv` inside; the caller starts it.

        Start it with `start_new_session=True` and end it with `kill_tree` (SIGKILL to bwrap alone
        leaves its child behind during the first milliseconds). It also dies with its parent, **by
        which the kernel means the thread that started it**: start long-lived processes from a
        thread that lives as long, such as the main thread's event loop.

        Args:
            argv: program and arguments; a bare name is looked up on the inside PATH.
            ro: files and directories readable inside, at the same path.
            rw: the same, writable.
            cwd: working directory inside; default "/" (kind none: the caller's).
            devices: device nodes to make usable, such as /dev/kvm.
            limits: resource limits of each process.
            env: variables added to the minimal environment (PATH, LC_ALL, TMPDIR, HOME).
            names: the names that bound paths have inside, from `seen`; the others keep theirs.
            data: read-only files inside, from open descriptors, which the caller passes on (not
                for kind none).

        Raises:
            InfraError: a bound path does not exist.
        """
        for path in (*ro, *rw, *devices):
            if not path.exists():
                raise InfraError(
                    msg("The sandbox cannot show {path}: it does not exist.", path=path),
                    next_step=msg(
                        "Run the command again; if it fails again, this is a defect of vmmlab."
                    ),
                )
        limited = [*(limits.prefix() if limits else ()), *argv]
        entered = self.group.enter() if self.group else []
        if self.kind == "none":
            return [*entered, *_plain_prefix(env, cwd), *limited]
        inside = self._bwrap_prefix(ro, rw, cwd, devices, env, names or {}, data or {})
        return [*entered, *inside, *limited]

    def stop(self) -> None:
        """End all that `run` has started, also in other threads, and start nothing more."""
        self.running.stop()

    @property
    def renames(self) -> bool:
        """Whether paths can have other names inside."""
        return self.kind == "bwrap"

    def seen(self, path: Path, name: str) -> Path:
        """Return the name of a path inside: `name`, if paths can have other names there.

        What runs inside may print the names of its files: fixed names tell nothing of the host.

        Args:
            path: outside.
            name: absolute.
        """
        return Path(name) if self.renames else path

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        ro: Sequence[Path] = (),
        rw: Sequence[Path] = (),
        timeout_s: float,
        limits: ResourceLimits | None = None,
        env: Mapping[str, str] | None = None,
        names: Mapping[Path, Path] | None = None,
    ) -> Completed:
        """Run `argv` to its end and return its output (at most 1 MiB of each stream).

        Safe to call from several threads. Nothing is left running, also after an error.

        Args:
            argv: program and arguments.
            cwd: working directory, which must be visible inside.
            ro: as for `wrap`.
            rw: as for `wrap`.
            timeout_s: wall time after which everything inside is killed (`timed_out`).
            limits: resource limits of each process; default: files of at most 64 MiB.
            env: as for `wrap`.
            names: as for `wrap`.

        Raises:
            InfraError: the program or the sandbox could not be started.
        """
        limits = limits or ResourceLimits(file_mib=_FILE_MIB)
        command = self.wrap(argv, ro, rw, cwd=cwd, limits=limits, env=env, names=names)
        began = time.monotonic()
        code, stdout, stderr, ended = self._run(command, timeout_s)
        if self.kind == "bwrap" and code == _BWRAP_FAILED and stderr.startswith(b"bwrap: "):
            raise InfraError(
                msg("The sandbox could not be set up."),
                found=stderr.decode(errors="replace").splitlines()[0],
                next_step=msg("Run `vmmlab doctor`."),
            )
        duration_s = time.monotonic() - began
        code = code if code >= 0 else 128 - code
        return Completed(tuple(argv), code, stdout, stderr, duration_s, not ended)

    def _run(self, command: Sequence[str], timeout_s: float) -> tuple[int, bytes, bytes, bool]:
        """Return exit code, standard output and error, and whether the command ended in time."""
        with _capture() as out, _capture() as err:
            try:
                process = self.running.start(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                    cwd="/" if self.kind == "bwrap" else None,
                )
            except OSError as error:
                raise InfraError(
                    msg(
                        "{command} could not be started: {reason}.",
                        command=command[0],
                        reason=os_reason(error),
                    ),
                    next_step=msg("Run `vmmlab doctor`."),
                ) from error
            try:
                ended = _wait(process, timeout_s)
            finally:
                self.running.end(process)
            return process.returncode, _read_back(out), _read_back(err), ended

    def _bwrap_prefix(
        self,
        ro: Sequence[Path],
        rw: Sequence[Path],
        cwd: Path | None,
        devices: Sequence[Path],
        env: Mapping[str, str] | None,
        names: Mapping[Path, Path],
        data: Mapping[Path, int],
    ) -> list[str]:
        args = [self.bwrap, *bubblewrap.profile()]
        for hidden in self.hidden:
            if hidden.is_relative_to("/usr") and hidden.is_dir():
                args += bubblewrap.empty(hidden)
        for path in ro:
            inside = names.get(path, path)
            args += ["--ro-bind", str(path), str(inside)]
            for hidden in self.hidden:
                if path in hidden.parents and hidden.is_dir():
                    args += bubblewrap.empty(inside / hidden.relative_to(path))
        for path in rw:
            args += ["--bind", str(path), str(names.get(path, path))]
        for path, descriptor in data.items():
            args += ["--ro-bind-data", str(descriptor), str(path)]
        for path in devices:
            args += ["--dev-bind", str(path), str(path)]
        for key, value in {**_environment(SYSTEM_PATH), **(env or {})}.items():
            args += ["--setenv", key, value]
        return [*args, "--remount-ro", "/", "--chdir", str(cwd or "/"), "--"]


def _environment(path: str) -> dict[str, str]:
    return {"PATH": path, "LC_ALL": "C", "HOME": "/nonexistent", "TMPDIR": "/tmp"}


def _crowd(around: container.Confinement | None) -> str:
    if around is None or around.processes is None:
        return "is not"
    return f"by the container, to {around.processes} in all"


def _plain_prefix(env: Mapping[str, str] | None, cwd: Path | None) -> list[str]:
    values = _environment(os.environ.get("PATH", SYSTEM_PATH))
    values["TMPDIR"] = tempfile.gettempdir()
    values.update(env or {})
    prefix = ["env", "-i", *(f"{key}={value}" for key, value in values.items())]
    if cwd is not None:
        prefix += ["sh", "-c", 'cd "$1" || exit 127; shift; exec "$@"', "sh", str(cwd)]
    return [*prefix, *_die_with_parent()]


@functools.lru_cache(maxsize=1)
def _die_with_parent() -> tuple[str, ...]:
    """Return the prefix with util-linux's setpriv; empty where it cannot do it (busybox's)."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    prefix = (setpriv, "--pdeathsig", "KILL", "--")
    try:
        done = subprocess.run([*prefix, "true"], capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return prefix if done.returncode == 0 else ()


@contextmanager
def _capture() -> Iterator[IO[bytes]]:
    """Provide a file for one output stream: in memory if the system can, else a temporary one."""
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("vmmlab"), "w+b", buffering=0) as file:  # noqa: PTH123
            yield file
    else:
        with tempfile.TemporaryFile(buffering=0) as file:
            yield file


def _read_back(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(_CAPTURE_BYTES)


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait for the end, if possible without polling and reaping; False: not in time."""
    if hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(process.pid)
        except OSError:
            pass
        else:
            try:
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                return bool(poll.poll(max(0, int(timeout_s * 1000))))
            finally:
                os.close(descriptor)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True

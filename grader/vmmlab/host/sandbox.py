"""The one door through which anything of a student's runs: compiler, linker, QEMU.

A sandbox is either `bwrap` (bubblewrap: own namespaces, no network, only /usr readable) or `none`
(plain, for one's own work); both have resource limits, a wall time-out and an end for the whole
process group. What is enforced stands in `Sandbox.note`. Must not know labs or checks.

Paths are the same inside and outside, so unix sockets in a `rw` directory can be reached from
outside. There is no /proc inside and of /dev only `null`.

Source: bwrap(1).
"""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.host import container
from vmmlab.host.processes import end_tree

Kind = Literal["bwrap", "none"]

MIB = 1024 * 1024
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_PROBE_TIMEOUT_S = 10.0
_CAPTURE_BYTES = 1 * MIB
_SYSTEM_DIRS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_INSTALL_LINE = "sudo apt-get install bubblewrap"


@dataclass(frozen=True)
class Limits:
    """Resource limits of each process in the sandbox; None leaves that one alone.

    Args:
        file_mib: largest file a process may write, in MiB (RLIMIT_FSIZE; SIGXFSZ beyond it).
        cpu_s: processor time in seconds (RLIMIT_CPU; SIGXCPU, one second later SIGKILL).
        memory_mib: address space in MiB (RLIMIT_AS; not on macOS).
    """

    file_mib: int | None = None
    cpu_s: int | None = None
    memory_mib: int | None = None


@dataclass(frozen=True)
class Completed:
    """What came of one run. `returncode` is 128 + N when signal N ended it."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes
    duration_s: float
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """True when it ended by itself with status 0."""
        return self.returncode == 0 and not self.timed_out


@dataclass(frozen=True)
class Probe:
    """Whether bubblewrap works here; if not, why and what to do."""

    works: bool
    path: str = ""
    version: str = ""
    reason: Text = ""
    next_step: Text = ""


@dataclass(frozen=True)
class Sandbox:
    """A way to run untrusted programs.

    Args:
        kind: "bwrap" or "none".
        note: one sentence that says what is enforced; belongs in every report.
        bwrap: path of bubblewrap for kind "bwrap".
        hidden: paths that stay invisible inside even if they lie below /usr, or below a directory
            that is shown for reading (an installed kit's reference solutions). /usr/local is
            always hidden unless bound explicitly.
    """

    kind: Kind
    note: Text
    bwrap: str = ""
    hidden: tuple[Path, ...] = ()

    @classmethod
    def choose(cls, require: bool) -> Sandbox:
        """bubblewrap if it works here, else `none`.

        Args:
            require: True when other people's code will run; then `none` is not good enough.

        Raises:
            InfraError: `require` and bubblewrap does not work; says why and what to do.
        """
        found = probe()
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
                expected=msg("bwrap can make namespaces"),
                found=found.reason,
                next_step=found.next_step,
            )
        return cls.none(found.reason)

    @classmethod
    def none(cls, reason: Text = "not asked for") -> Sandbox:
        """No isolation, only limits: for one's own work."""
        return cls(
            "none",
            msg(
                "no sandbox ({reason}): programs run with your rights; file size, "
                "processor time and memory of each process are limited",
                reason=reason,
            ),
        )

    def hiding(self, *paths: Path) -> Sandbox:
        """The same sandbox with `paths` invisible inside."""
        return replace(self, hidden=(*self.hidden, *paths))

    def wrap(
        self,
        argv: Sequence[str],
        ro: Sequence[Path] = (),
        rw: Sequence[Path] = (),
        *,
        cwd: Path | None = None,
        devices: Sequence[Path] = (),
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
    ) -> list[str]:
        """The command line that runs `argv` inside, for processes that the caller starts itself.

        Start it with `start_new_session=True` and end it with `kill_tree` (SIGKILL to bwrap alone
        leaves its child behind during the first milliseconds). It also dies with its parent, and
        **the kernel ties that to the thread that started it**: start long-lived processes from a
        thread that lives as long, such as the main thread's event loop.

        Args:
            argv: program and arguments; a bare name is looked up on the inside PATH.
            ro: files and directories readable inside, at the same path.
            rw: the same, writable.
            cwd: working directory inside; default "/" (kind none: the caller's).
            devices: device nodes to make usable, such as /dev/kvm.
            limits: resource limits of each process.
            env: variables added to the minimal environment (PATH, LC_ALL, TMPDIR, HOME).

        Raises:
            InfraError: a bound path does not exist.
        """
        for path in (*ro, *rw, *devices):
            if not path.exists():
                raise InfraError(
                    msg("The sandbox cannot show {path}: it does not exist.", path=path),
                    next_step=msg(
                        "Run the command again; if it stays, this is a defect of vmmlab."
                    ),
                )
        limited = [*_limit_prefix(limits), *argv]
        if self.kind == "none":
            return [*_plain_prefix(env, cwd), *limited]
        return [*self._bwrap_prefix(ro, rw, cwd, devices, env), *limited]

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        ro: Sequence[Path] = (),
        rw: Sequence[Path] = (),
        timeout_s: float,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run `argv` to its end and collect its output (at most 1 MiB of each stream).

        Safe to call from several threads. Whatever happens, nothing is left running.

        Args:
            argv: program and arguments.
            cwd: working directory, which must be visible inside.
            ro: as for `wrap`.
            rw: as for `wrap`.
            timeout_s: wall time after which everything inside is killed (`timed_out`).
            limits: resource limits of each process; default 64 MiB of file size.
            env: as for `wrap`.

        Raises:
            InfraError: the program or the sandbox could not be started.
        """
        limits = limits or Limits(file_mib=64)
        command = self.wrap(argv, ro, rw, cwd=cwd, limits=limits, env=env)
        began = time.monotonic()
        with _capture() as out, _capture() as err:
            try:
                process = subprocess.Popen(
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
                        reason=str(error.strerror or error),
                    ),
                    next_step=msg("Run `vmmlab doctor`."),
                ) from error
            try:
                ended = _wait(process, timeout_s)
            finally:
                kill_tree(process)
            stdout, stderr = _read_back(out), _read_back(err)
        if self.kind == "bwrap" and process.returncode != 0 and stderr.startswith(b"bwrap: "):
            raise InfraError(
                msg("The sandbox could not be set up."),
                found=stderr.decode(errors="replace").splitlines()[0],
                next_step=msg("Run `vmmlab doctor`."),
            )
        code = process.returncode
        return Completed(
            tuple(argv),
            code if code >= 0 else 128 - code,
            stdout,
            stderr,
            time.monotonic() - began,
            not ended,
        )

    def _bwrap_prefix(
        self,
        ro: Sequence[Path],
        rw: Sequence[Path],
        cwd: Path | None,
        devices: Sequence[Path],
        env: Mapping[str, str] | None,
    ) -> list[str]:
        args = [self.bwrap, *_profile()]
        for hidden in self.hidden:
            if hidden.is_relative_to("/usr") and hidden.is_dir():
                args += ["--tmpfs", str(hidden)]
        for path in ro:
            args += ["--ro-bind", str(path), str(path)]
            for hidden in self.hidden:
                if path in hidden.parents and hidden.is_dir():
                    args += ["--tmpfs", str(hidden)]
        for path in rw:
            args += ["--bind", str(path), str(path)]
        for path in devices:
            args += ["--dev-bind", str(path), str(path)]
        for key, value in {**_environment(SYSTEM_PATH), **(env or {})}.items():
            args += ["--setenv", key, value]
        return [*args, "--chdir", str(cwd or "/"), "--"]


def probe() -> Probe:
    """Whether bubblewrap works on this machine. Tried once per process (about 10 ms)."""
    with _probe_lock:
        return _probe_once()


_probe_lock = threading.Lock()


@functools.lru_cache(maxsize=1)
def _probe_once() -> Probe:
    path = shutil.which("bwrap")
    if path is None:
        return Probe(
            False, reason=msg("bubblewrap (bwrap) is not installed"), next_step=_INSTALL_LINE
        )
    try:
        done = subprocess.run(
            [path, *_profile(), "--", "/bin/sh", "-c", "ulimit -c 0"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
            cwd="/",
        )
        if done.returncode == 0:
            return Probe(True, path, _version(path))
        words = done.stderr.decode(errors="replace").strip().splitlines()
        # Debian's adds a guess and two addresses to one of its messages.
        said = words[0].partition(", likely because")[0] if words else ""
        said = said or msg("bwrap ended with status {returncode}", returncode=done.returncode)
    except subprocess.TimeoutExpired:
        said = msg(
            "bwrap did not end within {probe_timeout_s:.0f} s", probe_timeout_s=_PROBE_TIMEOUT_S
        )
    except OSError as error:
        said = msg(
            "{path} could not be started: {reason}", path=path, reason=str(error.strerror or error)
        )
    reason, step = explain(said)
    return Probe(False, path, reason=reason, next_step=step)


def explain(said: str, root: Path = Path("/")) -> tuple[Text, Text]:
    """Why bwrap fails here, and the next step.

    Args:
        said: the first line of its complaint.
        root: where /proc and the container's marks are looked for (for tests).
    """

    def setting(name: str) -> str:
        try:
            return (root / "proc/sys" / name).read_text().strip()
        except OSError:
            return ""

    if container.inside(root):
        # A filter of system calls says "not permitted" (EPERM), a security module "denied".
        if "Permission denied" in said:
            return (
                msg(
                    "AppArmor or SELinux forbids the sandbox in this container ({said})", said=said
                ),
                msg("Start the container with docker/apparmor-grader as docs/containers.md says."),
            )
        return (
            msg("this container does not allow new namespaces ({said})", said=said),
            msg(
                "Start the container with --security-opt "
                "seccomp=docker/seccomp-grader.json, as docs/containers.md says."
            ),
        )
    if setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            msg("AppArmor forbids user namespaces to bwrap ({said})", said=said),
            msg(
                "Give bwrap an AppArmor profile that allows userns (Ubuntu: `sudo "
                "apt-get install apparmor-profiles`, then copy bwrap-userns-restrict "
                "from /usr/share/apparmor/extra-profiles to /etc/apparmor.d and reload "
                "AppArmor)."
            ),
        )
    if setting("kernel/unprivileged_userns_clone") == "0":
        return (
            msg("the kernel forbids user namespaces to users ({said})", said=said),
            "sudo sysctl kernel.unprivileged_userns_clone=1",
        )
    if setting("user/max_user_namespaces") == "0":
        return (
            msg("the kernel allows no user namespaces ({said})", said=said),
            "sudo sysctl user.max_user_namespaces=10000",
        )
    return (
        msg("bwrap failed: {said}", said=said),
        msg("Run `bwrap --unshare-all --ro-bind / / true` and mend what it says."),
    )


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """End a process started from `wrap` with all that it started, and reap it; harmless if gone."""
    if process.returncode is not None:
        return
    # Not reaped yet, so its number cannot belong to anybody else.
    end_tree(process.pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _version(path: str) -> str:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    return done.stdout.decode(errors="replace").strip().rpartition(" ")[2] or "?"


def _environment(path: str) -> dict[str, str]:
    return {"PATH": path, "LC_ALL": "C", "HOME": "/nonexistent", "TMPDIR": "/tmp"}


@functools.lru_cache(maxsize=1)
def _profile() -> tuple[str, ...]:
    """The part of the command line that never changes."""
    args = [
        "--unshare-all",
        "--clearenv",
        "--cap-drop",
        "ALL",
        "--die-with-parent",
        "--new-session",
    ]
    args += ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM_DIRS:
        path = Path(name)
        if path.is_symlink():
            args += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            args += ["--ro-bind", name, name]
    if Path("/usr/local").is_dir():
        args += ["--tmpfs", "/usr/local"]
    args += ["--tmpfs", "/tmp", "--dir", "/dev", "--dev-bind", "/dev/null", "/dev/null"]
    return tuple(args)


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
    """util-linux's setpriv, where there is one that can do it (busybox's cannot)."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    prefix = (setpriv, "--pdeathsig", "KILL", "--")
    try:
        done = subprocess.run([*prefix, "true"], capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return prefix if done.returncode == 0 else ()


def _limit_prefix(limits: Limits | None) -> list[str]:
    """A shell that sets the limits and becomes the program. POSIX: -f in 512 bytes, -v in KiB."""
    if limits is None:
        return []
    words = ["ulimit -c 0"]
    if limits.file_mib is not None:
        size = _cap(resource.RLIMIT_FSIZE, limits.file_mib * MIB)
        words.append(f"ulimit -f {size // 512}")
    if limits.memory_mib is not None:
        size = _cap(resource.RLIMIT_AS, limits.memory_mib * MIB)
        words.append(f"{{ ulimit -v {size // 1024} || :; }} 2>/dev/null")
    if limits.cpu_s is not None:
        seconds = _cap(resource.RLIMIT_CPU, limits.cpu_s)
        words.append(f"ulimit -S -t {seconds}")
        words.append(f"ulimit -H -t {_cap(resource.RLIMIT_CPU, seconds + 1)}")
    return ["/bin/sh", "-c", "; ".join(words) + '; exec "$@"', "sh"]


def _cap(which: int, wanted: int) -> int:
    """`wanted`, or the limit that is already set when that is lower."""
    hard = resource.getrlimit(which)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


@contextmanager
def _capture() -> Iterator[IO[bytes]]:
    """A file for one output stream: in memory where the system can, else a temporary one."""
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
    """Wait, without polling and without reaping where the system can. False: not in time."""
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

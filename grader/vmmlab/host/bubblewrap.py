"""bubblewrap: whether it works here, why not, and the part of its command line that never changes.

Source: bwrap(1).
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from vmmlab.base.message import Text, msg
from vmmlab.host import container

_TRIAL_TIMEOUT_S = 10.0
_VERSION_TIMEOUT_S = 5.0
TMP_MIB = 64
"""Size of /tmp inside, which is memory, in MiB."""
_SYSTEM_DIRS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_INSTALL_LINE = "sudo apt-get install bubblewrap"

_lock = threading.Lock()


@dataclass(frozen=True)
class Bubblewrap:
    """Whether bubblewrap works here; if not, why and what to do.

    Attributes:
        works: whether it can make namespaces.
        path: the executable.
        version: its version, if it works.
        reason: why it does not work.
        next_step: what to do about that.
    """

    works: bool
    path: str = ""
    version: str = ""
    reason: Text = ""
    next_step: Text = ""


def examine() -> Bubblewrap:
    """Return whether bubblewrap works on this machine; tried once per process (about 10 ms)."""
    with _lock:
        return _examine_once()


@functools.lru_cache(maxsize=1)
def _examine_once() -> Bubblewrap:
    path = shutil.which("bwrap")
    if path is None:
        return Bubblewrap(
            False, reason=msg("bubblewrap (bwrap) is not installed"), next_step=_INSTALL_LINE
        )
    try:
        done = subprocess.run(
            [path, *profile(), "--", "/bin/sh", "-c", "ulimit -c 0"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRIAL_TIMEOUT_S,
            check=False,
            cwd="/",
        )
        if done.returncode == 0:
            return Bubblewrap(True, path, _version(path))
        words = done.stderr.decode(errors="replace").strip().splitlines()
        # Debian's adds a guess and two addresses to one of its messages.
        said: Text = words[0].partition(", likely because")[0] if words else ""
        said = said or msg("bwrap ended with status {returncode}", returncode=done.returncode)
    except subprocess.TimeoutExpired:
        said = msg(
            "bwrap did not end within {trial_timeout_s:.0f} s", trial_timeout_s=_TRIAL_TIMEOUT_S
        )
    except OSError as error:
        said = msg(
            "{path} could not be started: {reason}", path=path, reason=str(error.strerror or error)
        )
    reason, step = explain(said)
    return Bubblewrap(False, path, reason=reason, next_step=step)


def explain(said: Text, root: Path = Path("/")) -> tuple[Text, Text]:
    """Return why bwrap fails here, and the next step.

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
        return _explain_in_a_container(said)
    if setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            msg("AppArmor denies user namespaces to bwrap ({said})", said=said),
            msg(
                "Give bwrap an AppArmor profile that allows userns (Ubuntu: `sudo "
                "apt-get install apparmor-profiles`, then copy bwrap-userns-restrict "
                "from /usr/share/apparmor/extra-profiles to /etc/apparmor.d and reload "
                "AppArmor)."
            ),
        )
    if setting("kernel/unprivileged_userns_clone") == "0":
        return (
            msg("the kernel denies user namespaces to users ({said})", said=said),
            "sudo sysctl kernel.unprivileged_userns_clone=1",
        )
    if setting("user/max_user_namespaces") == "0":
        return (
            msg("the kernel allows no user namespaces ({said})", said=said),
            "sudo sysctl user.max_user_namespaces=10000",
        )
    return (
        msg("bwrap failed: {said}", said=said),
        msg("Run `bwrap --unshare-all --ro-bind / / true` and fix what it reports."),
    )


def _explain_in_a_container(said: Text) -> tuple[Text, Text]:
    # A filter of system calls says "not permitted" (EPERM), a security module "denied".
    if "Permission denied" in str(said):
        return (
            msg("AppArmor or SELinux denies the sandbox in this container ({said})", said=said),
            msg("Start the container with docker/apparmor-grader as docs/containers.md says."),
        )
    return (
        msg("this container does not allow new namespaces ({said})", said=said),
        msg(
            "Start the container with --security-opt seccomp=docker/seccomp-grader.json, "
            "as docs/containers.md says."
        ),
    )


@functools.lru_cache(maxsize=1)
def profile() -> tuple[str, ...]:
    """Return the options of every sandbox: own namespaces, no network, only the system readable.

    There is no /proc inside and of /dev only `null`.
    """
    args = ["--unshare-all", "--clearenv", "--cap-drop", "ALL", "--die-with-parent"]
    args += ["--new-session", "--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM_DIRS:
        path = Path(name)
        if path.is_symlink():
            args += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            args += ["--ro-bind", name, name]
    if Path("/usr/local").is_dir():
        args += empty(Path("/usr/local"))
    args += ["--size", str(TMP_MIB << 20)] if can_size() else []
    args += ["--tmpfs", "/tmp", "--dir", "/dev", "--dev-bind", "/dev/null", "/dev/null"]
    return tuple(args)


def empty(folder: Path) -> list[str]:
    """Return the options that make a folder empty inside, and nothing can be written to it."""
    return ["--tmpfs", str(folder), "--remount-ro", str(folder)]


@functools.lru_cache(maxsize=1)
def can_size() -> bool:
    """Whether this bubblewrap can limit a temporary file system (0.7 and later)."""
    path = shutil.which("bwrap")
    try:
        done = subprocess.run(
            [path or "bwrap", "--help"],
            capture_output=True,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"--size" in done.stdout + done.stderr


def _version(path: str) -> str:
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, timeout=_VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    return done.stdout.decode(errors="replace").strip().rpartition(" ")[2] or "?"

"""A machine of a platform, made of the tools of this one: a root of its own, by bubblewrap."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
TOOLS = ("bwrap", "gcc", "qemu-system-x86_64", "make", "dpkg-query", "/usr/bin/python3")
APT = """\
#!/bin/sh
# Stands in for apt-get: what would be installed must be here already, by its name.
[ "$1" = install ] || exit 0
shift
for name in "$@"; do
  case $name in -*) continue ;; esac
  dpkg-query -W -f '${db:Status-Status}\\n' "$name" | grep -qx installed || exit 100
done
"""


@dataclass(frozen=True)
class Machine:
    """A root in which /usr and /etc are this machine's, and read-only.

    Attributes:
        folder: holds the folders that can be written: the rest of the root.
        sandbox: whether a program in it may make a sandbox of its own.
    """

    folder: Path
    sandbox: bool = True

    def run(
        self, *words: str, cwd: str = "/", path: str = PATH
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root of that machine, and wait until it ends."""
        return subprocess.run(
            ["bwrap", *self._options(cwd, path), *words],
            capture_output=True,
            text=True,
            check=False,
        )

    def _options(self, cwd: str, path: str) -> Sequence[str]:
        options = ["--die-with-parent", "--unshare-pid", "--unshare-ipc", "--clearenv"]
        options += ["--unshare-user", "--uid", "0", "--gid", "0"]
        if not self.sandbox:
            options += ["--disable-userns"]
        for top in ("/usr", "/bin", "/sbin", "/lib", "/lib64"):
            link = Path(top)
            options += (
                ["--symlink", str(link.readlink()), top]
                if link.is_symlink()
                else ["--ro-bind", top, top]
            )
        options += ["--ro-bind", "/etc", "/etc", "--ro-bind", "/var/lib/dpkg", "/var/lib/dpkg"]
        options += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--dir", "/root"]
        for own in sorted(self.folder.iterdir()):
            options += ["--bind", str(own), f"/{own.name}"]
        settings = {"HOME": "/root", "LANG": "C.UTF-8", "PATH": f"/shims:{path}"}
        certificates = {key: os.environ[key] for key in ("PIP_CERT",) if key in os.environ}
        for key, value in {**settings, **certificates}.items():
            options += ["--setenv", key, value]
        return [*options, "--chdir", cwd]

    def without_sandbox(self) -> Machine:
        """Return the same machine, but one that forbids sandboxes, as many containers do."""
        return Machine(self.folder, sandbox=False)

    def put(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)

    def empty(self, name: str) -> Path:
        """Make an empty folder in place of one that may be there."""
        path = self.folder / name
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True)
        return path


def machine(folder: Path) -> Machine:
    """Return a new machine; skip the test where this one lacks what it is made of."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    made = Machine(folder)
    made.put("shims/apt-get", APT.encode(), 0o755)
    done = made.run("python3", "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))")
    if done.returncode:
        pytest.skip(f"no sandbox, or no python3-venv of Python 3.11: {done.stderr}")
    return made

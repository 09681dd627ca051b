"""Limits a process's resources by a shell that sets them and then runs the program."""

from __future__ import annotations

import resource
from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class ResourceLimits:
    """Resource limits of each process in a sandbox; None leaves that one alone.

    Args:
        file_mib: largest file a process may write, in MiB (RLIMIT_FSIZE; SIGXFSZ beyond it).
        cpu_s: processor time in seconds (RLIMIT_CPU; SIGXCPU, one second later SIGKILL).
        memory_mib: address space in MiB (RLIMIT_AS; not on macOS).
    """

    file_mib: int | None = None
    cpu_s: int | None = None
    memory_mib: int | None = None

    def prefix(self) -> list[str]:
        """Return the command in front of a program that sets the limits and becomes the program.

        POSIX: `ulimit -f` counts in units of 512 bytes, `-v` in KiB.
        """
        words = ["ulimit -c 0"]
        if self.file_mib is not None:
            size = at_most(resource.RLIMIT_FSIZE, self.file_mib * MIB)
            words.append(f"ulimit -f {size // 512}")
        if self.memory_mib is not None:
            size = at_most(resource.RLIMIT_AS, self.memory_mib * MIB)
            words.append(f"{{ ulimit -v {size // 1024} || :; }} 2>/dev/null")
        if self.cpu_s is not None:
            seconds = at_most(resource.RLIMIT_CPU, self.cpu_s)
            words.append(f"ulimit -S -t {seconds}")
            words.append(f"ulimit -H -t {at_most(resource.RLIMIT_CPU, seconds + 1)}")
        return ["/bin/sh", "-c", "; ".join(words) + '; exec "$@"', "sh"]


def at_most(which: int, wanted: int) -> int:
    """Return `wanted`, or the limit that is in force already if that is lower."""
    hard = resource.getrlimit(which)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)

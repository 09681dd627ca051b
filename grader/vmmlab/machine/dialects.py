"""What differs between versions of QEMU, in one place.

Everything else in this package is the same from 7.2 to 10.0. Recorded logs of both versions are
under grader/tests/machine/data.

==================================  ================================  ==============================
what                                QEMU 7.2                          QEMU 10
==================================  ================================  ==============================
write to the APIC, in the log       apic_mem_writel 0x300 = 0x…       apic_register_write register
                                                                      0x30 = 0x…
reset of a processor, in the log    guest_cpu_reset cpu=0x<pointer>   cpu_reset <number>
stop at a watchpoint, in the stub   watch:0000000000107800;           watch:107800;
x2APIC with TCG                     none (until 9.0)                  qemu64,+x2apic
restoring a machine from a file     fd:N, an inherited descriptor     file:/dev/fdset/N (since 9.1)
==================================  ================================  ==============================
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.host.versions import QEMU_VARIABLE

_SVM: Final = {True: ("+svm", "+npt"), False: ("-svm",), None: ()}
_X2APIC: Final = "+x2apic"

_X2APIC_SINCE = (9, 0)
_FILE_SINCE = (9, 1)
_STATE_SET = 2
_ICR: Final = (0x300, 0x310)  # offsets in the APIC's registers
_WATCH = re.compile(rb"[ar]?watch:([0-9a-f]+);")
_LINE = re.compile(
    rb"(\d+)@(\d+\.\d+):(?:"
    rb"(?P<a7>apic_mem_writel 0x(?P<r7>[0-9a-f]+)) = 0x(?P<v7>[0-9a-f]+)"
    rb"|(?P<a10>apic_register_write register 0x(?P<r10>[0-9a-f]+)) = 0x(?P<v10>[0-9a-f]+)"
    rb"|(?P<reset7>guest_cpu_reset) "
    rb"|cpu_reset (?P<reset10>\d+)"
    rb"|memory_region_ops_write cpu (?P<cpu>-?\d+) mr 0x[0-9a-f]+ addr 0x(?P<addr>[0-9a-f]+)"
    rb" value 0x(?P<value>[0-9a-f]+) size (?P<size>\d+)(?: name '(?P<name>[^']*)')?)"
)


class LogLine(NamedTuple):
    """One line of QEMU's log that is of interest.

    Attributes:
        kind: "icr" (a write to half of the APIC's interrupt command register), "apic" (a write to
            another of its registers), "reset" (of a processor) or "io" (a write to any device).
        thread: the host thread that logged it.
        time_s: host wall clock, seconds since the epoch.
        cpu: the processor; None where the line does not tell, or a device itself writes.
        address: "icr", "apic": offset in the APIC's registers; "io": physical address.
        value: what was written.
        size: bytes that were written, for "io".
        region: QEMU's name of the device's registers, for "io".
    """

    kind: Literal["icr", "apic", "reset", "io"]
    thread: int
    time_s: float
    cpu: int | None = None
    address: int = 0
    value: int = 0
    size: int = 0
    region: str = ""


class Incoming(NamedTuple):
    """How a machine is restored from a file.

    Attributes:
        options: for the command line.
        uri: for QMP's `migrate-incoming`.
    """

    options: tuple[str, ...]
    uri: str


def incoming(version: tuple[int, ...], descriptor: int) -> Incoming:
    """Return how a QEMU is told to restore a machine from a file.

    Args:
        version: such as (7, 2, 22).
        descriptor: of the file, which QEMU inherits.
    """
    if tuple(version[:2]) < _FILE_SINCE:
        return Incoming(("-incoming", "defer"), f"fd:{descriptor}")
    added = ("-add-fd", f"fd={descriptor},set={_STATE_SET}")
    return Incoming((*added, "-incoming", "defer"), f"file:/dev/fdset/{_STATE_SET}")


def trace_events(*, device_writes: bool) -> tuple[str, ...]:
    """Return the trace events to ask QEMU for; wildcards, because their names differ.

    Args:
        device_writes: also every write to a device.
    """
    usual = ("apic_*write*", "*cpu_reset")
    return (*usual, "memory_region_ops_write") if device_writes else usual


def log_line(line: bytes) -> LogLine | None:
    """Return what a line of the log says, None if it is no line of a trace event of interest."""
    match = _LINE.match(line)
    if match is None:
        return None
    group = match.groupdict()
    thread, time_s = int(match[1]), float(match[2])
    if group["a7"]:
        return _apic_line(thread, time_s, int(group["r7"], 16), int(group["v7"], 16))
    if group["a10"]:
        return _apic_line(thread, time_s, int(group["r10"], 16) << 4, int(group["v10"], 16))
    if group["reset7"]:
        return LogLine("reset", thread, time_s)
    if group["reset10"]:
        return LogLine("reset", thread, time_s, int(group["reset10"]))
    cpu = int(group["cpu"])
    return LogLine(
        "io",
        thread,
        time_s,
        cpu if cpu >= 0 else None,
        int(group["addr"], 16),
        int(group["value"], 16),
        int(group["size"]),
        (group["name"] or b"").decode("ascii", "replace"),
    )


def _apic_line(thread: int, time_s: float, offset: int, value: int) -> LogLine:
    kind: Literal["icr", "apic"] = "icr" if offset in _ICR else "apic"
    return LogLine(kind, thread, time_s, None, offset, value)


def watch_address(text: bytes) -> int | None:
    """Return the data address in the end of a stop reply, None if it is not a watchpoint's."""
    match = _WATCH.search(text)
    return None if match is None else int(match[1], 16)


def processor(*, svm: bool | None, x2apic: bool) -> str:
    """Return the processor to emulate, for `-cpu`; "" for QEMU's own choice.

    Args:
        svm: it can run guests (AMD APM vol. 2, 15), with nested paging; None: QEMU's choice, which
            is SVM without nested paging.
        x2apic: it has an x2APIC, where QEMU emulates one.
    """
    features = (*_SVM[svm], *((_X2APIC,) if x2apic else ()))
    return ",".join(("qemu64", *features)) if features else ""


def require_x2apic(version: tuple[int, ...]) -> None:
    """Refuse a QEMU whose TCG has no x2APIC.

    Args:
        version: such as (7, 2, 22).

    Raises:
        UsageError: it is older than 9.0.
    """
    if tuple(version[:2]) < _X2APIC_SINCE:
        raise UsageError(
            msg("more than 255 processors need x2APIC, which this QEMU does not emulate."),
            expected=msg("QEMU {version} or newer", version=".".join(map(str, _X2APIC_SINCE))),
            found=msg("QEMU {names}", names=".".join(map(str, version))),
            next_step=msg(
                "take at most 255, or name another QEMU in ${qemu_variable}",
                qemu_variable=QEMU_VARIABLE,
            ),
        )

"""QEMU's command line for a machine."""

from __future__ import annotations

from pathlib import Path

from vmmlab.machine import firmware
from vmmlab.machine.dialects import processor, trace_events
from vmmlab.machine.spec import MachineSpec
from vmmlab.machine.svmlog import NO_CODE

_TRANSLATED_MIB = 128
"""Translated code that QEMU keeps, MiB: a guest that is nothing but new code fills all of it."""


def argv(
    spec: MachineSpec,
    *,
    qemu: Path,
    qmp_fd: int,
    gdb_fd: int,
    serial_fd: int,
    logs: Path | None = None,
    incoming: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Return the command line for `spec`, talking over these inherited file descriptors.

    There is deliberately no isa-debug-exit or other device by which a guest could end QEMU.

    Args:
        spec: the machine.
        qemu: the executable.
        qmp_fd: a socket for QMP.
        gdb_fd: a socket for the debug stub.
        serial_fd: a pipe for the first serial port.
        logs: where each thread's log is to be, with "%d" for its id; None: one log for all.
        incoming: options for a machine that is restored; none for one that starts.

    Raises:
        InfraError: the firmware is not installed.
    """
    out = [
        str(qemu),
        *_processor(spec),
        *("-M", spec.board),
        *("-nodefaults", "-no-user-config"),
        # A clock of the host would show the VMM for how long it was stopped.
        *("-rtc", "clock=vm", "-display", "none", "-S"),
        *("-m", str(spec.memory_mib), "-smp", _processors(spec)),
        *("-bios", firmware.find(spec.firmware).image(qemu)),
        *("-kernel", str(spec.kernel)),
        *("-action", "reboot=shutdown,shutdown=pause"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-chardev", f"socket,id=qmp,fd={qmp_fd}", "-mon", "chardev=qmp,mode=control"),
        *("-chardev", f"socket,id=gdb,fd={gdb_fd}", "-gdb", "chardev:gdb"),
        *("-add-fd", f"fd={serial_fd},set=1"),
        *("-chardev", "file,id=com1,path=/dev/fdset/1,append=on", "-serial", "chardev:com1"),
        *("-msg", "timestamp=on"),
    ]
    out += list(incoming)
    for event in trace_events(device_writes=spec.single_threaded or spec.trace_io):
        out += ("-trace", event)
    items = ["int"] if spec.log_exceptions and spec.accel == "tcg" else []
    if logs is not None:
        items += ["in_asm", "tid"]
        out += ("-dfilter", NO_CODE, "-D", str(logs))
    if items:
        out += ("-d", ",".join(items))
    if spec.cmdline:
        out += ("-append", spec.cmdline)
    if spec.modules:
        out += ("-initrd", ",".join(str(m).replace(",", ",,") for m in spec.modules))
    return tuple(out)


def _processor(spec: MachineSpec) -> tuple[str, ...]:
    """Return the options that say what executes the code."""
    if spec.accel == "kvm":
        return ("-accel", "kvm")  # `-cpu host` fails where KVM itself runs in a virtual machine
    threads = "single" if spec.single_threaded else "multi"
    cpu = processor(svm=spec.svm, x2apic=spec.x2apic)
    named = ("-cpu", cpu) if cpu else ()
    return ("-accel", f"tcg,thread={threads},tb-size={_TRANSLATED_MIB}", *named)


def _processors(spec: MachineSpec) -> str:
    if spec.sockets == 1:
        return str(spec.cpus)
    return f"{spec.cpus},sockets={spec.sockets},cores={spec.cpus // spec.sockets},threads=1"

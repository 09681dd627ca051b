"""Starts, drives and watches one QEMU; does not judge what it sees.

`Machine` boots a `MachineSpec` and stops before the first instruction. Its `gdb` is a small client
of QEMU's debug stub; its `trace()` lists what the virtual processors wrote to their APICs.
"""

from vmmlab.machine.exceptions import CpuException, TripleFault
from vmmlab.machine.gdb import Gdb, Registers, Stop
from vmmlab.machine.limits import Limits
from vmmlab.machine.qemu import Launcher, Machine, MachineDied, PlainLauncher
from vmmlab.machine.spec import MachineSpec
from vmmlab.machine.trace import CpuReset, IcrDest, IcrWrite, IoWrite, TraceEvent

__all__ = [
    "CpuException",
    "CpuReset",
    "Gdb",
    "IcrDest",
    "IcrWrite",
    "IoWrite",
    "Launcher",
    "Limits",
    "Machine",
    "MachineDied",
    "MachineSpec",
    "PlainLauncher",
    "Registers",
    "Stop",
    "TraceEvent",
    "TripleFault",
]

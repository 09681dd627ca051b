"""Everything that starts, drives and watches one QEMU: no opinion on what is right or wrong.

`Machine` boots a `MachineSpec` and stops before the first instruction. Its `gdb` is a small client
of QEMU's debug stub, its `trace()` says what the virtual processors did to their APICs.
"""

from vmmlab.host.versions import ToolVersions, tool_versions
from vmmlab.machine.gdb import Gdb, Registers, Stop
from vmmlab.machine.limits import Limits
from vmmlab.machine.qemu import Launcher, Machine, MachineDied, PlainLauncher
from vmmlab.machine.spec import MachineSpec
from vmmlab.machine.trace import (
    CpuException,
    CpuReset,
    IcrDest,
    IcrWrite,
    IoWrite,
    TraceEvent,
    TripleFault,
)

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
    "ToolVersions",
    "TraceEvent",
    "TripleFault",
    "tool_versions",
]

"""A small asyncio client of QEMU's debug stub.

It is written for this purpose and not taken from a library because it needs three things: many
requests in one round trip, control over each processor, and what is known of the stub, which stands
at the head of the module that it concerns.

From the bottom up: `wire` (packets), `stub` (requests, what they have selected), `memory`, `cpus`
(registers), `points`, `stops` (what a stop reply means), `running`, `client` (all of it as `Gdb`).
"""

from vmmlab.machine.gdb.client import Gdb
from vmmlab.machine.gdb.errors import GdbError, MemoryUnreadable
from vmmlab.machine.gdb.registers import REGISTER_NAMES, Registers
from vmmlab.machine.gdb.stops import Stop

__all__ = ["REGISTER_NAMES", "Gdb", "GdbError", "MemoryUnreadable", "Registers", "Stop"]

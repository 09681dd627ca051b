"""Waits for the EFI loader in a machine, and copies a VMM into the memory that it reserved.

The loader prints the address of its `uefi_box` on COM1 and spins until `hold` is 0
(boot/uefi_loader.c, boot/uefi_loader_room.S).
"""

from __future__ import annotations

import asyncio
import struct
from typing import Final

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.machine.gdb import Gdb, GdbError
from vmmlab.machine.qemu import Machine

_LINE: Final = b"vmmlab-loader box="
_MAGIC: Final = b"vmmlab-uefi-box1"
_BOX: Final = struct.Struct("<16s7Q")
"""magic, hold, vmm, vmm_len, room_len, os, os_len, os_room_len."""
_HOLD_AT: Final = 16
_VMM_LEN_AT: Final = 32
_OS_LEN_AT: Final = 56


async def wait_for_loader(machine: Machine) -> int:
    """Let the firmware run until the loader waits; return the address of its box.

    Raises:
        InfraError: the firmware does not start the loader.
    """
    await machine.gdb.resume()
    try:
        async with asyncio.timeout(machine.limits.total_s):
            line = await machine.serial_line(_LINE)
    except TimeoutError:
        raise _trouble(msg("The firmware does not start the EFI loader."), machine) from None
    stop = await machine.gdb.interrupt()
    if stop.kind in ("shutdown", "exit"):
        raise _trouble(msg("The firmware ended the machine."), machine)
    try:
        return int(line, 16)
    except ValueError:
        raise _trouble(msg("The EFI loader does not tell where its box is."), machine) from None


async def put_vmm(gdb: Gdb, box: int, vmm: bytes, guest_os: bytes) -> None:
    """Write a VMM, and an operating system for its guest, into the room of the waiting loader.

    Args:
        gdb: of the paused machine.
        box: physical address of the box.
        vmm: the VMM's file.
        guest_os: an EFI application; b"" for none.

    Raises:
        InfraError: no loader waits there, or the files are too large for it.
    """
    try:
        found = _BOX.unpack(await gdb.read_phys(box, _BOX.size))
    except GdbError:
        found = (b"",) * 8
    magic, hold, room, _, most, os_room, _, os_most = found
    if magic != _MAGIC or not hold:
        raise InfraError(
            msg("No EFI loader waits for a VMM at {box:#x}.", box=box),
            next_step=msg("Run the command again."),
        )
    for content, limit in ((vmm, most), (guest_os, os_most)):
        if len(content) > limit:
            raise InfraError(
                msg("The EFI loader has no room for what it is to start."),
                expected=msg("at most {limit} bytes", limit=limit),
                found=msg("{size} bytes", size=len(content)),
                next_step=msg("Make the VMM smaller, or boot it with another firmware."),
            )
    await gdb.write_phys(room, vmm)
    await gdb.write_phys(os_room, guest_os)
    await gdb.write_phys(box + _VMM_LEN_AT, len(vmm).to_bytes(8, "little"))
    await gdb.write_phys(box + _OS_LEN_AT, len(guest_os).to_bytes(8, "little"))
    await gdb.write_phys(box + _HOLD_AT, bytes(8))


def _trouble(what: Text, machine: Machine) -> InfraError:
    return InfraError(
        what,
        expected=msg("the line {line} on COM1", line=_LINE.decode()),
        found=machine.serial()[-300:] or msg("nothing"),
        next_step=msg("Is this an OVMF for x86_64? Run `vmmlab doctor`."),
    )

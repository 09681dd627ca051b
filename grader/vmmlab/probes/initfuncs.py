"""Probes of vmm_main: the multiboot information, and which init functions run in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.evidence import InitFunction, Multiboot
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.base import BaseProbe, Probe
from vmmlab.probes.registry import probe

UNDECIDED: Final = b"\x55"  # put into a bool that the VMM must decide about
MULTIBOOT_INFO_SIZE: Final = 88  # bytes, Multiboot 0.6.96, 3.3, with vbe_interface_len
CALLS: Final = ("initfunc_init", "call_initfunc", "start_all_processors")


@probe("initfuncs")
@dataclass
class InitfuncsProbe(BaseProbe):
    """Records the order of init functions, and what vmm_main does before it calls them.

    Args:
        functions: number of init functions added to those that every boot has.
    """

    places: tuple[str, ...] = CALLS
    functions: int = 0
    delays: Mapping[str, int] = field(default_factory=dict, init=False)
    original: int = field(default=0, init=False)

    async def start(self, session: Session) -> None:
        """Keep the multiboot information as the boot loader left it; stop at every function."""
        self.original = await session.view.argument(0, "vmm_main")
        information = await session.view.read_if_there(self.original, MULTIBOOT_INFO_SIZE)
        await session.gdb.write_phys(session.view.phys("uefi_booted"), UNDECIDED)
        linked, functions = await _records(session)
        session.log.multiboot = Multiboot(original=information, linked=linked)
        for record in linked:
            await session.places.watch(record.function, functions[record.function])

    async def hit(self, session: Session, hit: Hit) -> None:
        """Keep the copy at the calls of vmm_main; poison the original before functions run."""
        known = session.log.multiboot
        if hit.cpu != 0 or known is None or known.sorted is not None:
            return
        if hit.place in ("initfunc_init", "call_initfunc", "vmm_todo"):
            # Sorting does not need the copy: what counts is what is there before "global".
            known = session.log.multiboot = await _decided(session, known)
        if hit.place in ("call_initfunc", "vmm_todo"):
            poison = session.choice.randbytes(MULTIBOOT_INFO_SIZE)
            await session.gdb.write_phys(self.original, poison)
        if hit.place == "call_initfunc":
            found, _ = await _records(session)
            session.log.multiboot = replace(known, sorted=found)
            await session.places.watch("call_initfunc returned", await session.view.stack_word(0))


async def _decided(session: Session, known: Multiboot) -> Multiboot:
    """Add what vmm_main has copied and decided."""
    copy = await session.view.read_if_there(session.view.phys("mi"), MULTIBOOT_INFO_SIZE)
    (booted,) = await session.gdb.read_phys(session.view.phys("uefi_booted"), 1)
    return replace(known, copy=copy, uefi_booted=booted)


async def _records(session: Session) -> tuple[tuple[InitFunction, ...], dict[str, int]]:
    """Return the records of .initfunc as they are now, and the addresses of their functions."""
    view = session.view
    start, end = view.addr("__initfunc_start"), view.addr("__initfunc_end")
    raw = await session.gdb.read_phys(start - VMM_BASE, end - start)
    word = view.abi.word
    size = 3 * word  # struct initfunc_data, include/initfunc.h
    functions: dict[str, int] = {}
    records = []
    for at in range(0, len(raw) - size + 1, size):
        filename, ident, function = (view.abi.pointer(raw[at + i :]) for i in range(0, size, word))
        symbol = view.symbols.nearest(function)
        functions[symbol] = function
        texts = [await view.read_text(0, where) for where in (ident, filename)]
        records.append(InitFunction(texts[0], texts[1], symbol))
    return tuple(records), functions


@probe("uefi")
@dataclass
class UefiProbe(Probe):
    """Calls vmm_main as a UEFI loader would: without multiboot information."""

    places: tuple[str, ...] = CALLS

    async def start(self, session: Session) -> None:
        """Hand over 0, and keep what `mi` holds, so that a copy from physical 0 is noticed."""
        before = await session.view.read_if_there(session.view.phys("mi"), MULTIBOOT_INFO_SIZE)
        session.log.multiboot = Multiboot(before=before)
        await session.view.set_argument(0, "vmm_main", 0, 0)
        await session.gdb.write_phys(session.view.phys("uefi_booted"), UNDECIDED)

    async def hit(self, session: Session, hit: Hit) -> None:
        """Record at the first call, or the first TODO, what was decided."""
        known = session.log.multiboot
        if hit.place in (*self.places, "vmm_todo") and known is not None:
            session.log.multiboot = await _decided(session, known)
            session.finished = True

"""Probes of vmm_main: the multiboot information, and which init functions run in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.machine.gdb import Stop
from vmmlab.observe.multiboot import InitFunction, Multiboot
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.base import BaseProbe, Probe
from vmmlab.probes.mixing import Mixing
from vmmlab.probes.registry import probe

UNDECIDED: Final = b"\x55"  # put into a bool that the VMM must decide about
MULTIBOOT_INFO_SIZE: Final = 88  # bytes, Multiboot 0.6.96, 3.3, with vbe_interface_len
CALLS: Final = ("initfunc_init", "call_initfunc", "start_all_processors")
_SORTED: Final = "initfunc_init returned"
NESTING: Final = "global6"
NESTED: Final = "inner_functions_that_the_function_of_global6_calls"
"""The function with the id NESTING calls call_initfunc (NESTED)."""
_MIXED: Final = "inner"
"""Begins the id NESTED, and no other one."""
_EARLY: Final = "global0"
"""An id of which a function is watched before the records are sorted."""
_OPTIONAL: Final = (
    (1 << 4 | 1 << 5, 28, 44),  # syms
    (1 << 7, 52, 60),  # drives
    (1 << 8, 60, 64),  # config_table
    (1 << 10, 68, 72),  # apm_table
    (1 << 11, 72, 88),  # vbe
)
"""Parts of the information that need not be valid: bits of `flags`, first byte, end; 3.3 there."""
_FLAGS: Final = 4  # bytes of `flags`, at the beginning
_UNDEFINED_FLAGS: Final = slice(2, 4)  # bits 16 to 31, which no one sets or looks at
_CALLS_MOST: Final = 8  # calls of vmm_main, after which the boot without information ends
_STACK_END: Final = 64  # bytes at the end of the boot stack that nothing should reach
_VARIABLES: Final = (".bss", ".data")
_NAME_MOST: Final = 320  # bytes of an id or a file name
_BEHIND: Final = 32  # bytes that are looked at behind `mi` and behind the original


@probe("initfuncs")
@dataclass
class InitfuncsProbe(BaseProbe):
    """Records the order of init functions, and what vmm_main does before it calls them.

    Args:
        functions: number of init functions added to those that every boot has.
        empty: no function is registered at all, so the boot ends at start_all_processors.
        descending: before initfunc_init the records are in the opposite of the right order.
        silent: up to the first call of call_initfunc, `flags` says that nothing is valid.
        information: where vmm_main finds the multiboot information, a physical address; 0 means
            where the boot loader has left it.
    """

    places: tuple[str, ...] = CALLS
    functions: int = 0
    empty: bool = False
    descending: bool = False
    silent: bool = False
    information: int = 0
    delays: Mapping[str, int] = field(default_factory=dict, init=False)
    original: int = field(default=0, init=False)
    flags: bytes = field(default=b"", init=False)
    behind: bytes = field(default=b"", init=False)
    stack_end: bytes = field(default=b"", init=False)
    texts: dict[int, str] = field(default_factory=dict, init=False)
    """The ids and file names at their addresses."""
    addresses: dict[str, int] = field(default_factory=dict, init=False)
    """Of the functions of the records."""
    called_with: bytes | None = field(default=None, init=False)
    information_then: bytes = field(default=b"", init=False)
    """What `mi` was at the first call of call_initfunc."""

    async def start(self, session: Session) -> None:
        """Fill `mi` and what is undefined of the original, and keep both.

        Until the records are sorted only few places are watched: each makes code near it slower,
        and sorting may take many steps.
        """
        view = session.view
        self.original = await view.argument(0, "vmm_main")
        if self.information:
            await self._move_information(session)
        information = await _fill_what_is_undefined(session, self.original)
        self.flags = information[:_FLAGS]
        if self.silent and information:
            information = bytes(_FLAGS) + information[_FLAGS:]
            await session.gdb.write_phys(self.original, information)
        self.behind = await _fill_behind(session, self.original + MULTIBOOT_INFO_SIZE)
        before = await _fill_mi(session, silent=self.silent)
        await session.gdb.write_phys(view.phys("uefi_booted"), UNDECIDED)
        self.stack_end = session.choice.randbytes(_STACK_END)
        await session.gdb.write_phys(view.phys("boot_stack"), self.stack_end)
        if self.descending:
            await self._turn_round(session)
        linked, self.addresses = await _records(session, self.texts)
        session.log.multiboot = Multiboot(
            address=self.original,
            original=information,
            before=before,
            linked=linked,
            behind=await (_no_records if self.empty else _gap_behind_the_records)(session),
        )
        for record in linked:
            if record.id == _EARLY:
                await session.places.watch(record.function, self.addresses[record.function])

    async def _move_information(self, session: Session) -> None:
        """Let vmm_main find the multiboot information elsewhere, and nothing where it was."""
        raw = await session.view.read_if_there(self.original, MULTIBOOT_INFO_SIZE)
        await session.gdb.write_phys(self.original, session.choice.randbytes(len(raw)))
        await session.gdb.write_phys(self.information, raw)
        await session.view.set_argument(0, "vmm_main", 0, self.information)
        self.original = self.information

    async def _turn_round(self, session: Session) -> None:
        """Put the records into the opposite of the right order."""
        raw = await _raw_records(session)
        found, _ = await _records(session, self.texts)
        size = len(raw) // max(1, len(found))
        last_first = sorted(range(len(found)), key=lambda one: found[one].key, reverse=True)
        turned = b"".join(raw[one * size : (one + 1) * size] for one in last_first)
        await session.gdb.write_phys(session.view.phys("__initfunc_start"), turned)

    async def _compare_information(self, session: Session, known: Multiboot) -> None:
        """Record it if `mi` has changed while the init functions ran."""
        at = session.view.phys("mi")
        now = await session.view.read_if_there(at, MULTIBOOT_INFO_SIZE)
        pairs = enumerate(zip(self.information_then, now, strict=False))
        changed = next((place for place, (before, after) in pairs if before != after), None)
        session.log.multiboot = replace(known, changed_at=changed)

    async def _mix_calls(self, session: Session, known: Multiboot) -> None:
        """Record what becomes of a call when another one comes between."""
        mixed = await Mixing(session, _MIXED, self.addresses).look()
        session.log.multiboot = replace(known, mixed=mixed)

    async def _compare_records(self, session: Session, known: Multiboot, hit: Hit) -> None:
        """Record it if the records are not what they were when call_initfunc was first called."""
        now = await _raw_records(session)
        if self.called_with is not None and now != self.called_with:
            session.log.multiboot = replace(known, changed_for=hit.place)

    async def hit(self, session: Session, hit: Hit) -> None:
        """Keep the copy at the calls of vmm_main; poison the original before functions run."""
        known = session.log.multiboot
        if known is not None and hit.place in self.addresses and not known.changed_for:
            await self._compare_records(session, known, hit)
        session.finished = self.empty and hit.place == "start_all_processors"
        first = not self.functions and not self.silent
        if known is not None and hit.place == "start_all_processors" and first:
            await self._mix_calls(session, known)
            known = session.log.multiboot
        if known is not None and self.information_then and hit.place == "start_all_processors":
            await self._compare_information(session, session.log.multiboot or known)
        if hit.cpu != 0 or known is None or known.sorted is not None:
            return
        known = session.log.multiboot = await _sorted(session, known, hit)
        if hit.place in (*CALLS, "vmm_todo"):
            known = session.log.multiboot = await _looked_at(session, known, self.behind)
        if hit.place == "call_initfunc" and self.silent:
            await self._speak(session, known)
        if hit.place == "call_initfunc":
            at = session.view.phys("mi")
            self.information_then = await session.view.read_if_there(at, MULTIBOOT_INFO_SIZE)
        if hit.place in ("call_initfunc", "vmm_todo"):
            poison = session.choice.randbytes(MULTIBOOT_INFO_SIZE)
            await session.gdb.write_phys(self.original, poison)
        if hit.place in ("call_initfunc", "start_all_processors"):
            found, _ = await _records(session, self.texts)
            self.called_with = await _raw_records(session)
            for function, address in self.addresses.items():
                await session.places.watch(function, address)
            session.log.multiboot = replace(
                known,
                sorted=found,
                behind_later=await self._behind_later(session),
                stack_overflowed=await self._stack_overflowed(session),
                copies=await _copies(session, self.called_with),
            )
        if hit.place == "call_initfunc" and (back := await session.return_address(0)) is not None:
            await session.places.watch("call_initfunc returned", back)

    async def _behind_later(self, session: Session) -> bytes:
        look = _behind_the_records if self.empty else _gap_behind_the_records
        return await look(session)

    async def over(self, session: Session) -> None:
        """Look at the boot stack if the records were never looked at."""
        known = session.log.multiboot
        if known is not None and known.sorted is None:
            overflowed = await self._stack_overflowed(session)
            session.log.multiboot = replace(known, stack_overflowed=overflowed)

    async def _stack_overflowed(self, session: Session) -> bool:
        end = session.view.phys("boot_stack")
        return await session.gdb.read_phys(end, _STACK_END) != self.stack_end

    async def _speak(self, session: Session, known: Multiboot) -> None:
        """Let `mi` be what a boot loader that says what is valid would have left: mm.c needs it."""
        if known.original is not None and known.copy is not None:
            information = self.flags + known.original[_FLAGS:]
            await session.gdb.write_phys(session.view.phys("mi"), information)


async def _fill_mi(session: Session, *, silent: bool = False) -> bytes:
    """Write random bytes to `mi`. Its flags say that nothing of it is valid.

    Args:
        session: the boot.
        silent: the flags to copy are 0, so those of `mi` must not be.
    """
    flags = session.choice.between(1, 0xFFFF) << 16 if silent else 0
    filled = flags.to_bytes(_FLAGS, "little")
    filled += session.choice.randbytes(MULTIBOOT_INFO_SIZE - _FLAGS)
    await session.gdb.write_phys(session.view.phys("mi"), filled)
    return filled


async def _fill_what_is_undefined(session: Session, original: int) -> bytes:
    """Write random bytes where the boot loader says nothing, and return the whole information.

    A field that a copy leaves out is then never equal by chance.
    """
    raw = bytearray(await session.view.read_if_there(original, MULTIBOOT_INFO_SIZE))
    raw[_UNDEFINED_FLAGS] = session.choice.randbytes(2) if raw else b""
    flags = int.from_bytes(raw[:4], "little")
    for bits, first, end in _OPTIONAL:
        if raw and not flags & bits:
            raw[first:end] = session.choice.randbytes(end - first)
    await session.gdb.write_phys(original, bytes(raw))
    return bytes(raw)


async def _fill_behind(session: Session, end: int) -> bytes:
    """Return what lies behind the information: random bytes, unless it is in use."""
    found = await session.view.read_if_there(end, _BEHIND)
    if any(found):
        return found
    filled = session.choice.randbytes(len(found))
    await session.gdb.write_phys(end, filled)
    return filled


async def _sorted(session: Session, known: Multiboot, hit: Hit) -> Multiboot:
    """Stop where initfunc_init returns, and add what `mi` is then."""
    if hit.place == "initfunc_init" and (back := await session.return_address(0)) is not None:
        await session.places.watch(_SORTED, back)
    if hit.place == _SORTED and known.after_sort is None:
        at = session.view.phys("mi")
        return replace(known, after_sort=await session.view.read_if_there(at, MULTIBOOT_INFO_SIZE))
    return known


async def _looked_at(session: Session, known: Multiboot, behind: bytes) -> Multiboot:
    """Add what vmm_main has copied and decided: at its first call, and at a later one."""
    at = session.view.phys("mi")
    copy = await session.view.read_if_there(at, MULTIBOOT_INFO_SIZE)
    (booted,) = await session.gdb.read_phys(session.view.phys("uefi_booted"), 1)
    if known.copy is not None:
        return replace(known, later=copy, uefi_booted_later=booted)
    if not behind:
        return replace(known, copy=copy, uefi_booted=booted)
    after = await session.view.read_if_there(at + MULTIBOOT_INFO_SIZE, len(behind))
    same = (n for n, pair in enumerate(zip(after, behind, strict=False)) if pair[0] != pair[1])
    overrun = next(same, len(after))
    # One equal byte may be chance.
    return replace(known, copy=copy, uefi_booted=booted, overrun=overrun if overrun > 1 else 0)


async def _no_records(session: Session) -> bytes:
    """Write random bytes where the first records would be, and return them."""
    size = len(await _behind_the_records(session))
    filled = session.choice.randbytes(size)
    await session.gdb.write_phys(session.view.phys("__initfunc_end"), filled)
    return filled


async def _behind_the_records(session: Session) -> bytes:
    """Return what is behind the last record: as much as four of them."""
    at = session.view.phys("__initfunc_end")
    return await session.view.read_if_there(at, 12 * session.view.abi.word)


async def _gap_behind_the_records(session: Session) -> bytes:
    """Return what is behind the last record and before the variables, where nothing is."""
    view, end = session.view, session.view.addr("__initfunc_end")
    size = min(12 * view.abi.word, view.addr("__bss_start") - end)
    return await view.read_if_there(view.phys("__initfunc_end"), size) if size > 0 else b""


async def _raw_records(session: Session) -> bytes:
    """Return the bytes of the section .initfunc."""
    start, end = session.view.addr("__initfunc_start"), session.view.addr("__initfunc_end")
    return await session.gdb.read_phys(start - VMM_BASE, end - start) if end > start else b""


async def _copies(session: Session, records: bytes) -> int:
    """Return how many records, or pointers to records, are in variables of the student."""
    view, word = session.view, session.view.abi.word
    start, end = view.addr("__initfunc_start"), view.addr("__initfunc_end")
    known = {records[at : at + 3 * word] for at in range(0, len(records), 3 * word)}
    found = 0
    for one in view.symbols.student_ranges:
        if not one.section.startswith(_VARIABLES):
            continue
        raw = await view.read_if_there(one.start - VMM_BASE, one.end - one.start)
        for at in range(-one.start % word, len(raw), word):
            points = start <= view.abi.pointer(raw[at : at + word].ljust(word, b"\0")) < end
            found += points or raw[at : at + 3 * word] in known
    return found


async def _records(
    session: Session, texts: dict[int, str]
) -> tuple[tuple[InitFunction, ...], dict[str, int]]:
    """Return the records of .initfunc as they are now, and the addresses of their functions.

    Args:
        session: the boot.
        texts: the ids and file names that are known already; new ones are added.
    """
    view, raw = session.view, await _raw_records(session)
    word = view.abi.word
    size = 3 * word  # struct initfunc_data, include/initfunc.h
    functions: dict[str, int] = {}
    records = []
    for at in range(0, len(raw) - size + 1, size):
        filename, ident, function = (view.abi.pointer(raw[at + i :]) for i in range(0, size, word))
        symbol = view.symbols.nearest(function)
        functions[symbol] = function
        for where in (ident, filename):
            if where not in texts:
                texts[where] = await view.read_text(0, where, _NAME_MOST)
        records.append(InitFunction(texts[ident], texts[filename], symbol))
    return tuple(records), functions


@probe("uefi")
@dataclass
class UefiProbe(Probe):
    """Calls vmm_main as a UEFI loader would: without multiboot information.

    call_initfunc returns at once: without the information the memory manager's init function cannot
    go on.
    """

    places: tuple[str, ...] = CALLS

    async def start(self, session: Session) -> None:
        """Hand over 0, and fill `mi`, so that any write to it is noticed."""
        before = await _fill_mi(session)
        session.log.multiboot = Multiboot(before=before)
        await session.view.set_argument(0, "vmm_main", 0, 0)
        await session.gdb.set_watch(0, MULTIBOOT_INFO_SIZE, reads=True)
        await session.gdb.write_phys(session.view.phys("uefi_booted"), UNDECIDED)

    async def touched(self, session: Session, stop: Stop) -> None:
        """Record which code of vmm_main has used what is at address 0."""
        await session.gdb.clear_watch(0)
        known = session.log.multiboot
        if known is not None:
            state = await session.view.state(0)
            caller = await session.view.caller(0, state)
            place = replace(session.view.place(state), caller=caller)
            session.log.multiboot = replace(known, read_at_0=place)

    async def hit(self, session: Session, hit: Hit) -> None:
        """Record at the calls, or at a TODO, what was decided; end where processors are started."""
        known = session.log.multiboot
        if known is not None:
            known = session.log.multiboot = await _sorted(session, known, hit)
        if hit.place in (*CALLS, "vmm_todo") and known is not None:
            session.log.multiboot = await _looked_at(session, known, b"")
            await session.gdb.clear_watch(0)
            back = None
            if hit.place == "call_initfunc" and len(session.log.hits) < _CALLS_MOST:
                back = await session.return_address(0)
            if back is not None:
                await _return(session, back)
            session.finished = hit.place != "initfunc_init" and back is None


async def _return(session: Session, back: int) -> None:
    """Let the BSP, at the first instruction of a function, return from it."""
    state = await session.view.state(0)
    await session.gdb.write_register(0, "rsp", state.rsp + session.view.abi.word)
    await session.gdb.write_register(0, "rip", back)

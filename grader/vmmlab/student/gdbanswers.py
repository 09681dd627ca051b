"""What gdb's commands `cpus`, `milestones`, `apinit`, `icr`, `physmem` and `code` print.

They read the paused machine and what the boot has recorded so far. Nothing here lets it run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

from vmmlab.base.errors import UsageError, VmmlabError
from vmmlab.base.message import Text, msg
from vmmlab.base.nearest import suggestion
from vmmlab.i18n.translate import Reader
from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import CpuState
from vmmlab.observe.milestones import milestones
from vmmlab.observe.place import Place
from vmmlab.observe.session import Session
from vmmlab.observe.view import NO_INSTRUCTION
from vmmlab.x86.decode import Width, as_text, decode
from vmmlab.x86.registers import PAGE_BYTES

COMMANDS: Final[Mapping[str, Text]] = {
    "cpus": msg("all CPUs: mode, place, next instruction, control registers"),
    "milestones": msg("how far each CPU has come"),
    "apinit": msg("the far jump and the copy of the trampoline in memory"),
    "icr": msg("the IPIs that were sent so far"),
    "physmem": msg("physmem ADDRESS [BYTES]: physical memory, whatever is mapped"),
    "serial": msg("what the VMM has written to its serial line so far"),
    "code": msg("code [ADDRESS [COUNT]]: instructions, in the width of this CPU's mode"),
}
"""The commands, each with what it shows."""

_SHOWN: Final = 8  # instructions
_MOST: Final = 4096  # bytes or instructions
_ROW: Final = 16  # bytes
_WIDTHS: Final[tuple[Width, ...]] = (16, 32, 64)
_LONGEST: Final = 15  # bytes of an instruction
_NO_INSTRUCTION: Final = msg("(no instruction)")
_DISASSEMBLE: Final = "disassemble"
"""Asked by gdb_helpers.py: one instruction, as "LENGTH TEXT"; nothing for 64-bit code."""


class Answers:
    """Answers the commands about one boot.

    Args:
        session: the boot, paused.
        say: the reader's language.
        watched: the boot is recorded; otherwise the progress of a CPU is unknown.
    """

    def __init__(self, session: Session, say: Reader, *, watched: bool = True) -> None:
        self._session = session
        self._watched = watched
        self._view = session.view
        self._say = say
        self._known: Mapping[str, Callable[[list[str], int], Awaitable[str]]] = {
            "cpus": self._cpus,
            "milestones": self._milestones,
            "apinit": self._apinit,
            "icr": self._icr,
            "physmem": self._physmem,
            "serial": self._serial,
            "code": self._code,
            _DISASSEMBLE: self._disassemble,
        }

    async def __call__(self, words: list[str], cpu: int) -> str:
        """Return what a command prints.

        Args:
            words: the command and its arguments.
            cpu: the CPU that gdb has selected.

        Raises:
            UsageError: there is no such command, or its arguments are wrong.
        """
        name, *arguments = words or [""]
        if name not in self._known:
            raise UsageError(
                msg("there is no command {name}.", name=name),
                expected=", ".join(COMMANDS),
                next_step=suggestion(name, COMMANDS),
            )
        return await self._known[name](arguments, cpu)

    def halted(self, cpu: int) -> str:
        """Return what is said about a CPU that cannot be stepped."""
        return self._say(
            msg("CPU {cpu} is halted: it goes on at an NMI, an INIT or a SIPI only", cpu=cpu)
        )

    async def _state(self, cpu: int) -> CpuState:
        await self._view.gdb.exact(cpu)
        return await self._view.state(cpu)

    # --- CPUs -----------------------------------------------------------------------------------

    async def _cpus(self, arguments: list[str], cpu: int) -> str:
        lines = []
        for index in range(self._session.inputs.cpus):
            state = await self._state(index)
            mark = "*" if index == cpu else " "
            place = self._say(self._view.place(state).text)
            text = await self._view.instruction(index, state)
            text = f"`{text}`" if text != NO_INSTRUCTION else self._say(_NO_INSTRUCTION)
            lines += [
                f"{mark} CPU {index}  {self._say(_mode(state))}  {place}  {text}",
                f"    CS:IP {state.cs:#06x}:{state.rip:#x}  SP {state.rsp:#x}  CR0 {state.cr0:#x}"
                f"  CR3 {state.cr3:#x}  CR4 {state.cr4:#x}  EFER {state.efer:#x}",
            ]
        return "\n".join(lines)

    async def _milestones(self, arguments: list[str], cpu: int) -> str:
        if not self._watched:
            return self._say(msg("this boot was not recorded; vmmlab debug CHECK records it"))
        if self._session.inputs.cpus == 1:
            return self._say(msg("this machine has one CPU, the BSP, which passes no milestone"))
        lines = []
        for index, log in enumerate(self._session.log.cpus):
            if not index:
                continue  # the BSP passes none
            mark = "*" if index == cpu else " "
            reached = [one for one in milestones() if one.name in log.milestones]
            lines.append(f"{mark} CPU {index}")
            for one in reached:
                state = log.milestones[one.name]
                place = self._say(self._view.place(state).text)
                lines.append(f"    {self._say(one.title)}: {place}")
            if not reached:
                lines.append(f"    {self._say(msg('none reached yet'))}")
        return "\n".join(lines)

    # --- IPIs and memory ------------------------------------------------------------------------

    async def _icr(self, arguments: list[str], cpu: int) -> str:
        writes = self._view.icr()
        if not writes:
            return self._say(msg("no write to the ICR"))
        lines = []
        for write in writes:
            sender = "?" if write.cpu is None else str(write.cpu)
            lines.append(f"{write.time_s * 1000:9.3f} ms  CPU {sender}: {self._say(write.text)}")
        return "\n".join(lines)

    async def _serial(self, arguments: list[str], cpu: int) -> str:
        return self._view.machine.serial().rstrip("\n")

    async def _physmem(self, arguments: list[str], cpu: int) -> str:
        if not 1 <= len(arguments) <= 2:
            raise UsageError(msg("an address is missing."), expected="physmem 0xf000 64")
        address = _number(arguments[0])
        count = _number(arguments[1]) if len(arguments) > 1 else 4 * _ROW
        data = await self._view.read_if_there(address, min(count, _MOST))
        if not data:
            return self._say(msg("there is no memory at {address:#x}", address=address))
        return "\n".join(_rows(address, data))

    async def _apinit(self, arguments: list[str], cpu: int) -> str:
        view, inputs = self._view, self._session.inputs
        lines = [await self._far_jump()]
        start, size = inputs.apinit_addr, view.trampoline_size
        copy = await view.read_if_there(start, size)
        linked = view.symbols.maybe("cpuinit_start")
        image = b"" if linked is None else await view.read_if_there(linked - VMM_BASE, size)
        same = sum(a == b for a, b in zip(copy, image, strict=False))
        what = msg(
            "the copy: {start:#x} to {end:#x}; {same} of {size} bytes are as in the image",
            start=start,
            end=start + size,
            same=same,
            size=size,
        )
        if not any(copy):
            what = msg("nothing has been copied to {start:#x} yet", start=start)
            return "\n".join([*lines, self._say(what)])
        lines.append(self._say(what))
        for name in ("apinit_procs", "apinit_lock"):
            at = view.in_copy(name)
            if at is not None:
                lines.append(f"  {name} {at:#x}: {await view.read_u32(at):#x}")
        lines.append("")
        return "\n".join([*lines, *self._listing(copy)])

    async def _far_jump(self) -> str:
        data = await self._view.read_if_there(0, 5)
        found = self._say(msg("physical address 0: {bytes}", bytes=data.hex(" ")))
        if data[:1] == b"\xea":
            offset, segment = (int.from_bytes(data[at : at + 2], "little") for at in (1, 3))
            to = (segment << 4) + offset
            leads = msg("a far jump to {to:#x}", to=to)
            found += f": {self._say(leads)} ({segment:#06x}:{offset:#06x})"
        return found

    def _sweep(self, copy: bytes) -> Mapping[int, Width]:
        """Return the width that each instruction of the copy was made for, by address.

        Args:
            copy: the bytes of the copy.
        """
        start, width = self._session.inputs.apinit_addr, _WIDTHS[0]
        found: dict[int, Width] = {}
        ran = {
            step.state.pc: step.state.bits for log in self._session.log.cpus for step in log.steps
        }
        at, before = 0, ""
        while at < len(copy):
            source = self._place(start + at).source
            if source == before and self._next_line(start + at) is None:
                break  # behind the last line of code: data
            code = copy[at : at + _LONGEST]
            width = ran.get(start + at) or self._made_for(start + at, code, width)
            found[start + at] = width
            done = decode(code, start + at, width)
            at, before = at + (done.size if done else 1), source
        return found

    def _listing(self, copy: bytes) -> Iterator[str]:
        """Yield the code of the copy, and then its data."""
        start = self._session.inputs.apinit_addr
        widths = self._sweep(copy)
        end = start
        for address, width in widths.items():
            code = copy[address - start :][:_LONGEST]
            done = decode(code, address, width)
            end = address + (done.size if done else 1)
            yield self._line(address, width, as_text(code, address, width))
        yield from _rows(end, copy[end - start :])

    def _next_line(self, address: int) -> int | None:
        """Return where in the copy the next line of the source begins; None if nowhere."""
        base, start = self._view.symbols.maybe("cpuinit_start"), self._session.inputs.apinit_addr
        end = None if base is None else self._view.symbols.next_line(base + address - start)
        return None if end is None or base is None else end - base + start

    def _made_for(self, address: int, code: bytes, width: Width) -> Width:
        """Return the width that an instruction of the copy was made for.

        That is a width in which it ends where the next line of the source begins.

        Args:
            address: of the instruction.
            code: what it begins with.
            width: preferred, and returned where nothing is known.
        """
        end = self._next_line(address)
        for one in (width, *(one for one in _WIDTHS if one != width)):
            done = decode(code, address, one)
            if end is not None and done is not None and done.size == end - address:
                return one
        return width

    # --- code -----------------------------------------------------------------------------------

    async def _code(self, arguments: list[str], cpu: int) -> str:
        state = await self._state(cpu)
        address = _number(arguments[0]) if arguments else state.pc
        count = _number(arguments[1]) if len(arguments) > 1 else _SHOWN
        lines = []
        for _ in range(min(count, _MOST)):
            data = await self._bytes(cpu, address)
            if not data:
                lines.append(self._say(msg("there is no memory at {address:#x}", address=address)))
                break
            width = await self._width(state, address)
            done = decode(data, address, width)
            text = as_text(data, address, width)
            mark = "=> " if address == state.pc else "   "
            lines.append(mark + self._line(address, width, text))
            address += done.size if done else 1
        return "\n".join(lines)

    async def _disassemble(self, arguments: list[str], cpu: int) -> str:
        address = _number(arguments[0])
        state = await self._state(cpu)
        data = await self._bytes(cpu, address)
        width = await self._width(state, address)
        if width == 64:
            return ""
        done, text = decode(data, address, width), as_text(data, address, width)
        return f"{done.size if done else 1} {text or '(bad)'}" if data else ""

    async def _bytes(self, cpu: int, address: int) -> bytes:
        for size in (_LONGEST, PAGE_BYTES - address % PAGE_BYTES):
            try:
                return await self._view.gdb.read_virt(cpu, address, min(size, _LONGEST))
            except VmmlabError:
                continue
        return b""

    async def _width(self, state: CpuState, address: int) -> Width:
        """Return the width of code at an address: that of the CPU's mode, or of the trampoline."""
        start, size = self._session.inputs.apinit_addr, self._view.trampoline_size
        if address == state.pc or not start <= address < start + size:
            return state.bits
        copy = await self._view.read_if_there(start, size)
        return self._sweep(copy).get(address, state.bits)

    def _line(self, address: int, width: Width, text: str) -> str:
        text = text or self._say(_NO_INSTRUCTION)
        place = self._place(address)
        where = f"  {place.source}" if place.file else ""
        return f"{address:#x} <{place.symbol or '?'}>  [{width}]  {text}{where}"

    def _place(self, address: int) -> Place:
        view, start = self._view, self._session.inputs.apinit_addr
        base = view.symbols.maybe("cpuinit_start")
        if base is not None and start <= address < start + view.trampoline_size:
            return view.image_place(base + address - start)
        return view.image_place(address)


def _mode(state: CpuState) -> Text:
    return {
        "real": msg("real mode"),
        "protected": msg("protected mode"),
        "long": msg("long mode"),
    }[state.mode]


def _number(word: str) -> int:
    """Return a number as C writes it.

    Raises:
        UsageError: it is none.
    """
    try:
        value = int(word, 0)
        if value >= 0:
            return value
    except ValueError:
        pass
    raise UsageError(msg("{word} is no address or number.", word=word), expected="0xf000")


def _rows(address: int, data: bytes) -> Iterator[str]:
    for at in range(0, len(data), _ROW):
        row = data[at : at + _ROW]
        text = "".join(chr(one) if 32 <= one < 127 else "." for one in row)
        yield f"{address + at:#010x}  {row.hex(' '):<47}  {text}"

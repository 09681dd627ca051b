"""Unicorn as an oracle: what do these instructions do to one CPU that nobody disturbs?

The oracle has no memory of its own between questions. Each begins with registers and the live part
of a stack; shared memory holds whatever was planted for this one instruction.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import unicorn as _unicorn
from unicorn import x86_const as x86

from vmmlab.explore.instructions import Instruction, Operand
from vmmlab.explore.program import (
    ARENA,
    HEAP,
    MARKS,
    PAGE,
    SLOT,
    STACK_SIZE,
    STACKS,
    VMM_BASE,
    Program,
    Region,
)

PRIVATE_LIMIT: Final = 20_000
"""So many instructions without an access to shared memory: it loops, perhaps for ever."""
_LONGEST_LOOP: Final = 64

unicorn: Any = _unicorn  # its type hints are not complete
_NAMES: Final = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *(f"r{n}" for n in range(8, 16)),
)
REGISTERS: Final = (*_NAMES, "rip", "rflags", "gs_base")
"""The order of the registers in `Core.regs`."""
INDEX: Final = {name: at for at, name in enumerate(REGISTERS)}
RSP: Final = INDEX["rsp"]
RBP: Final = INDEX["rbp"]
RAX: Final = INDEX["rax"]
RDI: Final = INDEX["rdi"]
RSI: Final = INDEX["rsi"]
RIP: Final = INDEX["rip"]
RFLAGS: Final = INDEX["rflags"]
GS_BASE: Final = INDEX["gs_base"]

_IDS: Final = [getattr(x86, f"UC_X86_REG_{name.upper()}") for name in REGISTERS]
_ID: Final = dict(zip(REGISTERS, _IDS, strict=True))
# The flags of arithmetic, and the direction (Intel SDM volume 1, 3.4.3).
_FLAGS: Final = 0xCD5
_ALWAYS: Final = 0x2
MASK: Final = 2**64 - 1
_MAPPED_BLOCK: Final = 0x10000

_UNMAPPED: Final = (
    unicorn.UC_ERR_READ_UNMAPPED,
    unicorn.UC_ERR_WRITE_UNMAPPED,
    unicorn.UC_ERR_FETCH_UNMAPPED,
)

Stop = Literal["event", "halt", "cpuid", "fence", "undefined", "unsupported", "memory", "rsp",
               "stack", "endless", "long", "foreign"]  # fmt: skip


class Core(NamedTuple):
    """One CPU's own state: registers, its stack, and the live bytes from RSP to the stack's top."""

    regs: tuple[int, ...]
    region: Region | None
    stack: bytes

    @property
    def rip(self) -> int:
        """The next instruction."""
        return self.regs[RIP]

    @property
    def rsp(self) -> int:
        """The stack pointer."""
        return self.regs[RSP]

    def having(self, **values: int) -> Core:
        """The same with other registers."""
        regs = list(self.regs)
        for name, value in values.items():
            regs[INDEX[name]] = value & MASK
        return self._replace(regs=tuple(regs))


class Access(NamedTuple):
    """One access of the instruction that was run."""

    write: bool
    address: int
    size: int
    value: int


@dataclass(slots=True)
class Done:
    """What one instruction did.

    Attributes:
        core: the CPU afterwards.
        accesses: to memory, in order.
        fault: "" or why it did not complete.
        unknown: that was a refusal of the emulator's, not an exception of the CPU's.
        bad: the address that is nowhere, if that was the fault.
    """

    core: Core
    accesses: list[Access]
    fault: str = ""
    bad: Access | None = None
    unknown: bool = False


class OutOfTime(Exception):
    """The search has used up its time while the oracle was at work."""


class Oracle:
    """Runs code of one program.

    Args:
        program: the image and its surroundings.

    Attributes:
        until: CPU time of this thread at which a question raises OutOfTime.
        runs: how many questions were asked.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self.runs = 0
        self.until = math.inf
        self._ran: dict[Core, tuple[Core, Stop]] = {}
        uc: Any = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self._uc = uc
        low = min(one.start for one in program.sections) & ~(PAGE - 1)
        high = max(one.end for one in program.sections)
        uc.mem_map(low, (high - low + PAGE - 1) & ~(PAGE - 1))
        for section in program.sections:
            uc.mem_write(section.start, section.data)
        for place in (program.copy, program.copy - VMM_BASE, program.window):
            start = place & ~(PAGE - 1)
            end = (place + program.copy_bytes + PAGE - 1) & ~(PAGE - 1)
            uc.mem_map(start, end - start)
        uc.mem_map(MARKS, PAGE)
        uc.mem_write(MARKS, b"\xf4" * PAGE)
        for cpu in range(program.cpus):
            uc.mem_map(STACKS + cpu * SLOT, STACK_SIZE)
            for slot in range(HEAP + cpu * ARENA, HEAP + (cpu + 1) * ARENA, SLOT):
                uc.mem_map(slot, _MAPPED_BLOCK)
        # What the engine's registers hold, so that only others are written.
        self._raw: tuple[int, ...] = uc.reg_read_batch(_IDS)
        self._accesses: list[Access] = []
        self._bad: Access | None = None
        self._stop: Stop = "endless"
        self._left = 0
        self._low = self._top = 0
        self._recording = False
        self._entered = False
        self._known: dict[int, Stop | Instruction] = {}
        self._events = frozenset(program.stubs) | {program.ap_locked}
        uc.hook_add(unicorn.UC_HOOK_CODE, self._on_code)
        uc.hook_add(unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, self._on_memory)
        uc.hook_add(unicorn.UC_HOOK_MEM_UNMAPPED, self._on_unmapped)

    def plant(self, address: int, size: int, value: int) -> None:
        """What the next instruction finds at a shared address."""
        self._uc.mem_write(address, value.to_bytes(size, "little"))

    def one(self, core: Core, planted: tuple[int, int, int] | None = None) -> Done:
        """Run one instruction and say what it did.

        Args:
            core: the CPU before it.
            planted: address, size and value of shared memory that it will read.
        """
        self._load(core)
        if planted is not None:
            self.plant(*planted)
        self._accesses, self._bad, self._recording = [], None, True
        self._entered = False
        self._count()
        fault, unknown = "", False
        try:
            # Not count=1: code that has been translated before would be run on.
            self._uc.emu_start(core.rip, 0)
        except unicorn.UcError as error:
            if not (self._entered and error.errno == unicorn.UC_ERR_FETCH_UNMAPPED):
                unknown = error.errno not in (unicorn.UC_ERR_EXCEPTION, *_UNMAPPED)
                fault = "an exception" if not unknown else f"the emulator says: {error}"
        self._recording = False
        return Done(self._save(core.region), self._accesses, fault, self._bad, unknown)

    def run(self, core: Core) -> tuple[Core, Stop]:
        """Run on as long as nothing but registers and the own stack is concerned.

        Stops *before* the instruction that may concern somebody else.
        """
        found = self._ran.get(core)
        if found is None:
            found = self._ran[core] = self._run(core)
        return found

    def _run(self, core: Core) -> tuple[Core, Stop]:
        self._load(core)
        region = core.region
        self._low, self._top = (region.low, region.top) if region else (1, 0)
        self._left, self._stop = PRIVATE_LIMIT, "endless"
        self._count()
        try:
            self._uc.emu_start(core.rip, 0)
        except unicorn.UcError as error:
            if error.errno == unicorn.UC_ERR_FETCH_UNMAPPED:
                self._stop = "foreign"
            else:  # the instruction is tried again alone, and judged then
                self._stop = "memory"
        after = self._save(region)
        if self._stop == "endless" and not self._repeats(after):
            return after, "long"
        return after, self._stop

    def _repeats(self, core: Core) -> bool:
        """Whether a CPU comes back to exactly this state by itself."""
        at = core
        for _ in range(_LONGEST_LOOP):
            at = self.one(at).core
            if at == core:
                return True
        return False

    def _count(self) -> None:
        self.runs += 1
        if time.thread_time() > self.until:
            raise OutOfTime

    # --- hooks -------------------------------------------------------------------------------

    def _on_code(self, uc: Any, address: int, size: int, data: Any) -> None:
        if self._recording:
            if self._entered:
                uc.emu_stop()
            self._entered = True
            return
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = self._look(address)
        if isinstance(known, str):
            self._halt(known)
            return
        self._left -= 1
        if self._left <= 0:
            self._halt("endless")
        elif known.sets_rsp:
            self._halt("rsp")
        elif known.locked:
            self._halt("memory")
        elif known.pushes or known.pops:
            rsp = uc.reg_read(_ID["rsp"])
            if (known.pushes and not self._low + 16 <= rsp <= self._top) or (
                known.pops and not self._low <= rsp <= self._top - 8
            ):
                self._halt("stack")
            elif known.operands and not self._private(known):
                self._halt("memory")
        elif known.operands and not self._private(known):
            self._halt("memory")

    def _look(self, address: int) -> Stop | Instruction:
        if address in self._events or MARKS <= address < MARKS + PAGE:
            return "event"
        if not self._program.runs(address):
            return "foreign"
        instruction = self._program.instruction(address)
        return instruction if instruction.kind == "plain" else instruction.kind

    def _private(self, instruction: Instruction) -> bool:
        if instruction.inexact:
            return False
        return all(self._inside(operand) for operand in instruction.operands)

    def _inside(self, operand: Operand) -> bool:
        if operand.segment in ("fs", "gs"):
            return False
        address = operand.disp
        for name, scale in ((operand.base, 1), (operand.index, operand.scale)):
            if name:
                if name not in _ID:
                    return False
                address += self._uc.reg_read(_ID[name]) * scale
        address &= MASK
        return self._low <= address and address + operand.size <= self._top

    def _halt(self, why: Stop) -> None:
        self._stop = why
        self._uc.emu_stop()

    def _on_memory(self, uc: Any, kind: int, address: int, size: int, value: int, _: Any) -> None:
        if self._recording:
            write = kind == unicorn.UC_MEM_WRITE
            mask = (1 << 8 * size) - 1
            self._accesses.append(Access(write, address & MASK, size, value & mask if write else 0))

    def _on_unmapped(self, uc: Any, kind: int, address: int, size: int, value: int, _: Any) -> bool:
        if self._recording:
            write = kind == unicorn.UC_MEM_WRITE_UNMAPPED
            self._bad = Access(write, address & MASK, size, 0)
        return False

    # --- state -------------------------------------------------------------------------------

    def _load(self, core: Core) -> None:
        uc = self._uc
        region = core.region
        if region is not None:
            # What lies below RSP is dead: always the same, so that nothing depends on earlier runs.
            live = core.stack.rjust(region.top - region.low, b"\0")
            if live:
                uc.mem_write(region.low, live)
        before = self._raw
        changed = [one for at, one in enumerate(zip(_IDS, core.regs, strict=True))
                   if one[1] != before[at]]  # fmt: skip
        if changed:
            uc.reg_write_batch(changed)

    def _save(self, region: Region | None) -> Core:
        self._raw = self._uc.reg_read_batch(_IDS)
        regs = list(self._raw)
        regs[RFLAGS] = regs[RFLAGS] & _FLAGS | _ALWAYS
        stack = b""
        if region is not None and region.low <= regs[RSP] < region.top:
            stack = bytes(self._uc.mem_read(regs[RSP], region.top - regs[RSP]))
        return Core(tuple(regs), region, stack)

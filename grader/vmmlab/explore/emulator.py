"""Execution of instructions on one CPU, by Unicorn.

The emulator keeps nothing between runs. Each run starts from registers and the live part of a
stack. Shared memory holds only the value that is supplied for the one instruction that reads it.
"""

from __future__ import annotations

import ctypes
import math
import time
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from vmmlab.base.message import Text, msg
from vmmlab.explore.constants import Constants
from vmmlab.explore.context import MASK, RFLAGS, RSP, Context, StackRegion
from vmmlab.explore.engine import ID, IDS, Heap, engine, unicorn
from vmmlab.explore.instructions import InstructionInfo, Operand
from vmmlab.explore.program import MARKS, Program
from vmmlab.explore.skipping import LoopSkipper
from vmmlab.images.layout import VMM_BASE
from vmmlab.x86.registers import PAGE_BYTES

PRIVATE_LIMIT: Final = 20_000
"""A CPU is followed for this many instructions without an access to shared memory, not counting
those of loops that are skipped."""
# After this many instructions, look for a loop.
_LOOK_EVERY: Final = 4000
# A pass of a loop that can be skipped has at most this many instructions.
_LONGEST_PASS: Final = 500
# An endless loop that is recognised has at most this many instructions.
_LONGEST_LOOP: Final = 64

# The status flags and the direction flag (Intel SDM volume 1, 3.4.3).
_FLAGS: Final = 0xCD5
_ALWAYS_SET: Final = 0x2

# A range that contains no address.
_NOWHERE: Final = (1, 0)

_UNMAPPED: Final = (
    unicorn.UC_ERR_READ_UNMAPPED,
    unicorn.UC_ERR_WRITE_UNMAPPED,
    unicorn.UC_ERR_FETCH_UNMAPPED,
)

Stop = Literal["event", "halt", "cpuid", "fence", "undefined", "unsupported", "memory", "rsp",
               "stack", "endless", "long", "foreign", "head"]  # fmt: skip
"""Reason why a run stopped before an instruction: its kind, or

event: a function that the model replaces, or a return to the harness.
memory: it may access memory other than the CPU's own stack, or it is atomic.
rsp: it sets RSP to another value.
stack: it pushes or pops beyond the stack.
endless, long: a loop that never ends, or may end after more than PRIVATE_LIMIT instructions.
foreign: it is not code that is executed.
head: the run was to go back to this place.
"""


class MemoryAccess(NamedTuple):
    """One access that an instruction made: the linear address, the size in bytes, the value."""

    write: bool
    address: int
    size: int
    value: int


@dataclass(slots=True)
class StepResult:
    """The effects of one instruction.

    Attributes:
        context: the CPU afterwards.
        accesses: to memory, in order.
        fault: why the instruction did not complete, or "".
        bad_access: the access to an unmapped address, if that was the fault.
        unsupported: the emulator refused the instruction; a real CPU might not fault.
    """

    context: Context
    accesses: list[MemoryAccess]
    fault: Text = ""
    bad_access: MemoryAccess | None = None
    unsupported: bool = False


class OutOfTime(Exception):
    """The deadline of the search has passed while the emulator was at work."""


class _Registers:
    """Reads the registers of an engine into one array.

    `reg_read_batch` makes its arrays anew each time, which would be half the time of a search.
    """

    def __init__(self, uc: Any) -> None:
        self._uc = uc
        count = len(IDS)
        self._values = (ctypes.c_uint64 * count)()
        first, each = ctypes.addressof(self._values), ctypes.sizeof(ctypes.c_uint64)
        places = (ctypes.c_void_p * count)(*range(first, first + count * each, each))
        self._request = ((ctypes.c_int * count)(*IDS), places, ctypes.c_int(count))
        # What `reg_read_batch` calls with its arrays; a unicorn without it is slower.
        self._into_array = getattr(uc, "_do_reg_read_batch", None)

    def read(self) -> tuple[int, ...]:
        """Return the values of `REGISTERS`."""
        if self._into_array is None or self._into_array(*self._request) != unicorn.UC_ERR_OK:
            read: tuple[int, ...] = self._uc.reg_read_batch(IDS)
            return read
        return tuple(self._values)


class Emulator:
    """Runs the code of one program.

    Args:
        program: the image and its surroundings.

    Attributes:
        deadline: CPU time of this thread, in seconds, from which on every run raises OutOfTime.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._constants = Constants(program)
        self.deadline = math.inf
        self._ran: dict[Context, tuple[Context, Stop]] = {}
        self._uc = uc = engine(program)
        for address in (program.trampoline, program.trampoline - VMM_BASE, program.window):
            start = address & ~(PAGE_BYTES - 1)
            end = (address + program.trampoline_size + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
            uc.mem_map(start, end - start)
        self._heap = Heap(uc, program.cpus)
        # The engine's registers after the last run, so that only those that differ are written.
        self._registers = _Registers(uc)
        self._raw = self._registers.read()
        self._accesses: list[MemoryAccess] = []
        self._bad_access: MemoryAccess | None = None
        self._stop: Stop = "endless"
        self._left = 0
        self._low = self._top = 0
        self._recording = False
        self._entered = False
        # The place at which a run ends when the CPU comes to it again.
        self._head, self._passed = -1, False
        self._known: dict[int, Stop | InstructionInfo] = {}
        self._events = frozenset((*program.stubs, *program.tracepoints))
        uc.hook_add(unicorn.UC_HOOK_CODE, self._on_code)
        uc.hook_add(unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, self._on_memory)
        uc.hook_add(unicorn.UC_HOOK_MEM_UNMAPPED, self._on_unmapped)

    def step(self, context: Context, loaded: tuple[int, int, int] | None = None) -> StepResult:
        """Run one instruction.

        Args:
            context: the CPU before it.
            loaded: address, size in bytes and value of the shared memory that it reads, if any.

        Raises:
            OutOfTime: the deadline has passed.
        """
        self._check_deadline()
        self._load(context)
        if loaded is not None:
            address, size, value = loaded
            self._heap.map(address)
            self._uc.mem_write(address, value.to_bytes(size, "little"))
        self._accesses, self._bad_access, self._recording = [], None, True
        self._entered = False
        fault: Text = ""
        unsupported = False
        try:
            # Not count=1, which does not stop within a block that is already translated.
            self._uc.emu_start(context.rip, 0)
        except unicorn.UcError as error:
            if not (self._entered and error.errno == unicorn.UC_ERR_FETCH_UNMAPPED):
                unsupported = error.errno not in (unicorn.UC_ERR_EXCEPTION, *_UNMAPPED)
                fault = (
                    msg("the emulator reports: {error}", error=str(error))
                    if unsupported
                    else msg("an exception")
                )
        self._recording = False
        after = self._save(context.region)
        return StepResult(after, self._accesses, fault, self._bad_access, unsupported)

    def run(self, context: Context) -> tuple[Context, Stop]:
        """Run instructions that use only registers and the CPU's own stack.

        Return the context *before* the first other instruction, and why the run stopped there.

        Raises:
            OutOfTime: the deadline has passed.
        """
        found = self._ran.get(context)
        if found is None:
            found = self._ran[context] = self._run(context)
        return found

    def _run(self, context: Context) -> tuple[Context, Stop]:
        left = PRIVATE_LIMIT
        loops: LoopSkipper | None = None
        while True:
            context, stop = self._run_some(context, _LOOK_EVERY)
            if stop != "endless":
                return context, stop
            context = self._past_a_jump(context)
            if self._repeats(context):
                return context, stop
            loops = loops or LoopSkipper(self._run_pass, self._run_on, self._constants.of)
            later = loops.skip(context)
            if later is not None:
                context = later
                continue
            left -= _LOOK_EVERY
            if left <= 0:
                return context, "long"

    def _run_on(self, context: Context) -> Context | None:
        """Run on until the CPU has been in a loop for long; return None if it stops before."""
        after, stop = self._run_some(context, _LOOK_EVERY)
        return self._past_a_jump(after) if stop == "endless" else None

    def _past_a_jump(self, context: Context) -> Context:
        """Run on to behind the next jump of a loop, where the flags are not needed any more."""
        at = context
        for _ in range(_LONGEST_LOOP):
            jump = self._program.instruction(at.rip).text.startswith("j")
            at, stop = self._run_some(at, 2)
            if stop != "endless":
                return context
            if jump:
                return at
        return context

    def _run_pass(self, context: Context) -> Context | None:
        """Run until the CPU is at the same place again; return None if it is not soon."""
        self._head, self._passed = context.rip, False
        try:
            after, stop = self._run_some(context, _LONGEST_PASS)
        finally:
            self._head = -1
        return after if stop == "head" else None

    def _run_some(self, context: Context, most: int) -> tuple[Context, Stop]:
        self._check_deadline()
        self._load(context)
        region = context.region
        self._low, self._top = (region.low, region.top) if region else _NOWHERE
        self._left, self._stop = most, "endless"
        try:
            self._uc.emu_start(context.rip, 0)
        except unicorn.UcError as error:
            # Any instruction that fails otherwise is stepped alone afterwards, and judged then.
            fetch = error.errno == unicorn.UC_ERR_FETCH_UNMAPPED
            self._stop = "foreign" if fetch else "memory"
        return self._save(region), self._stop

    def _repeats(self, context: Context) -> bool:
        """Return whether the CPU comes back to exactly this context on its own."""
        at = context
        for _ in range(_LONGEST_LOOP):
            at = self.step(at).context
            if at == context:
                return True
        return False

    def _check_deadline(self) -> None:
        if time.thread_time() > self.deadline:
            raise OutOfTime

    # --- hooks -------------------------------------------------------------------------------

    def _on_code(self, uc: Any, address: int, size: int, data: Any) -> None:
        if self._recording:
            if self._entered:
                uc.emu_stop()
            self._entered = True
            return
        if address == self._head:
            if self._passed:
                self._halt("head")
                return
            self._passed = True
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = self._classify(address)
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
            rsp = uc.reg_read(ID["rsp"])
            if (known.pushes and not self._low + 16 <= rsp <= self._top) or (
                known.pops and not self._low <= rsp <= self._top - 8
            ):
                self._halt("stack")
            elif (self._program.exposed and self._on_exposed(rsp, known)) or (
                known.operands and not self._private(known)
            ):
                self._halt("memory")
        elif known.operands and not self._private(known):
            self._halt("memory")

    def _classify(self, address: int) -> Stop | InstructionInfo:
        if address in self._events or MARKS <= address < MARKS + PAGE_BYTES:
            return "event"
        if not self._program.executes(address):
            return "foreign"
        instruction = self._program.instruction(address)
        return instruction if instruction.kind == "plain" else instruction.kind

    def _on_exposed(self, rsp: int, instruction: InstructionInfo) -> bool:
        """Return whether an instruction pushes or pops a word that several CPUs use."""
        if instruction.text == "leave":
            rsp = self._uc.reg_read(ID["rbp"])
        at = rsp - 8 if instruction.pushes else rsp
        return self._program.is_exposed(at, 8)

    def _private(self, instruction: InstructionInfo) -> bool:
        """Return whether all explicit operands are on the CPU's own stack."""
        if instruction.inexact:
            return False
        return all(self._inside(operand) for operand in instruction.operands)

    def _inside(self, operand: Operand) -> bool:
        if operand.segment in ("fs", "gs"):
            return False
        address = operand.disp
        for name, scale in ((operand.base, 1), (operand.index, operand.scale)):
            if name:
                if name not in ID:
                    return False
                address += self._uc.reg_read(ID[name]) * scale
        address &= MASK
        if not (self._low <= address and address + operand.size <= self._top):
            return False
        return not self._program.is_exposed(address, operand.size)

    def _halt(self, why: Stop) -> None:
        self._stop = why
        self._uc.emu_stop()

    def _on_memory(self, uc: Any, kind: int, address: int, size: int, value: int, _: Any) -> None:
        if self._recording:
            write = kind == unicorn.UC_MEM_WRITE
            mask = (1 << 8 * size) - 1
            self._accesses.append(
                MemoryAccess(write, address & MASK, size, value & mask if write else 0)
            )

    def _on_unmapped(self, uc: Any, kind: int, address: int, size: int, value: int, _: Any) -> bool:
        if self._heap.map(address & MASK):
            return True
        if self._recording:
            write = kind == unicorn.UC_MEM_WRITE_UNMAPPED
            self._bad_access = MemoryAccess(write, address & MASK, size, 0)
        return False

    # --- contexts ----------------------------------------------------------------------------

    def _load(self, context: Context) -> None:
        uc = self._uc
        region = context.region
        if region is not None:
            self._heap.map(region.low)
            # Zero what lies below RSP, so that nothing depends on earlier runs.
            stack = context.stack.rjust(region.top - region.low, b"\0")
            if stack:
                uc.mem_write(region.low, stack)
        before = self._raw
        changed = [one for at, one in enumerate(zip(IDS, context.regs, strict=True))
                   if one[1] != before[at]]  # fmt: skip
        if changed:
            uc.reg_write_batch(changed)

    def _without_exposed(self, stack: bytes, rsp: int) -> bytes:
        """Return the live part of a stack with zeros in the words that several CPUs use."""
        private = bytearray(stack)
        for word in self._program.exposed:
            start, end = max(word - rsp, 0), word + 8 - rsp
            if start < len(stack) and end > 0:
                private[start:end] = bytes(min(end, len(stack)) - start)
        return bytes(private)

    def _save(self, region: StackRegion | None) -> Context:
        self._raw = self._registers.read()
        regs = list(self._raw)
        regs[RFLAGS] = regs[RFLAGS] & _FLAGS | _ALWAYS_SET
        stack = b""
        if region is not None and region.low <= regs[RSP] < region.top:
            stack = bytes(self._uc.mem_read(regs[RSP], region.top - regs[RSP]))
            if self._program.exposed:
                stack = self._without_exposed(stack, regs[RSP])
        return Context(tuple(regs), region, stack)

"""Machine code to try: assembling, reading, executing it, and two CPUs that race.

keystone assembles, capstone reads, unicorn executes. Both come with `vmmlab[worksheets]` and are
imported when first needed.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from vmmlab.base.errors import UsageError
from vmmlab.x86.decode import Decoded, accesses, decode

Bits = Literal[16, 32, 64]

_PAGE: Final = 0x1000
_CODE: Final = 0x7000
"""Where code is put that nobody gave a place."""
_GENERAL: Final = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *(f"r{number}" for number in range(8, 16)),
)
_SEGMENTS: Final = ("cs", "ds", "es", "ss", "fs", "gs")
_BUFFER: Final = 8 * 1024 * 1024
_MOST_STATES: Final = 20_000
_MOST_PRIVATE: Final = 2000
"""Instructions that a CPU may take without touching memory, before it is the other one's turn."""
_DECIMAL: Final = re.compile(r"(?<![\w.])(0|[1-9]\d*)(?![\w.])")
"""Numbers that keystone would take for hexadecimal, at most places: `10(%rdi)` is 0x10 to it."""


def assemble(text: str, bits: Bits, *, att: bool = False, address: int = 0) -> bytes:
    """Machine code of assembly lines.

    Args:
        text: lines in Intel syntax, as `mov al, 1` or `lock inc dword ptr cs:[0x10]`.
        bits: 16, 32 or 64: the mode of the code.
        att: AT&T syntax instead, as `movb $1, %al`; it is what the VMM's own files use.
        address: where the code will lie; matters for jumps out of it.

    Raises:
        UsageError: the lines are no assembly, or keystone is not installed.
    """
    keystone = _quietly("keystone", "keystone-engine")
    modes = {16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}
    engine = keystone.Ks(keystone.KS_ARCH_X86, modes[bits])
    if att:
        engine.syntax = keystone.KS_OPT_SYNTAX_ATT
    problem = "nothing came out"
    try:
        code, _ = engine.asm(_DECIMAL.sub(lambda found: hex(int(found[0])), text), address)
        if code:
            return bytes(code)
    except keystone.KsError as error:
        problem = str(error)
    raise UsageError(
        "these lines cannot be assembled.",
        expected=f"{bits}-bit assembly in {'AT&T' if att else 'Intel'} syntax; labels are words",
        found=problem,
    )


def disassemble(code: bytes, bits: Bits, address: int = 0) -> list[str]:
    """The instructions in `code` as text, one an entry; "?" where it is none.

    Args:
        code: machine code.
        bits: 16, 32 or 64: the mode it is read in.
        address: where it lies; matters for the targets of jumps.
    """
    found: list[str] = []
    at = 0
    while at < len(code):
        instruction = decode(code[at:], address + at, bits)
        if instruction is None:
            return [*found, "?"]
        found.append(instruction.text)
        at += instruction.size
    return found


@dataclass(frozen=True)
class After:
    """What some code has done.

    Attributes:
        registers: by name, 64-bit names in every mode: `registers["rsp"]`; segments too.
        address: linear address of the next instruction.
        finished: it has run past its last instruction, or to where nothing of it lies.
        steps: instructions executed.
        written: places that were written to, as (address, number of bytes), in order.
        memory: bytes of the pages in use, by the address of each page.
    """

    registers: Mapping[str, int]
    address: int
    finished: bool
    steps: int
    written: tuple[tuple[int, int], ...]
    memory: Mapping[int, bytes] = field(repr=False)

    def bytes_at(self, address: int, count: int) -> bytes:
        """`count` bytes of memory; what was never touched is 0."""
        return bytes(
            self.memory.get(at & -_PAGE, bytes(_PAGE))[at % _PAGE]
            for at in range(address, address + count)
        )


def run(
    code: bytes,
    bits: Bits,
    *,
    registers: Mapping[str, int] | None = None,
    memory: Mapping[int, bytes] | None = None,
    address: int = _CODE,
    start: int | None = None,
    steps: int = 1000,
) -> After:
    """Execute `code` on a CPU of its own and say what came of it.

    Memory is there wherever it is asked for, and 0. In 16-bit mode the segments count.

    Args:
        code: machine code.
        bits: 16, 32 or 64: the mode of the CPU.
        registers: values before the first instruction, by 64-bit name (`rsp`) or segment (`cs`).
        memory: what is in memory before, by linear address.
        address: linear address of the code.
        start: linear address of the first instruction to execute, if not the code's first.
        steps: how many instructions it may take.

    Raises:
        UsageError: a register's name is wrong, or unicorn is not installed.
    """
    cpu = _Cpu(code, bits, address, memory or {})
    for name, value in (registers or {}).items():
        cpu.set(name, value)
    cpu.at = address if start is None else start
    taken = 0
    while taken < steps and cpu.inside and cpu.step():
        taken += 1
    return After(
        cpu.registers(),
        cpu.at,
        not cpu.inside,
        taken,
        tuple(cpu.written),
        cpu.pages(),
    )


def race(
    code: bytes,
    bits: Bits,
    *,
    lock: int,
    registers: Mapping[str, int] | None = None,
    address: int = _CODE,
) -> list[int] | None:
    """Two CPUs run the same `code`, which takes a lock. Can both come out at its end?

    Every order of their accesses to memory is tried; what a CPU does in its registers in between is
    no business of the other. An instruction that reads and then writes memory without being locked
    is two accesses.

    Args:
        code: machine code; whoever runs past its last byte has the lock.
        bits: 16, 32 or 64: the mode of both CPUs.
        lock: linear address of the lock, 8 bytes; all 0 at the start.
        registers: the same for both CPUs, as for `run`.
        address: linear address of the code.

    Returns:
        A schedule in which both come out, as a list of 0 and 1: which CPU makes its next access to
        memory. None if there is no such schedule.

    Raises:
        UsageError: there are too many orders to try.
    """
    cpu = _Cpu(code, bits, address, {})
    for name, value in (registers or {}).items():
        cpu.set(name, value)
    cpu.to_memory()
    start = (cpu.state(), None)
    first = (start, start, bytes(8))
    came_from: dict[Any, tuple[Any, int]] = {first: (None, -1)}
    waiting = [first]
    while waiting:
        now = waiting.pop(0)
        for who in (0, 1):
            mine, shared = now[who], now[2]
            mine, shared = _one_step(cpu, mine, shared, lock)
            after = (mine, now[1], shared) if who == 0 else (now[0], mine, shared)
            if after in came_from:
                continue
            came_from[after] = (now, who)
            if all(pending is None and cpu.is_out(state) for state, pending in after[:2]):
                return _way_to(after, came_from)
            if len(came_from) > _MOST_STATES:
                raise UsageError(
                    "there are too many orders to try.", expected="a short loop that takes a lock"
                )
            waiting.append(after)
    return None


def _way_to(state: Any, came_from: Mapping[Any, tuple[Any, int]]) -> list[int]:
    way: list[int] = []
    while came_from[state][0] is not None:
        state, who = came_from[state]
        way.append(who)
    return way[::-1]


def _one_step(cpu: _Cpu, mine: Any, shared: bytes, lock: int) -> tuple[Any, bytes]:
    """One CPU's next instruction, or half of one that is not atomic."""
    state, pending = mine
    if pending is not None:
        return (state, None), pending
    if cpu.is_out(state):
        return mine, shared
    cpu.load(state)
    cpu.put(lock, shared)
    split = cpu.splits()
    cpu.step()
    written = cpu.get(lock, 8)
    cpu.to_memory()
    if split and written != shared:
        return (cpu.state(), written), shared
    return (cpu.state(), None), written


class _Cpu:
    """One engine with one piece of code; every page is there when it is touched."""

    def __init__(self, code: bytes, bits: Bits, address: int, memory: Mapping[int, bytes]) -> None:
        unicorn = _quietly("unicorn", "unicorn")
        x86_const = _quietly("unicorn.x86_const", "unicorn")
        modes = {16: unicorn.UC_MODE_16, 32: unicorn.UC_MODE_32, 64: unicorn.UC_MODE_64}
        self._error = unicorn.UcError
        self._engine: Any = unicorn.Uc(unicorn.UC_ARCH_X86, modes[bits])
        # Otherwise it is 1 GiB of address space, for a few instructions.
        self._engine.ctl_set_tcg_buffer_size(_BUFFER)
        self._bits = bits
        self._code = code
        self._first = address
        self._mapped: set[int] = set()
        self.written: list[tuple[int, int]] = []
        width = {name: name for name in _GENERAL}
        if bits != 64:
            width = {name: "e" + name[1:] for name in _GENERAL[:8]}
        self._ids: dict[str, int] = {
            name: getattr(x86_const, f"UC_X86_REG_{real.upper()}") for name, real in width.items()
        }
        # In 32- and 64-bit mode the segments are flat, and no table to load them from is there.
        if bits == 16:
            for name in _SEGMENTS:
                self._ids[name] = getattr(x86_const, f"UC_X86_REG_{name.upper()}")
        ip = {16: "IP", 32: "EIP", 64: "RIP"}[bits]
        self._ip: int = getattr(x86_const, f"UC_X86_REG_{ip}")
        self._flags: int = x86_const.UC_X86_REG_EFLAGS
        self.at = address
        for place, content in {**memory, address: code}.items():
            self.put(place, content)
        if bits == 16:
            self.set("cs", address >> 4)
        self._engine.hook_add(
            unicorn.UC_HOOK_MEM_READ_UNMAPPED | unicorn.UC_HOOK_MEM_WRITE_UNMAPPED, self._touch
        )
        self._engine.hook_add(unicorn.UC_HOOK_MEM_WRITE, self._note)

    @property
    def inside(self) -> bool:
        """Whether the next instruction is one of the code's."""
        return self._first <= self.at < self._first + len(self._code)

    def is_out(self, state: Any) -> bool:
        """Whether a CPU in this state has left the code."""
        return not self._first <= state[0] < self._first + len(self._code)

    def set(self, name: str, value: int) -> None:
        """Give a register a value."""
        if name not in self._ids:
            raise UsageError(
                f"there is no register {name!r} to set in {self._bits}-bit mode.",
                expected=", ".join(self._ids),
            )
        self._engine.reg_write(self._ids[name], value)

    def step(self) -> bool:
        """Execute one instruction; False if that cannot be done."""
        before = self.at
        try:
            # The end keeps the engine from reading on: what lies behind may be data that change.
            self._engine.emu_start(before, before + self._length(), count=1)
        except self._error:
            # A fetch from where nothing is comes later, as being outside: this is a fault.
            self.at = self._next()
            return self.at != before
        self.at = self._next()
        return True

    def to_memory(self) -> None:
        """Go on to the next instruction that touches memory."""
        for _ in range(_MOST_PRIVATE):
            if not self.inside or self._touches() or not self.step():
                return

    def _touches(self) -> bool:
        found = self._decoded()
        code = self._code[self.at - self._first :]
        return found is None or found.uses_stack or bool(accesses(code, self.at, self._bits, {}))

    def splits(self) -> bool:
        """Whether the next instruction reads, then writes memory, and others may come between."""
        found = self._decoded()
        return found is not None and found.changes_memory and not found.locked

    def _decoded(self) -> Decoded | None:
        return decode(self._code[self.at - self._first :], self.at, self._bits)

    def _length(self) -> int:
        found = self._decoded()
        return found.size if found else 1

    def state(self) -> tuple[int, ...]:
        """All that tells this CPU from the other, hashable."""
        return (
            self.at,
            self._engine.reg_read(self._flags),
            *(self._engine.reg_read(one) for one in self._ids.values()),
        )

    def load(self, state: tuple[int, ...]) -> None:
        """Become a CPU in that state."""
        self.at = state[0]
        self._engine.reg_write(self._flags, state[1])
        for one, value in zip(self._ids.values(), state[2:], strict=True):
            self._engine.reg_write(one, value)

    def registers(self) -> dict[str, int]:
        """All registers by name."""
        return {name: self._engine.reg_read(one) for name, one in self._ids.items()}

    def put(self, address: int, content: bytes) -> None:
        """Write memory from outside."""
        self._map(address, len(content))
        self._engine.mem_write(address, content)

    def get(self, address: int, count: int) -> bytes:
        """Read memory from outside."""
        self._map(address, count)
        return bytes(self._engine.mem_read(address, count))

    def pages(self) -> dict[int, bytes]:
        """All memory that was touched."""
        return {page: bytes(self._engine.mem_read(page, _PAGE)) for page in sorted(self._mapped)}

    def _next(self) -> int:
        cs = int(self._engine.reg_read(self._ids["cs"])) if self._bits == 16 else 0
        return 16 * cs + int(self._engine.reg_read(self._ip))

    def _map(self, address: int, count: int) -> None:
        for page in range(address & -_PAGE, address + max(count, 1), _PAGE):
            if page not in self._mapped:
                self._engine.mem_map(page, _PAGE)
                self._mapped.add(page)

    def _touch(self, _engine: Any, _kind: int, address: int, size: int, *_: Any) -> bool:
        try:
            self._map(address & (1 << 64) - 1, size)
        except self._error:
            return False
        return True

    def _note(self, _engine: Any, _kind: int, address: int, size: int, *_: Any) -> None:
        self.written.append((address & (1 << 64) - 1, size))


def _quietly(module: str, package: str) -> Any:
    """Import a module; what it has to say goes nowhere: nbgrader gives 0 for anything on stderr."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError:
        raise UsageError(
            f"{package} is not installed, or there is none for this kind of machine.",
            next_step="python -m pip install 'vmmlab[worksheets]'",
        ) from None

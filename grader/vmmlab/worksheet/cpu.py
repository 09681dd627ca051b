"""A CPU (unicorn) that executes one piece of code, instruction by instruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vmmlab.base.message import msg
from vmmlab.worksheet.assembly import Bits
from vmmlab.worksheet.language import WorksheetError
from vmmlab.worksheet.libraries import imported
from vmmlab.x86.decode import Decoded, accesses, decode

PAGE: Final = 0x1000
_GENERAL: Final = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *(f"r{number}" for number in range(8, 16)),
)
_SEGMENTS: Final = ("cs", "ds", "es", "ss", "fs", "gs")
_BUFFER: Final = 8 * 1024 * 1024
_MOST_PRIVATE: Final = 2000
"""The most instructions without memory access that a CPU executes in one turn."""


class TrialCpu:
    """One CPU with one piece of code; each page of memory is made when it is first touched."""

    def __init__(self, code: bytes, bits: Bits, address: int, memory: Mapping[int, bytes]) -> None:
        unicorn = imported("unicorn", "unicorn")
        x86_const = imported("unicorn.x86_const", "unicorn")
        modes = {16: unicorn.UC_MODE_16, 32: unicorn.UC_MODE_32, 64: unicorn.UC_MODE_64}
        self._error = unicorn.UcError
        self._engine: Any = unicorn.Uc(unicorn.UC_ARCH_X86, modes[bits])
        # The default is 1 GiB of address space, for a few instructions.
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
        # In 32- and 64-bit mode the segments are flat, and there is no table to load them from.
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
        """Whether the next instruction belongs to the code."""
        return self._first <= self.at < self._first + len(self._code)

    def is_out(self, state: Any) -> bool:
        """Return whether a CPU in this state has left the code."""
        return not self._first <= state[0] < self._first + len(self._code)

    def set(self, name: str, value: int) -> None:
        """Set a register.

        Raises:
            WorksheetError: there is no such register in this mode.
        """
        if name not in self._ids:
            raise WorksheetError(
                msg(
                    "there is no register {name} to set in {bits}-bit mode.",
                    name=repr(name),
                    bits=self._bits,
                ),
                expected=", ".join(self._ids),
            )
        self._engine.reg_write(self._ids[name], value)

    def step(self) -> bool:
        """Execute one instruction; return False if it faults."""
        before = self.at
        try:
            # The end address keeps the engine from reading on: data that change may follow.
            self._engine.emu_start(before, before + self._length(), count=1)
        except self._error:
            # A jump out of the code fails here only at the fetch: then the address has changed.
            self.at = self._next()
            return self.at != before
        self.at = self._next()
        return True

    def to_memory(self) -> None:
        """Execute up to the next instruction that touches memory."""
        for _ in range(_MOST_PRIVATE):
            if not self.inside or self._touches() or not self.step():
                return

    def _touches(self) -> bool:
        found = self._decoded()
        code = self._code[self.at - self._first :]
        return found is None or found.uses_stack or bool(accesses(code, self.at, self._bits, {}))

    def splits(self) -> bool:
        """Return whether the next instruction reads and writes memory without being atomic."""
        found = self._decoded()
        return found is not None and found.changes_memory and not found.locked

    def _decoded(self) -> Decoded | None:
        return decode(self._code[self.at - self._first :], self.at, self._bits)

    def _length(self) -> int:
        found = self._decoded()
        return found.size if found else 1

    def state(self) -> tuple[int, ...]:
        """Return the state of this CPU without its memory, hashable."""
        return (
            self.at,
            self._engine.reg_read(self._flags),
            *(self._engine.reg_read(one) for one in self._ids.values()),
        )

    def load(self, state: tuple[int, ...]) -> None:
        """Restore a state."""
        self.at = state[0]
        self._engine.reg_write(self._flags, state[1])
        for one, value in zip(self._ids.values(), state[2:], strict=True):
            self._engine.reg_write(one, value)

    def registers(self) -> dict[str, int]:
        """Return all registers by name."""
        return {name: self._engine.reg_read(one) for name, one in self._ids.items()}

    def put(self, address: int, content: bytes) -> None:
        """Write memory."""
        self._map(address, len(content))
        self._engine.mem_write(address, content)

    def get(self, address: int, count: int) -> bytes:
        """Read memory."""
        self._map(address, count)
        return bytes(self._engine.mem_read(address, count))

    def pages(self) -> dict[int, bytes]:
        """Return all pages that were touched, by address."""
        return {page: bytes(self._engine.mem_read(page, PAGE)) for page in sorted(self._mapped)}

    def _next(self) -> int:
        cs = int(self._engine.reg_read(self._ids["cs"])) if self._bits == 16 else 0
        return 16 * cs + int(self._engine.reg_read(self._ip))

    def _map(self, address: int, count: int) -> None:
        for page in range(address & -PAGE, address + max(count, 1), PAGE):
            if page not in self._mapped:
                self._engine.mem_map(page, PAGE)
                self._mapped.add(page)

    def _touch(self, _engine: Any, _kind: int, address: int, size: int, *_: Any) -> bool:
        try:
            self._map(address & (1 << 64) - 1, size)
        except self._error:
            return False
        return True

    def _note(self, _engine: Any, _kind: int, address: int, size: int, *_: Any) -> None:
        self.written.append((address & (1 << 64) - 1, size))

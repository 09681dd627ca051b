"""Exceptions and triple faults in QEMU's log (`-d int`).

Lines of both versions::

         1: v=0d e=0032 i=0 cpl=0 IP=0008:000000000000803c pc=...    then a register dump
    check_exception old: 0x8 new 0xd     a fault while #DF is delivered: a triple fault
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vmmlab.machine.dump import parse_dump

MAX_EXCEPTIONS = 64
"""How many exceptions are kept from the beginning, and how many from the end."""

_MAX_HEADS = 512
_MAX_DUMP_LINES = 40
_DOUBLE_FAULT = 8
_HEAD = re.compile(
    rb" *\d+: v=([0-9a-f]+) e=([0-9a-f]+) i=(\d) cpl=(\d) IP=([0-9a-f]+):([0-9a-f]+)"
    rb" pc=([0-9a-f]+)"
)
_CHECK = re.compile(rb"check_exception old: 0x([0-9a-f]+) new 0x([0-9a-f]+)")
_DUMP_START = (b"EAX=", b"RAX=")
_DUMP_END = b"EFER="


@dataclass(frozen=True)
class CpuException:
    """An exception or interrupt that a processor took in protected or long mode.

    QEMU does not say which processor; compare `registers` with those of each processor.

    Attributes:
        vector: interrupt vector (14 is #PF).
        error: error code, 0 if the exception has none.
        software: raised by an INT instruction.
        cpl: privilege level before.
        cs: code segment selector.
        ip: offset in the code segment.
        pc: linear address of the instruction.
        registers: registers and control registers as printed: "rax", …, "cr2", "idt_limit".
    """

    vector: int
    error: int
    software: bool
    cpl: int
    cs: int
    ip: int
    pc: int
    registers: Mapping[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class TripleFault:
    """A fault while a double fault was being delivered: the processor shuts down.

    Attributes:
        first: the exception that began it (None if its record was lost in a flood).
        last: the double fault.
        vector: the third fault.
    """

    first: CpuException | None
    last: CpuException | None
    vector: int


class ExceptionLog:
    """Collects exceptions from the lines of a log, in bounded memory.

    Attributes:
        dropped: exceptions that were not kept because there were too many.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._heads: list[CpuException] = []  # their registers are still to come
        self._dump: list[bytes] | None = None
        self._first: list[CpuException] = []
        self._last: deque[CpuException] = deque(maxlen=MAX_EXCEPTIONS)
        self._triple_faults: list[TripleFault] = []

    @property
    def in_dump(self) -> bool:
        """Whether the next line belongs to a register dump, whatever it looks like."""
        return self._dump is not None

    def take(self, line: bytes) -> bool:
        """Take the next line; return False if it is no line of an exception."""
        if self._dump is not None:
            self._dump.append(line)
            if line.startswith(_DUMP_END) or len(self._dump) > _MAX_DUMP_LINES:
                self._exception(self._dump)
                self._dump = None
        elif line.startswith(_DUMP_START):
            self._dump = [line]
        elif (match := _HEAD.match(line)) is not None:
            if len(self._heads) < _MAX_HEADS:
                v, e, i, cpl, cs, ip, pc = match.groups()
                self._heads.append(
                    CpuException(
                        int(v, 16), int(e, 16), bool(int(i)), int(cpl),
                        int(cs, 16), int(ip, 16), int(pc, 16),
                    )
                )  # fmt: skip
        elif (match := _CHECK.match(line)) is not None:
            if int(match[1], 16) == _DOUBLE_FAULT:
                self._triple_fault(int(match[2], 16))
        else:
            return False
        return True

    def _exception(self, dump: Sequence[bytes]) -> None:
        registers = parse_dump(dump)
        # A line of another processor may stand between a head and its dump: match the addresses.
        ip = registers.get("rip", -1)
        head = next((one for one in self._heads if one.ip == ip), None)
        if head is None:
            return  # a dump for another reason, such as SMM
        self._heads.remove(head)
        record = replace(head, registers=registers)
        if len(self._first) < MAX_EXCEPTIONS:
            self._first.append(record)
        else:
            if len(self._last) == MAX_EXCEPTIONS:
                self.dropped += 1
            self._last.append(record)

    def _triple_fault(self, vector: int) -> None:
        taken = {id(one.last) for one in self._triple_faults}
        records = self.exceptions()
        last = next(
            (r for r in reversed(records) if r.vector == _DOUBLE_FAULT and id(r) not in taken), None
        )
        first = None
        if last is not None:
            for record in reversed(records[: records.index(last)]):
                if record.pc == last.pc and record.registers.get("rsp") == last.registers.get(
                    "rsp"
                ):
                    if record.vector == _DOUBLE_FAULT:
                        break
                    first = record
        if len(self._triple_faults) < MAX_EXCEPTIONS:
            self._triple_faults.append(TripleFault(first, last, vector))

    def exceptions(self) -> tuple[CpuException, ...]:
        """Return the first and the last exceptions, in order."""
        return (*self._first, *self._last)

    def triple_faults(self) -> tuple[TripleFault, ...]:
        """Return the triple faults, oldest first."""
        return tuple(self._triple_faults)

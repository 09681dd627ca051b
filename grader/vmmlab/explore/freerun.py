"""Runs CPUs through one function at full speed, many times, and checks each pass.

Only registers and memory are kept: nothing of what a search knows about a CPU. So this can say that
nothing went wrong in one order, but not what did; `OneRun` follows the calls step by step for that.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterable
from typing import Any, Final

from vmmlab.explore.engine import HLT, ID, engine, unicorn
from vmmlab.explore.harness import Repeated
from vmmlab.explore.memory import Store
from vmmlab.explore.program import RETURN_MARK, Program
from vmmlab.explore.rounds import SEEN, LaterRounds
from vmmlab.images.layout import VMM_BASE
from vmmlab.x86.registers import PAGE_BYTES

_TURN: Final = 500  # instructions of a CPU before another one runs
_STILL_TURNS: Final = 6  # of each other CPU in which none comes back before the late one calls
_QUIET_TURNS: Final = 200  # turns of each CPU in which none comes back from a call


class FreeRun:
    """All CPUs of one harness, each with the same calls to make.

    Args:
        program: the image and its surroundings.
        calls: what they call, and how often.
        writes: stores that are visible before the first call.
    """

    def __init__(self, program: Program, calls: Repeated, writes: Iterable[Store]) -> None:
        self._program = program
        self._calls = calls
        self._uc = engine(program)
        self._shared: list[Any] = []  # memory that is mapped more than once
        self._map()
        self._written = []
        for address, size, value in writes:
            self._written.append((address, size))
            self._uc.mem_write(address, value.to_bytes(size, "little"))
        count = range(len(calls.gs_bases))
        self._tops = [program.harness_stack(cpu).top for cpu in count]
        self._rounds = calls.rounds  # at which the CPUs gather next
        self._entered = [0 for _ in count]
        self._completed = [0 for _ in count]
        self._saved = [self._uc.context_save() for _ in count]

    def run(self, seconds: float) -> bool:
        """Return whether all CPUs have come back from all calls, in the right order.

        Args:
            seconds: give up after this much CPU time.
        """
        deadline = time.thread_time() + seconds
        later = LaterRounds(self._program, self._calls.function)
        looks = {leap - back for leap in self._calls.leaps for back in range(SEEN)}
        left_out = 0
        for number in sorted({*looks, self._calls.rounds}):
            if not self._run_to(number, deadline):
                return False
            if number in looks:
                later.note(number + left_out, self._read)
            if number in self._calls.leaps:
                more, writes = later.leap()
                left_out += more
                for address, size, value in writes:
                    self._uc.mem_write(address, value.to_bytes(size, "little"))
        return self._left_alone()

    def _left_alone(self) -> bool:
        """Return whether only variables of the student and declared ones have changed."""
        program = self._program
        known = [*program.variables.values(), *self._written]
        for one in program.segments:
            now = bytes(self._uc.mem_read(one.start, len(one.data))) if one.writable else one.data
            for at in changed(one.data, now):
                address = one.start + at
                declared = any(start <= address < start + size for start, size in known)
                if not declared and program.symbols.owner(address) != "student":
                    return False
        return True

    def _read(self, address: int, size: int) -> int:
        return int.from_bytes(self._uc.mem_read(address, size), "little")

    def _run_to(self, rounds: int, deadline: float) -> bool:
        """Return whether all CPUs have come back from so many calls, in the right order."""
        cpus = range(len(self._saved))
        self._rounds = rounds
        for cpu in cpus:
            if cpu != self._calls.late:
                self._call(cpu)
        quiet = 0
        while min(self._completed) < rounds:
            before = sum(self._completed)
            for cpu in cpus:
                if cpu == self._calls.late and not self._comes(cpu, quiet):
                    continue
                if not self._turn(cpu):
                    return False
            quiet = 0 if sum(self._completed) > before else quiet + 1
            if quiet > _QUIET_TURNS or time.thread_time() > deadline:
                return False
        return True

    def _map(self) -> None:
        """Map the trampoline's copy wherever a CPU can see it, and take out what is not run."""
        program, uc = self._program, self._uc
        start = program.trampoline & ~(PAGE_BYTES - 1)
        end = (program.trampoline + program.trampoline_size + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
        memory = ctypes.create_string_buffer(end - start)
        self._shared.append(memory)
        for place in (start, start - VMM_BASE, program.window & ~(PAGE_BYTES - 1)):
            uc.mem_map_ptr(place, end - start, unicorn.UC_PROT_ALL, ctypes.addressof(memory))
        copied = range(program.trampoline, program.trampoline + program.trampoline_size)
        uc.mem_write(program.trampoline, bytes(program.initial(at) for at in copied))
        # Where the model takes the place of code, the run ends.
        for address in (*program.stubs, *program.tracepoints):
            uc.mem_write(address, HLT)

    def _call(self, cpu: int) -> None:
        """Let a CPU enter the function for the next time."""
        uc = self._uc
        self._entered[cpu] += 1
        rsp = self._tops[cpu] - 8
        uc.mem_write(rsp, RETURN_MARK.to_bytes(8, "little"))
        values = {"rip": self._calls.function, "rsp": rsp, "rbp": 0, "rflags": 2}
        for name, value in (values | {"gs_base": self._calls.gs_bases[cpu]}).items():
            uc.reg_write(ID[name], value)
        uc.context_update(self._saved[cpu])

    def _comes(self, cpu: int, quiet: int) -> bool:
        """Let the late CPU call when no other gets on; return whether it is in a call."""
        done = self._entered[cpu] == self._completed[cpu]
        if done and self._completed[cpu] < self._rounds and quiet >= _STILL_TURNS:
            self._call(cpu)
            done = False
        return not done

    def _turn(self, cpu: int) -> bool:
        """Let a CPU run until it waits; return False if something unusual happens."""
        uc = self._uc
        if self._completed[cpu] == self._rounds:
            return True
        uc.context_restore(self._saved[cpu])
        at = uc.reg_read(ID["rip"])
        while True:
            try:
                uc.emu_start(at, RETURN_MARK, count=_TURN)
            except unicorn.UcError:
                return False
            at = uc.reg_read(ID["rip"])
            if at != RETURN_MARK:
                uc.context_update(self._saved[cpu])
                # A CPU that has halted goes on after the HLT, if it is let.
                return bytes(uc.mem_read(at - len(HLT), len(HLT))) != HLT
            if not self._came_back(cpu):
                return False
            if cpu == self._calls.late or self._completed[cpu] == self._rounds:
                return True
            self._call(cpu)
            at = self._calls.function

    def _came_back(self, cpu: int) -> bool:
        """Return whether a CPU may come back from its call now, and has its stack back."""
        self._completed[cpu] += 1
        in_time = min(self._entered) >= self._completed[cpu]
        return in_time and self._uc.reg_read(ID["rsp"]) == self._tops[cpu]


def changed(before: bytes, after: bytes) -> Iterable[int]:
    """Yield where two pieces of memory of one size differ."""
    for page in range(0, len(before), PAGE_BYTES):
        if before[page : page + PAGE_BYTES] != after[page : page + PAGE_BYTES]:
            end = min(page + PAGE_BYTES, len(before))
            yield from (at for at in range(page, end) if before[at] != after[at])

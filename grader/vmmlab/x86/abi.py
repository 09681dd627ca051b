"""Where compiled code of an architecture keeps arguments, words and page tables.

The emulated processor has 64-bit registers in both cases, and registers have their 64-bit names;
what differs is how the code of the VMM uses them. Nothing else in the evidence layer asks for the
name of an architecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vmmlab.x86.registers import Mode


@dataclass(frozen=True)
class Abi:
    """What a session must know of an architecture.

    Args:
        arch: as course.yml and the builder call it.
        mode: the processor mode that the VMM runs in.
        bits: the default operand size of its code.
        word: bytes of a pointer, of `ulong` and of a stack word.
        registers: where the first arguments of a function are.
        on_stack: functions that take all arguments from the stack: those that are `asmlinkage`
            (include/linkage.h), and those with a variable number of them.
        stackaddr: offset of that field of `struct pcpu` behind its padding (include/pcpu.h), bytes.
        frame: number of words of `struct exception_frame` (include/exception.h).
        vector: place of the vector among them; the error code and the address follow.
        root_mask: the bits of CR3 that are the address of the first table.
        shifts: for each level of paging, the lowest bit of an address that chooses the entry.
    """

    arch: str
    mode: Mode
    bits: Literal[32, 64]
    word: int
    registers: tuple[str, ...]
    on_stack: frozenset[str]
    stackaddr: int
    frame: int
    vector: int
    root_mask: int
    shifts: tuple[int, ...]

    def argument(self, place: str, number: int) -> str | int:
        """Where a function has its argument when its first instruction is about to run.

        Args:
            place: the function.
            number: from 0; every argument is one word.

        Returns:
            The register's name, or the distance in bytes from the stack pointer, which points to
            the return address.

        Raises:
            ValueError: nothing is known of so many arguments.
        """
        if place in self.on_stack:
            return (1 + number) * self.word
        if number >= len(self.registers):
            raise ValueError(f"{place}: argument {number} is not in a register")
        return self.registers[number]

    def pointer(self, raw: bytes) -> int:
        """The first word of `raw`."""
        return int.from_bytes(raw[: self.word], "little")


# psABI for x86-64, 3.2.3: asmlinkage is empty there (include/linkage.h).
_X86_64 = Abi(
    arch="x86_64",
    mode="long",
    bits=64,
    word=8,
    registers=("rdi", "rsi", "rdx", "rcx", "r8", "r9"),
    on_stack=frozenset(),
    stackaddr=16,
    frame=22,
    vector=15,
    root_mask=0x000FFFFFFFFFF000,
    shifts=(39, 30, 21, 12),  # Intel SDM vol. 3, 4.5
)

# Compiled with -mregparm=3; what is asmlinkage follows the psABI for i386.
_I386 = Abi(
    arch="i386",
    mode="protected",
    bits=32,
    word=4,
    registers=("rax", "rdx", "rcx"),
    on_stack=frozenset({"vmm_main", "asm_wrrsp_and_jmp", "exception_panic", "panic", "printf"}),
    stackaddr=12,
    frame=12,
    vector=7,
    root_mask=0xFFFFFFE0,
    shifts=(30, 21, 12),  # Intel SDM vol. 3, 4.4
)

_ABIS = {abi.arch: abi for abi in (_X86_64, _I386)}


def abi_of(arch: str) -> Abi:
    """The conventions of an architecture; KeyError if nothing is known of it."""
    return _ABIS[arch]

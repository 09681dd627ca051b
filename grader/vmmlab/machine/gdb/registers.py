"""The registers of one processor, and where the stub's register packet holds each of them.

Facts about the stub, found by experiment on QEMU 7.2.22 and 10.0.13:

- The packet contains no segment bases. In real mode `rip` is only the offset in the code segment;
  `code_base` infers the base, and `Registers.linear_pc` adds it.

Pure data and functions; knows nothing of connections.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vmmlab.base.message import msg
from vmmlab.machine.gdb.errors import GdbError
from vmmlab.x86.registers import CR0_PE, EFER_LMA, Mode, mode_of

GENERAL = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
_OTHERS = (
    "rip", "eflags", "cs", "ss", "ds", "es", "fs", "gs", "fs_base", "gs_base", "k_gs_base",
    "cr0", "cr2", "cr3", "cr4", "cr8", "efer",
)  # fmt: skip
REGISTER_NAMES = GENERAL + _OTHERS
_SIZES = {1: "B", 2: "H", 4: "I", 8: "Q"}

_RESET_CS, _RESET_IP, _RESET_BASE = 0xF000, 0xFFF0, 0xFFFF0000


@dataclass(frozen=True, slots=True)
class Registers:
    """The registers of one processor while the machine is paused.

    `cs_base` is not read from the machine but inferred, see `code_base`.
    """

    cpu: int
    rax: int
    rbx: int
    rcx: int
    rdx: int
    rsi: int
    rdi: int
    rbp: int
    rsp: int
    r8: int
    r9: int
    r10: int
    r11: int
    r12: int
    r13: int
    r14: int
    r15: int
    rip: int
    eflags: int
    cs: int
    ss: int
    ds: int
    es: int
    fs: int
    gs: int
    fs_base: int
    gs_base: int
    k_gs_base: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    cr8: int
    efer: int
    cs_base: int = 0

    @property
    def context(self) -> dict[str, int]:
        """General registers, RIP and EFLAGS: with these a processor goes on from where it was."""
        return {name: self[name] for name in (*GENERAL, "rip", "eflags")}

    def __getitem__(self, name: str) -> int:
        """Return one register by its name in `REGISTER_NAMES`; KeyError for any other name."""
        if name not in REGISTER_NAMES:
            raise KeyError(name)
        value: int = getattr(self, name)
        return value

    def as_dict(self) -> dict[str, int]:
        """Return all registers by name, in the order of `REGISTER_NAMES`."""
        return {name: getattr(self, name) for name in REGISTER_NAMES}

    @property
    def mode(self) -> Mode:
        """The mode that the processor is in; compatibility mode counts as "long"."""
        return mode_of(self.cr0, self.efer)

    @property
    def linear_pc(self) -> int:
        """The linear address of the next instruction.

        CS * 16 + IP in real mode, and also between setting CR0.PE and the far jump that reloads CS
        (Intel SDM vol. 3, 9.9.1). Otherwise flat segments are assumed.
        """
        if self.mode == "long":
            return self.rip
        return (self.cs_base + self.rip) & 0xFFFFFFFF


def code_base(values: Mapping[str, int], real_cs: int | None) -> int:
    """Infer the base of CS, which the register packet does not contain.

    Args:
        values: the registers of a processor.
        real_cs: its CS selector when it was last seen in real mode, None if it never was.
    """
    if not values["cr0"] & CR0_PE:
        # Reset sets the base of CS to 0xffff0000 (Intel SDM vol. 3, 9.1.4).
        at_reset = values["cs"] == _RESET_CS and values["rip"] == _RESET_IP
        return _RESET_BASE if at_reset else values["cs"] << 4
    if not values["efer"] & EFER_LMA and real_cs == values["cs"]:
        return values["cs"] << 4  # PE is set, but CS still has its real-mode base
    return 0


@dataclass(frozen=True)
class RegisterLayout:
    """Where each register is in the answer to a `g` request.

    Attributes:
        codec: unpacks the answer's bytes, skipping registers that are not needed.
        order: the names of the unpacked values.
        size: bytes that `codec` unpacks; the answer may be longer.
        index: name to the register's number in `P` requests and its size in bytes.
        offsets: name to where its bytes begin.
    """

    codec: struct.Struct
    order: tuple[str, ...]
    size: int
    index: Mapping[str, tuple[int, int]]
    offsets: Mapping[str, int]

    def decode(self, cpu: int, body: bytes) -> dict[str, int]:
        """Return the registers in an answer by name.

        Args:
            cpu: the processor that was asked for, for the error's text.
            body: the answer, in hexadecimal.

        Raises:
            GdbError: the answer is too short.
        """
        if len(body) < 2 * self.size:
            raise GdbError(
                msg("CPU {cpu}: QEMU returned no registers.", cpu=cpu), found=repr(body[:40])
            )
        data = bytes.fromhex(body[: 2 * self.size].decode("ascii"))
        return dict(zip(self.order, self.codec.unpack(data), strict=True))

    def write_request(self, name: str, value: int) -> bytes:
        """Return the request that sets one register; ValueError if there is no such register."""
        if name not in self.index:
            raise ValueError(f"no register {name!r}")
        number, size = self.index[name]
        data = (value & (1 << 8 * size) - 1).to_bytes(size, "little").hex().encode("ascii")
        return b"P%x=%b" % (number, data)


def parse_layout(files: Iterable[str]) -> RegisterLayout:
    """Return the layout that the files of a target description define, in their order.

    Raises:
        GdbError: a register that is needed is missing.
    """
    offset, number = 0, -1
    places: list[tuple[int, int, str]] = []
    index: dict[str, tuple[int, int]] = {}
    for text in files:
        for tag in re.findall(r"<reg\s([^>]*)>", re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)):
            told: dict[str, str] = dict(re.findall(r'(\w+)="([^"]*)"', tag))
            name, bits = told.get("name", ""), int(told.get("bitsize", "0"))
            number = int(told.get("regnum", number + 1))
            if name in REGISTER_NAMES:
                places.append((offset, bits // 8, name))
                index[name] = (number, bits // 8)
            offset += bits // 8
    missing = [name for name in REGISTER_NAMES if name not in index]
    if missing:
        raise GdbError(
            msg("QEMU describes its registers in an unknown way."),
            expected=msg("registers of a 64-bit x86 processor"),
            found=msg("no {names}", names=", ".join(missing)),
            next_step=msg("Use qemu-system-x86_64, versions 7.2 to 10."),
        )
    form, at, order = "<", 0, []
    for start, size, name in sorted(places):
        if start > at:
            form += f"{start - at}x"
        form += _SIZES[size]
        order.append(name)
        at = start + size
    offsets = {name: start for start, _, name in places}
    return RegisterLayout(struct.Struct(form), tuple(order), at, index, offsets)

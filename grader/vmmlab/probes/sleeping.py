"""Replaces usleep: calls return at once, and the requested times are added up.

Real time proves nothing on a busy host, so delays are not measured. A stop for each call would make
a loop of small pieces take minutes; so the code of the provided function is replaced in memory
while the student's code calls it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from vmmlab.observe.session import Session
from vmmlab.probes.replacing import ReplacedCode

_SUM: Final = 0
_CALLS: Final = 8
_BYTES: Final = 16
_SCRATCH: Final = 0x40
"""Offset of the two sums in the boot stack, whose low end nothing uses."""


@dataclass
class Sleeps:
    """Adds up the arguments of usleep while it is installed.

    Args:
        session: the boot.
    """

    session: Session
    _code: ReplacedCode = field(init=False)
    _taken: tuple[int, int] = field(default=(0, 0), init=False)

    def __post_init__(self) -> None:
        """Replace nothing yet."""
        self._code = ReplacedCode(self.session)

    async def install(self) -> None:
        """Replace the code of usleep; nothing happens if the image has none."""
        view = self.session.view
        if self._code or view.symbols.maybe("usleep") is None:
            return
        at = view.addr("boot_stack") + _SCRATCH
        code = _x86_64(at) if view.abi.word == 8 else _i386(at)
        await self.session.gdb.write_phys(view.phys("boot_stack") + _SCRATCH, bytes(_BYTES))
        await self._code.put("usleep", code)

    async def remove(self) -> None:
        """Put the code of usleep back; safe to call again."""
        await self._code.remove()

    async def take(self) -> tuple[int, int]:
        """Return the microseconds and the number of calls since the last time."""
        if not self._code:
            return 0, 0
        at = self.session.view.phys("boot_stack") + _SCRATCH
        raw = await self.session.gdb.read_phys(at, _BYTES)
        now = (
            int.from_bytes(raw[_SUM : _SUM + 8], "little"),
            int.from_bytes(raw[_CALLS : _CALLS + 4], "little"),
        )
        before, self._taken = self._taken, now
        return now[0] - before[0], now[1] - before[1]


def _x86_64(at: int) -> bytes:
    """Return the code that adds EDI to the sum at `at` and counts the call."""
    return b"".join(
        (
            b"\x48\xb8" + at.to_bytes(8, "little"),  # mov $at, %rax
            b"\x89\xff",  # mov %edi, %edi: the upper half is undefined
            b"\x48\x01\x38",  # add %rdi, (%rax)
            b"\xff\x40" + bytes([_CALLS]),  # incl 8(%rax)
            b"\xc3",  # ret
        )
    )


def _i386(at: int) -> bytes:
    """Return the same for EAX, which has the argument there."""
    low, high, calls = (one.to_bytes(4, "little") for one in (at, at + 4, at + _CALLS))
    return b"".join(
        (
            b"\x01\x05" + low,  # add %eax, at
            b"\x83\x15" + high + b"\0",  # adcl $0, at + 4
            b"\xff\x05" + calls,  # incl at + 8
            b"\xc3",  # ret
        )
    )

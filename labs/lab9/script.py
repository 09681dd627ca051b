"""What lab 9 lets the guest send, and what must come of it: a model of INIT and SIPI.

A virtual CPU runs or waits (Intel SDM vol. 3, 8.4.2 and 10.6.1; AMD APM vol. 2, 14.1 and 16.5).
INIT makes it wait, SIPI lets one that waits begin at vector * 0x1000. Nothing here knows the VMM.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

INIT, SIPI, FIXED = 0x4500, 0x4600, 0x4000
"""Low half of the ICR: delivery mode, level assert."""
LEVEL, ASSERT = 0x8000, 0x4000
"""Trigger mode, and level."""
DEASSERT: Final = 0x8500
"""INIT level de-assert."""
LOGICAL: Final = 0x800
SELF, ALL, OTHERS = 0x40000, 0x80000, 0xC0000
XAPIC_ALL: Final = 0xFF
X2APIC_ALL: Final = 0xFFFFFFFF

Kind = Literal["starts", "waits", "goes-on"]


@dataclass(frozen=True, slots=True)
class Sending:
    """A write of the guest to its ICR.

    Args:
        sender: APIC id of the CPU whose guest writes.
        low: the low half of the ICR.
        dest: the destination.
        same_dest: the high half is not written: it is as it was.
        by_msr: by the MSR of x2APIC mode.
        hlt: these CPUs execute HLT in their guests meanwhile.
        late: the VMM counts its processors only in handle_ap_start, as with UEFI.
    """

    sender: int
    low: int
    dest: int = 0
    same_dest: bool = False
    by_msr: bool = False
    hlt: tuple[int, ...] = ()
    late: bool = False

    @property
    def mode(self) -> int:
        """The delivery mode as a whole low half, INIT, SIPI or another one."""
        return self.low & 0x700 | FIXED

    @property
    def vector(self) -> int:
        """Where a SIPI lets a CPU begin."""
        return self.low & 0xFF

    @property
    def emulated(self) -> bool:
        """Whether it is INIT or SIPI, and not INIT level de-assert."""
        return self.mode in (INIT, SIPI) and not self.deassert

    @property
    def deassert(self) -> bool:
        """Whether it is INIT level de-assert."""
        return self.mode == INIT and self.low & 0xC000 == 0x8000

    def meant(self, cpus: int) -> tuple[int, ...]:
        """APIC ids of the CPUs that are meant, of `cpus` from 0 on."""
        shorthand = self.low & OTHERS
        everyone = range(cpus)
        if shorthand == SELF:
            return (self.sender,)
        if shorthand == ALL:
            return tuple(everyone)
        if shorthand == OTHERS:
            return tuple(one for one in everyone if one != self.sender)
        if self.low & LOGICAL:
            return ()
        broadcast = X2APIC_ALL if self.by_msr else XAPIC_ALL
        return tuple(one for one in everyone if self.dest in (one, broadcast))


@dataclass(frozen=True, slots=True)
class Expected:
    """What a CPU must do after something was sent.

    Args:
        cpu: its APIC id.
        kind: it begins at a vector; it waits for a SIPI; its guest goes on.
        vector: where it begins.
        meant: the sending was for it.
    """

    cpu: int
    kind: Kind
    vector: int = 0
    meant: bool = False


def after(sending: Sending, running: set[int], cpus: int) -> tuple[Expected, ...]:
    """Return what must come of a sending, and change who runs.

    CPUs that wait and go on waiting are left out: that they have not begun shows when they do.

    Args:
        sending: what is sent.
        running: the CPUs that run their guests; changed.
        cpus: how many CPUs there are.
    """
    found = []
    for cpu in range(cpus):
        meant = sending.emulated and cpu in sending.meant(cpus)
        if meant and sending.mode == INIT:
            if cpu in running:
                running.discard(cpu)
                found.append(Expected(cpu, "waits", meant=True))
        elif meant and cpu not in running:
            running.add(cpu)
            found.append(Expected(cpu, "starts", sending.vector, meant=True))
        elif cpu in running:
            found.append(Expected(cpu, "goes-on", meant=meant))
    return tuple(found)


def everything(vectors: Iterable[int], aps: Iterable[int]) -> tuple[Sending, ...]:
    """Return what the guest of lab 9 sends: each destination, and each state of the one meant.

    Args:
        vectors: pages at which CPUs begin; nine different ones.
        aps: the APIC ids of three APs, in any order.
    """
    v = tuple(vectors)
    a, b, c = aps
    return (
        Sending(0, DEASSERT | ALL, 0),
        Sending(0, INIT, a),  # it waits already
        Sending(0, SIPI | v[0], a),
        Sending(0, SIPI | v[1], a),  # it runs
        Sending(0, SIPI | v[8], b),  # a SIPI comes to it: so the next one tells of the NMIs alone
        Sending(0, INIT, b),
        Sending(0, INIT | OTHERS, b),  # an NMI to the first one only
        Sending(0, SIPI | v[1], same_dest=True, dest=b),  # the NMIs have not changed it
        Sending(0, DEASSERT, b),
        Sending(0, SIPI | OTHERS | v[2]),
        Sending(0, SIPI | OTHERS | v[3]),  # all run
        Sending(0, INIT | LEVEL, b, hlt=(b,)),
        Sending(0, SIPI | v[4], b),
        Sending(0, INIT | LOGICAL, c),  # nobody
        Sending(b, INIT & ~ASSERT, c),  # by another CPU than the BSP; only level makes it de-assert
        Sending(b, SIPI | v[5], c, late=True),  # c has begun before
        Sending(c, INIT | SELF, 0),
        Sending(a, SIPI & ~ASSERT | LEVEL | v[6], c),  # only INIT can be level de-assert
        Sending(c, INIT, c),  # its own id, without a shorthand
        Sending(0, INIT | OTHERS, 0),
        Sending(0, DEASSERT, same_dest=True),  # the NMIs have not changed a destination of 0 either
        Sending(0, SIPI | v[7], XAPIC_ALL),  # the BSP runs
        Sending(b, INIT | ALL, 0),
    )

"""What the probes of lab 6 record."""

from collections.abc import Mapping
from dataclasses import dataclass

from vmmlab.observe.cpu import DescriptorTable, Hex
from vmmlab.observe.evidence import LabEvidence
from vmmlab.observe.place import Place


@dataclass(frozen=True, slots=True)
class Moment:
    """A CPU at one moment.

    Args:
        registers: the general registers, rip, eflags, selectors, cr3 and gs_base, by name.
        gdt: GDTR.
        idt: IDTR.
    """

    registers: Mapping[str, int]
    gdt: DescriptorTable
    idt: DescriptorTable

    def __getitem__(self, name: str) -> int:
        """A register by its name."""
        return self.registers[name]


@dataclass(frozen=True, slots=True)
class FirmwareState:
    """The firmware's state at uefi_entry, as boot/uefi.S has saved it."""

    rsp: int
    cr3: int
    gdt: DescriptorTable
    idt: DescriptorTable
    selectors: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of uefi_call by the grader, with a function of the grader's in place of a firmware's.

    Args:
        function: its physical address.
        arguments: the four arguments after the function.
        before: at the first instruction of uefi_call.
        at_function: at the first instruction of the function; None if it was not reached.
        value: what the function returns in RAX.
        room_in_use: whether registers that uefi_call has to preserve are in the 32 bytes above the
            return address.
        came_back: whether the function returned to uefi_call.
        turned_off: whether interrupts were off at some time after that.
        open_at: what was in use of the VMM's while interrupts were still on: a register's name,
            "" if nothing was.
        open_place: the instruction before which that was so.
        loaded: after the last LGDT or LIDT that followed; None if there was none.
        after: where uefi_call returned to; None if it did not return.
        above_before: the firmware's stack from its RSP on, before the call.
        above_after: the same after it.
        state_changed: offset of a byte of uefi_state that has changed; None if none has.
        astray: the function was not reached, and the BSP came to this address of the VMM in page
            tables that do not have the VMM there; None if it did not.
    """

    function: int
    arguments: tuple[int, ...]
    before: Moment
    value: int
    at_function: Moment | None = None
    room_in_use: bool = False
    came_back: bool = False
    turned_off: bool = False
    open_at: str = ""
    open_place: Place | None = None
    loaded: Moment | None = None
    after: Moment | None = None
    above_before: Hex = b""
    above_after: Hex = b""
    state_changed: int | None = None
    astray: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A call of AllocatePages; what the caller has not written on its stack is random.

    Args:
        kind: the kind of allocation, RCX.
        memory_type: RDX.
        pages: R8.
        pointer: R9.
        address: the 64 bits at R9; None if nothing is there.
        rsp: the stack pointer at its first instruction.
        status: what it returned; None if it did not return.
        given: the 64 bits at R9 afterwards.
    """

    kind: int
    memory_type: int
    pages: int
    pointer: int
    address: int | None
    rsp: int
    status: int | None = None
    given: int | None = None


@dataclass(frozen=True, slots=True)
class Allocation:
    """A call of alloc_realmodemem.

    Args:
        size: its argument.
        asked: the calls of AllocatePages that it made.
        word: KiB of low memory according to the BIOS data area, before and after.
        returned: what it returned; None if it did not return.
        panicked: whether it called panic.
        changed: addresses of bytes outside of that word that have changed, the first few.
    """

    size: int
    asked: tuple[Asked, ...] = ()
    word: tuple[int, int] = (0, 0)
    returned: int | None = None
    panicked: bool = False
    changed: tuple[int, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether it returned or panicked, so that it can be called again."""
        return self.returned is not None or self.panicked


@dataclass(frozen=True, slots=True)
class Realmode(LabEvidence):
    """What lab 6 did.

    Args:
        firmware: the firmware's state; None with a BIOS.
        call: the grader's call of uefi_call.
        allocations: calls of alloc_realmodemem: first the VMM's own, then those of the grader.
        refused: one that cannot be satisfied.
        refused_more: another one, for so many KiB that 16 bits do not hold their number.
        aligned: arguments and results of align_apinit_addr.
        apinit_addr: the variable, when the APs are left to the firmware.
    """

    firmware: FirmwareState | None = None
    call: Call | None = None
    allocations: tuple[Allocation, ...] = ()
    refused: Allocation | None = None
    refused_more: Allocation | None = None
    aligned: tuple[tuple[int, int], ...] = ()
    apinit_addr: int | None = None

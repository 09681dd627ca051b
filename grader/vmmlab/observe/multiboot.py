"""What probes record of vmm_main and of the init functions."""

from __future__ import annotations

from dataclasses import dataclass, field

from vmmlab.observe.cpu import Hex
from vmmlab.observe.place import Place


@dataclass(frozen=True, slots=True)
class MixedCall:
    """A call of call_initfunc that did something else because another call came between.

    Args:
        text: its argument.
        other: the argument of the other call.
        at: where a variable had been stored when the other call came.
        alone: the function that it calls next when it is alone, or "mixed call returned".
        found: the one that it called; "" if it came to none and did not return.
    """

    text: str
    other: str
    at: Place
    alone: str
    found: str


@dataclass(frozen=True, slots=True)
class InitFunction:
    """A record of the section .initfunc (include/initfunc.h).

    Args:
        id: its id.
        file: its file name.
        function: the symbol of the function.
    """

    id: str
    file: str
    function: str

    @property
    def key(self) -> tuple[str, str]:
        """What records are sorted by."""
        return self.id, self.file


@dataclass(frozen=True, slots=True)
class Multiboot:
    """What vmm_main did with the multiboot information and the init functions.

    Args:
        address: where vmm_main finds the information, a physical address.
        original: the information as the boot loader left it.
        before: `mi` before vmm_main, as the probe filled it.
        copy: `mi` at the first call that vmm_main makes.
        after_sort: `mi` when initfunc_init returns.
        later: `mi` at the last of vmm_main's calls that was seen.
        changed_at: offset of the first byte of `mi` that changed while the init functions ran.
        overrun: bytes behind `mi` that hold what lies behind the original at the first call.
        uefi_booted: that variable at the first call.
        uefi_booted_later: that variable at the first call after initfunc_init.
        linked: the records of .initfunc in the order of linking.
        sorted: the same at the first call after initfunc_init.
        behind: bytes behind the last record before vmm_main.
        behind_later: the same at the first call after initfunc_init.
        stack_overflowed: what is at the end of the boot stack has changed up to that call, or up to
            the end of the boot if there was none.
        changed_for: the init function that began when a record was no longer what it had been.
        read_at_0: the code that has used memory at address 0, where there is no information.
        copies: records, or pointers to records, that variables of the student hold at the first
            call after initfunc_init.
        mixed: a call of call_initfunc that another call disturbed.
    """

    address: int = 0
    original: Hex | None = None
    before: Hex | None = None
    copy: Hex | None = None
    after_sort: Hex | None = None
    later: Hex | None = None
    changed_at: int | None = None
    overrun: int = 0
    uefi_booted: int | None = None
    uefi_booted_later: int | None = None
    linked: tuple[InitFunction, ...] = field(default=())
    sorted: tuple[InitFunction, ...] | None = None
    behind: Hex | None = None
    behind_later: Hex | None = None
    stack_overflowed: bool = False
    changed_for: str = ""
    read_at_0: Place | None = None
    copies: int = 0
    mixed: MixedCall | None = None

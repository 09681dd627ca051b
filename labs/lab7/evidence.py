"""What the probe of lab 7 records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vmmlab.observe.evidence import LabEvidence, Verdict
from vmmlab.x86.vmcb import Vmcb


@dataclass(frozen=True, slots=True)
class Enabled:
    """A CPU after svm_init.

    Args:
        before: EFER when it was called.
        efer: EFER when it had returned.
        hsave: VM_HSAVE_PA then; None if unknown.
    """

    before: int
    efer: int
    hsave: int | None


@dataclass(frozen=True, slots=True)
class Made:
    """What svm_vminit made.

    Args:
        vmcb_at: v->vmcb.
        host_at: v->vmcbhost.
        n_cr3: its second argument.
        vmcb: the VMCB; None if there is no memory.
        stray: offset of the first byte that is not 0 and belongs to no field.
        ports: first and last of each range of ports that its I/O permission map intercepts.
    """

    vmcb_at: int
    host_at: int
    n_cr3: int
    vmcb: Vmcb | None
    stray: int | None
    ports: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Reset:
    """What svm_reset made of a virtual CPU in which all of its fields were random.

    Args:
        cs: its second argument.
        ip: its third one.
        vmcb: the VMCB when it had returned.
        registers: v->regs then, by name.
        before: the VMCB when it was called.
    """

    cs: int
    ip: int
    vmcb: Vmcb
    registers: dict[str, int]
    before: Vmcb | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that is not what it should be.

    Args:
        name: of the register or field.
        wanted: what it should be.
        found: what it is.
    """

    name: str
    wanted: int
    found: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a function of svm_loop.c made of a guest in a state that the grader chose.

    Args:
        function: its name.
        about: what the guest had executed.
        lost: registers and fields that are not as they should be afterwards.
        meanwhile: what another CPU was asked in the middle of it; "" for nothing.
        other: index of that CPU.
    """

    function: str
    about: str
    lost: tuple[Difference, ...]
    meanwhile: str = ""
    other: int = 0


@dataclass(frozen=True, slots=True)
class Crossing:
    """The first VMRUN of a CPU, from the call of asm_vmrun_regs_64 to its return.

    Args:
        p: its first argument.
        vmcb: its second argument.
        host: its third argument.
        vmcb_right: the physical address of v->vmcb.
        host_right: the physical address of v->vmcbhost.
        p_right: the address of v->regs.
        gif: GIF when VMRUN was executed; None if that was not reached.
        at: address of the VMRUN.
        entry_lost: registers that the guest did not get from *p, or from its VMCB.
        exit_lost: registers of the guest that are not in *p, or in its VMCB, on return.
        host_lost: state of the VMM that was not as before.
        mixed_with: index of the CPU whose *p or VMCB got what belongs to this one's, or whose state
            this one has now; None if there is none.
        returned: whether it returned.
        gif_after: GIF on return.
        loaded_with_gif: the guest's state was loaded while GIF was 1.
        restored_with_gif: the VMM's own state was loaded while GIF was 1.
        direction: DF was 1 on return.
        efer_lost: EFER of the guest, if svm_start_vm has changed a bit that the guest had set.
        flush_lost: tlb_control, if svm_start_vm has changed what flushes the TLB.
        interrupts: whether interrupts were on then.
    """

    p: int
    vmcb: int
    host: int
    vmcb_right: int
    host_right: int
    p_right: int
    gif: bool | None = None
    at: int = 0
    entry_lost: tuple[Difference, ...] = ()
    exit_lost: tuple[Difference, ...] = ()
    host_lost: tuple[Difference, ...] = ()
    mixed_with: int | None = None
    returned: bool = False
    gif_after: bool = False
    loaded_with_gif: bool = False
    restored_with_gif: bool = False
    interrupts: bool = False
    direction: bool = False
    efer_lost: tuple[Difference, ...] = ()
    flush_lost: tuple[Difference, ...] = ()

    @property
    def arguments(self) -> tuple[int, int, int]:
        """Its three arguments."""
        return self.p, self.vmcb, self.host

    @property
    def arguments_right(self) -> tuple[int, int, int]:
        """What they have to be."""
        return self.p_right, self.vmcb_right, self.host_right

    @property
    def wrong(self) -> bool:
        """Whether asm_vmrun_regs_64 returned, and it or its caller has made a mistake."""
        if self.returned and self.arguments != self.arguments_right:
            return True
        lost = (*self.entry_lost, *self.exit_lost, *self.host_lost)
        with_gif = self.gif or self.loaded_with_gif or self.restored_with_gif
        flags = self.interrupts or self.direction or not self.gif_after
        return self.returned and bool(lost or with_gif or flags)


@dataclass(frozen=True, slots=True)
class Diverted:
    """Where svm_start_vm led a CPU after its first exit, once with another CPU in between.

    Args:
        alone: where it led the CPU when no other one ran.
        found: where it led the CPU while the other one handled another exit.
        other: index of that CPU.
        between: whether the other one came between a store and a use.
    """

    alone: str
    found: str
    other: int
    between: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What a CPU of the guest has noted (guest/bios.S).

    Args:
        stage: how far it came: STAGE_.
        check: what it found wrong: CHECK_; 0 for nothing.
        found: what it found.
        wanted: what it expected.
    """

    stage: int
    check: int
    found: int
    wanted: int


@dataclass(frozen=True)
class SvmCpu:
    """One CPU; None for what it did not come to.

    Args:
        enabled: after svm_init.
        made: after svm_vminit.
        reset: after svm_reset.
        crossing: its first VMRUN.
        parted: the function in which it stopped while another CPU called it, and that CPU.
        diverted: what another CPU has changed in how it handled its first exit.
        answers: what do_cpuid, do_vmmcall and do_ioio answered to the grader.
        result: what its guest noted.
        failed: what it found wrong, with the stage to which that belongs; it went on afterwards.
        after_nmi: what it came to when nmi_handler had returned after an exit by NMI: its next
            VMRUN ("reached"), or something else; "" if that was not tried.
        changed_by_nmi: what its VMCB did not hold any more at that VMRUN.
        svme_after_nmi: EFER.SVME in it then, after a guest that has cleared it; None if that was
            not tried.
        last: its VMCB when the boot ended.
    """

    enabled: Enabled | None = None
    made: Made | None = None
    reset: Reset | None = None
    crossing: Crossing | None = None
    parted: tuple[str, int] | None = None
    diverted: Diverted | None = None
    answers: tuple[Answer, ...] = ()
    result: Result | None = None
    failed: tuple[Result, ...] = ()
    after_nmi: Verdict | Literal[""] = ""
    changed_by_nmi: tuple[Difference, ...] = ()
    svme_after_nmi: bool | None = None
    last: Vmcb | None = None


@dataclass(frozen=True)
class Svm(LabEvidence):
    """What the probe of lab 7 recorded.

    Args:
        cpus: one record for each CPU, by index.
    """

    cpus: tuple[SvmCpu, ...]

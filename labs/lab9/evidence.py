"""What the probe of lab 9 records."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.observe.evidence import LabEvidence, Verdict
from vmmlab.observe.place import Place

from .script import ASSERT, INIT, LEVEL, LOGICAL, OTHERS, SIPI, X2APIC_ALL, Expected, Sending

VCPU_WAITS: Final = 0x100
VCPU_RUNS: Final = 0x200
"""Values of v->startup (include/svm.h)."""
_MODE: Final = 0x700  # the delivery mode


@dataclass(frozen=True, slots=True)
class Entered:
    """The first call of localapic_enter on a CPU.

    Args:
        reached: "asm_vmrun_regs_64", "localapic_wait_for_sipi", or "" if it reached neither.
        gif: GIF there.
        place: where the CPU was then.
        then: what came of letting a CPU that waits run alone; None if it was not let.
        then_place: where it was after that.
    """

    reached: str
    gif: bool
    place: Place
    then: Verdict | None = None
    then_place: Place | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A call of localapic_is_destination by the grader.

    Args:
        cpu: index of the first argument.
        sending: the others.
        answer: what it returned; None if it did not return.
        ids: the APIC ids of the virtual CPUs meanwhile; empty: their numbers.
    """

    cpu: int
    sending: Sending
    answer: bool | None
    ids: tuple[int, ...] = ()

    @property
    def apic_id(self) -> int:
        """That of the virtual CPU which it is about."""
        return self.ids[self.cpu] if self.ids else self.cpu

    @property
    def right(self) -> bool:
        """What it has to return."""
        if self.sending.low & (OTHERS | LOGICAL):
            return self.cpu in self.sending.meant(self.cpu + 1)
        return self.sending.dest in (self.apic_id, X2APIC_ALL)


@dataclass(frozen=True, slots=True)
class Direct:
    """A SIPI to an AP that does not wait yet, by a call of the grader; then the AP runs alone.

    Args:
        function: what was called.
        cpu: for which CPU.
        vector: of the SIPI.
        startup: v->startup of that CPU afterwards; a lab may keep the state in its own variables.
        cs: with which CS its guest is to begin; None if it did not come to svm_reset.
        ip: with which IP.
        place: where it is then.
        ran: whether it came to VMRUN without a call of localapic_wait_for_sipi.
        gif: GIF at that call; None if there was none.
    """

    function: str
    cpu: int
    vector: int
    startup: int
    cs: int | None = None
    ip: int | None = None
    place: Place | None = None
    ran: bool = False
    gif: bool | None = None

    @property
    def right(self) -> bool:
        """Whether its guest begins at the vector."""
        return (self.cs, self.ip) == (self.vector << 8, 0)


@dataclass(frozen=True, slots=True)
class Single:
    """What functions of the lab did when the grader called each by itself, at the end of a boot.

    Args:
        refused: localapic_icr returned false for a fixed interrupt.
        written: how often it wrote to the ICR itself.
        signalled: v->startup of the BSP after localapic_signal_init for it, which ran.
        taken: v->startup of the BSP after localapic_icr with an INIT to its APIC id; it ran.
    """

    refused: bool | None = None
    written: int = 0
    signalled: int | None = None
    taken: int | None = None

    @property
    def passes_on(self) -> bool:
        """Whether localapic_icr leaves a fixed interrupt to its caller, as it should."""
        return self.refused is True and not self.written

    @property
    def leaves_itself_out(self) -> bool:
        """Whether localapic_icr does not hand on an INIT to the sender's own APIC id.

        That is not known if the state is kept elsewhere.
        """
        return self.signalled == VCPU_WAITS and self.taken == VCPU_RUNS


@dataclass(frozen=True, slots=True)
class Called:
    """A call of a function whose behaviour the contract fixes.

    Args:
        function: its name.
        arguments: the arguments; a virtual CPU by its APIC id.
    """

    function: str
    arguments: tuple[int, ...]

    @property
    def text(self) -> str:
        """The call as it would stand in C."""
        shown = [f"{one:#x}" for one in self.arguments]
        if shown and self.function not in ("apic_write", "handle_ap_start"):
            shown[0] = f"vcpus[{self.arguments[0]}]"
        return f"{self.function} ({', '.join(shown)})"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call of a function of the lab by the grader.

    Args:
        calls: what it called that can be seen; without writes to APIC_ICR_HIGH.
        returned: what it returned; None if that is void.
        startup: v->startup of the virtual CPU that it was about.
        sent: destination and low half of each write to the ICR meanwhile, by whatever CPU.
        high: the destination in APIC_ICR_HIGH of the CPU afterwards.
    """

    calls: tuple[Called, ...]
    returned: bool | None
    startup: int
    sent: tuple[tuple[int, int], ...]
    high: int

    def same_as(self, alone: Outcome) -> bool:
        """Whether this is what the function does alone; other CPUs may have sent more."""
        mine = (self.calls, self.returned, self.startup, self.high)
        its = (alone.calls, alone.returned, alone.startup, alone.high)
        return mine == its and set(alone.sent) <= set(self.sent) and not self.passed_on(alone)

    def passed_on(self, alone: Outcome) -> tuple[tuple[int, int], ...]:
        """INITs and SIPIs that reached the hardware, and do not if the function runs alone."""
        more = (one for one in self.sent if one not in alone.sent)
        return tuple(one for one in more if one[1] & _MODE in (INIT & _MODE, SIPI & _MODE))


@dataclass(frozen=True, slots=True)
class Together:
    """A function that did something else because another CPU executed it, too.

    Args:
        function: what both executed, with other arguments.
        cpu: the CPU that it is about.
        other: the CPU that executed all of it in between.
        at: where that began: the CPU had stored a variable there that all CPUs share.
        alone: what came of it without the other CPU, before and afterwards.
        found: what came of it with the other CPU.
    """

    function: str
    cpu: int
    other: int
    at: Place
    alone: Outcome
    found: Outcome


@dataclass(frozen=True, slots=True)
class Written:
    """A write of the guest of the BSP to its APIC.

    Args:
        offset: of the register.
        value: what it wrote.
        done: whether the guest went on after it.
    """

    offset: int
    value: int
    done: bool


@dataclass(frozen=True, slots=True)
class Reaction:
    """What a CPU did after something was sent.

    Args:
        expected: what it had to do.
        kind: what it did: as in `Expected`, or "" if it did nothing of that.
        verdict: what came of letting it run alone.
        cs: with which CS its guest was to begin, if it came to svm_reset.
        ip: with which IP.
        place: where it was then.
        in_guest: whether it was in its guest then.
        mended: it was to begin elsewhere, and the grader let it begin where the SIPI says.
        early: it was to begin, and was not in localapic_wait_for_sipi yet when the SIPI came.
        startup: v->startup of the CPU before that was sent, after it, and when the CPU had done
            this. A lab may keep the state elsewhere.
        ran_again: it had to wait, and its guest goes on even after another exit.
        called_from: the function of the lab's contract that had called the code at `place`; "" if
            it is that function itself, or if none has.
    """

    expected: Expected
    kind: str
    verdict: Verdict
    place: Place
    cs: int | None = None
    ip: int | None = None
    in_guest: bool = False
    mended: bool = False
    early: bool = False
    startup: tuple[int, int, int] = (0, 0, 0)
    ran_again: bool = False
    called_from: str = ""

    @property
    def init_came(self) -> bool:
        """Whether v->startup says that an INIT has come; it does not if the state is elsewhere."""
        before, after, _ = self.startup
        return before != after == VCPU_WAITS

    @property
    def init_stayed(self) -> bool:
        """Whether v->startup still says so."""
        return self.init_came and self.startup[2] == VCPU_WAITS

    @property
    def not_looked_for(self) -> bool:
        """Whether an INIT has come, and localapic_enter lets the guest run all the same."""
        runs = self.kind == "goes-on" or self.ran_again
        return self.expected.kind == "waits" and self.init_came and runs

    @property
    def right(self) -> bool:
        """Whether that is what was expected."""
        begins = (self.cs, self.ip) == (self.expected.vector << 8, 0)
        return self.kind == self.expected.kind and (self.kind != "starts" or begins)

    @property
    def goes_on(self) -> bool:
        """Whether it is from now on where it has to be."""
        return self.right or self.mended


@dataclass(frozen=True, slots=True)
class Sent:
    """Something that a guest sent, and what came of it.

    Args:
        sending: what was sent.
        ap_starts: how often handle_ap_start was called.
        sender: what the sender did.
        reactions: what the other CPUs did, until the first that was wrong.
        idle: CPUs that wait and were not meant: whether they still waited.
        asked: low and dest of each call of localapic_icr that could be seen.
    """

    sending: Sending
    ap_starts: int
    sender: Reaction
    reactions: tuple[Reaction, ...] = ()
    idle: tuple[Reaction, ...] = ()
    asked: tuple[tuple[int, int], ...] = ()

    @property
    def overlooked(self) -> bool:
        """Whether a CPU that is counted only in handle_ap_start did not get the SIPI."""
        left = (one for one in self.reactions if one.expected.kind == "starts")
        return self.sending.late and any(one.verdict == "waits" for one in left)

    @property
    def level_misread(self) -> bool:
        """Whether it was not taken, and differs from others by its level."""
        alike = self.sending.emulated and not self.sending.low & ASSERT
        return alike and not self.ap_starts and not self.right

    @property
    def again(self) -> Sending | None:
        """What is sent in its place, so that one mistake is not that of all that follows."""
        if self.level_misread:
            return replace(self.sending, low=self.sending.low & ~LEVEL | ASSERT, late=False)
        return replace(self.sending, late=False) if self.overlooked else None

    @property
    def right(self) -> bool:
        """Whether everything came as expected."""
        return all(one.right for one in (self.sender, *self.reactions, *self.idle))

    @property
    def goes_on(self) -> bool:
        """Whether each CPU is from now on where it has to be."""
        return all(one.goes_on for one in (self.sender, *self.reactions, *self.idle))


@dataclass(frozen=True, slots=True)
class Race:
    """An INIT that came while another CPU was held at an instruction.

    Args:
        held: the CPU that was held.
        at: where it was held.
        where: "enter", "wait" or "signal": in which function.
        reaction: what the CPU did to which the INIT was sent.
    """

    held: int
    at: Place
    where: str
    reaction: Reaction


@dataclass(frozen=True)
class Processors(LabEvidence):
    """What the probe of lab 9 recorded.

    Args:
        entered: the first call of localapic_enter on each CPU, by index.
        asked: calls of localapic_is_destination by the grader.
        direct: SIPIs by calls of the grader.
        single: other calls of the grader, if it came to them.
        together: functions that did something else because another CPU executed them, too.
        written: writes of the guest of the BSP to its APIC.
        sent: what the guests sent.
        races: an INIT at an instruction.
        complete: whether everything of this boot was done.
        stopped_at_many: whether the guest of the BSP did not go on after many INITs to a CPU that
            waits.
    """

    entered: dict[int, Entered] = field(default_factory=dict)
    asked: tuple[Asked, ...] = ()
    direct: tuple[Direct, ...] = ()
    single: Single = field(default_factory=Single)
    together: tuple[Together, ...] = ()
    written: tuple[Written, ...] = ()
    sent: tuple[Sent, ...] = ()
    races: tuple[Race, ...] = ()
    complete: bool = False
    stopped_at_many: bool = False

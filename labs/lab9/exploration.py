"""What `vmmlab explore lab9` tries every order of: INIT and SIPI for a CPU that runs its guest.

The given code around them is modelled. CLGI holds an NMI back until STGI, and at most one waits
(APM 15.17). VMRUN sets GIF, so that an NMI that comes then, or waits, makes the guest exit, with
GIF = 0 (APM 15.5.1, 15.6). The STGI that follows delivers the NMI to the VMM, whose handler does
nothing. An IPI arrives at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

from vmmlab.base.message import Text, listed, msg
from vmmlab.explore.context import RDI, RDX, RSI
from vmmlab.explore.declaration import Declaration, declare
from vmmlab.explore.given import GivenCode
from vmmlab.explore.harness import Effect, Ghost, Read, Violation
from vmmlab.explore.localstate import (
    Action,
    LocalState,
    before_first_step,
    entering,
    returning,
    undefined_context,
)
from vmmlab.explore.memory import Store
from vmmlab.explore.program import PCPU_APIC_ID, PCPU_CPUNUM, PCPU_SELF, RETURN_MARK, SLOTS

# include/svm.h: offsets in struct vcpu, which begins with two pointers, and values of `startup`.
_APIC_ID: Final = 128
_STARTUP: Final = 132
_RUNS: Final = 0x200
# include/apic.h: the low half of the ICR.
_MODE: Final = 0x700
_NMI: Final = 0x400
_SHORTHAND: Final = 0xC0000
_SELF: Final = 0x40000
_ALL: Final = 0x80000

INIT: Final = -1
"""In a script: an INIT. A number from 0 on is the vector of a SIPI."""


class _World(NamedTuple):
    """The ghost.

    Attributes:
        gif_clear: CPUs whose GIF is 0 or which are in their guests, one bit each.
        nmi: CPUs for which an NMI waits, one bit each.
        sent: how many signals each CPU has sent, to the end.
        begun: the vector at which the guest of each CPU has begun last; -1 before.
        exited: whether a guest has exited by itself.
    """

    gif_clear: int = 0
    nmi: int = 0
    sent: tuple[int, ...] = ()
    begun: tuple[int, ...] = ()
    exited: bool = False


def _changed(values: tuple[int, ...], at: int, value: int) -> tuple[int, ...]:
    return (*values[:at], value, *values[at + 1 :])


class Signals(GivenCode):
    """CPUs send INIT and SIPI to virtual CPUs that run: each of these begins where it should.

    A CPU with a script sends what stands there: to which CPU, and INIT or a vector. Every other one
    runs its guest, which never exits by itself.

    Attributes:
        scripts: for each CPU.
        expected: for each CPU, the vector at which its guest has to begin in the end, or -1.
    """

    scripts: ClassVar[tuple[tuple[tuple[int, int], ...], ...]]
    expected: ClassVar[tuple[int, ...]]

    # --- the beginning -----------------------------------------------------------------------

    def vcpu(self, cpu: int) -> int:
        """Return the address of a CPU's struct vcpu."""
        return self.program.alloc_block(cpu, SLOTS - 1)

    def initial_ghost(self) -> Ghost:
        """Return the ghost before the first step: no signal, no NMI."""
        return _World(sent=(0,) * self.cpus, begun=(-1,) * self.cpus)

    def initial_writes(self) -> Sequence[Store]:
        """Return stores that make the per-CPU data and the virtual CPUs, which run."""
        program, found = self.program, []
        for cpu in range(self.cpus):
            found += [
                (program.pcpu_field(cpu, PCPU_SELF), 8, program.pcpu(cpu)),
                (program.pcpu_field(cpu, PCPU_CPUNUM), 4, cpu),
                (program.pcpu_field(cpu, PCPU_APIC_ID), 4, program.apic_ids[cpu]),
                (self.vcpu(cpu), 8, program.alloc_block(cpu, SLOTS - 2)),
                (self.vcpu(cpu) + 8, 8, program.alloc_block(cpu, SLOTS - 3)),
                (self.vcpu(cpu) + _APIC_ID, 4, program.apic_ids[cpu]),
                (self.vcpu(cpu) + _STARTUP, 4, _RUNS),
                (program.symbols.addr("vcpus") + 8 * cpu, 8, self.vcpu(cpu)),
            ]
        return (*found, (program.symbols.addr("num_of_processors"), 4, self.aps))

    def shared(self) -> Sequence[tuple[int, int]]:
        """Return the memory of the virtual CPUs that several CPUs use."""
        return [(self.vcpu(cpu) + _STARTUP, 4) for cpu in range(self.cpus)]

    def start(self, cpu: int) -> int:
        """Return the local state of a CPU that is about to send, or to go to its guest."""
        return self._idle(before_first_step(cpu))

    def _idle(self, local: LocalState) -> int:
        """Return the local state of a CPU outside of the lab's code, before its next call."""
        context = undefined_context().having(gs_base=self.program.pcpu(local.cpu))
        context = context._replace(region=self.program.harness_stack(local.cpu))
        local = local._replace(context=context, phase="between", notes="")
        return self.model.waiting(local, Action("event", alone=True, name="next"))

    # --- events ------------------------------------------------------------------------------

    def handle(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """See `Harness.handle`."""
        assert isinstance(ghost, _World)
        local = self.model.locals[lid]
        if action.name == "next":
            return self._next(local, ghost)
        if action.name == "guest":
            return self._in_guest(local, ghost)
        if action.name == "return":
            return self._returned(local, ghost)
        if action.name in ("clgi", "stgi"):
            return self._set_gif(lid, action.name, ghost)
        if action.name == "apic_write_icr":
            return self._send(local, ghost)
        if action.name == "svm_reset":
            return self._begin(local, ghost)
        if action.name in ("apic_read", "apic_write", "handle_ap_start"):
            return Effect(self.model.settle(returning(local, 0)), ghost)
        return self.common(lid, action, ghost)

    def outcome(self, local: LocalState) -> Text:
        """See `Harness.outcome`."""
        told = {"guest": msg("is in its guest"), "": msg("is between two calls")}
        return told.get(local.notes, "") if local.phase == "between" else ""

    def _next(self, local: LocalState, ghost: _World) -> Effect:
        """Send what comes next, or go to the guest."""
        script, sent = self.scripts[local.cpu], ghost.sent[local.cpu]
        if sent < len(script):
            target, signal = script[sent]
            if signal == INIT:
                note = msg("calls localapic_signal_init for CPU {target}", target=target)
                return self._enter(local, ghost, note, "localapic_signal_init", target)
            note = msg(
                "calls localapic_signal_sipi for CPU {target}, vector {vector}",
                target=target,
                vector=signal,
            )
            return self._enter(local, ghost, note, "localapic_signal_sipi", target, signal)
        if script and self.expected[local.cpu] < 0:
            return Effect(self.model.end(local, "done"), ghost)
        return self._enter(local, ghost, msg("calls localapic_enter"), "localapic_enter", local.cpu)

    def _enter(
        self, local: LocalState, ghost: _World, note: Text, name: str, of: int, vector: int = 0
    ) -> Effect:
        """Let a CPU call a function of the lab for the virtual CPU of a CPU."""
        function = self.program.symbols.addr(name)
        stack = self.program.harness_stack(local.cpu)
        called = entering(local, function, stack, RETURN_MARK)
        context = called.context.having(rdi=self.vcpu(of), rsi=vector)
        notes = "enter" if name == "localapic_enter" else "signal"
        return Effect(
            self.model.settle(called._replace(context=context, notes=notes)), ghost, note=note
        )

    def _returned(self, local: LocalState, ghost: _World) -> Effect:
        cpu = local.cpu
        if local.notes == "signal":
            ghost = ghost._replace(sent=_changed(ghost.sent, cpu, ghost.sent[cpu] + 1))
            return Effect(self._idle(local), ghost, note=msg("returns"))
        if not ghost.gif_clear >> cpu & 1:
            what = msg("CPU {cpu} returns from localapic_enter while GIF is 1", cpu=cpu)
            return self.violated(local, Violation("gif-set", what), ghost, msg("returns"))
        local = local._replace(notes="guest", phase="between")
        context = undefined_context().having(gs_base=self.program.pcpu(cpu))
        local = local._replace(context=context._replace(region=self.program.harness_stack(cpu)))
        guest = self.model.waiting(local, Action("event", alone=True, name="guest"))
        return Effect(guest, ghost, note=msg("returns with GIF = 0; VMRUN"))

    def _in_guest(self, local: LocalState, ghost: _World) -> Effect | None:
        """Let the guest exit if an NMI waits; it does not end otherwise."""
        cpu, bit = local.cpu, 1 << local.cpu
        if ghost.nmi & bit:
            ghost = ghost._replace(nmi=ghost.nmi & ~bit, gif_clear=ghost.gif_clear & ~bit)
            return Effect(self._idle(local), ghost, note=msg("the NMI makes its guest exit"))
        if not self._all_sent(ghost):
            return None
        if ghost.begun[cpu] == self.expected[cpu]:
            return Effect(self.model.end(local, "done"), ghost)
        what = msg("CPU {cpu} stays in its guest, although it has to wait or to begin", cpu=cpu)
        return self.violated(local, Violation("init-lost", what), ghost, msg("no NMI comes"))

    def _all_sent(self, ghost: _World) -> bool:
        return all(
            sent == len(script) for sent, script in zip(ghost.sent, self.scripts, strict=True)
        )

    def _set_gif(self, lid: int, name: str, ghost: _World) -> Effect:
        """Clear or set GIF; an NMI that waits is delivered when it is set."""
        bit = 1 << self.model.locals[lid].cpu
        after = self.model.after(lid)
        if name == "clgi":
            return Effect(
                after, ghost._replace(gif_clear=ghost.gif_clear | bit), note=msg("GIF = 0")
            )
        note = msg("GIF = 1")
        if ghost.nmi & bit:
            note = msg("GIF = 1; the VMM's handler takes the NMI that waited")
        return Effect(
            after,
            ghost._replace(gif_clear=ghost.gif_clear & ~bit, nmi=ghost.nmi & ~bit),
            note=note,
        )

    def _send(self, local: LocalState, ghost: _World) -> Effect:
        """Deliver an NMI: at once where GIF is 1 in the VMM, else it waits."""
        regs = local.context.regs
        dest, low = regs[RDI] & 0xFFFF_FFFF, regs[RSI] & 0xFFFF_FFFF
        after = self.model.settle(returning(local, 0))
        meant = self._meant(local.cpu, dest, low) if low & _MODE == _NMI else ()
        waits = [cpu for cpu in meant if ghost.gif_clear >> cpu & 1]
        for cpu in waits:
            ghost = ghost._replace(nmi=ghost.nmi | 1 << cpu)
        notes = [
            msg("sends an NMI to CPU {cpu}", cpu=cpu)
            if cpu in waits
            else msg("sends an NMI to CPU {cpu}, whose VMM takes it at once", cpu=cpu)
            for cpu in meant
        ]
        return Effect(after, ghost, note=listed(notes) if notes else f"apic_write_icr ({low:#x})")

    def _meant(self, sender: int, dest: int, low: int) -> Sequence[int]:
        """Return the CPUs that an IPI is for; a shorthand decides alone (SDM volume 3, 10.6.1)."""
        shorthand = low & _SHORTHAND
        if not shorthand:
            return [cpu for cpu in range(self.cpus) if self.program.apic_ids[cpu] == dest]
        if shorthand == _SELF:
            return [sender]
        return [cpu for cpu in range(self.cpus) if cpu != sender or shorthand == _ALL]

    def _begin(self, local: LocalState, ghost: _World) -> Effect:
        """Note where the guest begins."""
        regs = local.context.regs
        vector = ((regs[RSI] & 0xFFFF) * 16 + (regs[RDX] & 0xFFFF)) >> 12
        note = msg("svm_reset: its guest begins at vector {vector}", vector=vector)
        if regs[RDI] != self.vcpu(local.cpu):
            what = msg("svm_reset for another CPU's virtual CPU")
            return Effect(self.model.end(local, "unsupported", what=what), ghost)
        ghost = ghost._replace(begun=_changed(ghost.begun, local.cpu, vector))
        if vector not in self._sent_to(local.cpu):
            what = msg(
                "CPU {cpu} begins at vector {vector}, which no SIPI that counts has named",
                cpu=local.cpu,
                vector=vector,
            )
            return self.violated(local, Violation("begins-elsewhere", what), ghost, note)
        return Effect(self.model.settle(returning(local, 0)), ghost, note=note)

    def _sent_to(self, cpu: int) -> set[int]:
        """Return the vectors of the SIPIs for a CPU that are the first after an INIT."""
        found, waits = set(), False
        for target, signal in (one for script in self.scripts for one in script):
            if target == cpu:
                if waits and signal != INIT:
                    found.add(signal)
                waits = signal == INIT
        return found


class Again(Signals):
    """INIT and SIPI, and once more: the second INIT comes while the CPU still follows the first."""

    name = "again"
    title = msg("INIT and SIPI twice")
    cpus = 2
    scripts = (((1, INIT), (1, 5), (1, INIT), (1, 6)), ())
    expected = (-1, 6)


class Twice(Signals):
    """INIT, and two SIPIs: the first one counts."""

    name = "second SIPI"
    title = msg("INIT and two SIPIs")
    cpus = 2
    scripts = (((1, INIT), (1, 5), (1, 6)), ())
    expected = (-1, 5)


class Crossed(Signals):
    """Two CPUs send INIT to each other at the same time; a third one lets both begin."""

    name = "crossed"
    title = msg("two CPUs send INIT to each other")
    cpus = 3
    buffers = False
    scripts = (((1, 7), (2, 8)), ((2, INIT),), ((1, INIT),))
    expected = (-1, 7, 8)

    def handle(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """See `Harness.handle`: the SIPIs come after both INITs."""
        assert isinstance(ghost, _World)
        if action.name == "next" and not self.model.locals[lid].cpu and ghost.sent[1:] != (1, 1):
            return None
        return super().handle(lid, action, ghost, read)

    def _sent_to(self, cpu: int) -> set[int]:
        return {self.expected[cpu]}


class AtOnce(Signals):
    """An INIT, and SIPIs of two CPUs at the same time: one of them counts, and it counts once."""

    name = "two SIPIs at once"
    title = msg("INIT, and SIPIs of two CPUs at the same time")
    cpus = 3
    buffers = False
    scripts = (((2, INIT), (2, 5)), ((2, 6),), ())
    expected = (-1, -1, 5)

    def handle(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """See `Harness.handle`: the SIPIs come after the INIT."""
        assert isinstance(ghost, _World)
        if action.name == "next" and self.model.locals[lid].cpu == 1 and not ghost.sent[0]:
            return None
        return super().handle(lid, action, ghost, read)

    def _in_guest(self, local: LocalState, ghost: _World) -> Effect | None:
        """Let the guest exit once when everything was sent: it must not begin again."""
        cpu, bit = local.cpu, 1 << local.cpu
        if ghost.nmi & bit or ghost.begun[cpu] < 0 or not self._all_sent(ghost):
            return super()._in_guest(local, ghost)
        if ghost.exited:
            return Effect(self.model.end(local, "done"), ghost)
        ghost = ghost._replace(exited=True, gif_clear=ghost.gif_clear & ~bit)
        return Effect(self._idle(local), ghost, note=msg("its guest exits"))

    def _begin(self, local: LocalState, ghost: _World) -> Effect:
        if ghost.begun[local.cpu] < 0:
            return super()._begin(local, ghost)
        what = msg("CPU {cpu} begins again, and no INIT has come", cpu=local.cpu)
        note = msg("svm_reset, a second time")
        return self.violated(local, Violation("begins-elsewhere", what), ghost, note)

    def _sent_to(self, cpu: int) -> set[int]:
        return {5, 6}


declare(
    Declaration(
        lab="lab9",
        scenarios=(Again, Twice, Crossed, AtOnce),
        stubs=frozenset(
            {"apic_read", "apic_write", "apic_write_icr", "svm_reset", "handle_ap_start"}
        ),
        instructions=frozenset({"clgi", "stgi"}),
        expected={
            "gif-set": msg("localapic_enter returns with GIF = 0"),
            "init-lost": msg("after INIT and SIPI the guest of a CPU begins where the SIPI says"),
            "begins-elsewhere": msg(
                "a SIPI counts if it is the first one after an INIT that has come"
            ),
        },
    )
)

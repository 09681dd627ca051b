"""Lets the processors of lab 9's guest run one at a time, and says what each of them did.

The guest is guest/smp.S, directed: each of its CPUs executes what is put into its record. So
nothing depends on how fast the host is: a CPU runs alone until it is where it has to be, or until
it is proved that it never will be.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.base.message import label
from vmmlab.images.layout import VMM_BASE
from vmmlab.machine.gdb import GdbError
from vmmlab.observe.cpu import CpuState
from vmmlab.observe.evidence import Verdict
from vmmlab.observe.milestones import rest_places
from vmmlab.observe.session import Session, Watcher

from .evidence import Reaction, Sent
from .script import OTHERS, SIPI, X2APIC_ALL, XAPIC_ALL, Expected, Sending, after

ENTER, WAIT = "localapic_enter", "localapic_wait_for_sipi"
RUN, RESET, AP_START = "asm_vmrun_regs_64", "svm_reset", "handle_ap_start"
TAKES: Final = "localapic_icr"
FUNCTIONS: Final = (
    ENTER, WAIT, TAKES, "localapic_write", "localapic_is_destination", "localapic_signal_init",
    "localapic_signal_sipi", "localapic_x2apic_icr",
)  # fmt: skip
"""All functions of the lab's contract."""
CAME, ACKED = "guest_came", "guest_acked"
PLACES: Final = ((CAME, 0x8020), (ACKED, 0x8040))
"""Places in guest/smp.S."""
BEGINS: Final = label("guest begins")
"""The place at which a CPU begins, if that is watched."""
DIRECTED: Final = 0x7C0B
"""The byte `directed` of guest/smp.S."""
STUB: Final = 0x80A0
"""Where guest/smp.S has what an AP begins with."""
STUB_BYTES: Final = 16
CPUID_CODE: Final = b"\x0f\xa2"
CPUID_EXT: Final = 0x80000000
"""A leaf of CPUID that every VMM of lab 7 passes on."""

APIC_ID, STARTUP = 128, 132  # in struct vcpu

_RECORDS, _RECORD = 0x9000, 128
_STARTS, _FAULT, _RAX, _CODE = 4, 12, 16, 64
_CODE_BYTES: Final = 64
_RET, _HLT, _WRMSR = b"\xc3", b"\xf4", b"\x0f\x30"
_X2APIC_ICR: Final = 0x830
_ICR, _ICR_HIGH = 0x300, 0x310
_APIC: Final = 0xFEE00000
_HALTS: Final = label("hlt in the guest")
_ATTEMPTS: Final = 10
_SHORT: Final = 8  # the first attempt of a CPU that runs alone is this much shorter
_SPIN: Final = 200
_STACK_WORDS: Final = 64
_RUNS_MOST: Final = 2000  # VMRUNs of a command that takes long
_TURNS: Final = 80
"""So many turns all CPUs get, of which one waits for another one: a lock is held no longer."""
_SHARE: Final = 8
"""Instructions of the one that waits, for each one of the others: longer than a look at a lock."""
_LET_GO_MOST: Final = 40
"""So often a CPU is let go again, as long as it comes further each time."""


@dataclass
class Director:
    """Directs the guests of one boot.

    Args:
        session: the boot; all CPUs stand still, and the byte `directed` is set.
    """

    session: Session
    _states: tuple[list[int], list[int]] = field(default=([], []), init=False)
    """v->startup of each CPU before and after the last sending; empty if it is not known."""
    _startups: list[int] = field(default_factory=list, init=False)
    """Where v->startup of each CPU is, physical."""

    # ---- one CPU -------------------------------------------------------------------------------

    async def run(self, cpu: int, *places: str) -> tuple[Verdict, str]:
        """Let one CPU run alone until it is at one of the places, or it is proved that it waits.

        Returns:
            How that ended, and the place where it is, "" if it is at none.
        """
        for _ in range(_LET_GO_MOST):
            verdict, place = await self._run(cpu, *places)
            if verdict != "waits" or await self.in_guest(cpu) or not await self._let_go(cpu):
                break
        return verdict, place

    async def _run(self, cpu: int, *places: str) -> tuple[Verdict, str]:
        session = self.session
        ends = {*places, *rest_places()}
        patience_s = session.limits.alone_s / _SHORT
        for _ in range(_ATTEMPTS):
            verdict, state = await session.run_free(cpu, *places, patience_s=patience_s)
            if verdict == "waits":
                patience_s = min(2 * patience_s, session.limits.alone_s)
                verdict, state = await session.step_until(
                    cpu, lambda now: session.places.at(now.pc) in ends, budget=_SPIN
                )
            if verdict == "budget":
                continue
            place = session.places.at(state.pc) or ""
            if verdict == "reached" and place not in places:
                return "halted", place
            return verdict, place if verdict == "reached" else ""
        return "budget", ""

    async def _let_go(self, cpu: int, watcher: Watcher | None = None) -> bool:
        """Step all CPUs that are in the VMM by turns: one of them may hold a lock.

        Args:
            cpu: the CPU that waits.
            watcher: awaited after each of its instructions.

        Returns:
            Whether it has come out of its loop. At a place it stands still.
        """
        session = self.session
        loop = {(await session.view.state(cpu)).pc}

        async def watch(state: CpuState) -> None:
            loop.add(state.pc)
            if watcher is not None:
                await watcher(state)

        def out(state: CpuState) -> bool:
            return state.pc not in loop or bool(session.places.at(state.pc))

        verdict, _ = await session.step_until(
            cpu, lambda now: bool(session.places.at(now.pc)), budget=_SPIN, watcher=watch
        )
        if verdict == "reached":
            return True
        for _ in range(_TURNS):
            if not await self._step_others(cpu):
                return False
            verdict, _ = await session.step_until(cpu, out, budget=_SHARE, watcher=watcher)
            if verdict == "reached":
                return True
        return False

    async def _step_others(self, cpu: int) -> bool:
        """Step each other CPU that is in the VMM once; return whether there are any."""
        session, found = self.session, False
        for other in set(range(session.inputs.cpus)) - {cpu}:
            state = await session.view.state(other)
            if state.pc >= VMM_BASE and not session.places.at(state.pc):
                found = await session.step(other) or found
        return found

    async def still_waits(self, cpu: int) -> Verdict:
        """Step a CPU that waits in the VMM until that is proved, or it begins."""
        session = self.session
        ends = {session.view.symbols.maybe(name) for name in (RESET, RUN, *rest_places())}
        for _ in range(_ATTEMPTS):
            verdict, _ = await session.step_until(cpu, lambda now: now.pc in ends, budget=_SPIN)
            if verdict != "budget":
                break
        return verdict

    async def execute(
        self, cpu: int, code: bytes, rax: int = 0, rcx: int = 0, rdx: int = 0
    ) -> None:
        """Put code into the record of a CPU, which executes it when it is let run."""
        at = _RECORDS + _RECORD * cpu
        gdb = self.session.gdb
        assert len(code) < _CODE_BYTES
        await gdb.write_phys(at + _CODE, code + _RET)
        registers = b"".join(value.to_bytes(8, "little") for value in (rax, rcx, rdx))
        await gdb.write_phys(at + _FAULT, bytes(4) + registers)
        await gdb.write_phys(at, (1).to_bytes(4, "little"))

    async def command(
        self, cpu: int, code: bytes, rax: int = 0, *, sends: Sending | None = None
    ) -> bool:
        """Let the guest of a CPU execute code; return whether it went on after that.

        Args:
            cpu: the CPU.
            code: what it executes.
            rax: its RAX then.
            sends: what it sends by that; localapic_icr is asked about this, whatever its caller
                passes.
        """
        await self.execute(cpu, code, rax)
        places = (ACKED, WAIT, RESET, CAME)
        if sends is None:
            return await self.run(cpu, *places) == ("reached", ACKED)
        await self.session.places.watch(TAKES)
        verdict, place = await self.run(cpu, *places, TAKES)
        while place == TAKES:
            await self._asked(cpu, sends)
            verdict, place = await self.run(cpu, *places, TAKES)
        await self.session.places.unwatch(TAKES)
        return (verdict, place) == ("reached", ACKED)

    async def long_command(self, cpu: int, code: bytes, rax: int) -> bool:
        """Let the guest of a CPU execute code that takes long; return whether it went on after it.

        It has not only if the CPU is in the VMM and makes no progress, or executes nothing else any
        more. As long as it runs its guest again and again, it is only slow.
        """
        await self.execute(cpu, code, rax)
        runs, before = self._runs(cpu), -1
        most = runs + _RUNS_MOST
        while before < runs < most:
            verdict, place = await self.run(cpu, ACKED, WAIT, RESET, CAME)
            if verdict != "budget":
                break
            runs, before = self._runs(cpu), runs
        if (verdict, place) == ("reached", ACKED):
            return True
        return await self.in_guest(cpu) and await self.command(cpu, CPUID_CODE, CPUID_EXT)

    def _runs(self, cpu: int) -> int:
        """Return how often a CPU has run its guest."""
        counts = self.session.view.machine.guest_counts().get(cpu)
        return counts.runs if counts else 0

    async def _asked(self, cpu: int, sending: Sending) -> tuple[int, int]:
        """Return the arguments low and dest of localapic_icr; from here on they are right.

        The destination of a write that relies on an earlier one stays as it is, and so does all of
        a write to the MSR: what is wrong there has its own checks.
        """
        gdb = self.session.gdb
        registers = await gdb.registers(cpu)
        found = registers.rsi & 0xFFFFFFFF, registers.rdx & 0xFFFFFFFF
        right = sending.low, dest_of(sending, found[1])
        if found != right and not (sending.same_dest or sending.by_msr):
            await gdb.write_registers(cpu, {"rsi": right[0], "rdx": right[1]})
        return found

    async def halt(self, cpu: int) -> None:
        """Let the guest of a CPU execute HLT."""
        await self.execute(cpu, _HLT)
        await self.session.places.watch(_HALTS, _RECORDS + _RECORD * cpu + _CODE)
        if await self.run(cpu, _HALTS) == ("reached", _HALTS):
            await self.session.step(cpu)
        await self.session.places.unwatch(_HALTS)

    async def prepare(self, *vectors: int) -> None:
        """Let each CPU that begins at one of these pages come to where it can be directed."""
        gdb = self.session.gdb
        stub = await gdb.read_phys(STUB, STUB_BYTES)
        for vector in vectors:
            await gdb.write_phys(vector << 12, stub)

    # ---- what is sent --------------------------------------------------------------------------

    async def send(self, sending: Sending, running: set[int], number: int = 0) -> Sent:
        """Let a guest send something, and let each CPU do what must come of it.

        Args:
            sending: what is sent.
            running: the CPUs that run their guests; changed as the model says.
            number: chooses among the instructions that write a register.
        """
        cpus = self.session.inputs.cpus
        for cpu in sending.hlt:
            await self.halt(cpu)
        await self.note_states()
        expected = {one.cpu: one for one in after(sending, running, cpus)}
        starts, asked, sender = await self._sender(sending, expected.pop(sending.sender), number)
        await self.note_states(sent=True)
        reactions: list[Reaction] = []
        for one in expected.values() if sender.right else ():
            reactions.append(await self.reaction(one))
            if not reactions[-1].goes_on:
                break
        idle: list[Reaction] = []
        if sending.mode == SIPI and all(one.goes_on for one in (sender, *reactions)):
            for cpu in set(range(cpus)) - running:
                idle.append(await self.idle(cpu))
        return Sent(sending, starts, sender, tuple(reactions), tuple(idle), asked)

    async def note_states(self, *, sent: bool = False) -> None:
        """Remember v->startup of each CPU: what the next sending may change, or has changed."""
        now = await self._read_states()
        self._states = (self._states[0], now) if sent else (now, [])

    async def _read_states(self) -> list[int]:
        """Return v->startup of each CPU."""
        view = self.session.view
        if not self._startups:
            self._startups = [at - VMM_BASE + STARTUP for at in await vcpus_of(self.session)]
        await self.session.gdb.peek((at, 4) for at in self._startups)
        return [await view.read_u32(at) for at in self._startups]

    async def _sender(
        self, sending: Sending, expected: Expected, number: int
    ) -> tuple[int, tuple[tuple[int, int], ...], Reaction]:
        session, cpu, starts = self.session, sending.sender, 0
        asked: list[tuple[int, int]] = []
        if sending.by_msr:
            await self.execute(cpu, _WRMSR, sending.low, _X2APIC_ICR, sending.dest)
        else:
            high = b"" if sending.same_dest else store(_ICR_HIGH, sending.dest << 24, 0)
            await self.execute(cpu, high + store(_ICR, sending.low, number), sending.low)
        count = await session.view.read_u32(session.view.phys("num_of_processors"))
        if sending.late:
            await session.view.write_u32("num_of_processors", 0)
        await session.places.watch_all((TAKES, ENTER))
        while True:
            verdict, place = await self.run(cpu, AP_START, TAKES, ENTER, ACKED, WAIT, RESET, CAME)
            if place == ENTER:
                await self.note_states(sent=True)
                continue
            if place == TAKES:
                asked.append(await self._asked(cpu, sending))
                continue
            if place != AP_START:
                break
            starts += 1
            if sending.late:
                await session.view.write_u32("num_of_processors", count)
        for one in (TAKES, ENTER):
            await session.places.unwatch(one)
        if sending.late and not starts:
            await session.view.write_u32("num_of_processors", count)
        kind = {ACKED: "goes-on", WAIT: "waits"}.get(place, "")
        return starts, tuple(asked), await self._seen(expected, kind, verdict)

    async def reaction(self, expected: Expected) -> Reaction:
        """Let a CPU do what it has to do; return what it did."""
        cpu = expected.cpu
        if expected.kind == "waits":
            verdict, place = await self.run(cpu, WAIT, ACKED, RESET, CAME, BEGINS)
            kind = {WAIT: "waits", ACKED: "goes-on"}.get(place, "starts" if place else "")
            if verdict == "waits" and not await self.in_guest(cpu):
                kind = "waits"  # it had come there before
            seen = await self._seen(expected, kind, verdict)
            return replace(seen, ran_again=seen.in_guest and await self.command(cpu, CPUID_CODE))
        if expected.kind == "goes-on":
            await self.execute(cpu, CPUID_CODE, CPUID_EXT)
            verdict, place = await self.run(cpu, ACKED, WAIT, RESET, CAME)
            kind = {ACKED: "goes-on", WAIT: "waits", RESET: "starts"}.get(place, "")
            return await self._seen(expected, kind, verdict)
        at = (await self.session.view.state(cpu)).pc
        early = at < VMM_BASE or self.session.places.at(at) == WAIT
        verdict, place = await self.run(cpu, RESET, CAME, ACKED)
        if place != RESET:
            kind = {CAME: "starts", ACKED: "goes-on"}.get(place, "")
            return replace(await self._seen(expected, kind, verdict), early=early)
        registers = await self.session.gdb.registers(cpu)
        cs, ip = registers.rsi & 0xFFFF, registers.rdx & 0xFFFF
        right = (cs, ip) == (expected.vector << 8, 0)
        if not right:  # from here on it is
            values = {"rsi": expected.vector << 8, "rdx": 0}
            await self.session.gdb.write_registers(cpu, values)
        verdict, place = await self.run(cpu, CAME, WAIT, ACKED)
        kind = {CAME: "starts", WAIT: "waits"}.get(place, "")
        seen = await self._seen(expected, kind, verdict, cs, ip)
        return seen if right else replace(seen, kind="starts", mended=kind == "starts")

    async def idle(self, cpu: int) -> Reaction:
        """Return whether a CPU that waits still does."""
        verdict = await self.still_waits(cpu)
        kind = "waits" if verdict == "waits" else "starts" if verdict == "reached" else ""
        return await self._seen(Expected(cpu, "waits"), kind, verdict)

    async def _seen(
        self,
        expected: Expected,
        kind: str,
        verdict: Verdict,
        cs: int | None = None,
        ip: int | None = None,
    ) -> Reaction:
        view, cpu = self.session.view, expected.cpu
        place = view.place(await view.state(cpu))
        inside, now = await self.in_guest(cpu), await self._read_states()
        before, after = (one or now for one in self._states)
        startup = before[cpu], after[cpu], now[cpu]
        caller = "" if kind or inside else await called_from(self.session, cpu)
        return Reaction(
            expected, kind, verdict, place, cs, ip, inside, startup=startup, called_from=caller
        )

    async def in_guest(self, cpu: int) -> bool:
        """Whether a CPU executes its guest, whose memory is below the addresses of the VMM."""
        return (await self.session.view.state(cpu)).pc < VMM_BASE

    # ---- GIF -----------------------------------------------------------------------------------

    async def step(self, cpu: int, gif: bool, *places: str) -> tuple[str, bool]:
        """Step a CPU to one of the places; return which one, and GIF there.

        Args:
            cpu: the CPU.
            gif: GIF now.
            places: functions of the VMM.
        """
        session = self.session
        targets = {at: name for name in places if (at := session.view.symbols.maybe(name))}
        seen = [gif]

        async def watch(state: CpuState) -> None:
            seen.append(await self.gif_after(cpu, state, seen[-1]))

        state = await session.view.state(cpu)
        seen.append(await self.gif_after(cpu, state, gif))
        for _ in range(_LET_GO_MOST):
            verdict, state = await session.step_until(
                cpu, lambda now: now.pc in targets, budget=_SPIN, watcher=watch
            )
            if verdict != "waits" or not await self._let_go(cpu, watch):
                break
            state = await session.view.state(cpu)
            if state.pc in targets:
                verdict = "reached"
                break
        reached = targets.get(state.pc, "") if verdict == "reached" else ""
        return reached, seen[-2]  # the last one is what the instruction there would make of it

    async def gif_after(self, cpu: int, state: CpuState, gif: bool) -> bool:
        """Return GIF after the next instruction of a CPU."""
        code = (await self.session.view.code_at(cpu, state))[:3]
        return {b"\x0f\x01\xdc": True, b"\x0f\x01\xdd": False}.get(code, gif)


async def called_from(session: Session, cpu: int) -> str:
    """Return the function of the lab's contract that has called the one that a CPU is in.

    Found by looking for return addresses on the stack; for people, not for verdicts.
    """
    view = session.view
    state = await view.state(cpu)
    if view.image_place(state.pc, line=False).symbol.partition("+")[0] in FUNCTIONS:
        return ""
    try:
        raw = await session.gdb.read_virt(cpu, state.rsp, _STACK_WORDS * view.abi.word)
    except GdbError:
        return ""
    for at in range(0, len(raw), view.abi.word):
        before = view.image_place(view.abi.pointer(raw[at:]) - 1, line=False)
        name = before.symbol.partition("+")[0]
        if before.owner == "student" and name in FUNCTIONS:
            return name
    return ""


async def vcpus_of(session: Session) -> list[int]:
    """Return the addresses of the virtual CPUs, by their APIC ids."""
    view, found = session.view, dict[int, int]()
    for number in range(session.inputs.cpus):
        at = await view.read_u64(view.phys("vcpus") + 8 * number)
        found[await view.read_u32(at - VMM_BASE + APIC_ID)] = at
    return [found[apic_id] for apic_id in sorted(found)]


def dest_of(sending: Sending, any_one: int) -> int:
    """Return the destination about which localapic_icr has to be asked.

    Args:
        sending: what the guest sends.
        any_one: this one, if it means nothing.
    """
    if sending.low & OTHERS:
        return any_one
    everyone = sending.dest == XAPIC_ALL and not sending.by_msr
    return X2APIC_ALL if everyone else sending.dest


def store(offset: int, value: int, number: int) -> bytes:
    """Return an instruction that writes a register of the APIC.

    RBX is the address of the APIC, and EAX the value, except for a constant.

    Args:
        offset: of the register.
        value: what to write.
        number: which one of four.
    """
    at = offset.to_bytes(4, "little")
    forms = (
        b"\xc7\x83" + at + value.to_bytes(4, "little"),  # movl $value, offset(%rbx)
        b"\x89\x83" + at,  # mov %eax, offset(%rbx)
        b"\x41\x89\xc1\x44\x89\x8c\x23" + at,  # mov %eax, %r9d; mov %r9d, offset(%rbx)
        b"\xa3" + (_APIC + offset).to_bytes(8, "little"),  # movabs %eax, address
    )
    return forms[number % len(forms)]

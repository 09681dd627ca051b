"""CPUs as automata: what a CPU does next, and where it is when it has read this value.

States of one CPU (locals) and what they do are found with the oracle once and remembered. Nothing
here knows about orders, or what is right: a `Local` ends as "wrong" only by what no CPU survives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from vmmlab.explore.emulator import (
    GS_BASE,
    INDEX,
    PRIVATE_LIMIT,
    RAX,
    RFLAGS,
    RIP,
    RSP,
    Access,
    Core,
    Done,
    Oracle,
)
from vmmlab.explore.program import MARKS, SLOT, Program, Region

LOOK_AHEAD: Final = 400
"""So many passes through a waiting loop are looked at before a counter in it is forgotten."""
_LOOK_AGAIN: Final = 80
_LONGEST_PASS: Final = 8
_OFFERED: Final = 6
_SCRATCH: Final = ("rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")
_RUBBISH: Final = 0x5A5A_5A5A_0000_0000

Phase = Literal["begin", "run", "call", "done", "returned", "gave up", "halted", "endless",
                "unsupported", "unfinished", "wrong"]  # fmt: skip
OVER: Final = frozenset({"done", "returned", "gave up"})
"""Phases of a CPU that has come to the end of what is explored."""


class Local(NamedTuple):
    """Everything that belongs to one CPU.

    Attributes:
        cpu: 0 is the BSP.
        core: registers and stack.
        phase: where in its life it is.
        pending: address, size, value of a store that the second half of an instruction makes.
        passed: it has come to ap_locked.
        left: it has left the boot stack, or is on a stack of its own.
        number: by which segment_init_ap was called, 0 before.
        allocs: sizes of the blocks that it got.
        round: how often it has called the barrier.
        out: how often it has come out of it.
        why: kind and sentence of an end that is wrong or not supported.
    """

    cpu: int
    core: Core
    phase: Phase
    pending: tuple[int, int, int] | None = None
    passed: bool = False
    left: bool = False
    number: int = 0
    allocs: tuple[int, ...] = ()
    round: int = 0
    out: int = 0
    why: tuple[str, str] = ("", "")


Kind = Literal["load", "store", "rmw", "split", "commit", "event", "end"]


class Action(NamedTuple):
    """What a local does next.

    Attributes:
        kind: "split" is the load of a read-modify-write that is not atomic, "commit" its store.
        rip: the instruction.
        address: of the shared memory, as all CPUs know it.
        size: bytes.
        value: what "store" and "commit" write.
        raw: the address as the instruction has it.
        window: it goes through the mapping that ap_start takes away.
        alone: always a step of its own, though nobody else may look at this memory.
        fence: waits until all earlier stores of this CPU are seen.
        name: of an event.
        core: the CPU after "store", "commit" and the events "switch" and "fence".
    """

    kind: Kind
    rip: int = 0
    address: int = 0
    size: int = 0
    value: int = 0
    raw: int = 0
    window: bool = False
    alone: bool = False
    fence: bool = False
    name: str = ""
    core: Core | None = None


Next = tuple[int | None, int, int]
"""What is written (None: nothing), the next local, and how many equal passes were skipped."""


class Site(NamedTuple):
    """A place in a program, with those that have called it."""

    rip: int
    rsp: int
    kind: str
    address: int
    callers: tuple[int, ...]


class Machine:
    """The automata of all CPUs of one program.

    Args:
        program: the image and its surroundings.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.oracle = Oracle(program)
        self.locals: list[Local] = []
        self.actions: list[Action] = []
        self._ids: dict[Local, int] = {}
        self._next: dict[tuple[int, int], list[Next]] = {}
        self._after: dict[int, int] = {}
        self._settled: dict[Local, int] = {}
        self._stepped: dict[Core, Core] = {}
        self._trail: dict[int, tuple[int, int]] = {}
        self.stacks: dict[int, tuple[int, int, int]] = {}
        """Blocks from alloc that are stacks: base to the CPU that allocated it, low and top."""
        self._reached: set[int] = set()
        self.forgotten: set[int] = set()
        """Locals in loops whose counter was forgotten: whether they end in the end is not known."""
        self._sites: dict[int, Site] = {}
        self._found: dict[tuple[int, int], tuple[int | None, int]] = {}
        self.counted: dict[int, int | None] = {}
        """Loops with a counter: address to the passes until they end, None if they did not."""

    # --- making locals -----------------------------------------------------------------------

    def begin(self, cpu: int, phase: Phase = "begin") -> Local:
        """A CPU before its first step: registers hold rubbish, there is no stack."""
        regs = [_RUBBISH + 0x1111 * at for at in range(len(INDEX))]
        regs[RSP], regs[RFLAGS], regs[GS_BASE], regs[RIP] = 0, 2, 0, 0
        return Local(cpu, Core(tuple(regs), None, b""), phase)

    def call(self, local: Local, address: int, region: Region, mark: int) -> Local:
        """The CPU as it enters a function on a fresh stack; it returns to `mark`."""
        start = self.begin(local.cpu).core
        core = Core(start.regs, region, mark.to_bytes(8, "little"))
        core = core.having(rip=address, rsp=region.top - 8, rbp=0)
        core = core.having(gs_base=local.core.regs[GS_BASE])
        return local._replace(core=core, phase="run")

    def returned(self, local: Local, value: int) -> Local:
        """The CPU after a modelled function: what the caller may not rely on is rubbish."""
        core = local.core
        back = int.from_bytes(core.stack[:8], "little")
        scratch = {name: _RUBBISH + at for at, name in enumerate(_SCRATCH)}
        after = core.having(rip=back, rsp=core.rsp + 8, rax=value, rflags=2, **scratch)
        return local._replace(core=after._replace(stack=core.stack[8:]))

    def end(self, local: Local, phase: Phase, kind: str = "", what: str = "") -> int:
        """A local that does nothing any more."""
        if phase in OVER:
            local = local._replace(
                core=self.begin(local.cpu).core._replace(region=local.core.region)
            )
        local = local._replace(phase=phase, pending=None, why=(kind, what))
        return self._intern(local, Action("end", rip=local.core.rip))

    def place(self, local: Local, action: Action) -> int:
        """A local whose action the harness chooses."""
        return self._intern(local, action)

    def _intern(self, local: Local, action: Action) -> int:
        found = self._ids.get(local)
        if found is None:
            found = self._ids[local] = len(self.locals)
            self.locals.append(local)
            self.actions.append(action)
        return found

    def settle(self, local: Local) -> int:
        """Let a CPU run on until it does something that may concern others."""
        found = self._settled.get(local)
        if found is None:
            found = self._settled[local] = self._run_on(local)
        return found

    def one(self, core: Core) -> Core:
        """The CPU after one instruction that accesses no memory."""
        found = self._stepped.get(core)
        if found is None:
            found = self._stepped[core] = self.oracle.one(core).core
        return found

    def _run_on(self, local: Local) -> int:
        core = local.core
        while True:
            if core.region and core.rsp < core.region.low:
                return self._deep(local._replace(core=core))
            core, stop = self.oracle.run(core)
            here = local._replace(core=core)
            if core.region and core.rsp < core.region.low:
                return self._deep(here)
            if stop == "event":
                return self._event(here)
            if stop == "endless":
                return self.end(here, "endless")
            if stop == "long":
                what = f"a loop of more than {PRIVATE_LIMIT} instructions"
                return self.end(here, "unsupported", what=what)
            if stop == "halt":
                return self.end(here, "halted")
            if stop == "foreign":
                return self._foreign(here)
            instruction = self.program.instruction(core.rip)
            if stop == "undefined":
                what = f"CPU {local.cpu} executes {instruction.text}, which is an exception"
                return self.end(here, "wrong", "cpu-died", what)
            if stop == "unsupported":
                return self.end(here, "unsupported", what=f"the instruction {instruction.text}")
            if stop == "cpuid":
                if core.regs[RAX] & 0xFFFF_FFFF != 1:
                    return self.end(here, "unsupported", what="cpuid with a leaf other than 1")
                return self._fence(here, self._cpuid(local.cpu, core, instruction.size))
            if stop == "fence":
                return self._fence(here, core.having(rip=core.rip + instruction.size))
            if stop == "stack" and instruction.pushes:
                return self._no_room(here)
            done = self.oracle.one(core)
            shared = self._shared(local.cpu, core.region, done)
            if shared or done.fault:
                return self._access(here, done, shared, alone=stop == "rsp")
            after = self._rehomed(local, done.core)
            if after.region != core.region:
                switch = Action("event", core.rip, alone=True, name="switch", core=after)
                return self._intern(here, switch)
            if instruction.locked:  # on the own stack: a fence by another name
                return self._fence(here, after)
            core = after

    def _fence(self, local: Local, after: Core) -> int:
        """An instruction that is nobody's business, but waits for all earlier stores."""
        event = Action("event", local.core.rip, fence=True, name="fence", core=after)
        return self._intern(local, event)

    def _event(self, local: Local) -> int:
        rip = local.core.rip
        if rip == self.program.ap_locked:
            name = "ap_locked"
        elif rip >= MARKS and rip not in self.program.stubs:
            name = "return"
        else:
            name = self.program.stubs[rip]
        return self._intern(local, Action("event", rip, fence=name in _FENCING, name=name))

    def _foreign(self, local: Local) -> int:
        rip = local.core.rip
        section = self.program.symbols.range_at(rip)
        if section is None:
            what = f"CPU {local.cpu} goes on at {rip:#x}, where no code is"
            return self.end(local, "wrong", "cpu-died", what)
        return self.end(
            local, "unsupported", what=f"given code: {self.program.symbols.nearest(rip)}"
        )

    def _deep(self, local: Local) -> int:
        region = local.core.region
        assert region is not None
        if local.core.rsp < region.base:
            what = f"CPU {local.cpu} leaves its stack at the lower end: {region.name}"
            return self.end(local, "wrong", "stack-outside", what)
        return self.end(local, "unsupported", what="more than 4096 bytes of stack")

    def _no_room(self, local: Local) -> int:
        rsp, region = local.core.rsp, local.core.region
        text = self.program.instruction(local.core.rip).text
        if region is not None:
            if rsp - 8 < region.base:
                what = f"CPU {local.cpu} pushes below its stack, {region.name}: RSP is its base"
                return self.end(local, "wrong", "stack-outside", what)
            return self.end(local, "unsupported", what="more than 4096 bytes of stack")
        for base, size in self._own_blocks(local).items():
            if base + size < rsp <= base + SLOT:
                what = f"CPU {local.cpu} is {rsp - base:#x} bytes into a block of {size:#x}"
                return self.end(local, "wrong", "stack-outside", what)
        below = (rsp - 8) & (2**64 - 1)
        if self.program.classify(local.cpu, below, 8).kind == "fault":
            what = f"CPU {local.cpu} executes {text} without a stack: RSP is {rsp:#x}"
            return self.end(local, "wrong", "cpu-died", what)
        return self.end(local, "unsupported", what=f"memory at {rsp:#x} as a stack")

    def _cpuid(self, cpu: int, core: Core, size: int) -> Core:
        """Leaf 1, EBX bits 31-24: the initial APIC id (Intel SDM volume 3, 8.4.5)."""
        ebx = self.program.apic_ids[cpu] << 24
        return core.having(rip=core.rip + size, rax=0, rbx=ebx, rcx=0, rdx=0)

    def _rehomed(self, local: Local, core: Core) -> Core:
        """The same CPU with the stack that RSP now leads to."""
        region = core.region
        if region is not None and region.base <= core.rsp <= region.top:
            return core
        return core._replace(
            region=self.program.region(core.rsp, self._own_blocks(local)), stack=b""
        )

    def _own_blocks(self, local: Local) -> dict[int, int]:
        return {self.program.block(local.cpu, n): size for n, size in enumerate(local.allocs)}

    def _shared(self, cpu: int, region: Region | None, done: Done) -> list[Access]:
        """The accesses that are not to the own stack or to constants."""
        found = []
        for one in [*done.accesses, *([done.bad] if done.bad else [])]:
            own = region and region.low <= one.address and one.address + one.size <= region.top
            if own:
                continue
            if not one.write and self.program.classify(cpu, one.address, one.size).kind == "rom":
                continue
            if one not in found:
                found.append(one)
        return found

    def _access(self, local: Local, done: Done, shared: list[Access], *, alone: bool) -> int:
        """The local at an instruction that accesses memory others may know."""
        cpu, core, program = local.cpu, local.core, self.program
        instruction = program.instruction(core.rip)
        if done.unknown:
            what = f"the instruction {instruction.text}: {done.fault}"
            return self.end(local, "unsupported", what=what)
        if not shared:
            what = f"CPU {cpu} executes {instruction.text}: {done.fault}"
            return self.end(local, "wrong", "cpu-died", what)
        if core.regs[GS_BASE] == 0 and any(op.segment == "gs" for op in instruction.operands):
            what = f"CPU {cpu} uses currentcpu before segment_init_ap has set it up"
            return self.end(local, "wrong", "currentcpu-too-early", what)
        for one in shared:
            place = program.classify(cpu, one.address, one.size)
            if place.kind == "fault":
                what = f"CPU {cpu} executes {instruction.text} at {one.address:#x}: {place.why}"
                return self.end(local, "wrong", "cpu-died", what)
            if place.kind != "shared":
                what = {
                    "rom": "a store into code or constants",
                    "boot stack": "an access to the boot stack from another stack",
                }.get(
                    place.kind,
                    place.why or f"an access to {one.address:#x}, which is not in the model",
                )
                return self.end(local, "unsupported", what=what)
        reads = {(one.address, one.size) for one in shared if not one.write}
        writes = {(one.address, one.size) for one in shared if one.write}
        if done.fault or len(reads) > 1 or len(writes) > 1:
            what = f"the instruction {instruction.text}, which accesses several shared places"
            return self.end(local, "unsupported", what=done.fault or what)
        raw, size = next(iter(reads or writes))
        places = [program.classify(cpu, *one) for one in (*reads, *writes)]
        kind: Kind = "load" if not writes else "store" if not reads else "split"
        if kind == "split" and instruction.locked:
            kind = "rmw"
        value = next(one.value for one in shared if one.write) if kind == "store" else 0
        action = Action(
            kind,
            core.rip,
            places[0].address,
            size,
            value,
            raw,
            window=any(place.window for place in places),
            alone=alone or any(place.window for place in places),
            fence=kind == "rmw",
            core=self._rehomed(local, done.core) if kind == "store" else None,
        )
        return self._intern(local, action)

    # --- going on ----------------------------------------------------------------------------

    def after(self, lid: int) -> int:
        """The local after a store, a commit, a fence or a change of stacks."""
        found = self._after.get(lid)
        if found is None:
            core = self.actions[lid].core
            assert core is not None
            found = self._after[lid] = self.settle(self.arrived(self.locals[lid], core))
            self._reached.add(found)
        return found

    def arrived(self, local: Local, core: Core) -> Local:
        """The local with a new core; remembers that it has left the boot stack."""
        before, now = local.core.region, core.region
        own = now is not None and now.block in self._own_blocks(local)
        if now is not None and own:
            self.stacks[now.block] = (local.cpu, now.low, now.top)
        boot = before is not None and before.block == self.program.boot_low
        moved = now is not None and before is not None and now.block != before.block
        left = local.left or own or (boot and moved)
        return local._replace(core=core, pending=None, left=left)

    def follow(self, lid: int, value: int) -> Sequence[Next]:
        """What "load", "rmw" and "split" do when they read `value`.

        Usually one thing. A waiting loop with a counter may go on or, in the end, give up.
        """
        key = (lid, value)
        found = self._next.get(key)
        if found is None:
            written, after = self._read(lid, value)
            found = [(written, after, 0)]
            if after not in self._reached and (written is None or written == value):
                found = self._looping(lid, value, written, after)
            self._reached.update(way[1] for way in found)
            self._next[key] = found
        return found

    def _read(self, lid: int, value: int) -> tuple[int | None, int]:
        key = (lid, value)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._ask(lid, value)
        return found

    def _ask(self, lid: int, value: int) -> tuple[int | None, int]:
        local, action = self.locals[lid], self.actions[lid]
        done = self.oracle.one(local.core, (action.raw, action.size, value))
        shared = self._shared(local.cpu, local.core.region, done)
        instruction = self.program.instruction(action.rip)
        if done.unknown:
            what = f"the instruction {instruction.text}: {done.fault}"
            return None, self.end(local, "unsupported", what=what)
        if done.fault:
            what = f"CPU {local.cpu} executes {instruction.text}: {done.fault}"
            return None, self.end(local, "wrong", "cpu-died", what)
        core = self._rehomed(local, done.core)
        writes = [one for one in shared if one.write]
        if not writes:
            return None, self.settle(self.arrived(local, core))
        if action.kind == "rmw":
            return writes[-1].value, self.settle(self.arrived(local, core))
        store = writes[-1]
        target = self.program.classify(local.cpu, store.address, store.size)
        if action.kind != "split" or target.kind != "shared":
            return None, self.end(local, "unsupported", what=f"the instruction {instruction.text}")
        half = local._replace(pending=(target.address, store.size, store.value), core=core)
        commit = Action(
            "commit",
            action.rip,
            target.address,
            store.size,
            store.value,
            window=target.window,
            alone=action.alone,
            core=core,
        )
        # The stack changes with the store, not before it.
        return None, self._intern(
            half._replace(core=core._replace(region=local.core.region)), commit
        )

    # --- waiting loops with a counter --------------------------------------------------------

    def _site(self, lid: int) -> Site:
        found = self._sites.get(lid)
        if found is None:
            action, core = self.actions[lid], self.locals[lid].core
            words = (core.stack[at : at + 8] for at in range(0, len(core.stack) - 7, 8))
            values = (int.from_bytes(word, "little") for word in words)
            callers = tuple(one for one in values if self.program.is_code(one))
            found = Site(action.rip, core.rsp, action.kind, action.address, callers)
            self._sites[lid] = found
        return found

    def _looping(self, lid: int, value: int, written: int | None, after: int) -> list[Next]:
        """`after` is new, and nothing was changed on the way to it: is this a loop that counts?

        A loop that comes to the same place and has read the same again differs from a simple circle
        by a counter. Going on alone tells what the counter is for: memory stays as it is then, so
        every look at a known place finds the same. If the loop ends, it is followed pass by pass,
        and its end is also offered at once. If it does not, the counter is forgotten.
        """
        self._trail[after] = (lid, value)
        chain: list[int] = [after]
        values: list[int] = []
        while len(values) < 2 * _LONGEST_PASS and chain[-1] in self._trail:
            before, read = self._trail[chain[-1]]
            chain.append(before)
            values.append(read)
        exact: Next = (written, after, 0)
        for period in range(1, len(values) // 2 + 1):
            same = all(values[at] == values[at + period] for at in range(period))
            if same and self._site(chain[0]) == self._site(chain[period]):
                break
        else:
            return [exact]
        known = {self.actions[chain[at + 1]].address: values[at] for at in range(period)}
        rip = self.actions[after].rip
        at, seen, looks = after, {after}, 2
        # Once a loop has been looked at thoroughly, with other values a shorter look will do.
        passes = _LOOK_AGAIN if rip in self.counted else LOOK_AHEAD
        for _ in range(passes * period):
            action = self.actions[at]
            read_now = known.get(action.address)
            if action.kind not in ("load", "rmw") or read_now is None:
                if looks < _OFFERED:
                    return [exact]
                self.counted[rip] = looks
                return [exact, (written, at, looks)]
            looks += action.rip == rip
            wrote, at = self._read(at, read_now)
            if at in seen:
                if looks < _OFFERED:
                    return [exact]
                break
            if wrote is not None and wrote != read_now:
                return [exact]
            seen.add(at)
        else:
            self.forgotten.update(chain[: period + 1])
        self.counted.setdefault(rip, None)
        return [(written, chain[period], 0)]


_FENCING: Final = frozenset((
    "alloc", "printf", "vprintf", "usleep", "segment_init_ap", "vmm_ap_missing",
    "ap_first_missing", "panic",
))  # fmt: skip

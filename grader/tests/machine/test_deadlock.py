"""Deadlock detection: when it finds that no CPU can go on, and when it does not; with two CPUs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from keystone import KS_ARCH_X86, KS_MODE_64, Ks
from machine_helpers import Kernel, all_at, asynced

from vmmlab.images.layout import VMM_BASE
from vmmlab.machine import Machine
from vmmlab.observe import deadlock
from vmmlab.observe.session import Session
from vmmlab.observe.view import Inputs

Kernels = Callable[..., Kernel]
CODE = {1: 0x400000, 2: 0x401000}
LOST = 0x402800  # from here on there is no code
DEVICES = 0x403000  # page directory of the fourth GiB, which the kernel leaves out
SHARED = 0x402000  # RSI of both; each has a page of stack of its own
WAIT = "l: cmp dword ptr [rsi], 0; je l"
PAUSE = "l: pause; cmp dword ptr [rsi], 0; je l"
CALLS = (
    "l: call f; test eax, eax; je l; f: push rbx; mov eax, [rsi]; mov [rsp - 8], rax; pop rbx; ret"
)
LOCK = "l: mov eax, 1; xchg [rsi + 64], eax; test eax, eax; jne l"
ENDLESS = "l: jmp l"
GOES_ON = "; e: jmp e"  # and stays there, when the loop before it has ended
COUNTS = "l: mov eax, [rsi + 8]; lea eax, [rax + 1]; mov [rsi + 8], eax; xor eax, eax; jmp l"
TOGGLES = "l: xor dword ptr [rsi], 1; xor dword ptr [rsi], 1; jmp l"
FAR_OFF = "l: xor dword ptr [rsi + 128], 1; xor dword ptr [rsi + 128], 1; jmp l"
RELEASES = "mov ecx, 40; k: dec ecx; jne k; mov dword ptr [rsi], 1; l: jmp l"
STILL = {
    "waits": (WAIT, ENDLESS),
    "pauses": (PAUSE, PAUSE),
    "calls": (CALLS, CALLS),
    "lock": (LOCK, LOCK),
    "another's variable": (PAUSE, FAR_OFF),
    "halted": ("cli; hlt", WAIT),
}
MOVING = {
    "counts": (WAIT, COUNTS),
    "toggles": (WAIT, TOGGLES),
    "toggles what is read after a pause": (PAUSE, TOGGLES),
    "toggles what a call reads": (CALLS, TOGGLES),
    "is about to release": (PAUSE, RELEASES),
    "time": (WAIT, "l: rdtsc; xor eax, eax; xor edx, edx; jmp l"),
    "device": (WAIT, "l: in al, 0x61; xor eax, eax; jmp l"),
    "string": (WAIT, "l: mov rdi, rsi; movsb; mov rsi, rdi; dec rsi; jmp l"),
    "local APIC": (WAIT, "mov edi, 0xfee00390; l: mov eax, [rdi]; xor eax, eax; jmp l"),
    "far away": (WAIT, "l: dec ecx; jne l"),
}


class Symbols:
    """The symbols of an image that holds only the programs of this file."""

    def maybe(self, name: str) -> int | None:
        return {"cpuinit_start": 0, "cpuinit_end": 0}.get(name)

    def nearest(self, addr: int) -> str:
        return hex(addr)

    def line(self, addr: int) -> tuple[str, int] | None:
        return None

    def owner(self, address: int) -> str:
        return "student" if address % VMM_BASE in range(CODE[1], LOST) else ""


async def playing(machine: Machine, kernel: Kernel, players: tuple[str, str]) -> Session:
    """Two APs in long mode that execute these programs; the BSP is held."""
    gdb = machine.gdb
    await all_at(gdb, kernel["ap_spin"], {1, 2})
    for table, index, entry in ((kernel["pdpt"], 3, DEVICES | 3), (DEVICES, 503, 0xFEE00083)):
        await gdb.write_phys(table + 8 * index, entry.to_bytes(8, "little"))
    await gdb.write_phys(SHARED, bytes(64) + b"\1" + bytes(191))
    for cpu, program in enumerate(players, 1):
        code = bytes(Ks(KS_ARCH_X86, KS_MODE_64).asm(program, CODE[cpu])[0])
        await gdb.write_phys(CODE[cpu], code)
        stack = CODE[cpu] + 0xF00
        for name, value in {"rip": CODE[cpu], "rsp": stack, "rsi": SHARED, "rax": 0}.items():
            await gdb.write_register(cpu, name, value)
    inputs = Inputs("deadlock", 1, 3, 0x8000, 0, 4096, 0)
    session = Session(machine, Symbols(), inputs)
    session.held = {0}
    return session


@pytest.mark.parametrize("players", STILL.values(), ids=STILL)
@asynced
async def test_cpus_that_wait_for_ever(kernel: Kernels, players: tuple[str, str]) -> None:
    async with kernel().machine(cpus=3) as m:
        session = await playing(m, kernel(), players)
        stop = await session.go(timeout_s=0.02)
        assert stop.kind == "interrupt"
        assert await deadlock.look(session) is True


@pytest.mark.parametrize("order", [1, -1], ids=["first", "second"])
@pytest.mark.parametrize("players", MOVING.values(), ids=MOVING)
@asynced
async def test_a_cpu_that_can_still_change_something(
    kernel: Kernels, players: tuple[str, str], order: int
) -> None:
    async with kernel().machine(cpus=3) as m:
        session = await playing(m, kernel(), (players[::order][0], players[::order][1]))
        assert await deadlock.look(session) is False


@asynced
async def test_a_cpu_outside_all_code_is_not_waited_for(kernel: Kernels) -> None:
    """It executes non-code: it may count for ever, and nothing right can come of it."""
    async with kernel().machine(cpus=3) as m:
        session = await playing(m, kernel(), (COUNTS, WAIT))
        assert await deadlock.look(session) is False
        await m.gdb.write_phys(LOST, await m.gdb.read_phys(CODE[1], 64))
        await m.gdb.write_register(1, "rip", LOST)
        assert await deadlock.look(session) is True


@asynced
async def test_a_cpu_that_takes_interrupts_can_go_on(kernel: Kernels) -> None:
    async with kernel().machine(cpus=3) as m:
        session = await playing(m, kernel(), ("sti; hlt", WAIT))
        await session.go(timeout_s=0.02)
        assert await deadlock.look(session) is False


SENDS = (
    "mov edi, 0xfee00310; mov dword ptr [rdi], 0x2000000; sub edi, 0x10;"
    "mov dword ptr [rdi], {:#x}; l: jmp l"
)
IPIS = {"INIT": 0x4500, "SIPI": 0x4600}  # the vector is 0


async def sending(machine: Machine, session: Session, *kinds: str) -> None:
    """Let CPU 1 alone send these to CPU 2, which takes them when it may run."""
    for kind in kinds:
        code = bytes(Ks(KS_ARCH_X86, KS_MODE_64).asm(SENDS.format(IPIS[kind]), CODE[1])[0])
        await machine.gdb.write_phys(CODE[1], code)
        await machine.gdb.write_register(1, "rip", CODE[1])
        await session.go([1], timeout_s=0.02)


@pytest.mark.parametrize("halts", [True, False], ids=["that is halted", "that runs"])
@asynced
async def test_a_cpu_to_which_a_sipi_is_on_its_way_can_go_on(kernel: Kernels, halts: bool) -> None:
    """Its thread may be late on a busy host; here it is held until all has been sent."""
    async with kernel().machine(cpus=3) as m:
        session = await playing(m, kernel(), ("nop", "cli; hlt" if halts else WAIT))
        await m.gdb.write_phys(0, b"\xeb\xfe")  # jmp to itself
        await session.go([2], timeout_s=0.02)
        await sending(m, session, "INIT")
        await session.go([2], timeout_s=0.02)
        assert await deadlock.look(session) is True
        await sending(m, session, "SIPI")
        assert await deadlock.look(session) is False
        await session.go([2], timeout_s=0.02)
        assert (await m.gdb.registers(2)).rip == 0
        await sending(m, session, "SIPI")
        assert await deadlock.look(session) is True


@asynced
async def test_a_cpu_at_a_watched_place_is_not_stepped_past_it(kernel: Kernels) -> None:
    """Otherwise its stop there would be lost."""
    async with kernel().machine(cpus=3) as m:
        session = await playing(m, kernel(), (ENDLESS, WAIT))
        await session.places.watch("loop", CODE[1])
        assert await deadlock.look(session) is False
        stop = await session.go()
        assert (stop.kind, stop.cpu) == ("break", 1)


@asynced
async def test_no_state_is_kept_between_two_looks(kernel: Kernels) -> None:
    """The same CPUs go on once the word that they wait for is written by hand."""
    async with kernel().machine(cpus=3) as m:
        session = await playing(m, kernel(), (PAUSE + GOES_ON, WAIT + GOES_ON))
        assert await deadlock.look(session) is True
        await m.gdb.write_phys(SHARED, b"\1")
        await session.places.watch("out", CODE[2] + len(WAIT_CODE))
        stop = await session.go()
        assert (stop.kind, stop.cpu) == ("break", 2)


WAIT_CODE = bytes(Ks(KS_ARCH_X86, KS_MODE_64).asm(WAIT, CODE[2])[0])


PASSES = "l: nop; cmp dword ptr [rsi], 0; je l"


@asynced
async def test_a_cpu_that_comes_by_other_places_for_ever_is_not_waited_for(
    kernel: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kernel().machine(cpus=3) as m:
        session = await playing(m, kernel(), (PASSES, WAIT))
        await session.places.watch("loop", CODE[1])
        await session.places.watch("never", LOST)
        verdict, _ = await session.run_to(1, "never")
        assert verdict == "budget"
        monkeypatch.setattr("vmmlab.observe.session._PASSED_MOST", 10**9)
        with pytest.raises(TimeoutError):  # without the limit each stop renews the patience
            async with asyncio.timeout(2):
                await session.run_to(1, "never")

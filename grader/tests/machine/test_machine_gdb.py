"""The debug stub's client, on real machines."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from machine_helpers import Kernel, all_at, asynced, run_to, slots

from vmmlab.machine import IcrWrite, Stop
from vmmlab.machine.gdb import MemoryUnreadable

Kernels = Callable[..., Kernel]
THREADS = pytest.mark.parametrize("threads", ["multi", "single"])
FIRMWARE = pytest.mark.parametrize("firmware", ["qboot", "seabios"])
TRAMPOLINE = 0x8000


@asynced
async def test_paused_before_the_first_instruction(kernel: Kernels) -> None:
    async with kernel().machine(cpus=2) as m:
        for registers in await m.gdb.all_registers():
            assert registers.mode == "real"
            assert registers.linear_pc == 0xFFFFFFF0
        assert not m.gdb.running
        assert m.serial() == ""


@FIRMWARE
@THREADS
@asynced
async def test_every_ap_executes_physical_zero(
    kernel: Kernels, firmware: str, threads: str
) -> None:
    async with kernel().machine(firmware=firmware, threads=threads) as m:
        await m.gdb.set_break(0)
        seen = []
        for _ in range(3):
            await m.gdb.resume()
            stop = await m.gdb.wait(10)
            assert stop is not None
            assert stop.kind == "break"
            assert stop.registers is not None
            assert (stop.address, stop.registers.cs, stop.registers.rip) == (0, 0, 0)
            assert stop.registers.mode == "real"
            seen.append(stop.cpu)
        assert sorted(c for c in seen if c is not None) == [1, 2, 3]
        await m.gdb.resume()
        assert await m.gdb.wait(0.05) is None
        await m.gdb.interrupt()
        writes = [e for e in m.trace() if isinstance(e, IcrWrite)]
        assert [(w.cpu, w.value) for w in writes][-3:] == [(0, 0xC4500), (0, 0xC4600), (0, 0xC4600)]


@asynced
async def test_steps_through_all_modes_with_the_right_linear_address(kernel: Kernels) -> None:
    k = kernel()
    async with k.machine() as m:
        stop = await run_to(m.gdb, 0)
        assert stop.cpu is not None
        trail = [stop.registers]
        while trail[-1] is not None and trail[-1].linear_pc != k["ap_spin"]:
            step = await m.gdb.step(stop.cpu)
            assert step.kind == "step"
            assert step.registers is not None
            assert step.address == step.registers.linear_pc
            trail.append(step.registers)
            assert len(trail) < 60
        places = [r.linear_pc for r in trail if r is not None]
        size = k["tramp_end"] - k["tramp_start"]
        assert places[:2] == [0, TRAMPOLINE]
        inside = [p for p in places[1:] if p < k["ap_entry"]]
        assert all(TRAMPOLINE <= p < TRAMPOLINE + size for p in inside)
        # The far jump to 32-bit code is executed with CR0.PE set and CS still loaded in real mode.
        between = [r for r in trail if r and r.mode == "protected" and r.cs == TRAMPOLINE >> 4]
        assert len(between) == 1
        assert between[0].rip < 0x100
        assert between[0].linear_pc == TRAMPOLINE + between[0].rip
        told = await m.gdb.describe(stop.cpu)
        assert told["cs_base"] == 0
        modes = [r.mode for r in trail if r is not None]
        assert sorted(set(modes), key=modes.index) == ["real", "protected", "long"]
        assert trail[-1] is not None
        assert trail[-1].r15 == 0x1122334455667788
        assert trail[-1].cr3 == k["pml4"]


@THREADS
@asynced
async def test_only_the_chosen_processors_move(kernel: Kernels, threads: str) -> None:
    k = kernel()
    async with k.machine(threads=threads) as m:
        await all_at(m.gdb, k["ap_spin"], {1, 2, 3})
        await run_to(m.gdb, k["bsp_spin"], [0])
        await m.gdb.clear_break(k["bsp_spin"])
        slot_of = {r.cpu: (r.rdi - k["slots"]) // 8 for r in await m.gdb.all_registers() if r.cpu}
        slot_of[0] = 0
        for chosen in ([0], [2], [1, 3], [0, 1, 2, 3]):
            before, frozen = await slots(m, k), await m.gdb.all_registers()
            moved: set[int] = set()
            for _ in range(200):
                await m.gdb.resume(chosen)
                assert await m.gdb.wait(0.01) is None
                assert m.gdb.running
                await m.gdb.interrupt()
                after = await slots(m, k)
                moved = {c for c, s in slot_of.items() if after[s] != before[s]}
                if moved == set(chosen):
                    break
            assert moved == set(chosen)
            for was, now in zip(frozen, await m.gdb.all_registers(), strict=True):
                if was.cpu not in chosen:
                    assert was == now


@asynced
async def test_step_moves_one_processor_by_one_instruction(kernel: Kernels) -> None:
    k = kernel()
    async with k.machine() as m:
        await all_at(m.gdb, k["ap_spin"], {1, 2, 3})
        others = [r for r in await m.gdb.all_registers() if r.cpu != 2]
        before = await slots(m, k)
        stop = await m.gdb.step(2)
        assert (stop.kind, stop.cpu) == ("step", 2)
        after = await slots(m, k)
        assert sum(after) - sum(before) == 1
        assert [r for r in await m.gdb.all_registers() if r.cpu != 2] == others


@THREADS
@asynced
async def test_no_breakpoint_is_lost_when_several_processors_hit_it(
    kernel: Kernels, threads: str
) -> None:
    """Each pass adds one to the processor's slot, so reports and passes must be equal in number."""
    k = kernel("AP_RACE")
    async with k.machine(threads=threads) as m:
        await all_at(m.gdb, k["ap_race"], {1, 2, 3})
        slot_of = {r.cpu: (r.rdi - k["slots"]) // 8 for r in await m.gdb.all_registers() if r.cpu}
        start = await slots(m, k)
        reports: Counter[int] = Counter()
        await m.gdb.set_break(k["ap_store"])
        for _ in range(300):
            await m.gdb.resume([1, 2, 3])
            stop = await m.gdb.wait(10)
            assert stop is not None
            assert stop.kind == "break"
            assert stop.cpu is not None
            reports[stop.cpu] += 1
        passes = await slots(m, k)
        unreported = 0
        for registers in await m.gdb.all_registers():
            if registers.cpu == 0:
                continue
            slot = slot_of[registers.cpu]
            difference = passes[slot] - start[slot] - reports[registers.cpu]
            # One stop may be unreported: the processor is at the breakpoint and reports it next.
            assert difference in (0, 1)
            if difference:
                unreported += 1
                assert registers.linear_pc == k["ap_store"]
        standing = await m.gdb.standing_at(k["ap_store"])
        assert len(standing) >= unreported


@asynced
async def test_a_breakpoint_is_left_and_hit_again(kernel: Kernels) -> None:
    k = kernel("NO_APS")
    async with k.machine(cpus=1) as m:
        await run_to(m.gdb, k["bsp_spin"])
        for count in range(1, 20):
            await m.gdb.resume()
            stop = await m.gdb.wait(10)
            assert stop is not None
            assert stop.address == k["bsp_spin"]
            assert (await slots(m, k))[0] == count
        assert m.gdb.counts.stepped_off == 19


@asynced
async def test_two_breakpoints_in_a_row_both_stop(kernel: Kernels) -> None:
    k = kernel("NO_APS")
    async with k.machine(cpus=1) as m:
        first = await run_to(m.gdb, k["bsp_spin"])
        assert first.address is not None
        following = (await m.gdb.step(0)).address
        assert following is not None
        # It is at that breakpoint already and has not reported it: that stop comes first.
        await run_to(m.gdb, following)
        for expected in (k["bsp_spin"], following, k["bsp_spin"]):
            await m.gdb.resume()
            stop = await m.gdb.wait(10)
            assert stop is not None
            assert (stop.kind, stop.address) == ("break", expected)


@asynced
async def test_held_processors_stay_while_others_go_on(kernel: Kernels) -> None:
    k = kernel()
    async with k.machine() as m:
        held: set[int] = set()
        await m.gdb.set_break(k["ap_entry"])
        while len(held) < 3:
            await m.gdb.resume({0, 1, 2, 3} - held)
            stop = await m.gdb.wait(10)
            assert stop is not None
            assert stop.cpu not in held
            assert stop.cpu is not None
            held.add(stop.cpu)
        assert held == {1, 2, 3}
        assert await m.gdb.standing_at(k["ap_entry"]) == (1, 2, 3)


@asynced
async def test_a_processor_held_from_the_start_takes_its_sipi_late(kernel: Kernels) -> None:
    k = kernel()
    async with k.machine() as m:
        await m.gdb.set_break(k["bsp_spin"])
        await m.gdb.resume([0, 1, 2])
        stop = await m.gdb.wait(10)
        assert stop is not None
        assert stop.cpu == 0
        await m.gdb.clear_break(k["bsp_spin"])
        late = await run_to(m.gdb, 0, [3])
        assert late.cpu == 3


@asynced
async def test_watchpoint_one_processor_at_a_time(kernel: Kernels) -> None:
    k = kernel("AP_RACE")
    async with k.machine() as m:
        await all_at(m.gdb, k["ap_race"], {1, 2, 3})
        await m.gdb.set_watch(k["shared"], 4)
        for cpu in (1, 2, 3, 2, 1):
            registers = await m.gdb.registers(cpu)
            await m.gdb.resume([cpu])
            stop = await m.gdb.wait(10)
            assert stop is not None
            assert (stop.kind, stop.cpu, stop.watch) == ("watch", cpu, k["shared"])
            assert stop.address == k["ap_stored"]
            stored = await m.gdb.read_phys(k["shared"], 4)
            assert int.from_bytes(stored, "little") == registers.rsi
        await m.gdb.clear_watch(k["shared"])
        await m.gdb.resume([1])
        assert await m.gdb.wait(0.05) is None
        await m.gdb.interrupt()


@asynced
async def test_watchpoint_by_turns_loses_nothing(kernel: Kernels) -> None:
    k = kernel("AP_RACE")
    async with k.machine() as m:
        await all_at(m.gdb, k["ap_race"], {1, 2, 3})
        await m.gdb.set_watch(k["shared"], 4)
        start = sum(await slots(m, k))
        who: Counter[int | None] = Counter()
        for count in range(1, 61):
            stop = await m.gdb.wait_by_turns([1, 2, 3], slice_s=0.2)
            assert stop is not None
            assert (stop.kind, stop.address) == ("watch", k["ap_stored"])
            who[stop.cpu] += 1
            assert sum(await slots(m, k)) - start == count
        assert who == {1: 20, 2: 20, 3: 20}
        await m.gdb.clear_watch(k["shared"])
        assert await m.gdb.wait_by_turns([1, 2, 3], timeout_s=0.02) is None
        assert not m.gdb.running


@asynced
async def test_a_step_may_hit_a_watchpoint(kernel: Kernels) -> None:
    k = kernel("AP_RACE")
    async with k.machine() as m:
        stop = await run_to(m.gdb, k["ap_store"])
        assert stop.cpu is not None
        await m.gdb.set_watch(k["shared"], 4)
        step = await m.gdb.step(stop.cpu)
        assert (step.kind, step.address) == ("watch", k["ap_stored"])
        stop = await run_to(m.gdb, k["ap_store"], [stop.cpu])
        assert stop.cpu is not None
        await m.gdb.resume([stop.cpu])  # steps off the breakpoint, onto the watchpoint
        found = await m.gdb.wait(10)
        assert found is not None
        assert (found.kind, found.address) == ("watch", k["ap_stored"])


@asynced
async def test_memory_physical_and_linear(kernel: Kernels) -> None:
    k = kernel()
    async with k.machine() as m:
        await run_to(m.gdb, k["ap_entry"])
        data = bytes(range(256)) * 40
        await m.gdb.write_phys(0x200000 - 5, data)
        assert await m.gdb.read_phys(0x200000 - 5, len(data)) == data
        assert await m.gdb.read_virt(0, 0x200000, 100) == data[5:105]
        await m.gdb.write_virt(0, 0x300000, data)
        assert await m.gdb.read_phys(0x300000, len(data)) == data
        assert await m.gdb.read_phys(0, 5) == bytes.fromhex("ea00000008")
        assert await m.gdb.read_phys(0x1000, 0) == b""


@asynced
async def test_memory_that_comes_with_a_step_is_never_an_old_one(kernel: Kernels) -> None:
    k = kernel("AP_RACE")
    async with k.machine() as m:
        await all_at(m.gdb, k["ap_store"], {1, 2, 3})
        shared, slot = (k["shared"], 4), (k["slots"], 8)
        for cpu in (2, 1, 3, 2):
            registers = await m.gdb.registers(cpu)
            before = await m.gdb.read_phys(*shared)
            assert await m.gdb.read_phys(*shared) == before
            step = await m.gdb.step(cpu, peek=[slot, shared])
            assert step.address == k["ap_stored"]
            written = (registers.rsi & 0xFFFFFFFF).to_bytes(4, "little")
            assert await m.gdb.read_phys(*shared) == written
            assert await m.gdb.read_phys(*slot) == (await m.gdb.read_virt(0, *slot))
            assert await m.gdb.read_virt(cpu, *shared) == written
            for data in (b"phys", b"virt"):
                if data == b"phys":
                    await m.gdb.write_phys(shared[0], data)
                else:
                    await m.gdb.write_virt(0, shared[0], data)
                assert await m.gdb.read_phys(*shared) == data
            other = cpu % 3 + 1
            assert (await m.gdb.registers(other)).cpu == other
            await run_to(m.gdb, k["ap_store"], [cpu])
            await m.gdb.clear_break(k["ap_store"])
            await m.gdb.peek([shared])
            assert await m.gdb.read_phys(*shared) == b"virt"


@asynced
async def test_a_step_selects_its_processor_and_nothing_else(kernel: Kernels) -> None:
    k = kernel()
    async with k.machine() as m:
        await all_at(m.gdb, k["ap_spin"], {1, 2, 3})
        for stepped, asked in ((1, 3), (3, 1), (2, 0)):
            plain = {r.cpu: r.rdi for r in await m.gdb.all_registers()}
            await m.gdb.step(stepped)
            await m.gdb.step(stepped)
            assert (await m.gdb.registers(asked)).rdi == plain[asked]
            await m.gdb.write_register(stepped, "rbx", 0x5000 + stepped)
            await m.gdb.write_register(asked, "rbx", 0x6000 + asked)
            told = [await m.gdb.describe(cpu) for cpu in (stepped, asked)]
            assert [one["rbx"] for one in told] == [0x5000 + stepped, 0x6000 + asked]
            await m.gdb.step(stepped)
            before = await slots(m, k)  # a processor that steps on would count only once
            await m.gdb.resume([asked] if asked else [1, 2, 3])
            assert await m.gdb.wait(0.05) is None
            await m.gdb.interrupt()
            assert sum(await slots(m, k)) - sum(before) > 10


@asynced
async def test_memory_that_is_not_mapped(kernel: Kernels) -> None:
    k = kernel()
    async with k.machine() as m:
        stop = await run_to(m.gdb, k["ap_spin"])
        assert stop.cpu is not None
        with pytest.raises(MemoryUnreadable, match="0x40000000"):
            await m.gdb.read_virt(stop.cpu, 0x40000000, 16)
        with pytest.raises(MemoryUnreadable, match="0x40000000"):
            await m.gdb.write_virt(stop.cpu, 0x40000000, b"x")
        assert len(await m.gdb.read_virt(stop.cpu, k["slots"], 16)) == 16


@asynced
async def test_registers_can_be_written(kernel: Kernels) -> None:
    k = kernel()
    async with k.machine() as m:
        stop = await run_to(m.gdb, k["ap_spin"])
        assert stop.cpu is not None
        await m.gdb.write_register(stop.cpu, "r15", 0xFEDCBA9876543210)
        await m.gdb.write_register(stop.cpu, "rip", k["ap_entry"])
        registers = await m.gdb.registers(stop.cpu)
        assert registers.r15 == 0xFEDCBA9876543210
        assert registers.linear_pc == k["ap_entry"]
        with pytest.raises(ValueError, match="no register"):
            await m.gdb.write_register(stop.cpu, "nonsense", 1)


@asynced
async def test_hlt(kernel: Kernels) -> None:
    k = kernel("AP_HLT")
    async with k.machine() as m:
        waiting = await m.gdb.step(1)
        assert (waiting.kind, waiting.address) == ("halted", 0xFFFFFFF0)
        # Both SIPIs first: QEMU lets a SIPI that is otherwise ignored end a hlt.
        await run_to(m.gdb, k["bsp_spin"], [0])
        await m.gdb.clear_break(k["bsp_spin"])
        stop = await run_to(m.gdb, k["ap_hlt"])
        assert stop.cpu is not None
        step = await m.gdb.step(stop.cpu)
        assert (step.kind, step.cpu, step.address) == ("halted", stop.cpu, k["ap_after_hlt"])
        again = await m.gdb.step(stop.cpu)
        assert (again.kind, again.address) == ("halted", k["ap_after_hlt"])
        # All three; then resume a processor whose next instruction is its hlt.
        for _ in range(2):
            await run_to(m.gdb, k["ap_hlt"])
        await m.gdb.resume()
        assert await m.gdb.wait(0.05) is None
        assert (await m.gdb.interrupt()).kind == "interrupt"
        halted = [(await m.gdb.describe(c))["hlt"] for c in range(4)]
        assert halted == [0, 1, 1, 1]


def check_ended(stop: Stop | None, reason: str) -> None:
    assert stop is not None
    assert (stop.kind, stop.cpu, stop.reason) == ("shutdown", None, reason)


@THREADS
@asynced
async def test_triple_fault_of_an_ap(kernel: Kernels, threads: str) -> None:
    k = kernel("AP_TRIPLE")
    async with k.machine(threads=threads) as m:
        await all_at(m.gdb, TRAMPOLINE, {1, 2, 3})
        await m.gdb.resume([0, 2])
        stop = await m.gdb.wait(10)
        check_ended(stop, "guest-reset")
        assert m.gdb.ended == stop
        # Nothing goes on, and nothing hangs.
        await m.gdb.resume()
        assert await m.gdb.wait(10) == stop
        assert await m.gdb.step(1) == stop
        assert await m.gdb.wait_by_turns() == stop
        # Everything can be read, and the culprit is known.
        culprits = await m.culprits()
        assert [cpu for cpu, _ in culprits] == [2]
        assert culprits[0][1].first is not None
        assert culprits[0][1].first.vector == 6
        registers = await m.gdb.registers(2)
        assert registers.mode == "protected"
        assert (await m.gdb.read_virt(2, registers.linear_pc, 2)) == b"\x0f\x0b"
        assert (await m.gdb.registers(3)).linear_pc == TRAMPOLINE


@asynced
async def test_triple_fault_in_real_mode(kernel: Kernels) -> None:
    k = kernel("AP_TRIPLE_REAL")
    async with k.machine() as m:
        await all_at(m.gdb, TRAMPOLINE, {1, 2, 3})
        await m.gdb.resume([0, 3])
        check_ended(await m.gdb.wait(10), "guest-reset")
        assert [cpu for cpu, _ in await m.culprits()] == [3]
        place = TRAMPOLINE + k["ap_fault"] - k["tramp_start"]
        assert (await m.gdb.registers(3)).linear_pc == place


@asynced
async def test_triple_fault_while_stepping(kernel: Kernels) -> None:
    k = kernel("BSP_TRIPLE")
    async with k.machine(cpus=2) as m:
        await run_to(m.gdb, k["bsp_fault"])
        check_ended(await m.gdb.step(0), "guest-reset")
        assert [cpu for cpu, _ in await m.culprits()] == [0]
    async with k.machine(cpus=2) as m:
        await run_to(m.gdb, k["bsp_fault"])
        await m.gdb.resume()  # the step off the breakpoint already is the end
        check_ended(await m.gdb.wait(), "guest-reset")
        assert (await m.gdb.registers(0)).linear_pc == k["bsp_fault"]


@asynced
async def test_a_reset_is_the_end_whatever_another_processor_reports(kernel: Kernels) -> None:
    """QEMU's main loop may look after the reset only when another one is at a breakpoint."""
    k = kernel("RESET")
    for _ in range(10):
        async with k.machine() as m:
            await run_to(m.gdb, k["asks_for_reset"])
            await m.gdb.clear_break(k["asks_for_reset"])
            await m.gdb.set_break(k["ap_spin"])
            await m.gdb.resume()
            while (stop := await m.gdb.wait(10)) and stop.kind == "break":
                assert (await m.gdb.registers(0)).linear_pc == k["asks_for_reset"]
                await m.gdb.resume()
            check_ended(stop, "guest-reset")


@pytest.mark.parametrize(
    ("macro", "reason"),
    [("RESET", "guest-reset"), ("POWER_OFF", "guest-shutdown"), ("SUSPEND", "guest-suspend")],
)
@asynced
async def test_a_guest_that_ends_its_machine(kernel: Kernels, macro: str, reason: str) -> None:
    async with kernel(macro).machine(cpus=2) as m:
        await m.gdb.resume()
        stop = await m.gdb.wait(10)
        check_ended(stop, reason)
        assert await m.culprits() == ()
        assert (await m.gdb.registers(0)).mode == "protected"
        assert await m.gdb.wait() == stop


@asynced
async def test_interrupt_and_breakpoint_race(kernel: Kernels) -> None:
    """An interrupt at a random moment never makes a breakpoint unreported."""
    k = kernel("NO_APS")
    async with k.machine(cpus=2) as m:
        await run_to(m.gdb, k["bsp_spin"])
        expected, kinds = 0, Counter[str]()
        for turn in range(200):
            await m.gdb.resume()
            if turn % 4:
                stop = await m.gdb.wait((turn % 7) * 0.0001) or await m.gdb.interrupt()
            else:
                stop = await m.gdb.interrupt()
            kinds[stop.kind] += 1
            if stop.kind == "break":
                expected += 1
                assert stop.address == k["bsp_spin"]
            count = (await slots(m, k))[0]
            # It may be at the breakpoint again without having reported it yet.
            assert count == expected or (count == expected + 1 and stop.kind == "interrupt")
            assert not m.gdb.running
        assert kinds["break"] > 10


@asynced
async def test_cancelled_requests_do_not_confuse_later_ones(kernel: Kernels) -> None:
    k = kernel()
    async with k.machine() as m:
        await all_at(m.gdb, k["ap_spin"], {1, 2, 3})
        expected = await m.gdb.all_registers()
        for _ in range(50):
            task = asyncio.ensure_future(m.gdb.read_phys(0, 20000))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            m.gdb._cpus.forget()
            assert await m.gdb.all_registers() == expected
        await m.gdb.resume()
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(m.gdb.wait(10), 0.001)
        assert m.gdb.running
        assert (await m.gdb.interrupt()).kind == "interrupt"


@asynced
async def test_a_stop_survives_a_cancelled_wait(kernel: Kernels) -> None:
    k = kernel()
    for ticks in range(8):
        async with k.machine(cpus=2) as m:
            await m.gdb.set_break(k["bsp_spin"])
            await m.gdb.resume([0])
            waiter = asyncio.ensure_future(m.gdb.wait(10))
            while m.gdb._runner._reply is None:
                await asyncio.sleep(0.001)
            for _ in range(ticks):
                await asyncio.sleep(0)
            waiter.cancel()
            try:
                stop = await waiter
            except asyncio.CancelledError:
                stop = await m.gdb.wait(10)
            assert stop is not None
            assert (stop.kind, stop.cpu) == ("break", 0)


@asynced
async def test_misuse_is_told_apart_from_trouble(kernel: Kernels) -> None:
    async with kernel().machine(cpus=2) as m:
        with pytest.raises(RuntimeError, match="stands still"):
            await m.gdb.wait()
        with pytest.raises(ValueError, match="no CPU 2"):
            await m.gdb.registers(2)
        with pytest.raises(ValueError, match="no CPU"):
            await m.gdb.resume([-1])
        with pytest.raises(ValueError, match="never stop"):
            await m.gdb.resume([])
        await m.gdb.resume()
        for request in (m.gdb.registers(0), m.gdb.read_phys(0, 1), m.gdb.set_break(0)):
            with pytest.raises(RuntimeError, match="runs"):
                await request
        with pytest.raises(RuntimeError, match="already runs"):
            await m.gdb.resume()
        assert (await m.gdb.interrupt()).kind == "interrupt"


@pytest.mark.parametrize(("cpus", "one_thread"), [(24, False), (40, True)])
@asynced
async def test_many_processors(kernel: Kernels, cpus: int, one_thread: bool) -> None:
    """Above 32 they share one thread."""
    k = kernel()
    async with k.machine(cpus=cpus) as m:
        assert m.spec.single_threaded is one_thread
        seen: set[int | None] = set()
        await m.gdb.set_break(0)
        while len(seen) < cpus - 1:
            await m.gdb.resume()
            stop = await m.gdb.wait(20)
            assert stop is not None
            seen.add(stop.cpu)
        writes = {(e.cpu, e.value) for e in m.trace() if isinstance(e, IcrWrite)}
        assert writes >= {(0, 0xC4500), (0, 0xC4600)}
        assert {cpu for cpu, _ in writes} == {0}

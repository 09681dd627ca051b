"""The QEMU process: its start, its death, floods of output, and what is left: nothing."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from machine_helpers import Kernel, alive, asynced, open_files, run_to

from vmmlab.base.errors import InfraError
from vmmlab.host import bubblewrap, sandbox
from vmmlab.host.versions import qemu_path
from vmmlab.machine import IcrWrite, IoWrite, Limits, Machine, MachineDied, MachineSpec
from vmmlab.machine.exceptions import MAX_EXCEPTIONS
from vmmlab.machine.qemu.output import SERIAL_HEAD, SERIAL_TAIL
from vmmlab.machine.trace import MAX_EVENTS

Kernels = Callable[..., Kernel]


class WrongOption:
    """A launcher that adds an option QEMU does not know."""

    def wrap(self, argv: Sequence[str], *, ro: Sequence[Path], rw: Sequence[Path]) -> list[str]:
        return [*argv, "-no-such-option"]


class Recorder:
    """A launcher that remembers what it was given."""

    def __init__(self) -> None:
        self.ro: list[Path] = []
        self.argv: list[str] = []

    def wrap(self, argv: Sequence[str], *, ro: Sequence[Path], rw: Sequence[Path]) -> list[str]:
        self.ro, self.argv = list(ro), list(argv)
        assert not list(rw)
        return ["/usr/bin/env", *argv]


@asynced
async def test_start_and_end(kernel: Kernels) -> None:
    launcher = Recorder()
    k = kernel()
    async with Machine(k.spec(), launcher) as m:
        pid = m.pid
        assert alive(pid)
        assert m.version >= (7, 2, 0)
        assert 0 < m.start_s < 20
        assert m.limits.quiet_s >= 2
    assert not alive(pid)
    assert launcher.ro[0] == k.path
    assert launcher.argv[-len(m.argv) :] == list(m.argv)
    assert m.events.empty()


def running_with(word: str) -> list[str]:
    """Return the processes that have `word` on their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(word) in line and alive(int(folder.name)):
            found.append(folder.name)
    return found


@pytest.mark.parametrize("kind", ["bwrap", "none"])
@asynced
async def test_in_the_real_sandbox(kernel: Kernels, tmp_path: Path, kind: str) -> None:
    if kind == "bwrap" and not bubblewrap.examine().works:
        pytest.skip("bubblewrap does not work here")
    if kind == "bwrap" and not qemu_path().is_relative_to("/usr"):
        pytest.skip("this QEMU is not one of the system's")
    k = kernel()
    copy = tmp_path / "kernel.elf32"
    copy.write_bytes(k.path.read_bytes())
    link = tmp_path / "link"
    link.symlink_to(copy)
    launcher = sandbox.Sandbox.choose(True) if kind == "bwrap" else sandbox.Sandbox.none()
    mark = f"mark{os.getpid()}{kind}"
    async with Machine(MachineSpec(link, cmdline=mark), launcher) as m:
        assert running_with(mark)
        assert str(tmp_path) not in " ".join(m.argv), "the guest is told the names of its files"
        assert (await run_to(m.gdb, 0)).cpu in (1, 2, 3)
        assert len([e for e in m.trace() if isinstance(e, IcrWrite)]) >= 2
        assert m.serial() == "B"
    assert not running_with(mark)


@asynced
async def test_serial_and_trace_can_be_read_afterwards(kernel: Kernels) -> None:
    k = kernel("SHOUT")
    async with k.machine() as m:
        await run_to(m.gdb, k["bsp_spin"])
    assert m.serial() == "Bplain red\\x07 tab\there\nlast \\xff\n"
    assert m.serial_bytes().startswith(b"Bplain \x1b[31m")
    assert [e.value for e in m.trace() if isinstance(e, IcrWrite)] == [0xC4500, 0xC4600, 0xC4600]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"not a kernel", "qemu"), (b"\x7fELF" + bytes(100), "qemu")],
    ids=["text", "elf"],
)
@asynced
async def test_a_file_that_is_no_kernel(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(content)
    with pytest.raises(InfraError, match="could not be started") as caught:
        async with Machine(MachineSpec(path)):
            pass
    assert not isinstance(caught.value, MachineDied)
    assert said in str(caught.value.found)
    assert "-kernel" in str(caught.value.next_step)


@asynced
async def test_no_kernel_at_all(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="nothing to boot"):
        async with Machine(MachineSpec(tmp_path / "missing")):
            pass


@asynced
async def test_an_option_that_qemu_does_not_know(kernel: Kernels) -> None:
    with pytest.raises(InfraError, match="could not be started") as caught:
        async with Machine(kernel().spec(), WrongOption()):
            pass
    assert "no-such-option" in str(caught.value.found)


@asynced
async def test_a_qemu_that_cannot_be_executed(kernel: Kernels, tmp_path: Path) -> None:
    class Nowhere:
        def wrap(self, argv: Sequence[str], *, ro: Sequence[Path], rw: Sequence[Path]) -> list[str]:
            return ["/nowhere/bwrap", "--die-with-parent", *argv]

    before = open_files()
    with pytest.raises(InfraError, match="cannot be started"):
        async with Machine(kernel().spec(), Nowhere()):
            pass
    with pytest.raises(InfraError, match="could not be started"):
        async with Machine(kernel().spec(), qemu=tmp_path / "no-qemu"):
            pass
    await asyncio.sleep(0)
    assert open_files() == before


@asynced
async def test_a_process_that_never_answers(kernel: Kernels) -> None:
    class Sleeper:
        def wrap(self, argv: Sequence[str], *, ro: Sequence[Path], rw: Sequence[Path]) -> list[str]:
            return ["/bin/sleep", "60"]

    machine = Machine(kernel().spec(), Sleeper(), limits=Limits(start_s=0.2))
    with pytest.raises(InfraError):
        await machine.__aenter__()
    assert not alive(machine.pid)


@pytest.mark.parametrize("state", ["paused", "running", "stepping"])
@asynced
async def test_killed_in_the_middle(kernel: Kernels, state: str) -> None:
    k = kernel()
    async with k.machine() as m:
        if state == "running":
            await m.gdb.resume()
        os.kill(m.pid, signal.SIGKILL)

        async def use() -> None:
            if state == "running":
                await m.gdb.wait(10)
            for _ in range(1000):
                if state == "stepping":
                    await m.gdb.step(0)
                await m.gdb.read_phys(0, 1)

        with pytest.raises(MachineDied, match="during a boot") as caught:
            await use()
        assert "SIGKILL" in str(caught.value.found)
        assert caught.value.exit_code == 3
        for later in (m.gdb.registers(1), m.gdb.all_registers()):
            with pytest.raises((MachineDied, RuntimeError)):
                await later
        assert m.serial() in ("", "B")


@asynced
async def test_an_error_in_the_block_ends_qemu(kernel: Kernels) -> None:
    m = kernel().machine()

    async def fail() -> None:
        async with m:
            await m.gdb.resume()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert not alive(m.pid)


@pytest.mark.parametrize("delay_s", [0, 0.001, 0.005, 0.02, 0.04, 0.06, 0.1, 0.2])
@asynced
async def test_cancelling_leaves_no_process(kernel: Kernels, delay_s: float) -> None:
    machine = kernel().machine()

    async def body() -> None:
        async with machine as m:
            await m.gdb.resume()
            await m.gdb.wait(30)

    task = asyncio.ensure_future(body())
    await asyncio.sleep(delay_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert machine._process.pid is None or not alive(machine.pid)


SCRIPT = """
import asyncio, signal, sys
from pathlib import Path
from vmmlab.machine import Machine, MachineSpec

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & makes it ignored

async def main():
    async with Machine(MachineSpec(Path(sys.argv[1]))) as m:
        await m.gdb.resume()
        sys.stdout.write(f"{m.pid}\\n")
        sys.stdout.flush()
        await m.gdb.wait(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_no_qemu_outlives_its_python(kernel: Kernels, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(kernel().path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as python:
        assert python.stdout is not None
        pid = int(python.stdout.readline())
        assert alive(pid)
        python.send_signal(number)
        python.wait(timeout=20)
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.002)
    assert not alive(pid)


@asynced
async def test_two_at_once_do_not_meet(kernel: Kernels) -> None:
    k, other = kernel(), kernel("SHOUT")

    async def boot(which: Kernel) -> tuple[str, int]:
        async with which.machine() as m:
            await run_to(m.gdb, which["bsp_spin"])
            return m.serial(), len([e for e in m.trace() if isinstance(e, IcrWrite)])

    results = await asyncio.gather(*(boot(w) for w in (k, other, k, other)))
    assert [text for text, _ in results][0::2] == ["B", "B"]
    assert all(text.startswith("Bplain") for text, _ in results[1::2])
    assert {count for _, count in results} == {3}


@asynced
async def test_many_runs_leak_no_descriptors(kernel: Kernels) -> None:
    before = 0
    for turn in range(6):
        async with kernel().machine(cpus=1) as m:
            await m.gdb.resume()
            await m.gdb.wait(0.01)
        await asyncio.sleep(0)
        if turn == 1:
            before = open_files()
    assert open_files() == before


@asynced
async def test_a_vmm_that_prints_for_ever(kernel: Kernels) -> None:
    async with kernel("FLOOD_SERIAL").machine() as m:
        await m.gdb.resume()
        deadline = time.monotonic() + 20
        while m._output.serial.total < 180_000 and time.monotonic() < deadline:
            assert await m.gdb.wait(0.05) is None
        assert (await m.gdb.interrupt()).kind == "interrupt"
        assert m._output.serial.total >= 180_000
        assert len(m.serial_bytes()) <= SERIAL_HEAD + SERIAL_TAIL + 100
        assert "bytes left out" in m.serial()
        assert len(m.trace()) < 100


@pytest.mark.parametrize("trace_io", [False, True])
@asynced
async def test_a_vmm_that_writes_ports_for_ever(kernel: Kernels, trace_io: bool) -> None:
    async with kernel("FLOOD_PORT").machine(trace_io=trace_io) as m:
        await m.gdb.resume()
        assert await m.gdb.wait(0.3) is None
        assert (await m.gdb.interrupt()).kind == "interrupt"
        events = m.trace()
        assert len(events) <= MAX_EVENTS
        assert bool(m.trace_dropped) is trace_io
        assert any(isinstance(e, IoWrite) for e in events) is trace_io
        assert [e.value for e in events if isinstance(e, IcrWrite)] == [0xC4500, 0xC4600, 0xC4600]


@asynced
async def test_a_vmm_that_sends_ipis_for_ever(kernel: Kernels) -> None:
    async with kernel("FLOOD_ICR").machine() as m:
        await m.gdb.resume()
        assert await m.gdb.wait(0.3) is None
        assert (await m.gdb.interrupt()).kind == "interrupt"
        assert len(m.trace()) <= MAX_EVENTS
        assert m.trace_dropped > 0


@asynced
async def test_a_vmm_that_takes_exceptions_for_ever(kernel: Kernels) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with kernel("FLOOD_INT").machine() as m:
        await m.gdb.resume()
        assert await m.gdb.wait(0.5) is None
        assert (await m.gdb.interrupt()).kind == "interrupt"
        records = m.exceptions()
        assert len(records) == 2 * MAX_EXCEPTIONS
        assert {(r.vector, r.software) for r in records} == {(0x80, True)}
        assert [e.value for e in m.trace() if isinstance(e, IcrWrite)] == [
            0xC4500,
            0xC4600,
            0xC4600,
        ]
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used
    assert grown_kib < 64 * 1024


@asynced
async def test_qmp_is_there_too(kernel: Kernels) -> None:
    async with kernel().machine() as m:
        assert not await _runs(m)
        await m.gdb.resume()
        while not await _runs(m):  # QEMU may answer before it has read gdb's packet
            await asyncio.sleep(0)


async def _runs(machine: Machine) -> bool:
    status = await machine.qmp.execute("query-status")
    assert isinstance(status, dict)
    return bool(status["running"])

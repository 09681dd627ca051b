from __future__ import annotations

from pathlib import Path

import pytest

from vmmlab.machine import CpuReset, IcrDest, IcrWrite, IoWrite
from vmmlab.machine.exceptions import MAX_EXCEPTIONS
from vmmlab.machine.trace import MAX_EVENTS, MAX_PARTIAL, ApicWrite, TraceLog, parse

DATA = Path(__file__).parent / "data"
# The threads of processors 0, 1, … when the samples were recorded.
THREADS = {
    "qboot-7.2": 21820,
    "seabios-7.2": 21827,
    "triple-7.2": 21838,
    "qboot-10.0": 21846,
    "seabios-10.0": 21853,
    "triple-10.0": 21864,
}
BOTH = pytest.mark.parametrize("version", ["7.2", "10.0"])


def sample(name: str) -> bytes:
    return (DATA / f"{name}.log").read_bytes()


def load(name: str) -> TraceLog:
    log = parse(sample(name))
    log.threads = {cpu: THREADS[name] + cpu for cpu in range(4)}
    return log


def icr(log: TraceLog) -> list[tuple[int | None, int]]:
    return [(e.cpu, e.value) for e in log.events() if isinstance(e, IcrWrite)]


@BOTH
def test_init_and_sipi_with_their_sender(version: str) -> None:
    log = load(f"qboot-{version}")
    assert icr(log) == [(0, 0xC4500), (0, 0xC4600), (0, 0xC4600)]
    times = [e.time_s for e in log.events() if isinstance(e, IcrWrite)]
    assert times == sorted(times)
    assert 1.7e9 < times[0] < 2e9
    assert log.messages() == ""


@BOTH
def test_firmware_sends_its_own_first(version: str) -> None:
    values = [value for _, value in icr(load(f"seabios-{version}"))]
    assert values == [0xC4500, 0xC4610, 0xC4500, 0xC4600, 0xC4600]


@BOTH
def test_resets_after_the_init_name_each_ap_once(version: str) -> None:
    events = load(f"qboot-{version}").events()
    first = next(i for i, e in enumerate(events) if isinstance(e, IcrWrite))
    resets = [e.cpu for e in events[first:] if isinstance(e, CpuReset)]
    assert sorted(c for c in resets if c is not None) == [1, 2, 3]


@BOTH
def test_single_thread_names_the_sender_by_region(version: str) -> None:
    log = parse(sample(f"single-{version}"), by_region=True)
    assert icr(log) == [(0, 0xC4500), (0, 0xC4600), (0, 0xC4600)]
    assert not [e for e in log.events() if isinstance(e, IoWrite)]


@BOTH
def test_device_writes_only_when_asked_for(version: str) -> None:
    log = parse(sample(f"single-{version}"), by_region=True, keep_io=True)
    writes = [e for e in log.events() if isinstance(e, IoWrite)]
    assert [(w.address, w.value, w.size) for w in writes if w.region == "serial"] == [
        (0x3F8, ord("B"), 1)
    ]
    assert len(writes) > 100


@BOTH
def test_triple_fault_tells_the_whole_story(version: str) -> None:
    log = load(f"triple-{version}")
    faults = log.triple_faults()
    assert faults
    for fault in faults:
        assert fault.first is not None
        assert fault.last is not None
        assert (fault.first.vector, fault.last.vector, fault.vector) == (6, 8, 13)
        assert fault.first.pc == 0x803C
        assert fault.first.registers["idt_limit"] == 0
        assert fault.first.registers["cs_base"] == 0
        assert fault.first.registers["gdt_limit"] == 0x1F
    assert len({f.last.registers["rsi"] for f in faults if f.last}) == len(faults)
    assert [e.vector for e in log.exceptions()] == [6, 13, 8] * len(faults)


@pytest.mark.parametrize("name", sorted(THREADS))
def test_any_chunking_gives_the_same(name: str) -> None:
    text = sample(name)
    whole = load(name)
    for size in (1, 7, 100):
        log = TraceLog()
        log.threads = whole.threads
        for at in range(0, len(text), size):
            log.feed(text[at : at + size])
        assert log.events() == whole.events()
        assert log.exceptions() == whole.exceptions()
        assert log.triple_faults() == whole.triple_faults()


def test_heads_and_dumps_of_two_processors_interleave() -> None:
    lines = sample("triple-7.2").split(b"\n")
    head = next(i for i, line in enumerate(lines) if b": v=06" in line)
    end = next(i for i, line in enumerate(lines) if i > head and line.startswith(b"EFER"))
    other = [
        line.replace(b"803c", b"9000").replace(b"v=06", b"v=0e").replace(b"ESI=0", b"ESI=7")
        for line in lines[head : end + 1]
    ]
    mixed = [lines[head], other[0], *other[1:], *lines[head + 1 : end + 1]]
    first, second = parse(b"\n".join(mixed)).exceptions()
    assert (first.vector, first.pc, first.registers["rsi"] >> 28) == (14, 0x9000, 7)
    assert (second.vector, second.pc, second.registers["rsi"] >> 28) == (6, 0x803C, 0)


def test_destination_goes_with_the_next_ipi_of_the_same_processor() -> None:
    log = parse(
        b"11@1.000000:apic_mem_writel 0x310 = 0x02000000\n"
        b"12@1.000001:apic_mem_writel 0x300 = 0x00004500\n"
        b"11@1.000002:apic_mem_writel 0x300 = 0x00004608\n"
    )
    log.threads = {0: 11, 3: 12}
    assert log.events() == (
        IcrDest(0, 0x02000000, 1.0),
        IcrWrite(3, 0x4500, 0, 1.000001),
        IcrWrite(0, 0x4608, 0x02000000, 1.000002),
    )


@pytest.mark.parametrize("by_region", [False, True])
def test_x2apic_carries_its_destination(by_region: bool) -> None:
    log = parse(
        b"11@1.5:apic_register_write register 0x30 = 0x100004500\n"
        b"11@1.5:apic_register_write register 0x0b = 0x0\n",
        by_region=by_region,
    )
    log.threads = {0: 11}
    assert log.events() == (IcrWrite(None if by_region else 0, 0x4500, 1, 1.5),)


def test_an_unknown_thread_is_no_processor() -> None:
    assert icr(parse(b"5@1.5:apic_mem_writel 0x300 = 0x000c4500\n")) == [(None, 0xC4500)]


def test_similar_lines_are_no_evidence() -> None:
    log = parse(
        b"x5@1.5:apic_mem_writel 0x300 = 0x000c4500\n"
        b"apic_mem_writel 0x300 = 0x000c4500\n"
        b"5@1.5:apic_mem_writel 0x380 = 0x000c4500\n"
        b"5@1.5:apic_mem_readl 0x300 = 0x000c4500\n"
    )
    assert log.events() == ()


def test_messages_are_what_is_no_trace() -> None:
    log = parse(
        b"2026-11-22T13:30:52.018469Z qemu-system-x86_64: Error loading kernel\n"
        b"5@1.5:apic_mem_writel 0x300 = 0x000c4500\n"
    )
    assert log.messages().endswith("Error loading kernel")
    assert "apic" not in log.messages()


def test_floods_are_bounded() -> None:
    log = TraceLog(keep_io=True)
    line = b"5@1.5:apic_mem_writel 0x300 = 0x000c4500\n"
    for _ in range(20):
        log.feed(line * 1000)
    assert len(log.events()) == MAX_EVENTS
    assert log.dropped == 20_000 - MAX_EVENTS
    dump = sample("triple-7.2")
    for _ in range(100):
        log.feed(dump)
    assert len(log.exceptions()) == 2 * MAX_EXCEPTIONS
    assert len(log.triple_faults()) <= MAX_EXCEPTIONS
    for _ in range(20):
        log.feed(b"x" * 100_000)
    assert len(log._partial) <= MAX_PARTIAL
    log.feed(b"\n" + b"noise\n" * 100_000)
    assert len(log.messages()) <= 10_000
    log.feed(b"   1: v=20 e=0000 i=0 cpl=0 IP=0008:0 pc=0\n" * 10_000)
    assert len(log._exceptions._heads) <= 512


@pytest.mark.parametrize(
    "line",
    [
        b"7@1.5:apic_mem_writel 0x0f0 = 0x000001ff",
        b"7@1.5:apic_register_write register 0x0f = 0x1ff",
    ],
)
@pytest.mark.parametrize("cpu", [None, 2])
def test_other_registers_of_the_apic_are_kept_where_a_processor_has_its_own_log(line, cpu):
    log = TraceLog()
    log.cpu = cpu
    log.feed(line + b"\n")
    assert log.events() == (() if cpu is None else (ApicWrite(2, 0xF0, 0x1FF, 1.5),))

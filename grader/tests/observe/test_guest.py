"""What is recorded of guests: VMCB, nested tables, permission maps, runs and exits."""

from __future__ import annotations

import asyncio
import json
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema

from vmmlab.machine.gdb import MemoryUnreadable
from vmmlab.machine.svmlog import GuestCounts
from vmmlab.machine.trace import parse
from vmmlab.observe.guest import (
    CpuGuest,
    GuestExit,
    GuestRun,
    GuestStart,
    MsrIntercept,
    NestedRange,
    NestedTables,
    PortRange,
    guests_of,
)
from vmmlab.observe.nested import intercepted_msrs, intercepted_ports, nested_tables
from vmmlab.observe.schema import from_json, json_schema, to_json
from vmmlab.x86.vmcb import VMCB_BYTES, VmcbSegment, exit_name, vmcb_of, with_fields

SAMPLE = Path(__file__).with_name("observation.sample.json").read_text()
LOG = b"""\
17@1000.000002:apic_mem_writel 0x300 = 0x000c4500
vmrun! 0000000000207000
17@1000.000003:apic_mem_writel 0x300 = 0x000c4608
vmexit(00000081, 0000000000000000, 0000000000000000, 0000000000007c10)!
17@1000.000009:apic_mem_writel 0x300 = 0x00000400
vmrun! 0000000000207000
"""
LARGE, USER_RW, USER_R = 1 << 7, 7, 5


def vmcb(**fields: Any) -> bytes:
    raw = bytearray(VMCB_BYTES)
    for at, form, values in fields.values():
        struct.pack_into(form, raw, at, *values)
    return bytes(raw)


RAW = vmcb(
    intercepts=(0, "<5I", (1, 1 << 16, 1 << 14, 1 << 24 | 1 << 31, 3)),
    asid=(0x58, "<I", (7,)),
    np=(0x90, "<Q", (1,)),
    ncr3=(0xB0, "<Q", (0x5000,)),
    cs=(0x410, "<HHIQ", (0x800, 0x9B, 0xFFFF, 0x8000)),
    efer=(0x4D0, "<Q", (0x1000,)),
    rip=(0x578, "<Q", (0x10,)),
    rsp=(0x5D8, "<Q", (0x7000,)),
)


def test_a_vmcb() -> None:
    read = vmcb_of(RAW)
    assert (read.guest_asid, read.n_cr3, read.rip, read.rsp) == (7, 0x5000, 0x10, 0x7000)
    assert read.nested_paging
    assert (read.cs.selector, read.cs.attrib, read.cs.limit) == (0x800, 0x9B, 0xFFFF)
    assert read.linear_rip == 0x8010
    assert [code for code in range(0xA0) if read.intercepted(code)] == [
        0x00, 0x30, 0x4E, 0x78, 0x7F, 0x80, 0x81,
    ]  # fmt: skip
    assert read.intercepted(0x400)


def test_a_vmcb_with_other_fields() -> None:
    other: dict[str, Any] = {"rip": 0x1234, "cpl": 3, "tr": VmcbSegment(0x18, 0x8B, 0x67, 0x5000)}
    made = with_fields(RAW, other)
    assert vmcb_of(made) == replace(vmcb_of(RAW), **other)
    assert with_fields(made, {name: getattr(vmcb_of(RAW), name) for name in other}) == RAW


def test_names_of_exits() -> None:
    named = {0x00: "CR0_READ", 0x13: "CR3_WRITE", 0x4E: "EXCP14", 0x5F: "EXCP31", 0x72: "CPUID",
             0x7B: "IOIO", 0x400: "NPF", 0xFFFFFFFF: "INVALID"}  # fmt: skip
    assert {code: exit_name(code) for code in named} == {
        code: f"VMEXIT_{name}" for code, name in named.items()
    }
    assert exit_name(0x9F) == "0x9f"


class Memory:
    """Physical memory: 4 KiB pages by their address."""

    def __init__(self, pages: dict[int, bytes]) -> None:
        self.pages = pages
        self.gdb = self

    async def read_phys(self, address: int, count: int) -> bytes:
        raw = b"".join(self.pages.get(page, b"") for page in range(address, address + count, 4096))
        if len(raw) < count:
            raise MemoryUnreadable("read", address, count, None)
        return raw[:count]

    async def read_if_there(self, address: int, count: int) -> bytes:
        try:
            return await self.read_phys(address, count)
        except MemoryUnreadable:
            return b""


def table(entries: dict[int, int]) -> bytes:
    return b"".join(struct.pack("<Q", entries.get(number, 0)) for number in range(512))


def walked(pages: dict[int, bytes]) -> NestedTables:
    memory: Any = Memory(pages)
    return asyncio.run(nested_tables(memory, 0x1000))


def test_nested_tables() -> None:
    high = 0xFEE00000
    found = walked(
        {
            0x1000: table({0: 0x2000 | USER_RW}),
            0x2000: table({0: 0x3000 | USER_RW, 3: 0x4000 | USER_RW}),
            0x3000: table({n: n << 21 | USER_RW | LARGE for n in (0, 1, 3)}),
            0x4000: table({high >> 21 & 511: 0x5000 | USER_RW}),
            0x5000: table({0: high | USER_R, 1: 0x9000 | 1 << 63 | 3}),
        }
    )
    assert found.ranges == (
        NestedRange(0, 0, 4 << 20, True, True, True),
        NestedRange(6 << 20, 6 << 20, 2 << 20, True, True, True),
        NestedRange(high, high, 4096, False, True, True),
        NestedRange(high + 4096, 0x9000, 4096, True, False, False),
    )
    assert found.host(high + 4096 + 5) == 0x9005
    assert found.at(5 << 20) is None
    assert found.host(5 << 20) is None
    assert [one.guest for one in found.leading_to(0x9000, 1)] == [0, high + 4096]
    assert not found.cut


def test_rights_of_upper_tables_count() -> None:
    found = walked(
        {
            0x1000: table({0: 0x2000 | USER_R}),
            0x2000: table({0: 1 << 30 | USER_RW | LARGE}),
        }
    )
    assert found.ranges == (NestedRange(0, 1 << 30, 1 << 30, False, True, True),)


def test_a_table_where_there_is_no_memory() -> None:
    found = walked({0x1000: table({0: 0xAAAA000 | USER_RW})})
    assert found.ranges == ()
    assert found.unreadable == 0xAAAA000


def test_tables_in_a_circle_come_to_an_end() -> None:
    found = walked({0x1000: table(dict.fromkeys(range(512), 4096 | USER_RW))})
    assert found.cut


def test_permission_maps() -> None:
    ports, msrs = bytearray(0x3000), bytearray(0x2000)
    ports[0x3F8 // 8], ports[0x60 // 8] = 0xFF, 1
    msrs[0x20C], msrs[0x800 + 0x80 // 4] = 2, 1
    pages = {at: bytes(ports[at : at + 4096]) for at in range(0, 0x3000, 4096)}
    pages |= {0x3000 + at: bytes(msrs[at : at + 4096]) for at in range(0, 0x2000, 4096)}
    memory: Any = Memory(pages)
    assert asyncio.run(intercepted_ports(memory, 0)) == (
        PortRange(0x60, 0x60),
        PortRange(0x3F8, 0x3FF),
    )
    assert asyncio.run(intercepted_msrs(memory, 0x3000)) == (
        MsrIntercept(0x830, False, True),
        MsrIntercept(0xC0000080, True, False),
    )
    assert asyncio.run(intercepted_ports(memory, 0x100000)) is None


def recorded() -> tuple[CpuGuest, ...]:
    log = parse(LOG)
    events = [replace(event, cpu=0) if hasattr(event, "cpu") else event for event in log.events()]
    return guests_of(events, 0.0, {0: log.guests, 1: GuestCounts()}, {}, 2)


def test_runs_with_the_ipis_between_them() -> None:
    first, second = recorded()
    assert [[icr.low for icr in run.before] for run in first.runs] == [[0xC4500], [0x400]]
    assert [[icr.low for icr in run.inside] for run in first.runs] == [[0xC4608], []]
    assert [run.exit for run in first.runs] == [GuestExit(0x81, 0, 0, 0x7C10), None]
    assert (first.count, first.exits, first.inside, first.flooded) == (2, {0x81: 1}, True, False)
    assert [icr.low for icr in first.before_first] == [0xC4500]
    assert [one.name for one in first.exits_with(0x81)] == ["VMEXIT_VMMCALL"]
    assert second == CpuGuest()


def test_nothing_is_recorded_where_guests_are_not() -> None:
    assert guests_of(parse(LOG).events(), 0.0, {}, {}, 2) == ()


def test_a_flood_is_seen() -> None:
    run = GuestRun(0x1000, exit=GuestExit(0x81, 0, 0, 0))
    flood = CpuGuest((run,) * 3, 10, dict(Counter({0x81: 10})))
    assert flood.flooded
    assert not flood.inside


def test_guests_come_back_from_json() -> None:
    seen = from_json(SAMPLE)
    start = GuestStart(
        order=3,
        state=seen.cpus[0].end,
        vmcb_address=0x1000,
        vmcb=vmcb_of(RAW),
        nested=NestedTables(0x5000, (NestedRange(0, 0, 4096, True, True, True),)),
        registers={"rdx": 0x80},
    )
    guests = (replace(recorded()[0], start=start), CpuGuest())
    text = to_json(replace(seen, guests=guests))
    jsonschema.validate(json.loads(text), json_schema())
    assert from_json(text).guests == guests
    assert SimpleNamespace(**json.loads(text)).guests[0]["exits"] == {"129": 1}

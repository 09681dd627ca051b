"""The walk of nested page tables by lab 8's probe: runs of entries, gaps, rights, strange bits."""

import asyncio
import struct
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from vmmlab.course.labpackage import LabPackage
from vmmlab.course.load import load_course

COURSE = load_course(Path(__file__).parents[3])
ROOT, PDPT, PD, PT = 0x1000, 0x2000, 0x3000, 0x4000
PWU, LARGE, NX, PCD = 0x7, 1 << 7, 1 << 63, 1 << 4
KIB4, MIB2 = 1 << 12, 1 << 21


@pytest.fixture
def walking() -> Iterator[ModuleType]:
    """The module of lab 8."""
    package = LabPackage("lab8", COURSE.labs_dir / "lab8")
    yield package.load(COURSE.labs_dir / "lab8" / "walking.py")
    package.unload()


def walked(walking, tables: dict[int, dict[int, int]]):
    """Walk tables: by their address, the entries that are not 0 by their index."""

    async def read(address: int, size: int) -> bytes:
        entries = tables.get(address, {})
        return struct.pack("<512Q", *(entries.get(index, 0) for index in range(size // 8)))

    session = SimpleNamespace(
        view=SimpleNamespace(read_if_there=read), gdb=SimpleNamespace(read_phys=read)
    )
    return asyncio.run(walking.walked(session, ROOT))


def upper(pd: dict[int, int], pt: dict[int, int] | None = None) -> dict[int, dict[int, int]]:
    """All levels, with one entry each above the page directory."""
    return {ROOT: {0: PDPT | PWU}, PDPT: {0: PD | PWU}, PD: pd, PT: pt or {}}


def told(tables) -> list[tuple[int, int, int, int]]:
    return [(one.guest, one.host, one.size, one.page) for one in tables.pieces]


def test_pages_that_follow_each_other_are_one_piece(walking) -> None:
    found = walked(walking, upper({n: n * MIB2 | PWU | LARGE for n in range(512)}))
    assert told(found) == [(0, 0, 512 * MIB2, MIB2)]
    assert found.tables == ((0, PDPT), (0, PD))
    assert not found.strange


def test_a_gap_in_the_guest_or_in_the_host_ends_a_piece(walking) -> None:
    entries = {0: 0, 1: MIB2, 3: 3 * MIB2, 4: 9 * MIB2}
    found = walked(walking, upper({n: at | PWU | LARGE for n, at in entries.items()}))
    assert told(found) == [
        (0, 0, 2 * MIB2, MIB2),
        (3 * MIB2, 3 * MIB2, MIB2, MIB2),
        (4 * MIB2, 9 * MIB2, MIB2, MIB2),
    ]


def test_rights_are_those_of_all_levels(walking) -> None:
    pt = {0: 0x0 | PWU, 1: 0x1000 | 0x5, 2: 0x2000 | 0x3, 3: 0x3000 | PWU | NX}
    found = walked(walking, upper({0: PT | PWU}, pt))
    assert [(one.writable, one.user, one.executable) for one in found.pieces] == [
        (True, True, True), (False, True, True), (True, False, True), (True, True, False),
    ]  # fmt: skip
    read_only = walked(walking, upper({0: PT | 0x5 | NX}, pt))
    assert {(one.writable, one.executable) for one in read_only.pieces} == {(False, False)}


def test_pieces_go_on_from_one_table_to_the_next(walking) -> None:
    small = {n: n * KIB4 | PWU for n in range(512)}
    found = walked(walking, upper({0: PT | PWU, 1: MIB2 | PWU | LARGE}, small))
    assert told(found) == [(0, 0, MIB2, KIB4), (MIB2, MIB2, MIB2, MIB2)]
    again = walked(walking, upper({0: PT | PWU, 1: 0x5000 | PWU}, small) | {
        0x5000: {n: MIB2 + n * KIB4 | PWU for n in range(512)},
    })  # fmt: skip
    assert told(again) == [(0, 0, 2 * MIB2, KIB4)]


def test_bits_that_must_be_0_are_told_for_each_entry(walking) -> None:
    found = walked(
        walking, upper({0: PT | PWU | PCD}, {n: n * KIB4 | PWU | PCD for n in (0, 1, 5)})
    )
    assert [(one.guest, one.level, one.bits) for one in found.strange] == [
        (0, 2, PCD), (0, 1, PCD), (KIB4, 1, PCD), (5 * KIB4, 1, PCD),
    ]  # fmt: skip
    many = walked(walking, upper({0: PT | PWU}, {n: n * KIB4 | PWU | PCD for n in range(512)}))
    assert len(many.strange) == 32


def test_tables_that_lead_to_themselves_end(walking) -> None:
    found = walked(walking, {ROOT: dict.fromkeys(range(512), ROOT | PWU)})
    assert len(found.tables) > 400

"""Symbols and the link map, without building."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.images.linemap import Range, ranges
from vmmlab.images.model import Image
from vmmlab.images.symbols import Symbols

MAP = """
Memory Configuration

.text           0x0000000040100000     0x1000
 *(.multiboot)
 .multiboot     0x0000000040100000        0xc provided/boot@entry.S.o
 *(.text .text.*)
 .text          0x000000004010000c       0x34 provided/boot@entry.S.o
                0x000000004010000c                entry
 *fill*         0x0000000040100034        0xc
 .text.a_very_long_section_name
                0x0000000040100040       0x10 student/lab3.o
 .text          0x0000000040100050       0x10 prebuilt/lab4.o
 .text          0x0000000040100060        0x0 provided/core@x.c.o

.bss            0x0000000040102000       0x40
 COMMON         0x0000000040102000       0x40 provided/core@x.c.o
 .debug_line    0x0000000000000000      0x123 student/lab3.o
"""


def test_link_map() -> None:
    assert ranges(MAP) == (
        Range(0x40100000, 0x4010000C, "provided", "boot/entry.S", ".multiboot"),
        Range(0x4010000C, 0x40100040, "provided", "boot/entry.S", ".text"),
        Range(0x40100040, 0x40100050, "student", "lab3", ".text.a_very_long_section_name"),
        Range(0x40100050, 0x40100060, "prebuilt", "lab4", ".text"),
        Range(0x40102000, 0x40102040, "provided", "core/x.c", "COMMON"),
    )


@pytest.fixture
def symbols(tmp_path: Path) -> Symbols:
    data = {
        "globals": {"entry": (0x4010000C, 0), "ap_start": (0x40100040, 8)},
        "named": [(0x4010000C, 0, "entry"), (0x40100040, 8, "ap_start")],
        "ranges": [(one.start, one.end, one.owner, one.unit, one.section) for one in ranges(MAP)],
    }
    return Symbols(tmp_path / "no.elf", data)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0x4010000C, "entry"),
        (0x40100010, "entry+0x4"),
        (0x40100000, "0x40100000"),
        (0x40100040, "ap_start"),
        (0x40100047, "ap_start+0x7"),
        (0x40100050, "0x40100050"),
        (0x40102000, "0x40102000"),
        (0xF000, "0xf000"),
        (0xFFFFFFFFFFFFFFFF, "0xffffffffffffffff"),
    ],
)
def test_nearest(symbols: Symbols, address: int, name: str) -> None:
    assert symbols.nearest(address) == name


def test_by_name(symbols: Symbols) -> None:
    assert symbols.addr("ap_start") == 0x40100040
    assert symbols.size("ap_start") == 8
    assert symbols.maybe("no_such") is None
    assert "entry" in symbols
    assert "no_such" not in symbols
    for call in (symbols.addr, symbols.size):
        with pytest.raises(InfraError, match="no global symbol no_such"):
            call("no_such")


def test_owner(symbols: Symbols) -> None:
    assert symbols.owner(0x40100045) == "student"
    assert symbols.owner(0x40100055) == "prebuilt"
    assert symbols.owner(0x1000) == ""
    assert [one.start for one in symbols.student_ranges] == [0x40100040]


def test_lines_without_an_image(symbols: Symbols) -> None:
    assert symbols.line(0x40100040) is None


def test_local_functions_have_names(build: Callable[..., Image]) -> None:
    code = (
        '#include "given.h"\nstatic int\nquiet (int x)\n{\n\treturn x ^ counter;\n}\n\n'
        "int\ngamma_ray (int x)\n{\n\treturn quiet (x) + quiet (2);\n}\n\n"
        "int\nbeta (int x)\n{\n\treturn gamma_ray (x);\n}\n"
    )
    symbols = build("lab2", beta_c=code).symbols
    names = {
        symbols.nearest(address)
        for one in symbols.student_ranges
        for address in range(one.start, one.end)
    }
    assert "quiet" in names
    assert "spin" in names
    assert symbols.maybe("quiet") is None

"""The registers of a 32-bit processor, for gdb."""

from __future__ import annotations

import re

import pytest

from vmmlab.machine.gdb import narrow
from vmmlab.machine.gdb.registers import REGISTER_NAMES, Registers

VALUES = {name: 0x1_0000_0000 + number for number, name in enumerate(REGISTER_NAMES)}
NOW = Registers(cpu=0, cs_base=0, **{**VALUES, "cr0": 0x11, "efer": 0})


def names() -> list[str]:
    return re.findall(r'name="([a-z0-9]+)" bitsize', narrow.description().decode())


def test_the_packet_has_what_the_description_says():
    sizes = [
        int(bits) // 8 for bits in re.findall(r'bitsize="(\d+)"', narrow.description().decode())
    ]
    assert len(narrow.packet(NOW)) == 2 * sum(sizes)
    assert names()[8] == "eip"
    assert [len(narrow.one(NOW, n)) // 2 for n in range(len(sizes))] == sizes


@pytest.mark.parametrize(
    ("name", "wide"), [("eax", "rax"), ("esp", "rsp"), ("cs", "cs"), ("cr3", "cr3")]
)
def test_values_are_cut_to_32_bits(name, wide):
    number = names().index(name)
    assert narrow.wide(number) == wide
    shown = int.from_bytes(bytes.fromhex(narrow.one(NOW, number).decode()), "little")
    assert shown == NOW[wide] & 0xFFFFFFFF


def test_in_real_mode_eip_is_the_linear_address():
    real = Registers(cpu=0, cs_base=0xF000, **{**VALUES, "cr0": 0, "efer": 0, "rip": 0x2F})
    assert narrow.one(real, 8) == b"2ff00000"


def test_what_is_not_shown_is_said_to_be_unavailable():
    number = names().index("st0")
    assert narrow.one(NOW, number) == b"xx" * 10
    assert narrow.wide(number) == ""
    assert narrow.wide(999) == ""

"""What a session knows of an architecture."""

import pytest

from vmmlab.course.model import ARCHES
from vmmlab.x86.abi import abi_of


def test_every_architecture_of_a_course_is_known():
    assert [abi_of(arch).arch for arch in ARCHES] == list(ARCHES)
    with pytest.raises(KeyError):
        abi_of("m68k")


def test_where_arguments_are():
    x86_64, i386 = abi_of("x86_64"), abi_of("i386")
    assert [x86_64.argument("alloc", n) for n in (0, 1, 2)] == ["rdi", "rsi", "rdx"]
    assert [i386.argument("alloc", n) for n in (0, 1, 2)] == ["rax", "rdx", "rcx"]
    # asmlinkage: include/linkage.h
    assert x86_64.argument("asm_wrrsp_and_jmp", 1) == "rsi"
    assert [i386.argument("asm_wrrsp_and_jmp", n) for n in (0, 1)] == [4, 8]
    with pytest.raises(ValueError, match="argument 3"):
        i386.argument("alloc", 3)


def test_words():
    raw = bytes.fromhex("00100040 ffffffff")
    assert abi_of("x86_64").pointer(raw) == 0xFFFFFFFF_40001000
    assert abi_of("i386").pointer(raw) == 0x40001000

"""Bytes read as instructions, against bytes that keystone assembles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keystone import KS_ARCH_X86, KS_MODE_16, KS_MODE_32, KS_MODE_64, Ks

from vmmlab.x86.decode import decode, far_jump, footprint, reads_a_clock
from vmmlab.x86.encode import far_jump_code
from vmmlab.x86.operands import operation

WORD = st.integers(0, 0xFFFF)


def assemble(text: str, mode: int = KS_MODE_16) -> bytes:
    code, _ = Ks(KS_ARCH_X86, mode).asm(text)
    assert code, text
    return bytes(code)


@given(WORD, WORD)
def test_shipped_far_jump_is_what_keystone_assembles(segment, offset):
    assert far_jump_code(segment, offset) == assemble(f"ljmp {segment:#x}:{offset:#x}")


def test_shipped_int3_is_what_keystone_assembles():
    assert assemble("int3") == b"\xcc"


@pytest.mark.parametrize(("segment", "offset"), [(0x10000, 0), (0, 0x10000), (-1, 0)])
def test_far_jump_code_refuses_what_does_not_fit(segment, offset):
    with pytest.raises(ValueError, match="16:16"):
        far_jump_code(segment, offset)


@given(WORD, WORD)
def test_any_encoding_of_a_far_jump_is_read(segment, offset):
    short = far_jump_code(segment, offset)
    long = b"\x66\xea" + offset.to_bytes(4, "little") + segment.to_bytes(2, "little")
    assert far_jump(short) == far_jump(long) == (segment, offset)


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b"\xea\x00",
        assemble("jmp 0x1234"),
        assemble("nop"),
        assemble("ljmp [0x10]"),
        b"\x00\xf0\x00\x0f\xea",  # the bytes of a far jump in the wrong order
    ],
)
def test_what_is_no_direct_far_jump_is_none(code):
    assert far_jump(code) is None


@pytest.mark.parametrize(
    ("text", "mode", "locked", "writes", "stack"),
    [
        ("lock inc dword ptr [0xc]", KS_MODE_16, True, True, False),
        ("inc dword ptr [0xc]", KS_MODE_16, False, True, False),
        ("add dword ptr [0xc], 1", KS_MODE_16, False, True, False),
        ("lock xadd dword ptr [ebx], eax", KS_MODE_16, True, True, False),
        ("xchg byte ptr [rdi], al", KS_MODE_64, True, True, False),
        ("lock cmpxchg dword ptr [bx], ecx", KS_MODE_16, True, True, False),
        ("xchg rax, rbx", KS_MODE_64, False, False, False),
        ("push ax", KS_MODE_16, False, False, True),
        ("call 0x10", KS_MODE_16, False, False, True),
        ("ret", KS_MODE_16, False, False, True),
        ("popcnt eax, ebx", KS_MODE_64, False, False, False),
        ("mov eax, dword ptr [rdi]", KS_MODE_64, False, False, False),
        ("mov dword ptr [rdi], eax", KS_MODE_64, False, True, False),
    ],
)
def test_what_an_instruction_does(text, mode, locked, writes, stack):
    width = 16 if mode == KS_MODE_16 else 64
    decoded = decode(assemble(text, mode), 0, width)
    assert decoded is not None
    assert (decoded.locked, decoded.writes_memory, decoded.uses_stack) == (locked, writes, stack)


def test_garbage_is_no_instruction():
    assert decode(b"\xff\xff", 0, 64) is None
    assert decode(b"", 0, 16) is None


REGISTERS = {
    "rax": 0,
    "rbx": 0x100,
    "rsp": 0x1000,
    "rbp": 0x2000,
    "rcx": -1 & 2**64 - 1,
    "rdi": 0x300,
    "gs_base": 0x4000,
}


@pytest.mark.parametrize(
    ("text", "touched"),
    [
        ("pause", []),
        ("jne 0x10", []),
        ("lea rax, [rbx + 8]", []),
        ("mov eax, dword ptr [rbx + 4]", [(0x104, 4, False)]),
        ("cmp byte ptr [rdi], 0", [(0x300, 1, False)]),
        ("mov qword ptr [rdi + rbx], rax", [(0x400, 8, True)]),
        ("mov rax, qword ptr gs:[16]", [(0x4010, 8, False)]),
        ("xchg dword ptr [rdi], eax", [(0x300, 4, True)]),
        ("lock cmpxchg dword ptr [rdi], ecx", [(0x300, 4, True)]),
        ("lock xadd word ptr [rdi], ax", [(0x300, 2, True)]),
        ("lock bts dword ptr [rdi], 8", [(0x300, 4, True)]),
        ("lock bts dword ptr [rdi], ebx", [(0x320, 4, True)]),
        ("bts qword ptr [rdi], rbx", [(0x320, 8, True)]),
        ("bt dword ptr [rdi], ecx", [(0x2FC, 4, False)]),
        ("push rbx", [(0xFF8, 8, True)]),
        ("call 0x10", [(0xFF8, 8, True)]),
        ("ret", [(0x1000, 8, False)]),
        ("leave", [(0x2000, 8, False)]),
    ],
)
def test_all_that_a_waiting_loop_touches(text, touched):
    found = footprint(assemble(text, KS_MODE_64), 0, 64, REGISTERS)
    assert found is not None
    assert [(one.address, one.size, one.writes) for one in found] == touched


@pytest.mark.parametrize(
    "text",
    [
        "in al, dx", "out dx, al", "rdtsc", "rdmsr", "cpuid", "hlt", "sti", "int3", "rep movsb",
        "stosd", "mov rax, cr0", "mov ds, eax", "push fs", "invlpg [rdi]", "iretq", "ud2",
        "call qword ptr [rdi]", "movups xmm0, [rdi]", "push ax",
    ],
)  # fmt: skip
def test_what_may_do_more_has_no_footprint(text):
    assert footprint(assemble(text, KS_MODE_64), 0, 64, REGISTERS) is None


def test_a_stack_of_16_bits_has_no_footprint():
    assert footprint(assemble("push ax"), 0, 16, REGISTERS) is None


@pytest.mark.parametrize(
    ("text", "mode", "uses"),
    [
        ("mov dword ptr [ebx + 4], eax", KS_MODE_32, [("ds", 0x104, 4, False, True)]),
        ("mov eax, dword ptr [ebp]", KS_MODE_32, [("ss", 0x2000, 4, True, False)]),
        ("mov eax, dword ptr fs:[8]", KS_MODE_32, [("fs", 8, 4, True, False)]),
        ("lock inc dword ptr cs:[0x20]", KS_MODE_16, [("cs", 0x20, 4, True, True)]),
        ("lgdt cs:[0x30]", KS_MODE_16, [("cs", 0x30, 6, True, False)]),
        ("ljmp [ebx + 8]", KS_MODE_32, [("ds", 0x108, 6, True, False)]),
        ("stosb", KS_MODE_32, [("es", 0x300, 1, False, True)]),
        ("lea eax, [ebx]", KS_MODE_32, []),
        ("mov eax, ebx", KS_MODE_32, []),
    ],
)
def test_what_is_reached_through_which_segment(text, mode, uses):
    found = operation(assemble(text, mode), 16 if mode == KS_MODE_16 else 32, REGISTERS)
    reached = [use for use in found.uses if not use.by_stack]
    assert [(u.segment, u.offset, u.size, u.reads, u.writes) for u in reached] == uses


@pytest.mark.parametrize("text", ["rdtsc", "rdtscp", "in eax, dx", "in al, 0x40"])
def test_a_clock_is_read_by_the_tsc_or_a_port(text):
    around = assemble("mov rax, rbx; ret", KS_MODE_64)
    assert reads_a_clock(around + assemble(text, KS_MODE_64) + around, 64)
    assert not reads_a_clock(around + assemble("out dx, eax", KS_MODE_64) + around, 64)


def test_what_is_no_instruction_is_passed_over():
    assert reads_a_clock(b"\x06" + assemble("rdtsc", KS_MODE_64), 64)

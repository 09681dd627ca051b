"""The given decoder of a guest's writes to its APIC, core/localapic_decode.c, on the host."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from pathlib import Path

import pytest

from vmmlab.course.load import load_course

TREE = load_course(Path(__file__).parents[3]).tree
MEMORY = 1 << 23
VMM = 0x700000
"""From here on the memory is the VMM's."""
HOST = """
#include "mm.h"
#include "string.h"
#include "svm.h"

static u8 *memory;
static u64 size, vmm;
void mm_vmm_memory (u64 *start, u64 *end) { *start = vmm; *end = size; }
void *mapmem_hphys (u64 at, uint len, int flags)
{
    (void)flags;
    return at + len <= size ? memory + at : memory; /* zeros */
}
void unmapmem (void *virt, uint len) { (void)virt; (void)len; }

static struct vmcb vmcb;
bool decode (u8 *guest, u64 bytes, u64 vmm_at, const u64 *v, u32 *value,
         uint *len, u8 *code)
{
    struct vcpu cpu = { .vmcb = &vmcb, .regs = { .rcx = v[7], .r9 = v[8] } };
    memory = guest;
    size = bytes;
    vmm = vmm_at;
    vmcb.cr0 = v[0];
    vmcb.cr3 = v[1];
    vmcb.cr4 = v[2];
    vmcb.efer = v[3];
    vmcb.cs.attr = v[4];
    vmcb.rip = v[5];
    vmcb.rax = v[6];
    vmcb.cs.base = v[9];
    return localapic_decode (&cpu, value, len, code);
}
"""
PE, PG, PAE, PSE, LMA, L, D = 1, 1 << 31, 1 << 5, 1 << 4, 1 << 10, 0x200, 0x400
RAX, RCX, R9 = 0x11111111, 0x22222222, 0x99999999
AT = 0x5000


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    work = tmp_path_factory.mktemp("decode")
    (work / "host.c").write_text(HOST)
    sources = [str(work / "host.c"), str(TREE / "core/localapic_decode.c")]
    flags = ["-shared", "-fPIC", "-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
    out = work / "decode.so"
    subprocess.run(["gcc", *flags, f"-I{TREE}/include", "-o", out, *sources], check=True)
    return ctypes.CDLL(str(out))


def decode(library, code, *, at=AT, memory=None, **state):
    """Return the value and the length of an instruction, or the bytes that are not decoded."""
    memory = memory or ctypes.create_string_buffer(MEMORY)
    if code is not None:
        memory[at : at + len(code)] = code
    names = ("cr0", "cr3", "cr4", "efer", "attr", "rip", "rax", "rcx", "r9", "base")
    usual = {"cr0": PE, "attr": D, "rip": at, "rax": RAX, "rcx": RCX, "r9": R9}
    values = (ctypes.c_uint64 * len(names))(*({**usual, **state}.get(one, 0) for one in names))
    value, length = ctypes.c_uint32(), ctypes.c_uint()
    found = ctypes.create_string_buffer(15)
    if (
        library.decode(
            memory,
            ctypes.c_uint64(MEMORY),
            ctypes.c_uint64(VMM),
            values,
            ctypes.byref(value),
            ctypes.byref(length),
            found,
        )
        & 0xFF
    ):
        return value.value, length.value
    return found.raw[: length.value]


LONG = {"efer": LMA, "attr": L}
CONSTANT = b"\x78\x56\x34\x12"
REAL = {"cr0": 0, "attr": 0, "base": 0x4000, "rip": AT - 0x4000}
KNOWN = {
    "89 /r": (b"\x89\x83\0\x03\0\0", {}, (RAX, 6)),
    "89 /r, another register": (b"\x89\x0b", {}, (RCX, 2)),
    "89 /r, displacement of 8 bits": (b"\x89\x43\x10", {}, (RAX, 3)),
    "89 /r, absolute": (b"\x89\x05\0\x03\xe0\xfe", {}, (RAX, 6)),
    "89 /r with SIB": (b"\x89\x8c\x23\0\x03\0\0", {}, (RCX, 7)),
    "89 /r with SIB and no base": (b"\x89\x0c\x25\0\x03\xe0\xfe", {}, (RCX, 7)),
    "89 /r with REX": (b"\x44\x89\x8b\0\x03\0\0", LONG, (R9, 7)),
    "C7 /0": (b"\xc7\x83\0\x03\0\0" + CONSTANT, {}, (0x12345678, 10)),
    "C7 /0 with a segment": (b"\x64\xc7\x05\0\x03\0\0" + CONSTANT, {}, (0x12345678, 11)),
    "A3": (b"\xa3\0\x03\xe0\xfe", {}, (RAX, 5)),
    "A3 in 64-bit mode": (b"\xa3\0\x03\xe0\xfe\0\0\0\0", LONG, (RAX, 9)),
    "real mode, 32-bit operand and address": (b"\x66\x67\x89\x03", REAL, (RAX, 4)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_store_of_32_bits_is_decoded(library, name):
    code, state, expected = KNOWN[name]
    assert decode(library, code, **state) == expected


UNKNOWN = {
    "a byte": (b"\x88\x03", {}),
    "16 bits": (b"\x66\x89\x03", {}),
    "64 bits": (b"\x48\x89\x03", LONG),
    "XCHG": (b"\x87\x03", {}),
    "OR": (b"\x09\x03", {}),
    "a register": (b"\x89\xc3", {}),
    "16-bit addresses": (b"\x67\x89\x03", {}),
    "real mode, 16 bits": (b"\x89\x07", REAL),
    "prefixes only": (b"\x3e" * 15, {}),
    "too long": (b"\x3e" * 8 + b"\xc7\x83\0\x03\0\0" + CONSTANT, {}),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_another_instruction_is_not_decoded(library, name):
    code, state = UNKNOWN[name]
    assert decode(library, code, **state).startswith(code[:15])


def tables(size, *entries):
    """Return memory with entries of page tables: address and value of each."""
    memory = ctypes.create_string_buffer(MEMORY)
    for at, value in entries:
        memory[at : at + size] = struct.pack("<I" if size == 4 else "<Q", value)
    return memory


WHERE = 0x40401000 | 0x123
"""A linear address; what is there is at AT in most tables."""
FOUR = ((0x1000, 0x2003), (0x2008, 0x3003), (0x3000 + 2 * 8, 0x4003), (0x4000 + 8, AT | 3))
PAGING = {
    "4-level": ({"cr4": PAE, **LONG}, 8, FOUR),
    "4-level, 1 GiB": ({"cr4": PAE, **LONG}, 8, ((0x1000, 0x2003), (0x2008, 0x83))),
    "5-level": (
        {"cr4": PAE | 1 << 12, "cr3": 0x9000, **LONG}, 8, ((0x9000, 0x1003), *FOUR)
    ),
    "PAE": ({"cr4": PAE, "cr3": 0x1020}, 8, ((0x1028, 0x3001), *FOUR[2:])),
    "2-level": ({}, 4, ((0x1000 + 257 * 4, 0x4003), (0x4000 + 4, AT | 3))),
    "2-level, bit 7 without PSE": ({}, 4, ((0x1000 + 257 * 4, 0x4083), (0x4004, AT | 3))),
    "4 MiB": ({"cr4": PSE}, 4, ((0x1000 + 257 * 4, 0x83),)),
}  # fmt: skip


@pytest.mark.parametrize("name", PAGING)
def test_the_instruction_is_fetched_through_the_guests_page_tables(library, name):
    state, size, entries = PAGING[name]
    memory = tables(size, *entries)
    physical = {"4-level, 1 GiB": 0x401123, "4 MiB": 0x1123}.get(name, AT | 0x123)
    memory[physical : physical + 2] = b"\x89\x03"
    state = {"cr0": PE | PG, "cr3": 0x1000, "rip": WHERE, **state}
    assert decode(library, None, memory=memory, **state) == (RAX, 2)


def test_a_page_that_is_not_there_ends_the_bytes(library):
    memory = tables(8, *FOUR)
    memory[AT + 0xFFE : AT + 0x1000] = b"\xc7\x83"
    state = {"cr0": PE | PG, "cr3": 0x1000, "cr4": PAE, "rip": 0x40401FFE, **LONG}
    assert decode(library, None, memory=memory, **state) == b"\xc7\x83"


@pytest.mark.parametrize("cr3", [VMM, 0x1000])
def test_memory_of_the_vmm_is_not_read(library, cr3):
    memory = tables(8, (VMM, 0x2003), (0x1000, VMM | 3), *FOUR[1:])
    memory[AT + 0x123 : AT + 0x125] = b"\x89\x03"
    state = {"cr0": PE | PG, "cr3": cr3, "cr4": PAE, "rip": WHERE, **LONG}
    assert decode(library, None, memory=memory, **state) == b""
    assert decode(library, b"\x89\x03", at=VMM) == b""

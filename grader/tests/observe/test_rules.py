"""The rules of a processor: each one broken once, and the way of the reference breaking none."""

from pathlib import Path

import pytest
from keystone import KS_ARCH_X86, KS_MODE_16, KS_MODE_32, KS_MODE_64, Ks

from vmmlab.machine.kvm import opens
from vmmlab.x86.operands import operation
from vmmlab.x86.rules import Situation, broken
from vmmlab.x86.rules.descriptors import Selected
from vmmlab.x86.rules.model import RULES

FLAT = {"base": 0, "limit": 0xFFFFFFFF, "flags": 0x00CF9300}
HIDDEN = {f"{reg}_{part}": value for reg in ("ds", "es", "ss") for part, value in FLAT.items()}
HIDDEN |= {"cs_base": 0, "cs_limit": 0xFFFFFFFF, "cs_flags": 0x00CF9B00}
HIDDEN |= {"gdt_base": 0xF098, "gdt_limit": 0x1F}
NAMES = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip", "cr3", "cr4", "efer")
START = dict.fromkeys(NAMES, 0) | {"rcx": 0xC0000080, "cr0": 0x11}
MODES = {16: KS_MODE_16, 32: KS_MODE_32, 64: KS_MODE_64}
LONG = {"cr0": 0x80000011, "cr4": 0x20, "efer": 0x500}
CODE32, CODE64, DATA = 0x00CF9B000000FFFF, 0x00AF9B000000FFFF, 0x00CF93000000FFFF


def rule(text, bits=32, hidden=None, selected=(), **registers):
    """The rule that an instruction breaks."""
    code = bytes(Ks(KS_ARCH_X86, MODES[bits]).asm(text)[0])
    values = START | registers
    doing = operation(code, bits, values)
    found = broken(Situation(doing, bits, values, HIDDEN | (hidden or {}), selected))
    return found.rule if found else None


def far(descriptor, selector=8, register="cs", target=None):
    """A segment register that is loaded."""
    return (Selected(register, selector, descriptor, target),)


BROKEN = {
    "code-limit": ("nop", {"hidden": {"cs_limit": 0xFF}, "rip": 0x100}),
    "segment-limit": ("mov eax, [ebx]", {"hidden": {"ds_limit": 0xFFFF}, "rbx": 0x10000}),
    "segment-null": ("mov eax, [ebx]", {"hidden": {"ds_flags": 0}}),
    "segment-read": ("mov eax, cs:[ebx]", {"hidden": {"cs_flags": 0x00CF9900}}),
    "segment-write": ("mov cs:[ebx], eax", {}),
    "segment-expand-down": (
        "mov eax, [ebx]", {"hidden": {"ds_flags": 0x00CF9700, "ds_limit": 0xFFFF}, "rbx": 0x8000},
    ),
    "mov-to-cs": ("mov cs, eax", {"selected": far(CODE32)}),
    "selector-null": ("ljmp [ebx]", {"selected": far(None, 0)}),
    "selector-local": ("ljmp [ebx]", {"selected": far(CODE32, 12)}),
    "selector-beyond-table": ("ljmp [ebx]", {"selected": far(CODE32, 0x20)}),
    "descriptor-type": ("ljmp [ebx]", {"selected": far(DATA)}),
    "descriptor-privilege": ("ljmp [ebx]", {"selected": far(CODE32 | 3 << 45)}),
    "descriptor-not-present": ("ljmp [ebx]", {"selected": far(CODE32 & ~(1 << 47))}),
    "descriptor-long-and-big": ("ljmp [ebx]", {"selected": far(CODE32 | CODE64), **LONG}),
    "jump-beyond-limit": (
        "ljmp [ebx]", {"selected": far(0x00409B000000FFFF, target=0x10000)},
    ),
    "cr0-upper-half": ("mov cr0, rax", {"bits": 64, "rax": 1 << 32 | 0x80000011, **LONG}),
    "paging-needs-protection": ("mov cr0, eax", {"rax": 0x80000010}),
    "write-through-needs-cache-disable": ("mov cr0, eax", {"rax": 0x20000011}),
    "paging-needs-pae": ("mov cr0, eax", {"rax": 0x80000011, "efer": 0x100}),
    "long-mode-from-long-segment": (
        "mov cr0, eax",
        {"rax": 0x80000011, "efer": 0x100, "cr4": 0x20, "hidden": {"cs_flags": 0x00AF9B00}},
    ),
    "cr4-reserved": ("mov cr4, eax", {"rax": 0x8020}),
    "cr4-pae-in-long-mode": ("mov cr4, rax", {"bits": 64, "rax": 0, **LONG}),
    "cr4-pcide": ("mov cr4, eax", {"rax": 0x20020}),
    "cr4-la57-in-long-mode": ("mov cr4, rax", {"bits": 64, "rax": 0x1020, **LONG}),
    "cr3-reserved": ("mov cr3, rax", {"bits": 64, "rax": 1 << 52, **LONG}),
    "efer-reserved": ("wrmsr", {"rax": 0x100, "rdx": 0x663}),
    "efer-lme-while-paging": ("wrmsr", {"rax": 0x100, "cr0": 0x80000011}),
    "efer-lma": ("wrmsr", {"rax": 0x500}),
    "msr-unknown": ("rdmsr", {"rcx": 0xC0000008}),
}  # fmt: skip
RIGHT = [
    ("mov cr0, eax", {"rax": 0x80010031, "cr4": 0x20, "efer": 0x100}),
    ("mov cr0, eax", {"rax": 0x60000011, "bits": 16, "cr0": 0x60000010}),
    ("lmsw ax", {"rax": 0x11, "bits": 16, "cr0": 0x60000010}),
    ("mov cr4, eax", {"rax": 0x6A0}),
    ("mov cr3, eax", {"rax": 0x106018}),
    ("wrmsr", {"rax": 0x901}),
    ("wrmsr", {"rax": 0x5D01, "efer": 0x500}),
    ("mov cr3, eax", {"rax": 0x106003}),
    ("rdmsr", {"rcx": 0x1B}),
    ("ljmp [ebx]", {"selected": far(CODE32)}),
    ("ljmp [ebx]", {"selected": far(CODE64), **LONG}),
    ("mov ds, eax", {"selected": far(None, 0, "ds")}),
    ("mov ss, eax", {"selected": far(DATA, 0x10, "ss")}),
    ("mov [ebx], eax", {"rbx": 0x100000}),
    (
        "mov [ebx], eax",
        {"rbx": 0x100000, "hidden": {"ds_flags": 0x00CF9700, "ds_limit": 0xFFFF}},
    ),
    ("ljmp [ebx]", {"selected": far(0x00008C0000000000)}),  # a call gate
]


@pytest.mark.parametrize("name", RULES)
def test_each_rule_is_found(name):
    text, more = BROKEN[name]
    assert rule(text, **more) == name


@pytest.mark.parametrize(("text", "more"), RIGHT)
def test_what_a_processor_takes_is_taken(text, more):
    assert rule(text, **more) is None


@pytest.mark.parametrize("entry", RULES.values())
def test_every_rule_names_its_manual(entry):
    assert entry.vector in (6, 11, 12, 13)
    assert entry.manual.startswith(("SDM vol.", "APM vol."))


def test_a_device_that_is_not_there_does_not_open(tmp_path: Path):
    assert not opens(tmp_path / "kvm")
    (tmp_path / "kvm").write_bytes(b"")
    assert opens(tmp_path / "kvm")

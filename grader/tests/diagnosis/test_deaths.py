"""The mistake that the recorded steps of a dead AP show: one case for each explainer."""

from dataclasses import replace

import pytest
from handmade import SAMPLE, ap, boot, step

from vmmlab.diagnosis.deaths import explained
from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import DescriptorTable, Touch
from vmmlab.observe.milestones import PROTECTED_MODE
from vmmlab.x86.rules import Refusal

COPY = SAMPLE.apinit_addr
PAGETABLE = SAMPLE.phys("ap_pagetable")
CODE16, CODE32, CODE64 = 0x00009B000000FFFF, 0x00CF9B000000FFFF, 0x00AF9B000000FFFF
AT_ENTRY = Touch(SAMPLE.phys("ap_entry"), 4, True, False)
REAL, PE, PG = 0x60000010, 0x60000011, 0x80000031
TABLE = DescriptorTable(COPY + 0x98, 0x1F)


def one(text, like="cli", *, bits=16, cr0=PE, touches=(), register="", value=None, **more):
    """An instruction with this text; registers and evidence as given."""
    state = {name: more.pop(name) for name in list(more) if hasattr(SAMPLE.bsp.end, name)}
    made = step(like, bits=bits, cr0=cr0, **state)
    changed = {"touches": touches, "register": register, "value": value, **more}
    return replace(made, text=text, **changed)


def far(descriptor=CODE32, selector=8, text="ljmp", **more):
    """A far jump that loads CS."""
    return one(text, register="cs", value=selector, descriptor=descriptor, **more)


def store(address, **more):
    """Memory that is written."""
    return Touch(address, 4, False, True, **more)


SET_PE = one("mov cr0, eax", cr0=REAL, register="cr0", value=PE)
LGDT = one("lgdt cs:[0xb0]", cr0=REAL, touches=(Touch(COPY + 0xB0, 6, True, False),))
IN_32 = {"bits": 32}
LONG = {"bits": 32, "cr0": PG, "cr4": 0x20, "efer": 0x500, "cr3": PAGETABLE}
SHUTDOWN = {"how_ended": "shutdown"}
PUSH = one("push eax", touches=(store(COPY + 0x90, by_stack=True),))


def refusal(rule, **more):
    """An instruction that a processor refuses."""
    return {"refusal": Refusal(rule, 13, **more), "gdtr": TABLE}


CASES = {
    "a push has destroyed the copy": ([PUSH, one("mov")], {}, {}, "trampoline-uses-stack"),
    "a far jump in real mode": (
        [far(None, cr0=REAL), one("add", cr0=REAL)], {}, {}, "protection-not-enabled",
    ),
    "16-bit code goes on": ([SET_PE, one("mov", made_for=32)], {}, {}, "no-far-jump"),
    "16-bit code runs as 32-bit code": (
        [SET_PE, far(), one("mov", made_for=16, **IN_32)], {}, {}, "assembled-for-another-width",
    ),
    "32-bit code runs as 64-bit code": (
        [SET_PE, far(CODE64), one("mov", made_for=32, **{**LONG, "bits": 64})],
        {}, {}, "assembled-for-another-width",
    ),
    "64-bit code runs as 32-bit code": (
        [SET_PE, far(), one("mov", made_for=64, **LONG)], {}, {}, "ap-not-in-64-bit-code",
    ),
    "64-bit code before long mode is active": (
        [SET_PE, far(CODE64, 0x18), one("mov", made_for=64, efer=0x100)], {}, {}, "paging-not-on",
    ),
    "the 64-bit segment first": (
        [SET_PE, far(CODE64), one("mov", made_for=32, efer=0)], {}, {}, "gdt-entry-wrong",
    ),
    "a 16-bit segment": (
        [SET_PE, far(CODE16), one("mov", made_for=32, efer=0)], {}, {}, "gdt-entry-wrong",
    ),
    "a store missed the copy": (
        [one("mov", touches=(store(0xB2),)), far()], {}, {}, "trampoline-overrun",
    ),
    "no PAE": (
        [far(), one("mov cr0, eax", register="cr0", value=PG, **IN_32)],
        refusal("paging-needs-pae", register="CR0"), {}, "paging-without-pae",
    ),
    "a reserved bit": (
        [one("wrmsr", register="msr", value=1 << 40, **IN_32)],
        refusal("efer-reserved", register="EFER", value=1 << 40, bits=1 << 40), {},
        "processor-refuses",
    ),
    "no MSR": ([one("wrmsr", **IN_32)], refusal("msr-unknown", register="MSR"), {},
               "processor-refuses"),
    "a bit in CR4": ([one("mov cr4, eax", **IN_32)], refusal("cr4-reserved", register="CR4"), {},
                     "processor-refuses"),
    "a limit": ([one("mov", **IN_32)], refusal("segment-limit", segment="ds"), {},
                "segment-forbids"),
    "the end of the code": ([one("mov", **IN_32)], refusal("code-limit", segment="cs"), {},
                            "gdt-entry-wrong"),
    "a selector beyond": (
        [LGDT, far()], refusal("selector-beyond-table", segment="cs"), {}, "gdt-entry-wrong",
    ),
    "a wrong entry": (
        [LGDT, far()], refusal("descriptor-type", segment="cs"), {}, "gdt-entry-wrong",
    ),
    "no lgdt": (
        [far()], {**refusal("selector-beyond-table", segment="cs"),
                  "gdtr": DescriptorTable(0, 0xFFFF)}, {}, "gdt-not-loaded",
    ),
    "lgdt by DS": (
        [one("lgdt [0xb0]", cr0=REAL, touches=(Touch(0xB0, 6, True, False),)), far()],
        refusal("selector-beyond-table", segment="cs"), {}, "lgdt-read-elsewhere",
    ),
    "the table as linked": (
        [LGDT, far()], {"gdtr": DescriptorTable(SAMPLE.addr("__image_start") + 64, 0x1F)},
        SHUTDOWN, "gdt-base-wrong",
    ),
    "a base that is no linear address": (
        [LGDT, far()], {"gdtr": DescriptorTable(0x98, 0x1F)}, SHUTDOWN, "gdt-base-wrong",
    ),
    "a base of 16 bits": (
        [replace(LGDT, touches=()), far()], {"gdtr": DescriptorTable(0x0098, 0x1F)},
        {**SHUTDOWN, "apinit_addr": 0x50000}, "gdt-base-wrong",
    ),
    "a jump to its own pointer": (
        [far(), one("addb", code=bytes(2), **IN_32)], {}, {}, "trampoline-runs-data",
    ),
    "what is at ap_entry": (
        [far(), one("movl 0x100080, %eax", touches=(AT_ENTRY,), **LONG)],
        {"left_code": 0x296BE9}, {}, "address-read-from-memory",
    ),
    "mov to CS": ([far()], refusal("mov-to-cs", segment="cs"), {}, "gdt-entry-wrong"),
    "the null selector": (
        [far(selector=1)], refusal("selector-null", segment="cs", value=1), {}, "gdt-entry-wrong",
    ),
    "hlt": ([far(), one("hlt", **IN_32)], {}, {}, "trampoline-halts"),
    "ud2": ([far(), one("ud2", **IN_32)], {}, {}, "trampoline-raises"),
    "int": ([far(), one("int 0x10", **IN_32)], {}, {}, "trampoline-raises"),
    "iret": ([one("iret", cr0=REAL)], {}, {}, "trampoline-uses-stack"),
    "a relative jump": (
        [far(), replace(one("jmp 0x1234", **LONG),
                        state=replace(one("x").state, efer=0x500, pc=COPY + 0x20, cr0=PG))],
        {"left_code": SAMPLE.addr("ap_entry") - 0x40102000 + COPY},
        {"symbols": {**SAMPLE.symbols, "cpuinit_start": 0x40102000}},
        "relative-jump-out-of-the-copy",
    ),
    "no wrmsr": ([far(), one("mov", **{**LONG, "efer": 0})], {}, {}, "long-mode-not-enabled"),
    "another MSR": (
        [far(), one("wrmsr", register="msr", msr=0x80, **IN_32), one("mov", **{**LONG, "efer": 0})],
        {}, {}, "long-mode-not-enabled",
    ),
    "another bit of EFER": (
        [far(), one("wrmsr", register="msr", msr=0xC0000080, value=1, **IN_32),
         one("mov", **{**LONG, "efer": 0})], {}, {}, "long-mode-not-enabled",
    ),
    "CR3 virtual": (
        [far(), one("mov cr3, eax", register="cr3", **IN_32),
         one("mov", **{**LONG, "cr3": PAGETABLE + VMM_BASE})], {}, SHUTDOWN, "ap-wrong-page-tables",
    ),
    "CR3 another": (
        [far(), one("mov cr3, eax", register="cr3", **IN_32),
         one("mov", **{**LONG, "cr3": 0x1000})],
        {}, SHUTDOWN, "ap-wrong-page-tables",
    ),
    "CR3 never": ([far(), one("mov", **{**LONG, "cr3": 0})], {}, SHUTDOWN, "ap-wrong-page-tables"),
    "CR4 refused by QEMU too": (
        [far(), one("mov cr4, eax", register="cr4", value=0x10020, **IN_32)], {}, SHUTDOWN,
        "processor-refuses",
    ),
}  # fmt: skip
DEATHS = {cause for *_, cause in CASES.values()}


@pytest.mark.parametrize("name", CASES)
def test_what_the_steps_show(name):
    steps, of_cpu, of_boot, cause = CASES[name]
    cpu = ap(PROTECTED_MODE, steps=tuple(steps), **of_cpu)
    found = explained(boot(cpu, **of_boot), cpu)
    assert found is not None
    assert found.cause == cause
    assert str(found.what)


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [SET_PE, far(), one("mov", **LONG)],
        [LGDT, SET_PE, far()],
    ],
)
def test_what_shows_nothing_is_not_explained(steps):
    cpu = ap(PROTECTED_MODE, steps=tuple(steps), gdtr=TABLE)
    assert explained(boot(cpu), cpu) is None


def test_a_push_of_another_ap_is_blamed_on_that_one():
    first = ap(PROTECTED_MODE, steps=(PUSH,))
    second = ap(PROTECTED_MODE, index=2, steps=(far(), one("mov", **LONG)))
    found = explained(boot(first, second), second)
    assert (found.cause, found.cpu, found.step) == ("trampoline-uses-stack", 1, PUSH)

"""Why an AP ended between physical 0 and ap_entry."""

from dataclasses import replace

import pytest
from handmade import SAMPLE, ap, boot, step

from vmmlab.diagnosis.trampoline import died_in_trampoline, last_step, missed_trampoline
from vmmlab.observe.cpu import DescriptorTable, TripleFault
from vmmlab.observe.evidence import Physical0
from vmmlab.observe.milestones import LONG_MODE, PHYSICAL_0, PROTECTED_MODE, REAL_MODE
from vmmlab.observe.place import Place
from vmmlab.x86.encode import far_jump_code
from vmmlab.x86.rules import Refusal

HERE = Place(0xF012, "trampoline", "cpuinit_start+0x12", "lab3/apinit.S", 30, "student", 0x12)
LONG = {"cr0": 0x80000031, "cr4": 0x20, "efer": 0x500, "cr3": 0x106000}
HALT = replace(step("cli"), text="hlt")
REAL_STEP = step("lgdt")
FIRST_FAR_JUMP = step("ljmpl *%cs:")
MOV_DS = replace(step("movl %eax, %ds"), register="")


def died(last=None, highest=REAL_MODE, how_ended="quiet", arch="x86_64", **changes):
    """The failure of an AP whose last step was this one."""
    steps = () if last is None else (*SAMPLE.aps[0].steps[:2], last)
    cpu = ap(highest, steps=steps, end_place=HERE, **changes)
    found = died_in_trampoline(boot(cpu, how_ended=how_ended, arch=arch), cpu, "CPU 1 comes on")
    assert (found.cpu, found.expected) == (1, "CPU 1 comes on")
    return found


@pytest.mark.parametrize(
    ("last", "highest", "cause"),
    [
        (REAL_STEP, REAL_MODE, "ap-died-in-real-mode"),
        (MOV_DS, PROTECTED_MODE, "ap-died-in-protected-mode"),
        (step("jmpq *%rax"), LONG_MODE, "ap-died-in-long-mode"),
        (None, REAL_MODE, "ap-died-in-real-mode"),
        (None, PROTECTED_MODE, "ap-died-in-protected-mode"),
        (None, LONG_MODE, "ap-died-in-long-mode"),
    ],
)
def test_the_cause_is_the_mode_of_the_last_instruction(last, highest, cause):
    found = died(last, highest)
    assert (found.cause, found.place) == (cause, str(HERE))


@pytest.mark.parametrize(
    ("last", "changes", "said"),
    [
        (MOV_DS, {"how_ended": "shutdown"}, "a triple fault at `movl %eax, %ds` ("),
        (
            MOV_DS,
            {"how_ended": "shutdown", "triple_fault": TripleFault(13, 0xF04B, 0)},
            "a triple fault at `movl %eax, %ds`, begun by #GP (13) (",
        ),
        (None, {"how_ended": "shutdown"}, "a triple fault ("),
        (HALT, {}, "it halted: with interrupts off nothing ends `hlt` ("),
        (
            MOV_DS,
            {"left_code": 0x1234},
            "`movl %eax, %ds` went to 0x1234, where there is no code (",
        ),
        (MOV_DS, {}, "it did not leave this code ("),
    ],
)
def test_what_ended_it(last, changes, said):
    assert said in str(died(last, **changes).observed)


def test_the_instruction_that_left_all_code_is_named_with_the_place():
    assert str(died(MOV_DS, left_code=0x1234).place) == f"{HERE}, `movl %eax, %ds`"


@pytest.mark.parametrize(
    ("last", "refusal", "said", "look"),
    [
        (
            MOV_DS,
            Refusal("segment-limit", 13, "ds", 0x10123, 0xFFFF),
            "accesses 0x10123 through DS, which ends at 0xffff, and causes #GP (13)",
            "Load DS, ES and SS",
        ),
        (
            REAL_STEP,
            Refusal("segment-limit", 13, "cs", 0x10002, 0xFFFF),
            "accesses 0x10002 through CS",
            "A real-mode segment ends after 64 KiB",
        ),
        (
            MOV_DS,
            Refusal("segment-null", 13, "es"),
            "accesses memory through ES, which holds no",
            "Load DS",
        ),
        (
            MOV_DS,
            Refusal("segment-read", 13, "cs"),
            "an execute-only segment, and causes #GP",
            "Load DS",
        ),
        (
            MOV_DS,
            Refusal("segment-write", 13, "cs"),
            "a read-only segment, and causes #GP",
            "Load DS",
        ),
        (
            step("movl %eax, %cr0", cr4=0, efer=0x100, cr0=1, bits=32),
            Refusal("paging-needs-pae", 13),
            "sets CR0.PG with EFER.LME set and CR4.PAE clear, and causes #GP (13)",
            "CR4.PAE before CR0.PG",
        ),
    ],
)
def test_what_a_processor_refuses(last, refusal, said, look):
    found = died(last, PROTECTED_MODE, refusal=refusal)
    assert said in str(found.observed)
    assert look in str(found.next)


@pytest.mark.parametrize(
    ("last", "changes", "look"),
    [
        (REAL_STEP, {}, "Is DS the same as CS?"),
        (FIRST_FAR_JUMP, {}, "this far jump is the first to use the GDT"),
        (step("ljmpl *0x", bits=32, **LONG | {"efer": 0}), {}, "Set EFER.LME before CR0.PG"),
        (MOV_DS, {}, "Long mode needs CR4.PAE"),
        (step("movl %eax, %ds", cr4=0x20, efer=0), {}, "EFER.LME is not set"),
        (step("jmpq *%rax", **LONG), {}, "Check CR3 (the physical address of ap_pagetable)"),
        (step("movl %eax, %ds", efer=0x100), {"arch": "i386"}, "EFER.LME is set"),
        (step("movl %eax, %ds", efer=0), {"arch": "i386"}, "they need CR4.PAE before CR0.PG"),
        (step("movl %eax, %ds", efer=0, cr4=0x20), {"arch": "i386"}, "hold flat 32-bit segments"),
    ],
)
def test_where_to_look_depends_on_the_registers(last, changes, look):
    assert look in str(died(last, PROTECTED_MODE, **changes).next)


def test_before_the_first_far_jump_the_gdt_is_told():
    told = died(FIRST_FAR_JUMP, PROTECTED_MODE, gdtr=DescriptorTable(0xF098, 0x1F))
    assert "lgdt has loaded a GDT with base 0xf098, limit 0x1f" in str(told.observed)
    told = died(FIRST_FAR_JUMP, PROTECTED_MODE, gdtr=None)
    assert "lgdt has loaded a GDT with base 0x0, limit 0x0" in str(told.observed)
    assert "lgdt" not in str(died(MOV_DS, PROTECTED_MODE).observed)


@pytest.mark.parametrize(
    ("during", "said"),
    [
        (b"\x90" * 16, "the bytes at physical 0 are 90 90 90 90 90, which is not a far jump"),
        (None, "which is not a far jump"),
        (far_jump_code(0x1000, 0x20), "the far jump goes to 0x1000:0x0020, which is physical 0x10"),
    ],
)
def test_an_ap_that_missed_the_trampoline(during, said):
    cpu = ap(PHYSICAL_0, end_place=Place(0x10020, "elsewhere"))
    found = missed_trampoline(boot(cpu, physical_0=Physical0(during=during)), cpu)
    assert (found.cause, found.cpu) == ("ap-missed-the-trampoline", 1)
    assert said in str(found.observed)
    assert f"it ended at 0x10020 after {SAMPLE.aps[0].steps[-1].text}" in str(found.observed)
    assert far_jump_code(0xF00, 0).hex(" ") in str(found.expected)


def test_without_steps_none_is_named():
    cpu = ap(PHYSICAL_0, steps=())
    assert last_step(cpu) is None
    assert " after " not in str(missed_trampoline(boot(cpu), cpu).observed)
    assert last_step(ap(REAL_MODE)) == SAMPLE.aps[0].steps[-1]

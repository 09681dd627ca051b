"""The given panic and nmi_entry, with lab 5's reference and an init function that provokes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

KIT = Path(__file__).resolve().parents[3]
REFERENCE = (KIT / "reference/lab5/panic_nmi.c").read_text(encoding="utf-8")
HALTED = "vmmlab: all CPUs have halted\n"
EXPERIMENT = """
#include "initfunc.h"
#include "printf.h"

static void
experiment (void)
{
%s
	for (;;)
		asm_pause ();
}

INITFUNC ("vmm0", experiment);
"""
COUNTS = """
#include "apic.h"
#include "asm.h"
#include "initfunc.h"
#include "panic.h"
#include "pcpu.h"
#include "printf.h"

static volatile u32 nmi_count, ready;

void
panic_wakeup_all (void)
{
}

/* Changes every register that a C function may change, and the flags. */
asmlinkage void
nmi_handler (void)
{
	asm volatile("std; xor %%eax, %%eax; xor %%ecx, %%ecx; xor %%edx, %%edx;"
		"xor %%esi, %%esi; xor %%edi, %%edi; xor %%r8d, %%r8d;"
		"xor %%r9d, %%r9d; xor %%r10d, %%r10d; xor %%r11d, %%r11d;"
		"cld"
		:
		:
		: "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10",
		"r11", "cc", "memory");
	nmi_count++;
}

/* Return whether all registers are unchanged after three NMIs. */
static u32
interrupted (void)
{
	u32 same = 0;

	asm volatile("mov %%rsp, %%rbx; sub $3, %%rsp; push $1; push $2;"
		"mov $1, %%eax; mov $2, %%ecx; mov $3, %%edx; mov $4, %%esi;"
		"mov $5, %%edi; mov $6, %%r8d; mov $7, %%r9d; mov $8, %%r10d;"
		"mov $9, %%r11d; movl $1, ready;"
		"1: pause; cmpl $3, nmi_count; jb 1b;"
		"cmp $1, %%rax; jne 2f; cmp $2, %%rcx; jne 2f;"
		"cmp $3, %%rdx; jne 2f; cmp $4, %%rsi; jne 2f;"
		"cmp $5, %%rdi; jne 2f; cmp $6, %%r8; jne 2f;"
		"cmp $7, %%r9; jne 2f; cmp $8, %%r10; jne 2f;"
		"cmp $9, %%r11; jne 2f; cmpq $2, (%%rsp); jne 2f;"
		"cmpq $1, 8(%%rsp); jne 2f; mov $1, %0; 2: mov %%rbx, %%rsp"
		: "+&r"(same)
		:
		: "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9",
		"r10", "r11", "cc", "memory");
	return same;
}

static void
experiment (void)
{
	u32 i, same;

	if (currentcpu->cpunum == 1) {
		same = interrupted ();
		printf ("unchanged: %u, NMIs: %u\\n", same, nmi_count);
	}
	if (currentcpu->cpunum != 0)
		return;
	while (!ready)
		asm_pause ();
	for (i = 0; i < 3; i++) {
		apic_write_icr (1, ICR_ASSERT | ICR_NMI);
		while (nmi_count == i)
			asm_pause ();
	}
}

INITFUNC ("vmm0", experiment);
"""


def printed(folder: Path, text: str, cpus: int) -> str:
    """What a boot prints with this as lab 5's file; it must end with all CPUs halted."""
    path = folder / "lab5/panic_nmi.c"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("vmmlab")), "run", "lab5", "--submission", str(folder),
         "--cpus", str(cpus), "--timeout", "120"],
        cwd=KIT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.replace("\r", "")
    assert said.endswith(HALTED), said
    return said


def provoked(folder: Path, body: str, cpus: int = 4) -> str:
    return printed(folder, REFERENCE + EXPERIMENT % body, cpus)


@pytest.mark.parametrize("cpu", [0, 2])
def test_the_others_stop(tmp_path: Path, cpu: int) -> None:
    said = provoked(tmp_path, f'\tif (currentcpu->cpunum == {cpu})\n\t\tpanic ("on purpose");')
    assert len(re.findall(rf"^panic: CPU {cpu} \(APIC id \d\): on purpose$", said, re.M)) == 1


def test_all_panic_at_once(tmp_path: Path) -> None:
    """The first message is whole; the others are whole, cut off, or not there: never mixed."""
    said = provoked(tmp_path, '\tpanic ("abcdefghijklmnopqrstuvwxyz");', cpus=8)
    lines = [line for line in said.splitlines() if "panic" in line]
    whole = r"panic: CPU \d \(APIC id \d\): abcdefghijklmnopqrstuvwxyz"
    assert re.fullmatch(whole, lines[0])
    assert len(lines) <= 8
    for line in lines[1:-1]:
        assert re.fullmatch(whole, line)


def test_a_panic_within_a_panic(tmp_path: Path) -> None:
    body = '\tif (currentcpu->cpunum == 1)\n\t\tpanic ("%s", (char *)0xC8000000);'
    said = provoked(tmp_path, body)
    assert said.count("panic: CPU 1") == 1
    assert "page fault" not in said


def test_a_cpu_goes_on_where_it_was_if_the_handler_returns(tmp_path: Path) -> None:
    assert "unchanged: 1, NMIs: 3\n" in printed(tmp_path, COUNTS, cpus=2)

"""Code that hangs, resets, floods or dies: a verdict with a cause, in bounded time."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vmmlab.course.reference import reference

VMMLAB = Path(sys.executable).with_name("vmmlab")


def lab1_with(body: str) -> dict[str, bytes]:
    """A lab 1 whose vmm_main does just this."""
    text = f"""
#include "ap.h"
#include "printf.h"
asmlinkage void
vmm_main (struct multiboot_info *mi_arg)
{{
	(void)mi_arg;
	{body}
}}
"""
    calls = "void initfunc_init (void) {} void call_initfunc (char *id) {(void)id;}"
    return {"lab1/vmm_main.c": text.encode(), "lab1/initfunc.c": calls.encode()}


def first_failure(report):
    return next(check for check in report.checks if check.outcome == "fail")


@pytest.mark.parametrize(
    ("body", "cause", "observed"),
    [
        ("for (;;) ;", "vmm-main-stuck", "first call of the three"),
        (
            'for (;;) printf ("all points! all points!\\n");',
            "vmm-main-stuck",
            "first call of the three",
        ),
        ('asm volatile ("ud2");', "bsp-exception", "exception 6"),
        ("*(volatile u32 *)0xC0000000 = 1;", "bsp-exception", "exception 14"),
        (
            "struct { u16 size; u64 base; } __attribute__ ((packed)) none = {0, 0};"
            'asm volatile ("lidt %0; ud2" : : "m" (none));',
            "bsp-triple-fault",
            "the machine reset",
        ),
        ('asm volatile ("outb %0, %1" : : "a" ((u8)0xFE), "Nd" ((u16)0x64));', None, ""),
    ],
    ids=["hangs", "floods the serial line", "ud2", "page fault", "triple fault", "resets"],
)
def test_a_vmm_main_that_goes_nowhere(grade, body, cause, observed):
    report = grade("lab1", lab1_with(body))
    assert report.points == 0
    failure = first_failure(report)
    assert cause in (failure.cause, None)
    assert observed in str(failure.observed)


def test_an_ap_that_triple_faults(course, grade):
    """The first instruction of 32-bit code is an undefined one, and there is no IDT."""
    files = dict(reference(course, ["lab3"], None).files)
    text = files["lab3/apinit.S"].decode()
    files["lab3/apinit.S"] = text.replace("cpuinit32:\n", "cpuinit32:\n\tud2\n", 1).encode()
    report = grade("lab3", files)
    failure = next(check for check in report.checks if check.id == "lab3.ladder.long")
    assert failure.cause == "trampoline-raises"
    assert "`ud2` raises an exception" in str(failure.observed)
    assert "lab3/apinit.S:" in str(failure.place)


def test_a_bsp_that_panics_does_not_answer_for_the_exceptions_of_aps(course, grade):
    """Each AP takes an exception on its own stack; the BSP panics when all of them are counted."""
    files = dict(reference(course, ["lab4"], None).files)
    text = files["lab4/handshake.c"].decode()
    for right, wrong in (
        ("initproc_ap ();", 'asm volatile ("ud2");'),
        ("break;", 'panic ("gave up");'),
    ):
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    report = grade("lab4", files | {"lab4/handshake.c": text.encode()})
    failed = [check for check in report.checks if check.outcome == "fail"]
    panics = [check for check in failed if check.cause == "bsp-panic"]
    assert panics
    assert all(str(check.observed).endswith("gave up") for check in panics)
    others = {check.cause for check in failed} - {"bsp-panic"}
    assert others <= {"ap-exception"}  # in some boots the APs end before the BSP panics


def qemu_that(tmp_path: Path, does: str) -> dict[str, str]:
    """An environment in which QEMU is a script around the real one."""
    real = shutil.which("qemu-system-x86_64")
    script = tmp_path / "qemu-system-x86_64"
    script.write_text(f'#!/bin/sh\ncase "$*" in *--version*) exec {real} "$@";; esac\n{does}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return {**os.environ, "VMMLAB_QEMU": str(script)}


def grade_reference(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [VMMLAB, "grade", "lab2", "--submission", "reference"],
        cwd=Path(__file__).parents[3],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "does",
    ["echo out of memory >&2; exit 1", 'timeout -s KILL 0.05 qemu-system-x86_64 "$@" </dev/null'],
    ids=["at once", "in the middle"],
)
def test_qemu_dying_is_never_a_zero(tmp_path, does):
    done = grade_reference(qemu_that(tmp_path, does))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "needs attention, no grade yet" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_two_gradings_at_once_agree(course, tmp_path):
    """Of one folder, with one cache: both say what one alone says."""
    shutil.copytree(course.reference_dir, tmp_path / "mine")
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    mine = tmp_path / "mine"
    command = [VMMLAB, "grade", "lab3", "--submission", mine, "--course", course.root]
    command.append("--no-sandbox")  # where there is one it is used all the same
    both = [
        subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        assert "lab3  40/40 points" in out

"""`vmmlab debug` of a failing check of each lab: the helpers answer, whatever the lab boots."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from test_in_a_workspace import here, master, needs_gdb, nothing_left_running, plain, sh

from vmmlab.author import mutants
from vmmlab.course.load import load_course

__all__ = ["here", "master", "plain"]

ROOT = Path(__file__).resolve().parents[3]
COURSE = load_course(ROOT)
MUTANTS = {one.id: one for one in mutants.load(COURSE)}

pytestmark = [pytest.mark.full, needs_gdb]

COMMANDS = """\
cpus
milestones
apinit
icr
physmem 0x100000 16
code
x/4i $pc
info threads
stepi
printf "stepped\\n"
thread 2
code
stepi
printf "stepped too\\n"
quit
"""
STOPS = (
    r"CPU \d+ is (about to execute|at the beginning of)|"
    r"The boot has ended\. This is where CPU \d+ is\."
)

# A boot with a BIOS, by the EFI loader or with a guest; CPUs that run, halt, wait or have died.
DEBUGGED = [
    "lab1.call.exact",  # no AP has started
    "lab1.uefi.inverted",  # UEFI
    "lab2.aps.only-once",
    "lab3.sipi.vector-of-trampoline",
    "lab4.number.apic-id",  # all CPUs are halted in the end
    "lab4.wait.no-end",  # an AP that never comes
    "lab5.handler.takes-ap-lock",
    "lab6.bios.bytes",
    "lab6.call.psabi",  # in the firmware
    "lab7.run.no-host-load",
    "lab7.io.in-8",  # a guest
    "lab8.init.no-user",
    "lab9.init.after-nmi",
    "lab10.state.fs-gs-own",  # a guest that UEFI has started
]


def test_every_lab_with_checks_is_debugged() -> None:
    labs = {MUTANTS[name].lab for name in DEBUGGED}
    assert labs == {name for name, lab in COURSE.labs.items() if lab.files}


@pytest.mark.parametrize("name", DEBUGGED)
def test_a_failing_check_is_debugged(here: Path, plain: Mapping[str, str], name: str) -> None:
    mutant = MUTANTS[name]
    for path, data in mutants.apply(COURSE, mutant).items():
        (here / path).write_bytes(data)
    line = f".venv/bin/vmmlab debug {mutant.check} --arch {mutant.arch} 2>&1"
    with nothing_left_running():
        done = sh(here, plain, line, stdin=COMMANDS, patience_s=300)
    said = done.stdout
    assert done.returncode == 0, said
    assert re.search(rf"^{re.escape(mutant.check)}: ", said, re.MULTILINE), said
    assert re.search(STOPS, said), said
    assert re.search(r"^[* ] CPU 0  (real|protected|long) mode  ", said, re.MULTILINE), said
    assert re.search(r"^    CS:IP 0x\w+:0x\w+  SP 0x\w+  CR0 0x\w+", said, re.MULTILINE)
    assert re.search(r"^[* ] CPU 1$", said, re.MULTILINE), "milestones"
    assert re.search(r"^the copy: 0x\w+ to 0x\w+; \d+ of \d+ bytes", said, re.MULTILINE)
    assert re.search(r"INIT, to|no write to the ICR", said), "icr"
    assert re.search(r"^0x00100000  02 b0 ad 1b ", said, re.MULTILINE), "the multiboot header"
    assert re.search(r"^=> 0x\w+ <[^>]*>  \[(16|32|64)\]  \w", said, re.MULTILINE), "code"
    assert re.search(r"Thread 1\.2", said), "info threads"
    assert "stepped\n" in said
    assert "stepped too\n" in said
    for wrong in ("Traceback", "Cannot access memory", "Error in sourced", "Python Exception"):
        assert wrong not in said, said


def test_a_failing_check_is_a_squiggle_at_its_line(here: Path, plain: Mapping[str, str]) -> None:
    """The output of the task of VS Code that grades, in a real workspace."""
    shutil.copytree(ROOT / "reference", here, dirs_exist_ok=True)
    path = here / "lab3" / "apinit.S"
    path.write_text(path.read_text().replace("lgdtl\t%cs:", "lgdtl\t"))
    line = path.read_text().split("\n").index("\tlgdtl\tCS_OFFSET (gdtr)") + 1
    done = sh(here, plain, "make squiggles LAB=lab3")
    wanted = rf"^lab3/apinit\.S:{line}:1: error: .*\[lab3\.ladder\.protected\]$"
    assert re.search(wanted, done.stdout, re.MULTILINE), done.stdout + done.stderr

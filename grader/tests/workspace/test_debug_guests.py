"""`vmmlab debug` for the checks of labs 8 to 10: it stops in the very call, boot or function."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from vmmlab.author.mutants.apply import apply
from vmmlab.author.mutants.model import load, of_names
from vmmlab.course.load import load_course
from vmmlab.course.reference import reference_text

ROOT = Path(__file__).resolve().parents[3]
VMMLAB = Path(sys.prefix) / "bin" / "vmmlab"
ROUGHLY_S = 180
ASKED = "info args\ncpus\nmilestones\nicr\nphysmem 0xf000 16\napinit\nquit\n"

pytestmark = [
    pytest.mark.skipif(not VMMLAB.is_file(), reason="vmmlab is not installed here"),
    pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed"),
]


def debugged(
    master: Path,
    plain: Mapping[str, str],
    mutant: str,
    check: str,
    *,
    asked: str = "",
    was: str = "",
    now: str = "",
) -> str:
    """Write the reference with a mutant into a workspace; return what debugging a check prints.

    Args:
        master: the workspace.
        plain: its environment.
        mutant: the mutant.
        check: the check.
        asked: commands of gdb that are typed first.
        was: a piece of the mutant, in place of which
        now: this is written.
    """
    course = load_course(ROOT)
    for lab in course.labs.values():
        for path in lab.files:
            (master / path).write_text(reference_text(course, path))
    (wrong,) = of_names(load(course), [mutant])
    for path, data in apply(course, wrong).items():
        text = data.decode()
        assert was in text
        (master / path).write_text(text.replace(was, now) if was else text)
    done = subprocess.run(
        ["/bin/bash", "-c", f".venv/bin/vmmlab debug {check} 2>&1"],
        cwd=master,
        env=plain,
        input=asked + ASKED,
        capture_output=True,
        text=True,
        timeout=ROUGHLY_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Ending remote debugging" in done.stdout
    return done.stdout


def values(said: str) -> dict[str, int]:
    """Return the numbers that `info args` showed, by name."""
    found = re.findall(r"^(?:\(gdb\) )?(\w+) = (0x[0-9a-f]+|\d+)$", said, re.MULTILINE)
    return {name: int(number, 0) for name, number in found}


def test_the_very_call_of_np_map_by_the_grader(master: Path, plain: Mapping[str, str]) -> None:
    said = debugged(master, plain, "lab8.map.zero-is-all", "lab8.map.rest")
    assert "CPU 0 is at the beginning of np_map, in the call that the evidence is about." in said
    assert values(said)["len"] == 0, "the call of the evidence, not the first one"
    assert f"after np_map ({values(said)['gpa']:#x}, " in said
    assert "this machine has one CPU" in said


@pytest.mark.full
def test_the_very_question_to_localapic_is_destination(
    master: Path, plain: Mapping[str, str]
) -> None:
    ids = r'printf "meant %u, sender %u, by %u\n", v->apic_id, sender->apic_id, vcpus[0]->apic_id'
    said = debugged(
        master, plain, "lab9.destination.no-broadcast", "lab9.destination.id", asked=f"{ids}\n"
    )
    asked = re.search(
        r"of CPU 0 to all, by destination 0xffffffff: CPU [12], whose APIC id is (\d+), is meant",
        said,
    )
    assert asked, said
    assert values(said)["dest"] == 0xFFFFFFFF
    shown = re.search(r"meant (\d+), sender (\d+), by (\d+)", said)
    assert shown, said
    meant, sender, of_the_bsp = shown.groups()
    assert meant == asked[1]
    assert sender == of_the_bsp != meant
    assert "* CPU 0  long mode  localapic_is_destination" in said
    assert "CPU 0: SIPI, vector 0x00, to all CPUs except the sending one" in said


@pytest.mark.full
def test_the_boot_in_which_it_fails_of_several(master: Path, plain: Mapping[str, str]) -> None:
    """With 1 CPU all is well; with 8 the last ones never begin."""
    said = debugged(master, plain, "lab9.sipi.eighth-lost", "lab9.guest.cpus")
    assert "  CPU 7  long mode  localapic_wait_for_sipi" in said
    assert "CPU 0 is at the beginning of localapic_signal_sipi, for the first time." in said


@pytest.mark.full
def test_a_function_that_was_never_called(master: Path, plain: Mapping[str, str]) -> None:
    call = "localapic_signal_init (vcpus[i]);"
    said = debugged(
        master,
        plain,
        "lab9.icr.bsp-left-out",
        "lab9.init.self",
        was=call,
        now="{ if (vcpus[i]->startup == VCPU_RUNS) " + call + " }",
    )
    assert "The boot has ended, and localapic_signal_init was not called." in said
    assert "observed: the guest of CPU 0 goes on" in said


@pytest.mark.full
def test_a_boot_from_firmware(master: Path, plain: Mapping[str, str]) -> None:
    said = debugged(master, plain, "lab10.return.control-cleared", "lab10.guest.begins")
    assert "observed: VMEXIT_INVALID" in said
    assert "CPU 0 is at the beginning of svm_state_uefi" in said
    assert "=> 0x" in said
    assert "lab10/delayed.c:" in said


@pytest.mark.full
def test_an_instruction_in_a_function_that_was_stepped(
    master: Path, plain: Mapping[str, str]
) -> None:
    """The boot goes on after the instruction, and ends in another function of the lab."""
    said = debugged(master, plain, "lab6.return.no-cli", "lab6.return.interrupts")
    assert "CPU 0 is at the beginning of uefi_call, for the first time." in said
    assert "A boot that does not end by itself runs until Ctrl-C." in said
    assert "nothing has been copied to 0xf000 yet" in said

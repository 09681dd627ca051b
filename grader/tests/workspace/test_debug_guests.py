"""`vmmlab debug` for the checks of labs 8 to 10: it stops in the very call, boot or function."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from vmmlab.author.mutants.apply import apply
from vmmlab.author.mutants.model import load, of_names
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.reference import reference_text
from vmmlab.student.new import new_workspace
from vmmlab.workspace.new import Answers

ROOT = Path(__file__).resolve().parents[3]
VMMLAB = Path(sys.prefix) / "bin" / "vmmlab"
ROUGHLY_S = 180
ASKED = "info args\ncpus\nmilestones\nicr\nphysmem 0xf000 16\napinit\nquit\n"

pytestmark = [
    pytest.mark.skipif(not VMMLAB.is_file(), reason="vmmlab is not installed here"),
    pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed"),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment of a new shell, with a build cache only for these tests."""
    return {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(tmp_path_factory.mktemp("home")),
        "LC_ALL": "C.UTF-8",
        "XDG_STATE_HOME": os.environ["XDG_STATE_HOME"],
    }


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, plain: Mapping[str, str]) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", plain["HOME"] + "/.cache")
        return new_workspace(
            tmp_path_factory.mktemp("made") / "vmm",
            load_course(ROOT),
            Answers(student="Ada", cohort=Cohort.derive("dev")),
        )


def debugged(here: Path, plain: Mapping[str, str], mutant: str, check: str) -> str:
    """Write the reference with a mutant into a workspace; return what debugging a check prints."""
    course = load_course(ROOT)
    for lab in course.labs.values():
        for path in lab.files:
            (here / path).write_text(reference_text(course, path))
    (wrong,) = of_names(load(course), [mutant])
    for path, data in apply(course, wrong).items():
        (here / path).write_bytes(data)
    done = subprocess.run(
        ["/bin/bash", "-c", f".venv/bin/vmmlab debug {check} 2>&1"],
        cwd=here,
        env=plain,
        input=ASKED,
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


def test_the_very_call_of_np_map_by_the_grader(here: Path, plain: Mapping[str, str]) -> None:
    said = debugged(here, plain, "lab8.map.zero-is-all", "lab8.map.rest")
    assert "CPU 0 is at the beginning of np_map, in the call that the evidence is about." in said
    assert values(said)["len"] == 0, "the call of the evidence, not the first one"
    assert f"after np_map ({values(said)['gpa']:#x}, " in said
    assert "this machine has one CPU" in said


@pytest.mark.full
def test_the_very_question_to_localapic_is_destination(
    here: Path, plain: Mapping[str, str]
) -> None:
    said = debugged(here, plain, "lab9.destination.no-broadcast", "lab9.destination.id")
    assert "of CPU 2 to all, by destination 0xffffffff: CPU 0 is meant" in said
    assert values(said)["dest"] == 0xFFFFFFFF
    assert "* CPU 0  long mode  localapic_is_destination" in said
    assert "CPU 0: SIPI, vector 0x00, to all CPUs except the sending one" in said


@pytest.mark.full
def test_the_boot_in_which_it_fails_of_several(here: Path, plain: Mapping[str, str]) -> None:
    """With 1 CPU all is well; with 8 the last ones never begin."""
    said = debugged(here, plain, "lab9.sipi.eighth-lost", "lab9.guest.cpus")
    assert "  CPU 7  long mode  localapic_wait_for_sipi" in said
    assert "CPU 0 is at the beginning of localapic_signal_sipi, for the first time." in said


@pytest.mark.full
def test_a_function_that_was_never_called(here: Path, plain: Mapping[str, str]) -> None:
    said = debugged(here, plain, "lab9.icr.bsp-left-out", "lab9.init.self")
    assert "The boot has ended, and localapic_signal_init was not called." in said
    assert "observed: the guest of CPU 0 goes on" in said


@pytest.mark.full
def test_a_boot_from_firmware(here: Path, plain: Mapping[str, str]) -> None:
    said = debugged(here, plain, "lab10.return.control-cleared", "lab10.guest.begins")
    assert "observed: VMEXIT_INVALID" in said
    assert "CPU 0 is at the beginning of svm_state_uefi" in said
    assert "=> 0x" in said
    assert "lab10/delayed.c:" in said

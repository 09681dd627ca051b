"""A step that is not written stops its CPU with a line that names step, file and line.

Neither the VMM nor the grader has a list of the steps: the steps here are of no lab of the course.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.course.reference import reference
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.builder import Builder
from vmmlab.images.model import BuildOptions
from vmmlab.images.sources import FromReference

KIT = Path(__file__).resolve().parents[3]
ARCHES = ("x86_64", "i386")
SAYS = "write what the comment there says."
CPUS = 4
OVER = "vmmlab: a CPU has stopped at a TODO, and the others wait for it\n"
"""How a boot ends that does not run into the time-out."""

# The lab that is booted, what of it is written, the last file, and the steps there: old and new.
IN_ASSEMBLY = {
    "real mode": ("lab3", (1, 2, 3, 4, 7), "lab3/apinit.S", "lab3_5", "lab97_12"),
    "protected mode": ("lab3", (1, 2, 3, 4, 5, 7), "lab3/apinit.S", "lab3_6", "lab98_3"),
    "paging": ("lab4", (2, 3, 4, 5), "lab4/apinit_enter.S", "lab4_1", "lab99_1"),
}


@pytest.fixture(scope="module")
def course() -> Course:
    return load_course(KIT)


def run(lab: str, submission: Path, *options: str) -> str:
    """What a boot prints."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("vmmlab")), "run", lab, "--submission", str(submission),
         "--cpus", str(CPUS), "--timeout", "120", *options],
        cwd=KIT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def in_assembly(course: Course, kind: str) -> tuple[str, dict[str, bytes], str]:
    """A lab, its files with an unknown step in assembly, and the line that the boot must print."""
    lab, written, path, old, new = IN_ASSEMBLY[kind]
    steps = [f"{lab}.{number}" for number in written]
    files = dict(reference(course, [lab], steps).files)
    text = files[path].decode()
    files[path] = text.replace(f"({old})", f"({new})").encode()
    number = text[: text.index(f"({old})")].count("\n") + 1
    return lab, files, f"TODO({new.replace('_', '.')}) in {path}:{number}: {SAYS}"


def written_to(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_step_is_printed_once(course: Course, tmp_path: Path) -> None:
    """All CPUs come to the same barrier, one after the other or at once."""
    files = dict(reference(course, ["lab4"], [f"lab4.{number}" for number in range(1, 5)]).files)
    printed = run("lab4", written_to(tmp_path, files))
    assert printed.count("TODO(") == printed.count(SAYS) == 1
    assert ", sync_all_processors: write what" in printed
    assert printed.endswith("vmmlab: all CPUs have halted\n")


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("kind", IN_ASSEMBLY)
def test_any_step_in_assembly_is_printed_once(
    course: Course, tmp_path: Path, kind: str, arch: str
) -> None:
    lab, files, line = in_assembly(course, kind)
    printed = run(lab, written_to(tmp_path, files), "--arch", arch).replace("\r", "")
    assert f"\n{line}\n" in printed
    assert printed.count("TODO(") == 1
    assert printed.endswith(OVER)


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("kind", IN_ASSEMBLY)
@pytest.mark.skipif(not shutil.which("clang"), reason="no clang")
def test_clang_assembles_the_same_text(
    course: Course, tmp_path: Path, kind: str, arch: str
) -> None:
    lab, files, line = in_assembly(course, kind)
    builder = Builder(
        course.tree,
        course,
        Sandbox.choose(require=False),
        tmp_path,
        FromReference(course.reference_dir),
    )
    options = BuildOptions(compiler="clang", arch=arch)
    image = builder.build(lab, files, Cohort.derive("dev"), options).elf.read_bytes()
    step, where = line.split(" in ")
    path, number = where.split(":")[:2]
    if lab == "lab3":
        assert f"{line}\r\n\0".encode() in image
    else:  # vmm_todo makes the line
        assert f"{step[5:-1]}\0{path}\0".encode() in image
        assert int(number) > 0

"""The reduced record of the reference: what is in it, and that nothing else gets into a release."""

from __future__ import annotations

import json
import shutil

import pytest
from recordings import ReplayRunner, load, names
from records import COURSE, boot

from vmmlab.author import release
from vmmlab.author.right_runs import right_runs
from vmmlab.base.errors import CourseError
from vmmlab.report.reduced import NONE, file_of, read, reduced

RECORDED = [
    (lab, arch)
    for lab in COURSE.labs
    for arch in COURSE.lab(lab).arches
    if (lab if arch == "x86_64" else f"{lab}.{arch}") in names()
]


@pytest.mark.parametrize(("lab", "arch"), RECORDED)
def test_the_committed_record_is_that_of_the_recorded_boots(lab, arch):
    recording = load(lab if arch == "x86_64" else f"{lab}.{arch}")
    made = right_runs(COURSE, lab, arch, ReplayRunner(recording))
    path = COURSE.labs_dir / lab / file_of(arch)
    assert path.read_text("utf-8") == made.to_json(), (
        f"run python -m vmmlab.author.right_runs {lab}"
    )


def test_it_is_of_open_scenarios_only():
    names = {scenario.partition("(")[0] for scenario in load("lab3").boots}
    assert set(read(COURSE.labs_dir / "lab3" / file_of("x86_64")).runs) == names


def test_another_boot_gives_another_record():
    assert reduced(boot("lab3", "ladder")) != reduced(boot("lab3.real.no-pe", "ladder"))


def test_a_lab_without_one():
    assert read(COURSE.labs_dir / "lab3" / "none.json") == NONE


def data():
    return json.loads((COURSE.labs_dir / "lab3" / file_of("x86_64")).read_text("utf-8"))


def first(made):
    """The first milestone of an AP."""
    return made["runs"]["ladder"]["cpus"][1][0]


def change(made, key, value):
    first(made)[key] = value


def run(made):
    return made["runs"]["ladder"]


MORE = {
    "an instruction": lambda made: change(made, "text", "lgdt cs:[0xb8]"),
    "bytes": lambda made: change(made, "code", "fa2e66f0ff06"),
    "where a CPU is": lambda made: change(made, "pc", 0xF000),
    "a stack pointer": lambda made: change(made, "rsp", 0x1000),
    "steps": lambda made: run(made).update(steps=[[0xF000]]),
    "steps as a CPU": lambda made: run(made)["cpus"].append([[0xF000, 0xF001]]),
    "a number with 64 bits in CR0": lambda made: change(made, "cr0", 0xFA2E66F0FF06),
    "bytes in CR3": lambda made: change(made, "cr3", 0x40100ABC),
    "bytes in EFER": lambda made: change(made, "efer", 0x40100080),
    "text in a register": lambda made: change(made, "cr4", "lgdt"),
    "text as a milestone": lambda made: change(made, "milestone", "mov %eax, %cr0"),
    "text as a mode": lambda made: change(made, "mode", "mov %eax, %cr0"),
    "a milestone that no CPU has": lambda made: change(made, "milestone", "trampoline+0x36"),
    "text in a scenario": lambda made: made["runs"].update({"mov %eax": run(made)}),
    "text beside the runs": lambda made: made.update(source="cli"),
    "bytes as targets": lambda made: run(made)["ipis"][0].update(targets=[0xFA2E66]),
    "the ICR as written": lambda made: run(made)["ipis"][0].update(low=0xC4500),
    "another version": lambda made: made.update(schema="vmmlab/right-runs/2"),
}


@pytest.mark.parametrize("what", MORE)
def test_a_record_that_holds_more_is_refused(what, tmp_path):
    made = data()
    MORE[what](made)
    path = tmp_path / "right-runs.json"
    path.write_text(json.dumps(made), encoding="utf-8")
    with pytest.raises(CourseError, match="not a reduced record"):
        read(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00" * 99, " " * ((1 << 20) + 1)])
def test_what_is_no_record_is_refused(text, tmp_path):
    path = tmp_path / "right-runs.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CourseError):
        read(path)


def lab_folder(tmp_path, made):
    source = tmp_path / "lab3"
    shutil.copytree(COURSE.labs_dir / "lab3", source)
    (source / file_of("x86_64")).write_text(json.dumps(made), encoding="utf-8")
    return source


def test_a_release_has_the_record(tmp_path):
    release.copy_lab(lab_folder(tmp_path, data()), tmp_path / "released")
    assert read(tmp_path / "released" / file_of("x86_64")).runs


def test_a_release_refuses_a_record_that_holds_more(tmp_path):
    made = data()
    change(made, "text", "lgdt cs:[0xb8]")
    with pytest.raises(CourseError, match="not a reduced record"):
        release.copy_lab(lab_folder(tmp_path, made), tmp_path / "released")
    assert not (tmp_path / "released" / file_of("x86_64")).exists()

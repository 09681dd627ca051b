"""What editors get: commands that compile, tasks, and a verdict as a squiggle at its line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.reference import reference
from vmmlab.report.export.findings import editor
from vmmlab.report.export.sheet import Line, Remark, Sheet
from vmmlab.student.editor import FILE, write_commands

ROOT = Path(__file__).resolve().parents[3]
TREE = ROOT / "vmm-skeleton" / "{{cookiecutter.slug}}"


def commented(path: Path) -> object:
    """Return JSON with comment lines, as VS Code reads it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return json.loads("\n".join(line for line in lines if not line.strip().startswith("//")))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    root = tmp_path / "a b"
    shutil.copytree(TREE, root)
    for name, data in reference(load_course(ROOT), ["lab3"]).files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    (root / "cohort.h").write_text(Cohort.derive("dev").header())
    return root


@pytest.mark.parametrize("arch", ["x86_64", "i386"])
def test_each_command_compiles_its_file(here: Path, arch: str) -> None:
    write_commands(here, arch)
    entries = json.loads((here / FILE).read_text())
    files = {entry["file"] for entry in entries}
    assert {"lab3/ap_start.c", "lab3/apinit.S", "core/mm.c"} <= files
    for entry in entries:
        if entry["file"] in ("lab3/ap_start.c", "lab3/apinit.S", "core/mm.c"):
            words = [*entry["arguments"], "-fsyntax-only"]
            done = subprocess.run(words, cwd=entry["directory"], capture_output=True, check=False)
            assert done.returncode == 0, done.stderr


def test_it_is_written_only_if_it_changes(here: Path) -> None:
    write_commands(here, "x86_64")
    before = (here / FILE).stat().st_mtime_ns
    write_commands(here, "x86_64")
    assert (here / FILE).stat().st_mtime_ns == before
    write_commands(here, "i386")
    assert "-m32" in (here / FILE).read_text()


def test_the_files_of_vs_code_are_json_and_name_goals_of_the_makefile() -> None:
    tasks = commented(TREE / ".vscode" / "tasks.json")
    assert isinstance(tasks, dict)
    goals = set(re.findall(r"^([a-z]+):", (TREE / "Makefile").read_text(), re.MULTILINE))
    for task in tasks["tasks"]:
        assert task["command"] == "make"
        assert task["args"][0] in {*goals, "${fileDirnameBasename}"}
    for name in ("settings.json", "extensions.json"):
        assert commented(TREE / ".vscode" / name)


def sheet() -> Sheet:
    """A report with a failing check, one that waits, and a message of the compiler."""
    far = "Every AP sets CR0.PE and continues in 32-bit code."
    file = "lab3/apinit.S"
    lines = (
        Line("lab3.ladder.protected", far, "fail", 0, 2, "lgdt\nread", file=file, line=63),
        Line("lab3.ipi.init", "An INIT is sent to every AP.", "partial", 1, 2, file=file),
        Line("lab3.counter", "Every AP adds one.", "skipped", 0, 2, "waits", file=file, line=1),
        Line("lab3.boot.cpus", "Every CPU parks.", "fail", 0, 2, "no file is known"),
    )
    remarks = (Remark("compiler", "note", "declared here", "lab3/ap_start.c", 7, 3),)
    return Sheet("lab3", 1, 8, lines, remarks, "", 1.0, "0", False)


def test_a_failing_check_is_a_squiggle_at_its_line() -> None:
    tasks = commented(TREE / ".vscode" / "tasks.json")
    assert isinstance(tasks, dict)
    grade = next(one for one in tasks["tasks"] if "squiggles" in one["args"])
    pattern = grade["problemMatcher"]["pattern"]
    matcher = re.compile(pattern["regexp"])
    text = editor([sheet()])
    found = [matcher.fullmatch(line) for line in text.splitlines()]
    assert all(found), text
    assert len(found) == 3, "neither what waits nor what has no file"
    assert found[0] is not None
    assert found[0][pattern["severity"]] == "info"
    first = found[1]
    assert first is not None
    assert first[pattern["file"]] == "lab3/apinit.S"
    assert int(first[pattern["line"]]) == 63
    assert first[pattern["severity"]] == "error"
    assert "[lab3.ladder.protected]" in first[pattern["message"]]
    assert matcher.fullmatch("  pass  2/2  the far jump: lab3/apinit.S") is None

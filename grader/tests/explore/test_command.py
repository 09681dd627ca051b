"""The command `vmmlab explore`: its output and its exit codes."""

import json
import shutil

import pytest

from vmmlab.cli.main import main
from vmmlab.course.cohort import Cohort
from vmmlab.explore import text
from vmmlab.i18n.translate import Reader


@pytest.fixture
def mine(course, tmp_path):
    """A submission with the files of the reference."""
    shutil.copytree(course.reference_dir / "lab4", tmp_path / "lab4")
    return tmp_path


def run(course, mine, *words):
    return main(["explore", "lab4", "--submission", str(mine), "--course", str(course.root),
                 "--no-sandbox", *words])  # fmt: skip


def test_a_correct_submission(course, mine, capsys):
    assert run(course, mine) == 0
    assert "no wrong schedule found: " in capsys.readouterr().out


def test_a_wrong_submission_and_its_json(course, mine, tmp_path, capsys):
    path = mine / "lab4" / "apinit_enter.S"
    path.write_text(path.read_text().replace("jz	ap_locked", "jmp	ap_locked"))
    record = tmp_path / "found.json"
    assert run(course, mine, "--json", str(record)) == 1
    assert "while CPU 1 is on it" in capsys.readouterr().out
    assert json.loads(record.read_text())["verdict"] == "wrong"


def test_an_instruction_that_cannot_be_followed(course, mine, capsys):
    path = mine / "lab4" / "sync.c"
    text = path.read_text().replace("asm_pause ();", 'asm volatile ("rdtsc" : : : "eax", "edx");')
    path.write_text(text)
    assert run(course, mine) == 2
    assert "unsupported: the instruction rdtsc (lab4/sync.c:" in capsys.readouterr().out


def test_a_file_that_does_not_compile(course, mine, capsys):
    (mine / "lab4" / "sync.c").write_text("void f (void) { return }\n")
    assert run(course, mine) == 1
    assert "lab4/sync.c:1" in capsys.readouterr().err


def test_another_lab_is_refused(course, capsys):
    assert main(["explore", "lab3", "--submission", "reference", "--course", str(course.root)]) == 2
    assert "lab4" in capsys.readouterr().err


def test_json_that_cannot_be_written(course, mine, capsys):
    assert run(course, mine, "--json", str(mine / "no" / "such.json")) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_in_a_workspace_it_takes_that(course, mine, monkeypatch, capsys):
    """The reader's own work is explored without a word about where it is."""
    toml = 'schema = 1\nvmmlab = "0"\nstudent = "Ada"\n\n[cohort]\nname = "dev"\n'
    numbers = Cohort.derive("dev").literals()
    toml += "".join(f"{name} = {value}\n" for name, value in numbers.items())
    (mine / "workspace.toml").write_text(toml)
    (mine / "lab4" / "sync.c").unlink()
    monkeypatch.setenv("VMMLAB_OWN", str(mine))
    monkeypatch.chdir(mine / "lab4")
    assert main(["explore", "lab4", "--course", str(course.root)]) == 2
    assert "lab4/sync.c: is missing" in capsys.readouterr().err


@pytest.mark.parametrize(("lang", "word"), [("en", "with store buffers"), ("ja", "ストアバッファ")])
def test_the_rows_are_explained(lang, word):
    told = list(text.legend(Reader(lang)))
    assert len(told) == 7
    assert any(line.strip().startswith(word) for line in told)

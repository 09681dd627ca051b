"""Attack 1: a submission that would be course, workspace, Python or configuration of the grader."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vmmlab.base import owned
from vmmlab.base.errors import UsageError
from vmmlab.base.importpath import no_modules_from_here
from vmmlab.cli import main, options
from vmmlab.course import find
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.i18n import translate
from vmmlab.student.copied import check_python
from vmmlab.workspace import model as workspace

ROOT = Path(__file__).resolve().parents[3]
_OTHER = Cohort.derive("other")
TOML = """\
schema = 1
vmmlab = "0"
id = "{mark}"
student = "eve"
lang = "ja"
[cohort]
name = "other"
""" + "".join(f"{key} = {value}\n" for key, value in _OTHER.literals().items())
SAY = translate.Reader()


@pytest.fixture
def eve(tmp_path: Path) -> Path:
    """A submission that has everything of a course and of a workspace."""
    folder = tmp_path / "class" / "eve"
    for name in ("work", "work/course/labs/lab2", "labs/lab2", "reference/lab2", "vmm-skeleton"):
        (folder / name).mkdir(parents=True)
    evil = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    for place in (folder, folder / "work" / "course", tmp_path / "class"):
        (place / "labs").mkdir(exist_ok=True)
        (place / "course.yml").write_bytes((ROOT / "course.yml").read_bytes())
        (place / "workspace.toml").write_text(TOML.format(mark="0" * 32))
        for name in ("conftest.py", "sitecustomize.py", "nbgrader_config.py", "labs/test_lab2.py"):
            (place / name).write_text(evil)
        for name in ("typer.py", "pytest.py", "vmmlab.py", "capstone.py", "select.py"):
            (place / name).write_text(evil)
        (place / "pytest.ini").write_text("[pytest]\naddopts = -p no:vmmlab\n")
        (place / "gradebook.db").touch()
    return folder


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The courses that commands load; nothing more of a command is run."""
    found: list[Path] = []

    def load(root: Path) -> None:
        found.append(root)
        raise UsageError("loaded")

    monkeypatch.setattr("vmmlab.course.load.load_course", load)
    return found


COMMANDS = [
    "grade lab2 --submission .",
    "grade lab2 --submission ..",
    "grade lab2 --submission work",
    "grade lab2 --submission ./work/../.",
    "grade lab2 --submission ../bob",
    "grade lab2 --submission reference",
    "grade lab2 lab3 --submission . --hidden",
    "explore lab4 --submission .",
    "run lab2 --submission .",
    "iso lab2 --submission .",
    "new {tmp}/fresh",
    "gradebook sync reports",
]


@pytest.mark.parametrize("place", [".", "work", "work/course", "work/course/labs/lab2", ".."])
@pytest.mark.parametrize("words", COMMANDS)
def test_a_course_in_or_around_a_submission_is_not_used(
    eve: Path, loaded: list[Path], words: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(eve / place)
    assert main.main(words.format(tmp=eve.parent).split()) == 2
    assert loaded == [ROOT]


@pytest.mark.parametrize("words", ["grade lab2 --submission .", "explore lab4 --submission ."])
def test_nor_by_a_link(
    eve: Path, loaded: list[Path], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(eve)
    monkeypatch.chdir(tmp_path / "link" / "work")
    monkeypatch.setenv("PWD", str(tmp_path / "link" / "work"))
    assert main.main(words.split()) == 2
    assert loaded == [ROOT]


def test_the_note_says_what_to_do(
    eve: Path,
    loaded: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(eve)
    main.main(["grade", "lab2", "--submission", "."])
    assert f"vmmlab adopt {eve}" in capsys.readouterr().err


AUTHORS_COMMANDS = ("check-course", "new-lab lab11", "release out", "mutants")


@pytest.mark.parametrize(
    ("words", "way"),
    [
        *((words, "--course") for words in AUTHORS_COMMANDS),
        *((words, "vmmlab adopt") for words in ("run lab2", "iso lab2", "build lab2")),
    ],
)
def test_a_command_that_takes_no_submission_refuses_it(
    eve: Path,
    loaded: list[Path],
    words: str,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(eve)
    assert main.main(words.split()) == 2
    assert loaded == []
    assert f"{way} {eve}" in capsys.readouterr().err


def test_without_the_rule_it_is_the_submissions(
    eve: Path, loaded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "_is_own", lambda folder: True)
    monkeypatch.chdir(eve)
    main.main(["grade", "lab2", "--submission", "."])
    assert loaded == [eve]


def test_gradebook_configuration_of_a_submission_does_not_run(
    eve: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("nbgrader")
    monkeypatch.chdir(eve)
    assert main.main(["gradebook", "autograde", "lab2"]) == 2
    assert main.main(["gradebook", "sync", "reports"]) == 2
    assert "--nbgrader ." in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


# --- whose workspace ----------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The instructor's own workspace."""
    folder = tmp_path / "mine"
    folder.mkdir()
    mark = owned.new_mark()
    (folder / "workspace.toml").write_text(TOML.format(mark=mark))
    owned.claim(folder, mark)
    return folder


def test_the_workspace_of_a_submission_is_not_ones_own(
    eve: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(eve)
    source = options.source_named(".", SAY)
    assert (source.own, source.trusted) == (None, False)
    assert source.cohort(load_course(ROOT)).name == "dev"
    assert "graded as another person's work" in capsys.readouterr().err
    assert translate.remembered(eve) == "", "not even the language"


def test_ones_own_is(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mine)
    source = options.source_named(".", SAY)
    assert source.trusted
    assert source.cohort(load_course(ROOT)) == _OTHER
    assert translate.remembered(mine) == "ja"


def test_a_stolen_mark_gains_nothing(
    eve: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The instructor gave a workspace away, or a repository was made from it."""
    shutil.copy(mine / "workspace.toml", eve)
    monkeypatch.chdir(eve)
    assert not options.source_named(".", SAY).trusted
    found = workspace.locate(eve)
    assert found is not None
    assert found.copied


def test_nor_does_a_place_where_a_workspace_was(
    eve: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(mine)
    shutil.copytree(eve, mine)
    monkeypatch.chdir(mine)
    assert not options.source_named(".", SAY).trusted
    assert workspace.locate(mine) is None


def test_nor_does_a_submission_inside_ones_own_workspace(
    eve: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = mine / "eve"
    shutil.copytree(eve, inside)
    monkeypatch.chdir(inside)
    assert not options.source_named(".", SAY).trusted
    assert not options.source_named("work", SAY).trusted


@pytest.mark.parametrize(
    "mark", ["", "x", "../../../../etc/passwd", "0" * 32, "A" * 32, "0" * 10_000]
)
def test_marks_that_nobody_made(eve: Path, mark: str) -> None:
    (eve / "workspace.toml").write_text(TOML.format(mark=mark))
    assert workspace.locate(eve) is None


@pytest.mark.parametrize("data", [b"", b"id = 3", b"[", b"a" * 20_000, b"\xff"])
def test_a_workspace_toml_that_is_none(eve: Path, data: bytes) -> None:
    (eve / "workspace.toml").write_bytes(data)
    assert workspace.locate(eve) is None


def test_adopting_a_moved_workspace(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = mine.with_name("moved")
    mine.rename(moved)
    monkeypatch.chdir(moved)
    assert not options.source_named(".", SAY).trusted
    before = workspace.require(moved).mark
    assert main.main(["adopt"]) == 0
    assert options.source_named(".", SAY).trusted
    assert workspace.require(moved).mark not in ("", before), "it has a mark of its own"


def test_adopting_a_course(eve: Path, loaded: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (eve / "workspace.toml").unlink()
    monkeypatch.chdir(eve)
    assert main.main(["adopt", "."]) == 0
    main.main(["new-lab", "lab11"])
    main.main(["grade", "lab2", "--submission", "../bob"])
    assert loaded == [eve, eve]


def test_the_variable_names_folders(eve: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, own in ((str(eve), True), (f"/x:{eve.parent}", True), (".", False), ("", False)):
        monkeypatch.setenv("VMMLAB_OWN", value)
        assert (owned.record(eve) is not None) == own, value


# --- pytest -------------------------------------------------------------------------------------


def test_pytest_stops_before_it_loads_a_submissions_python(eve: Path, tmp_path: Path) -> None:
    (eve / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("pytest"), "--collect-only"],
        cwd=eve,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 4
    assert f"vmmlab adopt {eve}" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_pytest_in_a_copy_runs_the_courses_python_only(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", None)
    copy = tmp_path / "copy"
    shutil.copytree(mine, copy)
    (copy / "lab2").mkdir()
    shutil.copy(ROOT / "labs/lab2/test_lab2.py", copy / "lab2")
    found = workspace.require(copy)
    check_python(found)
    assert sys.pycache_prefix
    for name in ("conftest.py", "lab2/conftest.py", "lab2/x.py", "pytest.ini", "lab2/a.so"):
        (copy / name).write_text("import os\n")
        with pytest.raises(UsageError, match="adopt"):
            check_python(found)
        (copy / name).unlink()
    (copy / "lab3").symlink_to(mine)
    with pytest.raises(UsageError, match="lab3"):
        check_python(found)
    (copy / "lab3").unlink()
    (copy / "lab2/test_lab2.py").write_text("import os\n")
    with pytest.raises(UsageError, match="test_lab2"):
        check_python(found)


# --- modules ------------------------------------------------------------------------------------


def test_no_modules_from_the_working_directory(eve: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(eve)
    places = ["", ".", str(eve), f"{eve}/work/..", "/usr/lib/python3", sys.prefix]
    environment = {"PYTHONPATH": f".:{os.sep}lib:work:"}
    no_modules_from_here(places, environment)
    assert places == ["/usr/lib/python3", sys.prefix]
    assert environment == {"PYTHONPATH": "/lib", "PYTHONSAFEPATH": "1"}


@pytest.mark.parametrize("path", [None, "", ".", ":"])
def test_the_command_in_a_folder_of_forged_modules(
    eve: Path, tmp_path: Path, path: str | None
) -> None:
    for name in ("sitecustomize.py", "select.py", "typer.py", "vmmlab.py"):
        (eve / name).unlink()  # a PYTHONPATH with such files runs them before vmmlab
    environment = {**os.environ, **({} if path is None else {"PYTHONPATH": path})}
    done = subprocess.run(
        [Path(sys.executable).with_name("vmmlab"), "doctor"],
        cwd=eve,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()

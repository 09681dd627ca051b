"""nbgrader's course folder made by a command, and its grades written as CSV."""

import csv
import inspect
import shutil
from pathlib import Path

import nbformat
import nbformat.v4
import pytest
from gradebook_helpers import FAIL, INFRA, JUMP, Put, Sync, by_hand, rows, worksheet

from vmmlab.base.errors import UsageError
from vmmlab.classroom.gradebook import create, export, worksheets
from vmmlab.classroom.gradebook.create import Setup
from vmmlab.classroom.roster import Entry
from vmmlab.cli import main
from vmmlab.course.find import find_course
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.worksheet import autograde, formgrader

ROSTER = {"ada": Entry("ada", "Ada", "Lovelace, A."), "ben": Entry("ben")}
STUBBED = "# YOUR CODE HERE"


@pytest.fixture
def kit() -> Course:
    return load_course(find_course(Path(__file__)))


@pytest.fixture
def empty(tmp_path: Path, folder: Path) -> Path:
    """A course folder with a gradebook, which is slow to make, and nothing else."""
    new = tmp_path / "vmm-course"
    new.mkdir()
    (folder / "gradebook.db").rename(new / "gradebook.db")
    return new


def there(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- init --------------------------------------------------------------------------------------


def test_init_makes_all_that_the_guide_asks_for(kit: Course, empty: Path) -> None:
    setup = Setup(cohort="it's 2026", labs=("lab0",), roster=ROSTER)
    made = create.create(kit, empty, setup)
    new = ["nbgrader_config.py", "release/lab0/worksheet.ipynb", "source/lab0/worksheet.ipynb"]
    assert sorted(made.files) == new
    assert there(empty) == sorted(["gradebook.db", *new])
    assert made.students == ("ada", "ben")
    released = (empty / "release/lab0/worksheet.ipynb").read_text()
    assert "BEGIN SOLUTION" not in released
    assert STUBBED in released
    assert 'cohort=\\"it\'s 2026\\"' in released
    # it is a folder in which worksheets are graded in the sandbox
    with pytest.raises(UsageError, match="no student has submitted lab0"):
        worksheets.grade(empty, "lab0", sandbox_required=False)
    # again: nothing is new, and an answer that the instructor has changed stays
    source = empty / "source/lab0/worksheet.ipynb"
    source.write_text(source.read_text() + "\n")
    before = rows(empty)
    again = create.create(kit, empty, setup)
    assert (again.files, again.students) == ((), ())
    assert [str(note) for note in again.notes] == [f"{source} is there already, and stays as it is"]
    assert rows(empty) == before


def test_a_lab_has_one_worksheet_in_one_language(kit: Course, empty: Path) -> None:
    """With both of them a perfect student gets half of the points."""
    (empty / "source" / "lab0").mkdir(parents=True)
    (empty / "source" / "lab0" / "worksheet.ipynb").write_text("{}")
    made = create.create(kit, empty, Setup(cohort="dev", language="ja", labs=("lab0",)))
    assert made.files == ("nbgrader_config.py",)
    assert "keeps worksheet.ipynb" in str(made.notes[0])


def test_a_worksheet_in_two_languages_is_refused(kit: Course, empty: Path) -> None:
    """nbgrader would expect both of each student."""
    from nbgrader.api import Gradebook

    create.create(kit, empty, Setup(cohort="dev", language="en", labs=("lab0",)))
    source = empty / "source" / "lab0"
    nb, told = nbformat.v4.new_notebook(), {"metadata": {"path": str(source)}}
    autograde.NameCohort().preprocess(nb, told)  # known-right case: one language
    shutil.copyfile(kit.labs_dir / "lab0" / "worksheet.ja.ipynb", source / "worksheet.ja.ipynb")
    twice = r"(?s)lab0 has the worksheet in several languages.*worksheet, worksheet\.ja"
    with pytest.raises(UsageError, match=twice):
        autograde.NameCohort().preprocess(nb, told)
    with Gradebook(f"sqlite:///{empty / 'gradebook.db'}", "vmm") as book:  # as another one made it
        book.update_or_create_notebook("worksheet.ja", "lab0")
    with pytest.raises(UsageError, match=twice):
        worksheets.grade(empty, "lab0", sandbox_required=False)


def test_an_interrupted_init_can_be_repeated(
    kit: Course, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(cohort="dev", labs=("lab0",))
    with monkeypatch.context() as patch:
        patch.setattr(create, "_generate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            create.create(kit, empty, setup)
    assert create.create(kit, empty, setup).files == ("release/lab0/worksheet.ipynb",)


def test_what_init_refuses(kit: Course, course: Course, tmp_path: Path, empty: Path) -> None:
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="is used for something else"):
        create.create(kit, other, Setup(cohort="dev"))
    assert there(other) == ["thesis.tex"]
    with pytest.raises(UsageError, match="not the URL of a database"):
        create.create(kit, tmp_path / "new", Setup(cohort="dev", database="grades"))
    assert not (tmp_path / "new").exists()
    sheet = course.labs_dir / "lab3" / "worksheet.ipynb"
    sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet.write_text("{}")  # a release has worksheets without answers
    with pytest.raises(UsageError, match="this course is a release"):
        create.create(course, empty, Setup(cohort="dev"))


def test_a_password_is_not_for_everybody(kit: Course, empty: Path) -> None:
    secret = f"sqlite://me:word@/{empty / 'gradebook.db'}"
    config = create._config(Setup(cohort="dev", database=secret))
    assert f"c.CourseDirectory.db_url = '{secret}'\n" in config
    notes: list[object] = []
    assert create._put(empty / "nbgrader_config.py", config.encode(), notes, 0o600)
    assert (empty / "nbgrader_config.py").stat().st_mode & 0o777 == 0o600


def test_the_command_init(
    course: Course, empty: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    roster = tmp_path / "students.csv"
    roster.write_text('id,last_name\nada,"Lovelace, A."\n')
    words = ["gradebook", "init", str(empty), "--roster", str(roster)]
    assert main.main([*words, "--course", str(course.root), "--lang", "ja"]) == 0
    said = capsys.readouterr().out
    assert "作成  nbgrader_config.py\n" in said
    assert f"{empty}：新しいファイル 1 個、新しい受講者 1 人\n" in said
    assert main.main([*words, "--course", str(course.root), "--labs", "lab9"]) == 2


# --- the buttons of the formgrader -------------------------------------------------------------


def test_the_buttons_say_what_to_do_with_checks(
    put: Put, sync: Sync, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nbgrader.server_extensions.formgrader import base

    from vmmlab.classroom.gradebook.folder import open_folder

    put()
    sync()
    app, directory = open_folder(folder)
    api = base.NbGraderAPI(directory, parent=app)
    before = rows(folder)
    for name in ("autograde", "generate_assignment", "release_feedback"):
        plain = inspect.unwrap(getattr(base.NbGraderAPI, name))  # another test has installed it
        monkeypatch.setattr(base.NbGraderAPI, name, plain)
    assert "Traceback" in api.generate_assignment("lab3-checks")["error"]  # the trap
    formgrader.install()
    formgrader.install()
    for answer in (api.autograde("lab3-checks", "alice"), api.generate_assignment("lab3-checks")):
        assert set(answer) == {"success", "log"}
        assert answer["success"] is False
        assert "vmmlab gradebook sync results/reports" in answer["log"].splitlines()
        assert max(map(len, answer["log"].splitlines())) <= 80  # the dialog does not wrap
    answer = api.release_feedback("lab3-checks")
    assert answer["success"] is False
    assert max(map(len, answer["log"].splitlines())) <= 80
    assert "Give each student the folder feedback/STUDENT/lab3-checks" in answer["log"]
    assert "No notebooks were matched" in api.generate_assignment("lab3")["log"]  # nbgrader's own
    assert rows(folder) == before


def test_autograde_with_a_course_knows_its_labs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = str(find_course(Path(__file__)))
    words = ["--nbgrader", str(folder), "--course", kit, "--no-sandbox"]
    assert main.main(["gradebook", "autograde", "lab77", *words]) == 2
    assert "lab77" in (said := capsys.readouterr().err)
    assert "the gradebook has no assignment" not in said
    assert main.main(["gradebook", "autograde", "lab3-i386-checks", *words]) == 2
    assert "nbgrader cannot grade them" in capsys.readouterr().err


def test_autograde_of_checks_says_what_to_do(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"(?s)nbgrader cannot grade them.*vmmlab batch"):
        worksheets.grade(folder, "lab3-i386-checks")
    assert not formgrader.is_of_checks("lab3")
    assert not formgrader.is_of_checks("my-checks")


# --- the grades as CSV -------------------------------------------------------------------------


def test_a_row_for_each_student_a_column_for_each_assignment(
    put: Put, sync: Sync, folder: Path, tmp_path: Path
) -> None:
    from nbgrader.api import Gradebook

    put(jump_target=FAIL)
    put("bob", jump_target=INFRA)
    put("eve", jump_target=FAIL)
    names = {
        "alice": Entry("alice"),
        "bob": Entry("bob"),
        "eve": Entry("eve", '=cmd|" /C calc"', 'E,\n"v"'),
        "zoe": Entry("zoe"),
    }
    sync(roster=names)
    by_hand(folder, JUMP, student="eve", score=2)
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "vmm") as book:
        book.add_assignment("lab10-checks")
        book.add_assignment("lab9-checks")
    file = tmp_path / "grades.csv"
    assert export.write(folder, file) == export.Written(students=4, open=1)
    with file.open(newline="") as opened:
        found = {row["student_id"]: row for row in csv.DictReader(opened)}
    assert list(found["eve"])[4:7] == ["lab3-checks", "lab9-checks", "lab10-checks"]
    assert {name: row["lab3-checks"] for name, row in found.items()} == {
        "alice": "11.0", "bob": "", "eve": "13.0", "zoe": "",
    }  # fmt: skip
    assert (found["bob"]["total"], found["bob"]["needs a mark"]) == ("", "lab3-checks")
    assert found["eve"]["first_name"] == '\'=cmd|" /C calc"'
    assert found["eve"]["last_name"] == 'E,\n"v"'
    assert file.read_bytes().count(b"\r\n") == 5


def test_the_command_export(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worksheet(folder)
    file = tmp_path / "grades.csv"
    words = ["gradebook", "export", str(file), "--nbgrader", str(folder)]
    assert main.main([*words, "--long"]) == 0
    assert "2 students, 0 grades still need a mark" in capsys.readouterr().out
    assert file.read_text().splitlines()[0].startswith("assignment,duedate,timestamp,student_id")
    assert main.main([*words[:2], str(tmp_path / "no" / "x.csv"), *words[3:]]) == 2
    assert "cannot be written" in capsys.readouterr().err

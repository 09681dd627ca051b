"""Behaviour of nbgrader 0.9.6 that could spoil grades, and that the gradebook is safe from it.

Each test first shows the problem, where that is quick, and then that it does not occur here.
Elsewhere: 4, points from a cell's last line, in `worksheets/test_tools.py` and `test_nbgrader.py`;
6 to 9 and 11, hostile notebooks, in `worksheets/test_hostile.py` and `attacks`; 15, one notebook
after the other, in `worksheets/test_parallel.py`; the formgrader's page in `test_formgrader.py`.
"""

import csv
import json
import re
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import nbformat.v4 as v4
import pytest
from gradebook_helpers import (
    FAIL,
    INFRA,
    Put,
    Sync,
    app,
    autograde,
    make_report,
    rows,
    worksheet,
)
from traitlets.config import Config

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.classroom import gradebook
from vmmlab.classroom.gradebook import book as books
from vmmlab.classroom.gradebook import create, feedback, version
from vmmlab.classroom.intake import intake
from vmmlab.classroom.students import timestamp
from vmmlab.cli import main
from vmmlab.course.find import find_course
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.report.model import read_json
from vmmlab.worksheet.autograde import NameCohort, configure
from vmmlab.worksheet.feedback import HideTests

# --- 1: a bare `alembic` -----------------------------------------------------------------------


def test_the_gradebook_is_made_although_alembic_is_not_on_path(
    put: Put, sync: Sync, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nbgrader.api import Gradebook

    (folder / "gradebook.db").unlink()
    put()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/usr/bin:/bin")
        if shutil.which("alembic") is None:
            with pytest.raises(FileNotFoundError):  # the trap, and it leaves half a gradebook
                Gradebook(f"sqlite:///{tmp_path / 'trap.db'}", "vmm")
        assert sync(create_students=True).exit_code == 0
    assert rows(folder)["alembic_version"]
    assert list(folder.glob(".gradebook*")) == []


def test_without_alembic_there_is_no_gradebook_at_all(
    put: Put, sync: Sync, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "gradebook.db").unlink()
    put()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(version.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(InfraError, match=r"(?s)alembic is missing.*vmmlab\[instructor\]"):
        sync(create_students=True)
    assert not (folder / "gradebook.db").exists()


# --- 2 and 3: files beside a notebook ----------------------------------------------------------


def test_a_solution_beside_a_notebook_is_not_released(folder: Path) -> None:
    worksheet(folder)
    beside = folder / "source" / "lab3" / "apinit.S"
    beside.write_text("/* BEGIN SOLUTION lab3.1 */\nljmpw\n/* END SOLUTION */\n")
    app("GenerateAssignmentApp", folder, "--course=vmm", "--assignment=lab3", "--force")
    released = folder / "release" / "lab3" / "apinit.S"
    assert "ljmpw" in released.read_text()  # the trap: nothing is cut out of it
    (folder / "nbgrader_config.py").write_text(create._config(create.Setup(cohort="dev")))
    with pytest.raises(InfraError, match="cannot make the students' worksheet of lab3"):
        create._generate(folder, "lab3")
    assert not released.exists()
    told = {"metadata": {"path": str(beside.parent)}}
    with pytest.raises(UsageError, match=r"apinit\.S has a solution, and nbgrader would release"):
        NameCohort().preprocess(v4.new_notebook(), told)
    beside.write_text("no answer\n")
    create._generate(folder, "lab3")
    assert released.read_text() == "no answer\n"


@pytest.mark.filterwarnings("ignore:Object of type")  # nbgrader's own, in autograde
def test_a_file_of_the_instructors_replaces_no_work(put: Put, sync: Sync, folder: Path) -> None:
    """What is graded as a lab never goes through source/; that of a worksheet has it alone."""
    put()
    sync()
    worksheet(folder)
    for place in ("source", "submitted/alice"):
        (folder / place / "lab3" / "answers.txt").write_text(place)
    autograde(folder)
    graded = folder / "autograded" / "alice" / "lab3"
    assert (graded / "answers.txt").read_text() == "source"  # the trap
    assert [one.name for one in (folder / "source/lab3-checks").iterdir()] == ["README.md"]
    assert read_json(folder / "submitted/alice/lab3-checks/lab3.json").points == 14


# --- 5: a dead kernel, or a broken grader, looks like 0 in the CSV -----------------------------


def test_what_nobody_judged_is_not_0_in_the_export(put: Put, sync: Sync, folder: Path) -> None:
    put(jump_target=INFRA)
    put("bob", **dict.fromkeys(("jump_present", "jump_target", "secret_trick"), FAIL))
    sync()
    theirs, ours = exported(folder)
    assert theirs["alice"]["score"] == "11.0"  # the trap: as if the check had failed
    assert (ours["alice"]["score"], ours["alice"]["status"]) == ("", "needs a mark")
    assert (ours["bob"]["score"], ours["bob"]["status"]) == ("5.0", "graded")


def test_what_was_not_handed_in_is_not_0_in_the_export(put: Put, sync: Sync, folder: Path) -> None:
    put("bob")
    sync()
    theirs, ours = exported(folder)
    assert theirs["alice"]["score"] == "0.0"
    assert (ours["alice"]["score"], ours["alice"]["status"]) == ("", "missing")


# --- 12: a comma in a name ---------------------------------------------------------------------


def test_a_comma_in_a_name_shifts_no_column(put: Put, sync: Sync, folder: Path) -> None:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "vmm") as book:
        book.update_or_create_student("alice", last_name='Liddell, "A."', first_name="A\nB")
    put()
    put("bob")
    result = sync()
    assert result.awkward == ("alice",)
    exporter = "vmmlab.classroom.gradebook.export.QuotedCsv"
    config_file = folder / "nbgrader_config.py"
    plain = config_file.read_text()
    config_file.write_text(f"{plain}c.ExportApp.plugin_class = {exporter!r}\n")
    assert sync().awkward == ()  # as in a folder of `vmmlab gradebook init`
    config_file.write_text(plain)
    theirs, ours = exported(folder)
    assert theirs["alice"]["email"] != ""  # the trap: a part of the name
    assert ours["alice"]["last_name"] == 'Liddell, "A."'
    assert ours["alice"]["first_name"] == "A\nB"
    assert (ours["alice"]["score"], ours["alice"]["max_score"]) == ("14.0", "14.0")


def exported(folder: Path) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """Return the grades by student, as nbgrader's exporter and as our own write them."""
    both = []
    for words in ([], ["--exporter=vmmlab.classroom.gradebook.export.QuotedCsv"]):
        path = folder / "out.csv"
        app("ExportApp", folder, "--course=vmm", f"--to={path}", *words)
        with path.open(newline="") as file:
            both.append({row["student_id"]: row for row in csv.DictReader(file)})
        path.unlink()
    return both[0], both[1]


# --- 13 and 14: what nbgrader's zip_collect skips and misreads ---------------------------------


def test_all_files_of_a_lab_are_taken_in(tmp_path: Path) -> None:
    from nbgrader.plugins.zipcollect import FileNameCollectorPlugin

    kit = load_course(find_course(Path(__file__)))

    names = r".*/(?P<student_id>\w+)_(?P<file_id>\w+)"
    theirs = FileNameCollectorPlugin(named_regexp=names)
    assert theirs.collect("lab3/ada_apinit.S") is None  # the trap: only .ipynb is taken
    for name in kit.lab("lab3").files:
        path = tmp_path / "class" / "ada" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (one,) = intake(tmp_path / "class", kit, tmp_path / "taken").submissions
    assert one.labs == ("lab3",)
    taken = {path.name for path in (one.folder / "lab3").iterdir()}
    assert taken == {name.partition("/")[2] for name in kit.lab("lab3").files}


def test_a_time_is_read_as_it_is_written_or_not_at_all() -> None:
    from nbgrader.utils import parse_utc

    assert timestamp("2016-01-30 15:00:00 +0900") == datetime(2016, 1, 30, 6, tzinfo=UTC)
    documented = "2016-01-30-15-10-20"  # as in zip_collect's example of a file's name
    trap = datetime(2016, 1, 31, 11)
    assert parse_utc(documented).replace(tzinfo=None) == trap
    assert timestamp(documented) is None
    for end in ("0001-01-01 00:00:00 +0900", "9999-12-31 23:59:59 -0900"):
        assert timestamp(end) is None


# --- 10: feedback shows everything that the notebook holds -------------------------------------


def test_feedback_shows_causes_and_hints_and_nothing_hidden(
    put: Put, sync: Sync, folder: Path
) -> None:
    bad = {**FAIL, "observed": "<script>alert(1)</script> in the guest's memory"}
    secret = {**FAIL, "cause": "secret-cause", "observed": "secret-observation"}
    waits = {
        "points": 0,
        "outcome": "skipped",
        "waited_for": "lab3.secret.trick",
        "reason": "waits for lab3.secret.trick",
    }
    path = put(jump_target=bad, secret_trick=secret, ladder_long=waits)
    assert "secret-observation" in path.read_text()  # so it could leak
    sync()
    app("GenerateFeedbackApp", folder, "--assignment=lab3-checks")
    html = (folder / "feedback" / "alice" / "lab3-checks" / "lab3.html").read_text()
    shown = re.sub(r"<style.*?</style>|<script src.*?</script>", "", html, flags=re.DOTALL)
    assert "Score: 2.0 / 14.0" in shown
    for part in ("far-jump-wrong-target", "Hint: Work it out by hand", "it waits for a hidden"):
        assert part in shown
    assert "lab3.jump.target" in shown
    assert "secret" not in shown
    assert "<script>alert" not in shown
    assert "&lt;script&gt;alert" in shown
    assert "QEMU" not in shown
    feedback = [path.name for path in (folder / "feedback").rglob("*") if path.is_file()]
    assert set(feedback) <= {"lab3.html", "report.html"}  # test_feedback looks into the other


@pytest.mark.filterwarnings("ignore:Object of type")  # nbgrader's own, in autograde
def test_feedback_of_a_worksheet_shows_no_hidden_test(folder: Path) -> None:
    begin, end = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
    worksheet(folder)
    source = folder / "source" / "lab3" / "worksheet.ipynb"
    book = nbformat.read(source, as_version=4)
    book.cells = book.cells[:2]
    book.cells[1].source = f"assert x\n{begin}\nassert x == 0x7EA\n{end}"
    nbformat.write(book, source)
    book.cells[0].source = f"x = 1  {begin}: a student may write this"
    nbformat.write(book, folder / "submitted" / "alice" / "lab3" / "worksheet.ipynb")
    app("GenerateAssignmentApp", folder, "--course=vmm", "--assignment=lab3", "--force")
    autograde(folder)
    page = folder / "feedback" / "alice" / "lab3" / "worksheet.html"
    app("GenerateFeedbackApp", folder, "--assignment=lab3")
    assert "0x7EA" in page.read_text()  # the trap: in the cell, and in its traceback
    (one,) = feedback.make(folder, ["lab3"])
    assert (one.open, one.problem) == (0, "")
    shown = page.read_text()
    assert "0x7EA" not in shown
    assert "a student may write this" in shown
    assert "AssertionError" in shown
    config = Config()
    configure(config)  # nbgrader's own command and button
    assert config.GenerateFeedback.preprocessors[0] is HideTests


# --- 4: points above the maximum, and the other way round --------------------------------------


def test_points_above_the_maximum_lose_no_other_student(put: Put, sync: Sync, folder: Path) -> None:
    put(jump_target={"points": 300})
    put("bob")
    result = sync()
    assert [one.student for one in result.synced] == ["bob"]
    assert "more points than it is worth" in str(result.refused[0].reason)


# --- the worksheet beside it -------------------------------------------------------------------


def scores(folder: Path, assignment: str) -> tuple[float, float]:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "vmm") as book:
        submission = book.find_submission(assignment, "alice")
        return submission.score, submission.max_score


@pytest.mark.filterwarnings("ignore:Object of type")  # nbgrader's own, in autograde
def test_worksheet_and_lab_leave_each_other_alone(put: Put, sync: Sync, folder: Path) -> None:
    """Both scores stay if a sync comes before and after the worksheet's grading."""
    put(jump_target=FAIL)
    worksheet(folder)
    sync()
    autograde(folder)
    assert scores(folder, "lab3") == (3, 5)
    assert scores(folder, "lab3-checks") == (11, 14)
    autograde(folder, "--force")
    app("GenerateAssignmentApp", folder, "--course=vmm", "--assignment=lab3", "--force")
    assert (folder / "autograded" / "alice" / "lab3-checks" / "lab3.ipynb").exists()
    assert not any(one.changed for one in sync().synced)
    assert scores(folder, "lab3") == (3, 5)
    assert scores(folder, "lab3-checks") == (11, 14)
    # autograding the checks by mistake: there is nothing to run, and nothing is lost
    before = rows(folder)
    with pytest.raises(SystemExit):
        app("AutogradeApp", folder, "--course=vmm", "--assignment=lab3-checks", "--force")
    assert rows(folder) == before
    assert (folder / "autograded" / "alice" / "lab3-checks" / "lab3.ipynb").exists()


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:Object of type")
def test_in_one_assignment_nbgrader_would_set_the_lab_to_0(
    put: Put, sync: Sync, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why the checks have an assignment of their own."""
    monkeypatch.setattr(books.Lesson, "assignment", property(lambda self: self.lab))
    put()
    sync()
    worksheet_folder = folder / "source" / "lab3"
    shutil.rmtree(worksheet_folder)
    with pytest.raises(SystemExit):  # the notebooks of an assignment that has submissions
        worksheet(folder)
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "vmm") as book:
        book.add_notebook("worksheet", "lab3")
        submission = book.find_submission("lab3", "alice")
        from nbgrader.api import SubmittedNotebook

        notebook = book.find_notebook("worksheet", "lab3")
        book.db.add(SubmittedNotebook(notebook_id=notebook.id, assignment_id=submission.id))
        book.db.commit()
    assert scores(folder, "lab3") == (14, 14)
    handed_in = folder / "submitted" / "alice" / "lab3" / "worksheet.ipynb"
    nbformat.write(
        v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "x"}}),
        handed_in,
    )
    autograde(folder, "--force")
    assert scores(folder, "lab3") == (0, 14)
    assert not (folder / "autograded" / "alice" / "lab3" / "lab3.ipynb").exists()


# --- a class of 600 ----------------------------------------------------------------------------


@pytest.mark.full
def test_a_class_of_600(course: Course, folder: Path, tmp_path: Path) -> None:
    made = json.loads(make_report(course, jump_target=FAIL).to_json())
    for number in range(600):
        path = tmp_path / "reports" / f"s{number:04}" / "lab3.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(made))
    options = gradebook.Options(folder=folder, cohort="spring", create_students=True)
    told: list[tuple[int, int]] = []
    result = gradebook.run(
        course, [tmp_path / "reports"], options, lambda done, of: told.append((done, of))
    )
    assert len(result.synced) == 600
    assert told[-1] == (600, 600)
    again = gradebook.run(course, [tmp_path / "reports"], options)
    assert not any(one.changed for one in again.synced)


# --- without nbgrader --------------------------------------------------------------------------


def test_a_student_needs_no_nbgrader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line works without it, and says what to install."""
    for name in [name for name in sys.modules if name.startswith("vmmlab.classroom.gradebook")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    assert main.main(["gradebook", "sync", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "the gradebook needs nbgrader" in said
    assert "pip install 'vmmlab[instructor]'" in said

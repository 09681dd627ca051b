"""What was graded and when: older reports, the files beside the checks, points computed again."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest
from gradebook_helpers import (
    COURSE,
    FAIL,
    INFRA,
    JUMP,
    Put,
    Sync,
    app,
    grades,
    make_report,
    refused,
    rows,
    write_course,
)

from vmmlab.base.errors import UsageError
from vmmlab.classroom import rescoring
from vmmlab.classroom.gradebook import notebook
from vmmlab.classroom.gradebook.marks import from_report
from vmmlab.classroom.intake import Intake, Submission
from vmmlab.cli import main
from vmmlab.course.digest import course_version, digests
from vmmlab.course.model import Course
from vmmlab.report.model import Audit, read_json
from vmmlab.report.rescore import rescored

CODE = b"void ap_start (void)\n{\n\t/* ```</script><script>alert(1)</script> */\n}\n"


def audit(at: str, files: str = "") -> dict[str, Any]:
    return {"audit": Audit(graded_at=at, files=files, course="")}


# --- a report older than the grade there -------------------------------------------------------


def test_a_report_of_an_earlier_grading_is_refused(
    put: Put, sync: Sync, folder: Path, tmp_path: Path
) -> None:
    put(changes=audit("2026-11-22T12:00:00+00:00"))
    sync()
    before = rows(folder)
    put(jump_target=FAIL, changes=audit("2026-11-22T11:59:59+00:00"))
    said = refused(sync())
    assert "the report of a later grading" in said
    assert "2026-11-22T12:00:00" in said
    assert rows(folder) == before
    assert sync(older=True).exit_code == 0
    assert grades(folder)[JUMP]["score"] == 0
    # a later one, and one that says nothing of when it was made, are entered
    put(changes=audit("2026-11-22T21:30:00+09:00"))
    assert sync().exit_code == 0
    put(jump_target=FAIL)
    assert sync().exit_code == 0
    assert grades(folder)[JUMP]["score"] == 0


def test_a_copy_that_somebody_has_damaged_is_replaced(put: Put, sync: Sync, folder: Path) -> None:
    put(changes=audit("2026-11-22T12:00:00+00:00"))
    sync()
    (folder / "submitted/alice/lab3-checks/lab3.json").write_text("{")
    assert sync().exit_code == 0


def test_the_command_enters_an_older_report_if_told_so(
    put: Put, folder: Path, course: Course, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["gradebook", "sync", str(tmp_path / "reports"), "--nbgrader", str(folder)]
    words += ["--course", str(course.root)]
    put(changes=audit("2026-11-22T12:00:00+00:00"))
    assert main.main(words) == 0
    put(changes=audit("2026-11-21T12:00:00+00:00"))
    assert main.main(words) == 2
    assert "--older enters it all the same" in capsys.readouterr().out
    assert main.main([*words, "--older"]) == 0


# --- what was graded, and by which course ------------------------------------------------------


def test_the_version_of_a_course_is_that_of_what_decides(tmp_path: Path) -> None:
    made = write_course(tmp_path, COURSE)
    (made.labs_dir / "lab3").mkdir()
    first = course_version(made, "lab3")
    (made.labs_dir / "lab3" / "README.md").write_text("a handout")
    assert course_version(made, "lab3") == first
    (made.labs_dir / "lab3" / "test_lab3.py").write_text("# a check\n")
    second = course_version(made, "lab3")
    (made.root / "course.yml").write_text(COURSE + "# \n")
    assert len({first, second, course_version(made, "lab3")}) == 3


# --- the student's files beside the checks -----------------------------------------------------


def handed_in(tmp_path: Path, code: bytes) -> None:
    """Put a submission of alice's where `vmmlab batch` has it."""
    place = tmp_path / "submissions" / "alice"
    (place / "lab3").mkdir(parents=True, exist_ok=True)
    (place / "lab3" / "ap_start.c").write_bytes(code)
    one = Submission(student="alice", name="alice", folder=place)
    Intake(platform="folder", submissions=(one,)).write(tmp_path / "intake.json")


def shown(folder: Path) -> Any:
    path = folder / "autograded" / "alice" / "lab3-checks" / "lab3.ipynb"
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    return book


def test_the_files_stand_beside_the_checks(
    put: Put, sync: Sync, folder: Path, tmp_path: Path
) -> None:
    now = datetime.now(UTC).isoformat()
    handed_in(tmp_path, CODE)
    put(jump_target=FAIL, changes=audit(now, digests({"lab3/ap_start.c": CODE})["lab3"]))
    sync()
    last = shown(folder).cells[-1]
    assert last.cell_type == "markdown"
    assert last.source.startswith("## lab3/ap_start.c\n\n````text\n1  void ap_start (void)\n2  {\n")
    assert "nbgrader" not in last.metadata
    app("GenerateFeedbackApp", folder, "--assignment=lab3-checks")
    page = (folder / "feedback/alice/lab3-checks/lab3.html").read_text()
    assert "void ap_start (void)" in page
    assert "<script>alert" not in page
    assert "a far jump to 0xf0000" in page  # the report of the lab is in the feedback
    # files that are no longer those that were graded are not shown
    handed_in(tmp_path, CODE + b"// later\n")
    sync()
    assert "ap_start (void)" not in shown(folder).cells[-1].source


def test_the_files_are_found_from_everywhere(
    put: Put,
    sync: Sync,
    course: Course,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`vmmlab batch class --out results`, and the next command in another folder."""
    results = tmp_path / "results"
    results.mkdir()
    monkeypatch.chdir(tmp_path)
    handed_in(Path("results"), CODE)
    now = datetime.now(UTC).isoformat()
    put(jump_target=FAIL, changes=audit(now, digests({"lab3/ap_start.c": CODE})["lab3"]))
    (tmp_path / "reports").rename(results / "reports")
    monkeypatch.chdir("/")
    rescoring.rescore(course, results / "reports", tmp_path / "new" / "points")
    moved = results.rename(tmp_path / "moved")
    sync(moved / "reports")
    assert "void ap_start (void)" in shown(folder).cells[-1].source
    moved.rename(results)
    (folder / "autograded/alice/lab3-checks/lab3.ipynb").unlink()
    sync(tmp_path / "new" / "points")  # with what the batch noted
    assert "void ap_start (void)" in shown(folder).cells[-1].source


def test_the_notebook_is_valid_although_nobody_validates_it(course: Course) -> None:
    report = make_report(course, jump_target={**FAIL, "observed": "x\u2028y`<b>$1"})
    text = notebook.text(
        "t", {"a": "b\nc"}, from_report(report, course.lab("lab3")), ("error: x",),
        sources={"lab3/x.c": "", "lab3/y.c": "\n" * 3000},
    )  # fmt: skip
    book = nbformat.reads(text, as_version=4)
    nbformat.validate(book)
    assert nbformat.reads(nbformat.writes(book), as_version=4) == book
    assert book.nbformat_minor == 5
    assert book.cells[-1].source.endswith("2001  ...\n```")


# --- points that are computed again ------------------------------------------------------------

DEARER = COURSE.replace("target: {points: 3", "target: {points: 6").replace("14", "17")


def test_changed_points_need_no_grading(put: Put, sync: Sync, folder: Path, tmp_path: Path) -> None:
    half = {**FAIL, "outcome": "partial", "points": 1.5}
    put(jump_target=half)
    put("bob", jump_target=INFRA)
    path = put("eve")
    path.with_name("lab3.timestamp.txt").write_text("2026-11-23 09:00:00 +0900")
    handed_in(tmp_path, CODE)
    sync(create_students=True)
    changed = write_course(tmp_path / "kit", DEARER)
    assert len(sync(course=changed).refused) == 3
    done = rescoring.rescore(changed, tmp_path / "reports", tmp_path / "new" / "reports")
    assert (done.changed, done.same, done.refused) == (3, 0, ())
    alice = read_json(tmp_path / "new/reports/alice/lab3.json")
    assert (alice.points, alice.max) == (2 + 3 + 5, 13)
    assert (alice.hidden_points, alice.hidden_max) == (None, 4)
    bob = read_json(tmp_path / "new/reports/bob/lab3.json")
    assert (bob.points, bob.max) == (None, 13)
    assert (tmp_path / "new/reports/eve/lab3.timestamp.txt").is_file()
    assert (tmp_path / "new/reports/intake.json").is_file()
    result = sync(tmp_path / "new" / "reports", course=changed)
    assert {one.student: one.changes.after for one in result.synced} == {
        "alice": 14, "bob": 11, "eve": 17,
    }  # fmt: skip
    assert result.stale == {}


def test_what_cannot_be_computed_again(put: Put, tmp_path: Path, course: Course) -> None:
    report = make_report(course, jump_target=FAIL)
    with pytest.raises(UsageError, match="only some of the checks ran"):
        rescored(report.model_copy(update={"partial_run": True}), course)
    other = write_course(tmp_path / "other", COURSE.replace("jump.target", "jump.aim"))
    with pytest.raises(UsageError, match=r"(?s)other checks.*lab3.jump.aim, lab3.jump.target"):
        rescored(report, other)
    assert rescored(report, course).checks == report.checks


def test_the_command_rescore(put: Put, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put()
    put("bob", changes={"partial_run": True})
    (tmp_path / "reports" / "eve").mkdir()
    (tmp_path / "reports" / "eve" / "lab3.json").write_text("{")
    changed = write_course(tmp_path / "kit", DEARER)
    words = ["gradebook", "rescore", str(tmp_path / "reports"), "--course", str(changed.root)]
    before = {path: path.read_bytes() for path in tmp_path.rglob("lab3.json")}
    assert main.main([*words, "--out", str(tmp_path / "new")]) == 2
    said = capsys.readouterr().out
    assert "1 changed, 0 the same, 2 refused" in said
    assert json.loads((tmp_path / "new/alice/lab3.json").read_text())["max"] == 13
    assert {path: path.read_bytes() for path in before} == before
    assert main.main([*words, "--out", str(tmp_path / "reports")]) == 2

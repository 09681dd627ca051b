"""Reports in a real gradebook: what is written, what stays, what is refused."""

import sqlite3
import threading
import time
from contextlib import closing
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
    by_hand,
    files,
    grades,
    make_report,
    refused,
    rows,
    write_course,
)

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.classroom import gradebook
from vmmlab.classroom.gradebook import opening, show
from vmmlab.classroom.gradebook import rows as rows_module
from vmmlab.classroom.roster import Entry
from vmmlab.cli import main
from vmmlab.course.model import Course
from vmmlab.i18n.translate import Reader
from vmmlab.report.model import write_json

# --- what is written ---------------------------------------------------------------------------


def test_every_check_is_a_grade_cell(put: Put, sync: Sync, folder: Path) -> None:
    put(jump_target=FAIL)
    result = sync()
    assert (result.exit_code, len(result.synced), result.refused) == (0, 1, ())
    found = grades(folder)
    assert {cell: (g["auto_score"], g["max_score"]) for cell, g in found.items()} == {
        "lab3-jump-present": (2, 2),
        "lab3-jump-target": (0, 3),
        "lab3-ladder-long": (5, 5),
        "lab3-hidden": (4, 4),
    }
    assert not any(one["needs_manual_grade"] for one in found.values())
    assert [cell for cell, one in found.items() if one["failed_tests"]] == [JUMP]
    assert "Hint: Work it out by hand" in found[JUMP]["comment"]
    assert found["lab3-jump-present"]["comment"] is None


def test_the_notebook_is_one_that_nbgrader_accepts(put: Put, sync: Sync, folder: Path) -> None:
    from nbgrader.nbgraderformat import read

    put(jump_target=FAIL)
    sync()
    path = folder / "autograded" / "alice" / "lab3-checks" / "lab3.ipynb"
    assert path.stat().st_mode & 0o777 == 0o444
    with path.open() as file:
        book = read(file, as_version=4)
    nbformat.validate(book)
    cells = {c.metadata.nbgrader.grade_id: c for c in book.cells if "nbgrader" in c.metadata}
    assert set(cells) == set(grades(folder))
    assert cells[JUMP].metadata.nbgrader.points == 3
    assert "a far jump to 0xf0000\n" in cells[JUMP].outputs[0].text
    assert "alice" not in path.read_text()  # reviewers need not know the name
    assert cells[JUMP].source.startswith("# lab3.jump.target\n")


def test_a_second_run_changes_nothing(put: Put, sync: Sync, folder: Path) -> None:
    put(jump_target=FAIL, ladder_long=INFRA)
    put("bob", secret_trick=FAIL)
    assert all(one.changed for one in sync().synced)
    before = rows(folder), files(folder)
    assert not any(one.changed for one in sync().synced)
    assert (rows(folder), files(folder)) == before
    # known-wrong case: something is written at all
    put("bob", jump_target=FAIL)
    assert [one.student for one in sync().synced if one.changed] == ["bob"]
    assert rows(folder) != before[0]
    assert files(folder) != before[1]


def test_the_kits_own_course(tmp_path: Path, folder: Path) -> None:
    from vmmlab.course.find import find_course
    from vmmlab.course.load import load_course

    kit = load_course(find_course(Path(__file__)))
    for lab in kit.labs:
        path = tmp_path / "alice" / f"{lab}.json"
        path.parent.mkdir(exist_ok=True)
        write_json(make_report(kit, lab), path)
    options = gradebook.Options(folder=folder, cohort=kit.cohort)
    result = gradebook.run(kit, [tmp_path / "alice"], options)
    assert result.exit_code == 0
    assert {one.lab: one.changes.after for one in result.synced} == {
        name: lab.points + lab.hidden_points for name, lab in kit.labs.items()
    }


def test_another_architecture_is_an_assignment_of_its_own(
    tmp_path: Path, put: Put, sync: Sync, folder: Path
) -> None:
    more = "      lab3.i386.jump: {points: 1, step: lab3.1, arch: i386}\n"
    both = write_course(
        tmp_path / "kit", COURSE.replace("points: 14", "points: 14\n    points_i386: 1") + more
    )
    put(course=both)
    path = put(course=both, changes={"arch": "i386"}).rename(
        tmp_path / "reports" / "alice" / "lab3-i386.json"
    )
    put(course=both)
    result = sync(course=both)
    assert {one.lab: (one.changes.after, one.changes.most) for one in result.synced} == {
        "lab3": (14, 14),
        "lab3-i386": (1, 1),
    }
    assert set(grades(folder, lab="lab3-i386")) == {"lab3-i386-jump"}
    # and where the course has no such checks
    assert "not graded for i386" in refused(sync(path))


def test_a_student_from_the_roster(put: Put, sync: Sync, folder: Path) -> None:
    put("carol")
    put("alice")
    carol = Entry("carol", "Carol", "Cee", "c@example.org")
    sync(roster={"carol": carol, "alice": Entry("alice", "Other", "Liddell", "a@example.org")})
    known = {row[0]: row[1:4] for row in rows(folder)["student"]}
    assert known["carol"] == ("Carol", "Cee", "c@example.org")
    # a blank is filled in, what is there stays
    assert known["alice"] == ("Alice", "Liddell", "a@example.org")


# --- what cannot be judged, and what a person says ---------------------------------------------


def test_an_infrastructure_failure_is_not_a_zero(
    put: Put, sync: Sync, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(jump_target=INFRA)
    put("bob", jump_target=FAIL)
    result = sync()
    open_cell, zero = grades(folder)[JUMP], grades(folder, "bob")[JUMP]
    assert (open_cell["auto_score"], open_cell["needs_manual_grade"]) == (None, True)
    assert (zero["auto_score"], zero["needs_manual_grade"]) == (0, False)
    show.print_result(result)
    said = capsys.readouterr().out
    assert "11+?/14" in said
    assert f"needs to be graded by hand  alice  {JUMP}: QEMU did not start" in said
    assert said.count("needs to be graded by hand") == 1


def test_a_mark_by_hand_survives(put: Put, sync: Sync, folder: Path) -> None:
    put(jump_target=FAIL, ladder_long=INFRA)
    sync()
    by_hand(folder, JUMP, score=1.5, extra=1.0, comment="nearly")
    by_hand(folder, "lab3-ladder-long", score=4)
    before = rows(folder)
    result = sync()
    assert rows(folder) == before
    assert not result.synced[0].changed
    assert result.synced[0].changes.after == 2 + 2.5 + 4 + 4
    assert result.synced[0].changes.unjudged == []


def test_a_mark_by_hand_survives_a_new_verdict_and_is_looked_at_again(
    put: Put, sync: Sync, folder: Path
) -> None:
    put(jump_target=FAIL)
    sync()
    by_hand(folder, JUMP, score=1.5, comment="nearly")
    put()  # graded again: now it passes
    (one,) = sync().synced
    found = grades(folder)[JUMP]
    assert (found["manual_score"], found["score"], found["auto_score"]) == (1.5, 1.5, 3)
    assert (found["needs_manual_grade"], found["comment"]) == (True, "nearly")
    assert one.changes.review == [JUMP]
    # without a mark by hand the new verdict simply counts
    put("bob", jump_target=FAIL)
    sync()
    put("bob")
    sync()
    assert grades(folder, "bob")[JUMP]["needs_manual_grade"] is False


def test_another_language_changes_what_is_said_and_nothing_else(
    put: Put, sync: Sync, folder: Path
) -> None:
    put(jump_target=FAIL)
    sync()
    english = grades(folder)
    by_hand(folder, JUMP, score=1.5)
    (one,) = sync(lang="ja").synced
    japanese = grades(folder)
    assert one.changed
    assert "Hint: " in english[JUMP]["comment"]
    assert "ヒント：" in japanese[JUMP]["comment"]
    assert (japanese[JUMP]["score"], japanese[JUMP]["needs_manual_grade"]) == (1.5, False)
    shown = nbformat.read(folder / "autograded/alice/lab3-checks/lab3.ipynb", as_version=4)
    assert "採点に使ったもの：" in shown.cells[0].source
    assert "期待：" in "".join(cell.outputs[0].text for cell in shown.cells[1:])
    kept = (folder / "submitted/alice/lab3-checks/lab3.json").read_text()
    assert "ヒント" not in kept
    sync()
    assert grades(folder)[JUMP]["comment"] == english[JUMP]["comment"]


def test_a_verdict_that_is_taken_back(put: Put, sync: Sync, folder: Path) -> None:
    put()
    sync()
    put(jump_target=INFRA)
    (one,) = sync().synced
    found = grades(folder)[JUMP]
    assert (found["auto_score"], found["needs_manual_grade"]) == (None, True)
    assert one.changes.unjudged == [JUMP]


def test_a_verdict_at_last(put: Put, sync: Sync, folder: Path) -> None:
    put(jump_target=INFRA)
    sync()
    put()
    sync()
    found = grades(folder)[JUMP]
    assert (found["auto_score"], found["needs_manual_grade"], found["comment"]) == (3, False, None)


# --- course.yml changes ------------------------------------------------------------------------


def test_other_points_in_course_yml(
    tmp_path: Path, put: Put, sync: Sync, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put()
    put("bob")
    sync()
    text = COURSE.replace("target: {points: 3", "target: {points: 6").replace("14", "17")
    changed = write_course(tmp_path / "kit", text)
    old = sync(course=changed)  # the reports still have the old points
    assert len(old.refused) == 2
    assert "other points than course.yml" in str(old.refused[0].reason)
    assert grades(folder)[JUMP]["max_score"] == 3
    path = put(course=changed)
    result = sync(path, course=changed)
    assert grades(folder)[JUMP]["max_score"] == 6
    assert grades(folder)[JUMP]["needs_manual_grade"] is False
    assert (
        grades(folder, "bob")[JUMP]["needs_manual_grade"] is True
    )  # 3 of 3 was 3 of 6 all at once
    assert result.stale == {"lab3": ("bob",)}
    show.print_result(result)
    assert "grade again  lab3: " in capsys.readouterr().out
    result = sync(put("bob", course=changed), course=changed)
    assert grades(folder, "bob")[JUMP]["needs_manual_grade"] is False
    assert result.stale == {}


def test_a_new_check_in_course_yml(tmp_path: Path, put: Put, sync: Sync, folder: Path) -> None:
    put()
    put("bob")
    sync()
    text = COURSE.replace("14", "15") + "      lab3.jump.late: {points: 1, step: lab3.1}\n"
    changed = write_course(tmp_path / "kit", text)
    sync(put(course=changed), course=changed)
    assert grades(folder)["lab3-jump-late"]["auto_score"] == 1
    late = grades(folder, "bob")["lab3-jump-late"]
    assert (late["auto_score"], late["needs_manual_grade"]) == (None, True)


def test_a_check_that_is_gone_keeps_its_marks_until_told_otherwise(
    tmp_path: Path, put: Put, sync: Sync, folder: Path
) -> None:
    put()
    sync()
    by_hand(folder, JUMP, score=1)
    text = "".join(line for line in COURSE.splitlines(True) if "jump.target" not in line)
    changed = write_course(tmp_path / "kit", text.replace("14", "11"))
    path = put(course=changed)
    before = rows(folder)
    assert JUMP in refused(sync(path, course=changed))
    assert rows(folder) == before
    assert sync(path, course=changed, drop_removed=True).exit_code == 0
    assert JUMP not in grades(folder)
    assert JUMP not in repr(rows(folder))


# --- late work ---------------------------------------------------------------------------------


def test_late_work_follows_nbgraders_own_rule(put: Put, sync: Sync, folder: Path) -> None:
    from nbgrader.api import Gradebook

    config = folder / "nbgrader_config.py"
    config.write_text(config.read_text() + "c.LateSubmissionPlugin.penalty_method = 'zero'\n")
    path = put()
    path.with_name("lab3.timestamp.txt").write_text("2026-11-23 09:00:00 +0900")
    put("bob").with_name("lab3.timestamp.txt").write_text("2026-11-22 23:00:00 UTC")
    sync()
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "vmm") as book:
        assert book.find_submission("lab3-checks", "alice").late_submission_penalty == 0
        book.update_or_create_assignment("lab3-checks", duedate="2026-11-22 23:59:00 UTC")
    sync()
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "vmm") as book:
        assert book.find_submission("lab3-checks", "alice").total_seconds_late == 60
        assert book.find_submission("lab3-checks", "alice").late_submission_penalty == 14
        assert book.find_submission("lab3-checks", "bob").late_submission_penalty == 0
        assert f"{book.find_assignment('lab3-checks').duedate}" == "2026-11-22 23:59:00"
    before = rows(folder)
    assert not any(one.changed for one in sync().synced)
    assert rows(folder) == before


def test_the_penalty_is_the_one_of_the_intake(put: Put, sync: Sync, folder: Path) -> None:
    from nbgrader.api import Gradebook

    from vmmlab.classroom.intake import Intake, Submission
    from vmmlab.classroom.lateness import Lateness

    config = folder / "nbgrader_config.py"
    config.write_text(config.read_text() + "c.LateSubmissionPlugin.penalty_method = 'zero'\n")
    paths = [put("alice"), put("bob"), put("eve")]
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "vmm") as book:
        book.update_or_create_assignment("lab3-checks", duedate="2026-11-22 14:59:00 UTC")
    due = datetime(2026, 11, 22, 14, 59, tzinfo=UTC)
    late = {
        "alice": Lateness("late", due, days=2, percent=20),
        "bob": Lateness("on-time", due),
        "eve": Lateness("unknown", due),
    }
    Intake(
        platform="folder",
        submissions=tuple(
            Submission(student=name, name=name, folder=folder, late={"lab3": one})
            for name, one in late.items()
        ),
    ).write(paths[0].parents[2] / "intake.json")
    for path in paths:  # by nbgrader's own rule all of them lose everything
        path.with_name("lab3.timestamp.txt").write_text("2026-11-24 09:00:00 +0900")
    sync(create_students=True)
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "vmm") as book:
        lost = {
            name: book.find_submission("lab3-checks", name).late_submission_penalty for name in late
        }
    assert lost == {"alice": 2.8, "bob": 0, "eve": 14}
    assert not any(one.changed for one in sync(create_students=True).synced)
    (paths[0].parents[2] / "intake.json").write_text("{}")
    with pytest.raises(UsageError, match="not what `vmmlab batch` wrote"):
        sync(create_students=True)


def test_students_of_the_roster_without_a_report_have_a_row(
    put: Put, sync: Sync, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roster = {
        "alice": Entry("alice", "Alice", "Liddell"),
        "zoe": Entry("zoe", "花子", '山田, "Z"'),
    }
    put("alice")
    result = sync(roster=roster)
    assert result.enrolled == ("zoe",)
    known = {row[0]: row for row in rows(folder)["student"]}
    assert known["zoe"][1:3] == ("花子", '山田, "Z"')
    show.print_result(result)
    assert "1 student without a grade is new" in capsys.readouterr().out
    assert sync(roster=roster).enrolled == ()


# --- what is refused ---------------------------------------------------------------------------


def test_the_good_ones_go_in_and_each_bad_one_is_named(
    tmp_path: Path, put: Put, sync: Sync, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put()
    bad = {
        "broken": "{",
        "empty": "",
        "other": '{"schema": "vmmlab/report/2"}',
        "list": "[1]",
    }
    for name, text in bad.items():
        path = tmp_path / "reports" / name / "lab3.json"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    put("bob", changes={"cohort": "autumn"})
    result = sync()
    assert result.exit_code == 2
    assert [one.student for one in result.synced] == ["alice"]
    reasons = {one.path.parent.name: one.reason for one in result.refused}
    assert set(reasons) == {*bad, "bob"}
    assert "vmmlab/report/2" in reasons["other"]
    assert "another cohort" in reasons["bob"]
    assert "autumn" in reasons["bob"]
    assert [row[0] for row in rows(folder)["student"]] == ["alice", "bob"]
    show.print_result(result)
    said = capsys.readouterr().out
    assert said.count("refused  /") == 5
    assert "1 changed, 0 the same, 5 refused" in said


def test_the_roster_says_the_cohort(put: Put, sync: Sync) -> None:
    put(changes={"cohort": "autumn"})
    assert "another cohort" in refused(sync(roster={"alice": Entry("alice")}))
    assert sync(roster={"alice": Entry("alice", cohort="autumn")}).exit_code == 0


def test_nobody_knows_the_student(put: Put, sync: Sync, folder: Path) -> None:
    before = rows(folder)
    path = put("old-reports")
    assert "has no student old-reports" in refused(sync(path))
    assert "not in the roster" in refused(sync(path, roster={"alice": Entry("alice")}))
    assert rows(folder) == before
    assert files(folder).keys() == {"nbgrader_config.py"}
    assert sync(path, create_students=True).exit_code == 0


def test_nothing_says_whose_it_is(tmp_path: Path, put: Put, sync: Sync) -> None:
    path = put().rename(tmp_path / "report.json")
    assert "does not say which student" in refused(sync(path))
    assert sync(path, student="bob").synced[0].student == "bob"


def test_two_reports_for_one_student_and_lab(tmp_path: Path, put: Put, sync: Sync) -> None:
    first = put()
    again = tmp_path / "again" / "alice" / "lab3.json"
    again.parent.mkdir(parents=True)
    again.write_bytes(first.read_bytes())
    result = sync(first, again)
    assert not result.synced
    assert [one.path for one in result.refused] == [first, again]
    assert str(again) in str(result.refused[0].reason)


def test_a_file_that_holds_another_labs_report(put: Put, sync: Sync) -> None:
    path = put()
    assert "another lab" in refused(sync(path.rename(path.with_name("lab4.json"))))


def test_a_lab_that_the_course_does_not_have(tmp_path: Path, put: Put, sync: Sync) -> None:
    text = COURSE.replace("lab3", "lab7")
    other = write_course(tmp_path / "other", text)
    assert "no lab called 'lab7'" in refused(sync(put(lab="lab7", course=other)))


def test_a_folder_name_that_is_no_id(put: Put, sync: Sync) -> None:
    assert "cannot be a student's id" in refused(sync(put("a[1]"), create_students=True))


def test_an_assignment_of_somebody_elses(put: Put, sync: Sync, folder: Path) -> None:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "vmm") as book:
        book.add_assignment("lab3-checks")
        book.add_notebook("worksheet", "lab3-checks")
    put()
    assert "not worksheets of this lab" in refused(sync())


# --- whole or not at all -----------------------------------------------------------------------


def test_a_report_is_in_whole_or_not_at_all(
    put: Put, sync: Sync, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nbgrader's API commits after each step; a run that is stopped must leave nothing."""
    before = rows(folder), files(folder)
    put()
    real = rows_module.Rows.save

    def stops(self: Any, handed: Any) -> None:
        real(self, handed)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rows_module.Rows, "save", stops)
        with pytest.raises(KeyboardInterrupt):
            sync()
    assert (rows(folder), files(folder)) == before
    sync()
    assert rows(folder) != before[0]


def test_nothing_is_in_if_the_notebook_cannot_be_written(
    put: Put, sync: Sync, folder: Path
) -> None:
    before = rows(folder)
    (folder / "autograded").write_text("not a folder")
    put()
    with pytest.raises(InfraError, match="cannot be written"):
        sync()
    assert rows(folder) == before


def test_it_waits_for_somebody_who_is_writing(put: Put, sync: Sync, folder: Path) -> None:
    put()
    database = sqlite3.connect(
        folder / "gradebook.db", isolation_level=None, check_same_thread=False
    )
    with closing(database):
        database.execute("BEGIN IMMEDIATE")
        asked = threading.Event()

        def finish() -> None:
            asked.wait(10)
            time.sleep(0.3)
            database.execute("UPDATE student SET email = 'new@example.org' WHERE id = 'bob'")
            database.execute("COMMIT")

        other = threading.Thread(target=finish)
        other.start()
        asked.set()
        assert sync().exit_code == 0
        other.join()
    assert grades(folder)[JUMP]["auto_score"] == 3
    assert "new@example.org" in repr(rows(folder)["student"])


def test_a_symbolic_link_is_replaced_and_not_followed(
    tmp_path: Path, put: Put, sync: Sync, folder: Path
) -> None:
    """nbgrader follows links that a student hands in."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    link = folder / "autograded" / "alice" / "lab3-checks" / "lab3.ipynb"
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    put()
    sync()
    assert victim.read_text() == "precious"
    assert not link.is_symlink()
    # nor does a link to the same text count
    victim.write_bytes(link.read_bytes())
    link.unlink()
    link.symlink_to(victim)
    sync()
    assert not link.is_symlink()


# --- the gradebook itself ----------------------------------------------------------------------


def test_a_folder_that_is_not_nbgraders(tmp_path: Path, put: Put, course: Course) -> None:
    put()
    options = gradebook.Options(folder=tmp_path, cohort="spring")
    with pytest.raises(UsageError, match="not a course folder of nbgrader"):
        gradebook.run(course, [tmp_path / "reports"], options)
    assert not (tmp_path / "gradebook.db").exists()


def test_a_config_that_python_cannot_read(put: Put, sync: Sync, folder: Path) -> None:
    """nbgrader would go on without it, with another gradebook."""
    put()
    (folder / "nbgrader_config.py").write_text("c.CourseDirectory.db_url = (\n")
    with pytest.raises(UsageError, match=r"(?s)nbgrader_config.py: nbgrader cannot read.*Syntax"):
        sync()


def test_the_gradebook_may_be_elsewhere(put: Put, sync: Sync, folder: Path) -> None:
    (folder / "gradebook.db").rename(folder / "grades.sqlite")
    config = folder / "nbgrader_config.py"
    config.write_text(f"c.CourseDirectory.db_url = 'sqlite:///{folder / 'grades.sqlite'}'\n")
    put()
    sync()
    assert not (folder / "gradebook.db").exists()


def test_a_gradebook_that_is_none(put: Put, sync: Sync, folder: Path) -> None:
    put()
    (folder / "gradebook.db").write_text("this is not a database, only a long enough text " * 9)
    with pytest.raises(InfraError, match="the gradebook is damaged: file is not a database"):
        sync()
    with pytest.raises(InfraError, match="cannot be copied"):
        sync(dry_run=True)


# --- the dry run and the command ---------------------------------------------------------------


def test_a_dry_run_changes_nothing_and_says_what_it_would(
    put: Put, sync: Sync, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(jump_target=FAIL)
    put("bob")
    before = rows(folder), files(folder)
    would = sync(dry_run=True)
    assert (rows(folder), files(folder)) == before
    show.print_result(would)
    said = capsys.readouterr().out
    assert "2 would change" in said
    did = sync()
    assert [one.changes for one in did.synced] == [one.changes for one in would.synced]
    assert rows(folder) != before[0]


def test_a_dry_run_makes_no_gradebook(
    put: Put, sync: Sync, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = (folder / "gradebook.db").read_bytes()
    (folder / "gradebook.db").unlink()
    monkeypatch.setattr(opening, "_make", lambda file, _: file.write_bytes(empty))  # quicker
    put()
    assert sync(dry_run=True, create_students=True).synced[0].changes.after == 14
    assert [path.name for path in folder.iterdir()] == ["nbgrader_config.py"]


def test_the_table_says_what_changes(put: Put, sync: Sync) -> None:
    put(jump_target=FAIL)
    sync()
    put()
    text = show.render(sync(dry_run=True))
    (line,) = [line for line in text.splitlines() if line.startswith("alice")]
    assert line.split()[:4] == ["alice", "lab3", "14/14", "11"]
    assert f"{JUMP}: 0 → 3" in line


def test_what_is_done_and_what_is_refused_is_said_in_japanese(put: Put, sync: Sync) -> None:
    put()
    stranger = put("mallory")
    only_alice = {"alice": Entry("alice")}
    text = show.render(sync(dry_run=True, roster=only_alice), say=Reader("ja"))
    head, line = text.splitlines()[:2]
    assert head.split() == ["受講者", "課題", "点", "前の点", "変わるもの"]
    assert line.split()[:2] == ["alice", "lab3"]
    assert "新しい提出物" in line
    assert "変わるもの 1 件、同じ 0 件、拒否 1 件" in text
    assert f"拒否  {stranger}：mallory が名簿にありません。" in text
    assert "  次に： フォルダ名か名簿を直してください" in text


def test_the_command(
    put: Put,
    folder: Path,
    course: Course,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put()
    put("nobody")
    words = ["gradebook", "sync", str(tmp_path / "reports"), "--nbgrader", str(folder)]
    words += ["--course", str(course.root)]
    assert main.main([*words, "--dry-run"]) == 2
    assert "1 would change, 0 the same, 1 refused" in capsys.readouterr().out
    assert "submitted_assignment" in rows(folder)
    assert rows(folder)["submitted_assignment"] == []
    assert main.main(words) == 2
    assert "1 changed, 0 the same, 1 refused" in capsys.readouterr().out
    roster = tmp_path / "roster.csv"
    roster.write_text('id,last_name\nalice,\nnobody,"Body, No"\n')
    assert main.main([*words, "--roster", str(roster)]) == 0
    said = capsys.readouterr().out
    assert "1 changed, 1 the same, 0 refused" in said
    assert "(nobody)" in said  # whose name shifts columns in nbgrader's own export
    assert "vmmlab gradebook export" in said
    assert main.main([*words, "--student", "../x"]) == 2
    assert main.main(["gradebook", "sync", str(tmp_path / "nothing.json"), *words[3:]]) == 2

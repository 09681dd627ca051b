"""What could not be graded goes the same ways as a grade: into the gradebook and to platforms."""

from pathlib import Path

import pytest
from gradebook_helpers import grades, rows

from vmmlab.base.message import msg
from vmmlab.classroom import gradebook
from vmmlab.classroom.gradebook import show
from vmmlab.course.find import find_course
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.i18n.translate import Reader
from vmmlab.report import ungraded
from vmmlab.report.export.sheet import sheet_of
from vmmlab.report.html import page
from vmmlab.report.model import Report, write_json
from vmmlab.report.runrecord import RunRecord

WHY = msg("nothing was handed in for {lab}", lab="lab1")


@pytest.fixture(scope="module")
def kit() -> Course:
    return load_course(find_course(Path(__file__)))


def made(
    kit: Course, *, attention: bool = False, hidden: bool = True, handed_in: bool = True
) -> Report:
    return ungraded.report(
        kit, "lab1", "x86_64", kit.cohort, WHY,
        attention=attention, hidden=hidden, handed_in=handed_in,
    )  # fmt: skip


def put(
    tmp_path: Path, kit: Course, folder: Path, report: Report, student: str = "alice"
) -> gradebook.Result:
    path = tmp_path / "reports" / student / "lab1.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(report, path)
    options = gradebook.Options(folder=folder, cohort=kit.cohort, create_students=True)
    return gradebook.run(kit, [path.parent], options)


def test_a_course_with_hidden_checks_takes_it(tmp_path: Path, kit: Course, folder: Path) -> None:
    assert kit.lab("lab1").hidden
    result = put(tmp_path, kit, folder, made(kit))
    assert [str(one.error) for one in result.refused] == []
    found = grades(folder, lab="lab1")
    assert {one["auto_score"] for one in found.values()} == {0}
    assert "lab1-hidden" in found
    said = found["lab1-mi-copied"]["comment"]
    assert "nothing was handed in" in said
    assert "compile" not in said
    # known-wrong case: without the hidden checks it is no grade of this course
    assert put(tmp_path, kit, folder, made(kit, hidden=False)).exit_code == 2


def test_who_handed_in_nothing_has_a_row_and_no_grade(
    tmp_path: Path, kit: Course, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on Moodle and Canvas: whether that is a 0 is up to a person."""
    absent = made(kit, handed_in=False)
    result = put(tmp_path, kit, folder, absent, "zoe")
    assert (result.exit_code, result.synced) == (0, ())
    assert (result.absent, result.enrolled) == ({"lab1": ("zoe",)}, ("zoe",))
    show.print_result(result)
    assert "lab1: nothing was handed in, so no grade: zoe" in capsys.readouterr().out
    assert [row[0] for row in rows(folder)["student"]][-1] == "zoe"
    assert not rows(folder)["submitted_assignment"]
    # known-right cases: what was handed in and cannot be graded is a 0; a grade that is there stays
    put(tmp_path, kit, folder, made(kit), "zoe")
    before = rows(folder)
    assert {one["auto_score"] for one in grades(folder, "zoe", lab="lab1").values()} == {0}
    assert put(tmp_path, kit, folder, absent, "zoe").absent
    assert rows(folder) == before


def test_a_report_without_work_is_refused_like_any_other(
    tmp_path: Path, kit: Course, folder: Path
) -> None:
    report = made(kit, handed_in=False).model_copy(update={"cohort": "autumn"})
    result = put(tmp_path, kit, folder, report)
    assert (result.exit_code, result.absent) == (2, {})


def test_what_was_handed_in_earlier_takes_no_grade_away(
    tmp_path: Path, kit: Course, folder: Path
) -> None:
    late, early = made(kit), made(kit)
    assert late.audit
    assert early.audit
    early = early.model_copy(
        update={"audit": early.audit.model_copy(update={"graded_at": "2026-01-01T00:00:00+00:00"})}
    )
    assert put(tmp_path, kit, folder, late).refused == ()
    result = put(tmp_path, kit, folder, early)
    assert "the report of a later grading" in str(result.refused[0].error)


def test_what_a_person_has_to_look_at_is_not_0(tmp_path: Path, kit: Course, folder: Path) -> None:
    result = put(tmp_path, kit, folder, made(kit, attention=True))
    assert result.refused == ()
    found = grades(folder, lab="lab1").values()
    assert {one["auto_score"] for one in found} == {None}
    assert all(one["needs_manual_grade"] for one in found)


def test_platforms_take_it_with_the_hidden_points(kit: Course) -> None:
    lab = kit.lab("lab1")
    sheet = sheet_of(made(kit), hidden=True)
    assert (sheet.points, sheet.max) == (0, lab.points + lab.hidden_points)
    assert sheet_of(made(kit, attention=True), hidden=True).points is None


@pytest.mark.parametrize("language", ["en", "ja"])
def test_no_page_speaks_of_a_compiler(kit: Course, language: str) -> None:
    say = Reader(language).of(kit.labs_dir / "lab1")
    shown = page(RunRecord.model_validate({"report": made(kit)}), say)
    assert say(WHY) in shown
    assert say(msg("The code does not compile, so no check could run.")) not in shown
    assert (
        say(msg("The code does not compile, so no check could run."))
        not in sheet_of(made(kit), say).summary
    )

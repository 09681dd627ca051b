"""Moodle's worksheet and Canvas' gradebook before and after, byte by byte, and the feedback files.

The samples in `data` are laid out as the sources of Moodle and Canvas write them (see the modules
of `vmmlab.classroom.returns`), in English and Japanese, with blind marking and with groups.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from classes import laid_out, under, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmmlab.base.errors import UsageError
from vmmlab.classroom.intake import intake
from vmmlab.classroom.returns import canvas, moodle
from vmmlab.classroom.returns.grades import Filled, Grades, maximum_in, number
from vmmlab.classroom.returns.rawcsv import RawTable
from vmmlab.classroom.roster import read_roster
from vmmlab.cli.main import main
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.i18n.translate import Reader
from vmmlab.report import ungraded
from vmmlab.report.model import Report

DATA = Path(__file__).with_name("data")
SECRET = "Xyzzy"
COURSE = """\
schema: 1
title: A course
deadlines:
  zone: Asia/Tokyo
  late: {per_day: 10, days: 5}
  labs:
    lab3:
      due: 2026-11-22 23:59
labs:
  lab3:
    title: The trampoline
    files:
      lab3/apinit.S: [cpuinit_start]
      lab3/ap_start.c: [ap_start]
    steps:
      - {id: lab3.1, title: the far jump, file: lab3/ap_start.c, function: ap_start}
    points: 40
    hidden_points: 5
    checks:
      lab3.ljmpw.target: {points: 25, step: lab3.1}
      lab3.ladder.real: {points: 15, step: lab3.1}
    hidden:
      lab3.hidden.xyzzy: {points: 5, step: lab3.1}
"""


def work(name: str) -> dict[str, bytes]:
    return {"lab3/apinit.S": name.encode(), "lab3/ap_start.c": b"int x;\n"}


@pytest.fixture
def course(tmp_path: Path) -> Course:
    root = tmp_path / "course"
    (root / "labs" / "lab3").mkdir(parents=True)
    (root / "course.yml").write_text(COURSE, encoding="utf-8")
    return load_course(root)


def report(points: tuple[int | None, int | None], hidden: int = 5) -> Report:
    worth = {"lab3.ljmpw.target": 25, "lab3.ladder.real": 15, "lab3.hidden.xyzzy": 5}
    checks: list[dict[str, Any]] = []
    for (name, most), got in zip(worth.items(), (*points, hidden), strict=True):
        outcome = "infra-error" if got is None else "pass" if got == most else "fail"
        checks.append(
            {
                "id": name,
                "title": SECRET if "hidden" in name else f"About {name}.",
                "points": got,
                "max": most,
                "outcome": outcome,
                "cause": SECRET if "hidden" in name else "far-jump-missing",
                "visibility": "hidden" if "hidden" in name else "visible",
                "scenario": "ladder(cpus=4)",
                "again": "",
            }
        )
    judged = None not in points
    return Report.model_validate(
        {
            "schema": "vmmlab/report/2",
            "mode": "standalone",
            "lab": "lab3",
            "cohort": "dev",
            "seed": 7,
            "arch": "x86_64",
            "versions": {},
            "build": {"ok": True},
            "checks": checks,
            "points": sum(one or 0 for one in points) if judged else None,
            "max": 40,
            "hidden_points": hidden,
            "hidden_max": 5,
            "hidden_judged": True,
            "hidden_elsewhere": False,
            "needs_attention": not judged,
            "duration_s": 1.0,
        }
    )


def batch(tmp_path: Path, course: Course, source: Path, reports: dict[str, Report]) -> Path:
    """Make what `vmmlab batch` writes: the intake, and reports by the intake's ids."""
    out = tmp_path / "batch"
    taken = intake(source, course, out / "submissions", labs=["lab3"])
    taken.write(out / "intake.json")
    for student, made in reports.items():
        assert student in {one.student for one in taken.submissions}
        laid_out(out / "reports", {f"{student}/lab3.json": made.to_json().encode()})
    return out


def packed(tmp_path: Path, files: dict[str, bytes], name: str = "download.zip") -> Path:
    path = tmp_path / name
    path.write_bytes(zipped(files))
    return path


def filled(
    sheet: Path, source: Path, out: Path, course: Course, say: Reader | None = None, **more: Any
) -> Filled:
    roster = read_roster(sheet)
    taken = intake(source, course, out / "again", labs=["lab3"], roster=roster)
    table = RawTable(sheet.read_bytes(), sheet.name)
    hidden = more.pop("hidden", False)
    grades = Grades(out, course, "lab3", hidden=hidden)
    return moodle.fill(table, roster, taken, grades, course, "lab3", say or Reader(), **more)


def said(done: Filled) -> list[str]:
    return [str(one) for one in done.remarks]


ENGLISH = {
    **under("Taro Yamada_101_assignsubmission_file", work("taro")),
    **under("Ann O'Neil_102_assignsubmission_file", work("ann")),
    **under('Quote Q_103_assignsubmission_file', work("quote")),
    **under("Late Larry_104_assignsubmission_file", work("larry")),
    **under("Locked Lou_105_assignsubmission_file", work("lou")),
    **under("Broken Bo_106_assignsubmission_file", work("bo")),
    **under("Again Al_108_assignsubmission_file", work("al")),
    "Only Text_109_assignsubmission_onlinetext/onlinetext.html": b"<p>hello</p>",
}  # fmt: skip
REPORTS = {
    "Taro_Yamada-101": report((25, 15)),
    "Ann_O_Neil-102": report((25, 10)),
    "Quote_Q-103": report((0, 0), hidden=0),
    "Late_Larry-104": report((25, 10)),
    "Locked_Lou-105": report((25, 15)),
    "Broken_Bo-106": report((25, None)),
    "Again_Al-108": report((25, 15)),
}


def compare(done: bytes, name: str) -> None:
    """Compare with the sample, byte by byte."""
    expected = (DATA / name).read_bytes()
    assert done.decode("utf-8", "replace") == expected.decode("utf-8", "replace")
    assert done == expected


def test_a_worksheet_in_english(tmp_path: Path, course: Course) -> None:
    out = batch(tmp_path, course, packed(tmp_path, ENGLISH), REPORTS)
    newer = {**ENGLISH, **under("Again Al_108_assignsubmission_file", work("al again"))}
    source = packed(tmp_path, newer, "newer.zip")
    done = filled(DATA / "moodle.en.before.csv", source, out, course)
    compare(done.table, "moodle.en.after.csv")
    assert (done.graded, done.unjudged) == (4, True)
    assert said(done) == [
        "Locked Lou: the grade is locked in Moodle",
        "Broken Bo: the grader could not judge all checks",
        "Absent Abe: nothing was handed in",
        "Again Al: this is not the submission that was graded: grade it again",
        "Only Text: no files were handed in",
    ]


def test_only_grades_and_comments_have_changed() -> None:
    """The samples themselves: every other cell is the same."""
    for before in DATA.glob("moodle.*.before.csv"):
        after = before.with_name(before.name.replace("before", "after"))
        old, new = (
            list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
            for path in (before, after)
        )
        assert len(old) == len(new)
        changed = {
            old[0][column]
            for was, now in zip(old, new, strict=True)
            for column, (one, other) in enumerate(zip(was, now, strict=True))
            if one != other
        }
        assert changed <= {"Grade", "Feedback comments", "評点", "フィードバックコメント"}
        assert changed


def test_a_worksheet_in_japanese(tmp_path: Path, course: Course) -> None:
    files = {
        **under("山田 太郎_201_assignsubmission_file_", work("taro")),
        **under("鈴木 花子_202_assignsubmission_file_", work("hanako")),
    }
    reports = {"山田_太郎-201": report((25, 15)), "鈴木_花子-202": report((25, 10))}
    source = packed(tmp_path, files)
    out = batch(tmp_path, course, source, reports)
    done = filled(DATA / "moodle.ja.before.csv", source, out, course, Reader("ja"))
    compare(done.table, "moodle.ja.after.csv")
    with zipfile.ZipFile(io.BytesIO(done.feedback)) as archive:
        assert archive.namelist() == [
            "山田 太郎_201_assignsubmission_file_/lab3.html",
            "鈴木 花子_202_assignsubmission_file_/lab3.html",
        ]
        assert "1 日の遅れ" in archive.read(archive.namelist()[1]).decode()


def test_a_worksheet_that_went_through_excel(tmp_path: Path, course: Course) -> None:
    text = (DATA / "moodle.ja.before.csv").read_bytes().decode("utf-8-sig")
    sheet = tmp_path / "sheet.csv"
    sheet.write_bytes(text.replace("\n", "\r\n").encode("cp932"))
    source = packed(tmp_path, under("山田 太郎_201_assignsubmission_file", work("taro")))
    out = batch(tmp_path, course, source, {"山田_太郎-201": report((25, 15))})
    done = filled(sheet, source, out, course, Reader("ja"))
    lines = done.table.decode("cp932").split("\r\n")
    assert lines[0] == text.split("\n")[0]
    assert ",40.00,40.00," in lines[1]


def test_blind_marking(tmp_path: Path, course: Course) -> None:
    files = {
        **under("Participant_301_assignsubmission_file", work("a")),
        **under("Participant_302_assignsubmission_file", work("b")),
    }
    source = packed(tmp_path, files)
    reports = {"Participant-301": report((25, 15)), "Participant-302": report((0, 15))}
    out = batch(tmp_path, course, source, reports)
    done = filled(DATA / "moodle.blind.before.csv", source, out, course)
    compare(done.table, "moodle.blind.after.csv")
    assert "Participant 303: nothing was handed in" in said(done)
    with zipfile.ZipFile(io.BytesIO(done.feedback)) as archive:
        assert archive.namelist()[0] == "Participant_301_assignsubmission_file_/lab3.html"


def test_groups(tmp_path: Path, course: Course) -> None:
    files = {
        **under("Group A_9_assignsubmission_file", work("a")),
        **under("Default group_assignsubmission_file", work("b")),
    }
    source = packed(tmp_path, files)
    sheet = DATA / "moodle.groups.before.csv"
    out = tmp_path / "batch"
    taken = intake(source, course, out / "submissions", labs=["lab3"], roster=read_roster(sheet))
    taken.write(out / "intake.json")
    for one in taken.submissions:
        made = report((25, 15) if one.group == "9" else (25, 0))
        if one.labs:
            laid_out(out / "reports", {f"{one.student}/lab3.json": made.to_json().encode()})
    done = filled(sheet, source, out, course)
    compare(done.table, "moodle.groups.after.csv")
    with zipfile.ZipFile(io.BytesIO(done.feedback)) as archive:
        assert len(archive.namelist()) == 3, "each member gets the page"


def test_reports_by_the_folder_of_an_address(tmp_path: Path, course: Course) -> None:
    """No batch: reports of `vmmlab grade`, in folders named by address."""
    laid_out(
        tmp_path / "reports", {"taro@example.org/lab3.json": report((25, 15)).to_json().encode()}
    )
    source = packed(tmp_path, under("Taro Yamada_101_assignsubmission_file", work("taro")))
    done = filled(DATA / "moodle.en.before.csv", source, tmp_path / "reports", course)
    assert done.graded == 1
    assert b'"Taro Yamada",taro@example.org,"Submitted for grading",40.00,' in done.table


# --- the feedback files ------------------------------------------------------------------------


def test_pages_show_nothing_that_is_hidden(tmp_path: Path, course: Course) -> None:
    source = packed(tmp_path, ENGLISH)
    out = batch(tmp_path, course, source, REPORTS)
    done = filled(DATA / "moodle.en.before.csv", source, out, course, hidden=True, rescale=True)
    assert SECRET in (out / "reports" / "Late_Larry-104" / "lab3.json").read_text(), "the wrong way"
    with zipfile.ZipFile(io.BytesIO(done.feedback)) as archive:
        for name in archive.namelist():
            page = archive.read(name).decode()
            assert SECRET not in page, name
            assert "hidden.xyzzy" not in page
        late = archive.read("Late Larry_104_assignsubmission_file_/lab3.html").decode()
        assert "2 days late" in late
    again = filled(DATA / "moodle.en.before.csv", source, out, course, hidden=True, rescale=True)
    assert again.feedback == done.feedback, "the same bytes each time"


def test_the_report_made_for_the_student_is_what_the_student_gets(
    tmp_path: Path, course: Course
) -> None:
    source = packed(tmp_path, under("Taro Yamada_101_assignsubmission_file", work("taro")))
    out = batch(tmp_path, course, source, {"Taro_Yamada-101": report((25, 10))})
    own = json.loads(report((25, 10)).to_json())
    own["label"], own["seed"] = "official-2026-1", None
    laid_out(out / "for-students", {"Taro_Yamada-101/lab3.json": json.dumps(own).encode()})
    done = filled(DATA / "moodle.en.before.csv", source, out, course)
    with zipfile.ZipFile(io.BytesIO(done.feedback)) as archive:
        page = archive.read("Taro Yamada_101_assignsubmission_file_/lab3.html").decode()
    assert "official-2026-1" in page
    assert "seed 7" not in page


def test_moodle_finds_the_owner_of_each_file(tmp_path: Path, course: Course) -> None:
    """As importziplib.php of Moodle does: the second of at most five parts is the number."""
    source = packed(tmp_path, ENGLISH)
    out = batch(tmp_path, course, source, REPORTS)
    done = filled(DATA / "moodle.en.before.csv", source, out, course)
    with zipfile.ZipFile(io.BytesIO(done.feedback)) as archive:
        for name in archive.namelist():
            parts = name.split("/")[0].split("_", 4)
            assert parts[1].isdigit()
            assert parts[2:4] == ["assignsubmission", "file"]
            assert not name.split("/")[-1].startswith((".", "~"))


# --- what is refused ---------------------------------------------------------------------------


def test_another_maximum_is_refused_or_scaled(tmp_path: Path, course: Course) -> None:
    text = (DATA / "moodle.en.before.csv").read_bytes().replace(b",40.00,", b",100.00,")
    sheet = tmp_path / "sheet.csv"
    sheet.write_bytes(text)
    source = packed(tmp_path, ENGLISH)
    out = batch(tmp_path, course, source, REPORTS)
    with pytest.raises(UsageError, match=r"maximum grade is 100\.00, not 40"):
        filled(sheet, source, out, course)
    done = filled(sheet, source, out, course, rescale=True)
    assert b'"Submitted for grading",87.50,100.00,' in done.table


def test_what_is_no_worksheet(tmp_path: Path, course: Course) -> None:
    source = packed(tmp_path, ENGLISH)
    out = batch(tmp_path, course, source, REPORTS)
    sheet = tmp_path / "sheet.csv"
    for text, why in (
        ("id,name\ns1,x\n", "no column for grades"),
        ('Identifier,Grade,"Last modified (grade)"\n"Participant 1,,\n', "nothing closes"),
        ("", "no column id"),
    ):
        sheet.write_text(text)
        with pytest.raises(UsageError, match=why):
            filled(sheet, source, out, course)


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (b"Participant 102", b"Participant 101", r"(?s)two rows have the number 101.*rows 2 and 3"),
        (b",40.00,Yes", b",NaN,Yes", r"(?s)not a number.*NaN"),
        (b"Participant 1", b"Participant 9", r"(?s)different assignments.*101, 102.*901, 902"),
        (b',Yes,"Sunday, 22 November 2026, 11:59 PM",-,', b"", r"row 2 is not complete"),
    ],
)
def test_a_worksheet_that_was_damaged(
    tmp_path: Path, course: Course, before: bytes, after: bytes, why: str
) -> None:
    source = packed(tmp_path, ENGLISH)
    out = batch(tmp_path, course, source, REPORTS)
    sheet = tmp_path / "sheet.csv"
    sheet.write_bytes((DATA / "moodle.en.before.csv").read_bytes().replace(before, after))
    with pytest.raises(UsageError, match=why):
        filled(sheet, source, out, course)


def test_a_worksheet_without_the_maximum(tmp_path: Path, course: Course) -> None:
    source = packed(tmp_path, ENGLISH)
    out = batch(tmp_path, course, source, REPORTS)
    sheet = tmp_path / "sheet.csv"
    text = (DATA / "moodle.en.before.csv").read_bytes()
    sheet.write_bytes(text.replace(b"Maximum grade", b"Something"))
    assert said(filled(sheet, source, out, course))[0].startswith("the worksheet does not say")


def test_no_reports(tmp_path: Path, course: Course) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match="no reports in this folder"):
        Grades(tmp_path / "nothing", course, "lab3")


def test_a_report_that_cannot_be_read_costs_no_other_grade(tmp_path: Path, course: Course) -> None:
    source = packed(tmp_path, ENGLISH)
    out = batch(tmp_path, course, source, REPORTS)
    (out / "reports" / "Taro_Yamada-101" / "lab3.json").write_text("{")
    done = filled(DATA / "moodle.en.before.csv", source, out, course)
    assert done.unjudged
    assert done.graded == 4
    assert said(done)[0].startswith("Taro Yamada: ")


# --- Canvas ------------------------------------------------------------------------------------


def canvas_filled(sheet: Path, out: Path, course: Course, **more: Any) -> Filled:
    grades = Grades(out, course, "lab3")
    table = RawTable(sheet.read_bytes(), sheet.name)
    return canvas.fill(table, read_roster(sheet), grades, "lab3", Reader(), **more)


CANVAS = {
    "yamadataro_501_9001_apinit.S": b"taro",
    "yamadataro_501_9002_ap_start.c": b"int x;",
    "oneilann_LATE_502_9003_ap_start.c": b"int y;",
    "excusedeve_503_9004_ap_start.c": b"int z;",
}


@pytest.mark.parametrize("language", ["en", "de", "ja"])
def test_canvas_gradebook(tmp_path: Path, course: Course, language: str) -> None:
    reports = {
        "yamadataro-501": report((25, 15)),
        "oneilann-502": report((25, 10)),
        "excusedeve-503": report((25, 15)),
    }
    out = batch(tmp_path, course, packed(tmp_path, CANVAS), reports)
    done = canvas_filled(DATA / f"canvas.{language}.before.csv", out, course)
    compare(done.table, f"canvas.{language}.after.csv")
    assert said(done) == [
        "O'Neil, Ann: no penalty: late or not is not known: there is no time of receipt",
        "Absent, Abe: was not graded",
    ]


def test_canvas_columns(tmp_path: Path, course: Course) -> None:
    reports = {"yamadataro-501": report((25, 15))}
    out = batch(tmp_path, course, packed(tmp_path, CANVAS), reports)
    sheet = DATA / "canvas.en.before.csv"
    with pytest.raises(UsageError, match="no assignment 'lab4'"):
        canvas_filled(sheet, out, course, column="lab4")
    (tmp_path / "other.csv").write_text("id,last_name\nada,Lovelace\n")
    with pytest.raises(UsageError, match=r"(?s)Canvas' gradebook, as exported.*id, last_name"):
        canvas_filled(tmp_path / "other.csv", out, course)
    with pytest.raises(UsageError, match=r"has 20\.00 points, not 40"):
        canvas_filled(sheet, out, course, column="Quiz, first")
    done = canvas_filled(sheet, out, course, column="Quiz, first", rescale=True)
    assert b"Class A,20.00," in done.table


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (b",502,", b",501,", r"(?s)two rows have the number 501.*rows 4 and 5"),
        (b"40.00,(read", b"NaN,(read", r"(?s)not a number.*NaN"),
        (b"Class A,20.00,,100.00,100.00", b"Cla", r"(?s)row 5 is not complete.*9 cells.*5 cells"),
    ],
)
def test_a_gradebook_that_was_damaged(
    tmp_path: Path, course: Course, before: bytes, after: bytes, why: str
) -> None:
    reports = {"yamadataro-501": report((25, 15)), "oneilann-502": report((0, 0))}
    out = batch(tmp_path, course, packed(tmp_path, CANVAS), reports)
    sheet = tmp_path / "canvas.csv"
    sheet.write_bytes((DATA / "canvas.en.before.csv").read_bytes().replace(before, after))
    with pytest.raises(UsageError, match=why):
        canvas_filled(sheet, out, course)


def test_a_gradebook_without_the_points_possible(tmp_path: Path, course: Course) -> None:
    reports = {"yamadataro-501": report((25, 15))}
    out = batch(tmp_path, course, packed(tmp_path, CANVAS), reports)
    sheet = tmp_path / "canvas.csv"
    text = (DATA / "canvas.en.before.csv").read_bytes()
    sheet.write_bytes(text.replace(b"20.00,40.00,(read", b"20.00,,(read"))
    done = canvas_filled(sheet, out, course)
    assert said(done)[0].startswith("the gradebook does not say how many points")
    assert b"18.50,40," in done.table


@pytest.mark.parametrize(
    ("text", "most"), [("40,00", 40), ("1,000.00", 1000), ("1.000,50", 1000.5), (" ", None)]
)
def test_the_most_points(text: str, most: float | None) -> None:
    assert maximum_in(text) == most


def with_a_roster(tmp_path: Path, course: Course, sheet: Path, files: dict[str, bytes]) -> Path:
    """What `vmmlab batch --roster` writes: a report for everybody in the roster, too."""
    out = tmp_path / "batch"
    roster = read_roster(sheet)
    source = packed(tmp_path, files)
    taken = intake(source, course, out / "submissions", labs=["lab3"], roster=roster)
    taken.write(out / "intake.json")
    for one in taken.submissions:
        made = report((25, 15))
        if "lab3" not in one.labs:
            made = ungraded.report(
                course, "lab3", "x86_64", "dev", "why", attention=one.attention, hidden=True,
                handed_in=one.handed_in("lab3"),
            )  # fmt: skip
        laid_out(out / "reports", {f"{one.student}/lab3.json": made.to_json().encode()})
    return out


def test_no_0_for_who_has_not_handed_in_on_canvas(tmp_path: Path, course: Course) -> None:
    sheet = DATA / "canvas.en.before.csv"
    files = {"yamadataro_501_9001_ap_start.c": b"int x;", "oneilann_502_9002_notes.txt": b"hello"}
    out = with_a_roster(tmp_path, course, sheet, files)
    done = canvas_filled(sheet, out, course)
    before, after = (data.splitlines() for data in (sheet.read_bytes(), done.table))
    assert [row for row in after if row not in before] == [
        b'"Yamada, Taro",501,u501,taro,Class A,18.50,40.00,92.50,90.00',
        b'"O\'Neil, Ann",502,u502,ann,Class A,20.00,0.00,100.00,100.00',  # not what was asked for
    ]
    assert said(done)[-1] == "Absent, Abe: nothing was handed in"
    assert not done.unjudged


def test_no_0_for_who_has_not_handed_in_on_moodle(tmp_path: Path, course: Course) -> None:
    sheet = DATA / "moodle.en.before.csv"
    files = {
        **under("Taro Yamada_101_assignsubmission_file", work("taro")),
        **under("Ann O'Neil_102_assignsubmission_file", {"notes.txt": b"hello"}),
    }
    out = with_a_roster(tmp_path, course, sheet, files)
    done = filled(sheet, packed(tmp_path, files), out, course)
    rows = {row["Full name"]: row for row in csv.DictReader(io.StringIO(done.table.decode()))}
    assert rows["Taro Yamada"]["Grade"] == "40.00"
    assert rows["Ann O'Neil"]["Grade"] == "0.00"
    assert rows["Absent Abe"]["Grade"] == ""
    assert "Absent Abe: nothing was handed in" in said(done)
    assert not done.unjudged


# --- the table ---------------------------------------------------------------------------------

SLOW = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
CELLS = st.text(st.sampled_from("a,;\t\"'\n é日 ="), max_size=6)


@SLOW
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=2, max_size=4),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
    value=CELLS,
)
def test_one_cell_changes_and_no_other_byte(
    rows: list[tuple[str, str, str]], quoting: Any, end: str, mark: str, value: str
) -> None:
    table_rows = [["x", "y", "z"], *map(list, rows)]
    out = io.StringIO(newline="")
    csv.writer(out, quoting=quoting, lineterminator=end).writerows(table_rows)
    data = (mark + out.getvalue()).encode()
    table = RawTable(data, "x.csv")
    assert table.data() == data
    assert table.header == table_rows[0]
    table.put(1, 1, value)
    again = list(csv.reader(io.StringIO(table.data().decode("utf-8-sig"), newline="")))
    table_rows[2][1] = value
    assert again == table_rows
    table.put(1, 1, RawTable(data, "x.csv").value(1, 1))


@pytest.mark.parametrize(
    ("points", "like", "text"),
    [
        (31.5, "40.00", "31.50"),
        (31.5, "40,00", "31,50"),
        (40, "40", "40"),
        (31.25, "40.0", "31.25"),
        (0, "40.00", "0.00"),
        (7, "", "7"),
        (1, "1,000.00", "1.00"),
    ],
)
def test_numbers_look_like_those_beside_them(points: float, like: str, text: str) -> None:
    assert number(points, like) == text


# --- the commands ------------------------------------------------------------------------------


def test_the_commands(tmp_path: Path, course: Course, capsys: pytest.CaptureFixture[str]) -> None:
    source = packed(tmp_path, ENGLISH)
    out = batch(tmp_path, course, source, REPORTS)
    sheet = Path(shutil.copy(DATA / "moodle.en.before.csv", tmp_path / "Grades-lab3.csv"))
    words = ["moodle", str(source), str(sheet), "--lab", "lab3", "--reports", str(out)]
    words += ["--course", str(course.root), "--out", str(tmp_path / "up")]
    assert main(words) == 3, "somebody has no grade because the grader failed"
    printed = capsys.readouterr()
    assert "5 students have a grade" in printed.out
    assert "Broken Bo" in printed.err
    assert sorted(path.name for path in (tmp_path / "up").iterdir()) == [
        "Grades-lab3.csv",
        "feedback.zip",
    ]
    assert main([*words[:-1], str(tmp_path)]) == 2, "it would replace the worksheet itself"
    assert sheet.read_bytes() == (DATA / "moodle.en.before.csv").read_bytes()

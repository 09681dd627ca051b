"""`vmmlab export`: files, folders, exit codes, and what is no report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from validators import VALIDATORS, canvas, moodle

from vmmlab.classroom.bundles import BUNDLES
from vmmlab.classroom.tables import TABLES
from vmmlab.cli import main
from vmmlab.cli.export import Form
from vmmlab.report.export import FORMATS
from vmmlab.report.schema import SAMPLE_FILE

SAMPLE = json.loads(SAMPLE_FILE.read_text(encoding="utf-8"))
GRADED = SAMPLE | {
    "checks": SAMPLE["checks"][:-1],
    "points": 13.33,
    "max": 35,
    "needs_attention": False,
}


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Write a report as STUDENT/lab3.json."""

    def write(student: str = "ada", **fields: object) -> Path:
        path = tmp_path / "class" / student / "lab3.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(GRADED | fields), encoding="utf-8")
        return path

    return write


def run(*words: object) -> int:
    return main.main(["export", *map(str, words)])


def test_the_command_knows_all_formats() -> None:
    assert {one.value for one in Form} == FORMATS.keys() | TABLES.keys() | BUNDLES.keys()


def test_standard_output(
    put: Callable[..., Path], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run("gradescope", put()) == 0
    out, err = capfdbinary.readouterr()
    assert VALIDATORS["gradescope"](out.decode()) == ""
    assert err == b""


def test_a_file_and_a_folder(put: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert run("prairielearn", put(), "-o", tmp_path / "here.json") == 0
    assert run("prairielearn", put(), "-o", tmp_path / "out") == 0
    one, other = tmp_path / "here.json", tmp_path / "out" / "results.json"
    assert one.read_bytes() == other.read_bytes()


def test_a_class(put: Callable[..., Path], tmp_path: Path) -> None:
    for student in ("ada", "ben"):
        put(student)
    assert run("gradescope", tmp_path / "class", "-o", tmp_path / "out") == 0
    assert run("sarif", tmp_path / "class", "-o", tmp_path / "out") == 0
    found = sorted(
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")
    )
    assert found == [
        "ada/lab3/results.json",
        "ada/vmmlab.sarif",
        "ben/lab3/results.json",
        "ben/vmmlab.sarif",
    ]


def test_a_class_needs_a_folder(
    put: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put("ada"), put("ben")
    assert run("gradescope", tmp_path / "class") == 2
    assert "2 files" in capsys.readouterr().err


def test_one_without_a_grade_does_not_stop_the_others(
    put: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put("ada", **SAMPLE), put("ben"), put("eve", points=35)
    assert run("gradescope", tmp_path / "class", "-o", tmp_path / "out") == 3
    assert [path.parent.parent.name for path in (tmp_path / "out").rglob("*.json")] == ["ben"]
    err = capsys.readouterr().err
    assert "ada/lab3.json: there is no grade yet" in err
    assert "eve/lab3.json: the report contradicts itself" in err


def test_where_nothing_can_be_written(
    put: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run("gradescope", put(), "-o", tmp_path / "file" / "results.json") == 2
    assert "cannot be written" in capsys.readouterr().err


# --- what is no report ----------------------------------------------------------------------------

FOREIGN: dict[str, bytes] = {
    "empty": b"",
    "truncated": json.dumps(GRADED).encode()[:2000],
    "a list": b"[1, 2]",
    "results of Gradescope": b'{"score": 44.0, "tests": [{"score": 2.0, "max_score": 2.0}]}',
    "another version": json.dumps(GRADED | {"schema": "vmmlab/report/1"}).encode(),
    "no UTF-8": json.dumps(GRADED).encode().replace(b"lab3", b"\xff\xfe"),
    "a program": b"\x7fELF\x02\x01\x01\x00",
    "nested": b"[" * 100_000,
    "not a number": json.dumps(GRADED | {"points": float("nan")}).encode(),
    "infinite": json.dumps(GRADED | {"points": float("inf"), "max": float("inf")}).encode(),
    "negative": json.dumps(GRADED | {"points": -1}).encode(),
    "terminal codes": json.dumps(GRADED | {"versions": {"\x1b]0;x\x07\n\n": 1}}).encode(),
    "too large": b" " * (32 * 2**20) + json.dumps(GRADED).encode(),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_report(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lab3.json").write_bytes(FOREIGN[name])
    assert run("gradescope", tmp_path / "lab3.json", "-o", tmp_path / "results.json") == 2
    err = capsys.readouterr().err
    assert "lab3.json: this is not a report." in err
    assert "\x1b" not in err
    assert len(err.splitlines()) <= 4
    assert not (tmp_path / "results.json").exists()


def test_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("gradescope", tmp_path / "lab3.json") == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_word_that_is_no_format(put: Callable[..., Path]) -> None:
    assert run("word", put()) == 2


# --- tables ---------------------------------------------------------------------------------------

ROSTER = (
    "id,first_name,last_name,email\n"
    'ada,Ada,"King, ""Countess""\nof Lovelace",ada@example.org\n'
    "ben,太郎,山田,=cmd|'/C calc'!A0\n"
    "eve,Eve,Absent,\n"
)


@pytest.fixture
def roster(tmp_path: Path) -> Path:
    (tmp_path / "roster.csv").write_text(ROSTER, encoding="utf-8")
    return tmp_path / "roster.csv"


def test_a_table_for_canvas(
    put: Callable[..., Path], tmp_path: Path, roster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put("ada"), put("ben", points=13.33), put("zoe")
    assert run("canvas", tmp_path / "class", "--roster", roster, "-o", tmp_path / "c.csv") == 0
    text = (tmp_path / "c.csv").read_bytes().decode()
    assert canvas(text) == ""
    assert '"King, ""Countess""\nof Lovelace, Ada",,,ada,,13.33\r\n' in text
    assert '"山田, 太郎",,,ben,,13.33\r\n' in text
    err = capsys.readouterr().err
    assert "not in the roster: zoe" in err
    assert "no report, so no row: eve" in err


def test_a_table_for_moodle(put: Callable[..., Path], tmp_path: Path, roster: Path) -> None:
    put("ada"), put("ben")
    assert run("moodle", tmp_path / "class", "--roster", roster, "-o", tmp_path / "m.csv") == 0
    text = (tmp_path / "m.csv").read_bytes().decode()
    assert moodle(text) == ""
    assert "ben,'=cmd|'/C calc'!A0,太郎,山田,13.33\r\n" in text


@pytest.mark.parametrize("form", TABLES)
def test_who_has_no_grade_has_no_row(
    form: str, put: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put("ada", **SAMPLE), put("ben"), put("eve", partial_run=True)
    assert run(form, tmp_path / "class", "-o", tmp_path / "t.csv") == 3
    text = (tmp_path / "t.csv").read_text(encoding="utf-8")
    assert "ben" in text
    assert "ada" not in text
    assert "eve" not in text
    err = capsys.readouterr().err
    assert "no row, because the grader could not judge all checks: ada" in err
    assert "only some of the checks" in err


@pytest.mark.parametrize("form", TABLES)
def test_who_has_not_handed_in_has_no_row_either(
    form: str, put: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put("ben"), put("eve", handed_in=False)
    assert run(form, tmp_path / "class", "-o", tmp_path / "t.csv") == 0
    text = (tmp_path / "t.csv").read_text(encoding="utf-8")
    assert "ben" in text
    assert "eve" not in text
    assert "nothing was handed in, so no row: eve" in capsys.readouterr().err


GRADES = ("gradescope", "artemis", "autolab")


@pytest.mark.parametrize("form", GRADES)
def test_who_has_not_handed_in_gets_no_0(
    form: str, put: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put("ben"), put("eve", handed_in=False)
    assert run(form, tmp_path / "class", "-o", tmp_path / "out") == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ben"]
    assert "nothing was handed in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("form", "without", "with_one"),
    [
        ("prairielearn", '"gradable": false', '"gradable": true'),
        ("submitty", '"status": "failure"', '"status": "success"'),
        ("vpl", "nothing was handed in", "Grade :=>>"),
    ],
)
def test_who_has_not_handed_in_is_not_gradable(
    form: str, without: str, with_one: str, put: Callable[..., Path], tmp_path: Path
) -> None:
    put("ben"), put("eve", handed_in=False)
    assert run(form, tmp_path / "class", "-o", tmp_path / "out") == 0
    [eve], [ben] = ((tmp_path / "out" / name).rglob("*.*") for name in ("eve", "ben"))
    assert without in eve.read_text(encoding="utf-8")
    assert with_one not in eve.read_text(encoding="utf-8")
    assert with_one in ben.read_text(encoding="utf-8")


def test_the_folder_of_a_batch(put: Callable[..., Path], tmp_path: Path) -> None:
    put("ben")
    (tmp_path / "results").mkdir()
    (tmp_path / "class").rename(tmp_path / "results" / "reports")
    assert run("canvas", tmp_path / "results", "-o", tmp_path / "t.csv") == 0
    assert "ben" in (tmp_path / "t.csv").read_text(encoding="utf-8")


def test_several_labs_need_a_choice(
    put: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put()
    other = json.dumps(GRADED).replace("lab3", "lab4")
    (path.parent / "lab4.json").write_text(other, encoding="utf-8")
    assert run("canvas", tmp_path / "class") == 2
    assert "several labs: lab3, lab4" in capsys.readouterr().err
    assert run("canvas", tmp_path / "class", "--lab", "lab4", "-o", tmp_path / "t.csv") == 0
    assert ",lab4\r\n" in (tmp_path / "t.csv").read_bytes().decode()
    assert run("canvas", tmp_path / "class", "--lab", "lab5") == 2


def test_whose_report_it_is(put: Callable[..., Path], tmp_path: Path) -> None:
    path = put().rename(tmp_path / "report.json")
    assert run("canvas", path) == 2
    assert run("canvas", path, "--student", "ada", "-o", tmp_path / "t.csv") == 0
    assert run("canvas", path, put("ada"), "--student", "ada") == 2


def test_hidden_points_count_when_asked(put: Callable[..., Path], tmp_path: Path) -> None:
    path = put(hidden_judged=True, hidden_points=4, hidden_max=5)
    assert run("moodle", path, "--hidden", "-o", tmp_path / "t.csv") == 0
    assert (tmp_path / "t.csv").read_text(encoding="utf-8").endswith(",17.33\n")
    assert run("moodle", put(), "--hidden", "-o", tmp_path / "no.csv") == 2


def test_five_hundred_reports_at_once(put: Callable[..., Path], tmp_path: Path) -> None:
    for number in range(500):
        put(f"s{number}")
    assert run("gradescope", tmp_path / "class", "-o", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").rglob("results.json"))) == 500

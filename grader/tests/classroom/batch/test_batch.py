"""A whole batch on a real LocalCluster, with a grader that boots nothing."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import fakes
import psutil
import pytest

from vmmlab.base.errors import UsageError
from vmmlab.classroom.batch.sheets import Sheet
from vmmlab.classroom.intake import Submission
from vmmlab.cli.main import main
from vmmlab.report.model import read_json

pytestmark = pytest.mark.slow


def verdicts(outcome) -> dict[str, tuple[str, float | None]]:
    return {one.student: (one.verdict, one.points) for one in outcome.records}


def test_a_bad_class_costs_no_innocent_anything(tmp_path: Path) -> None:
    handed_in, out, log = tmp_path / "class", tmp_path / "out", tmp_path / "log"
    for number in range(8):
        fakes.put(handed_in, f"good{number}", f"LOG {log}", f"POINTS {number}")
    fakes.put(handed_in, "hunted", f"KILL-BEFORE 9 {log}")  # until all others are done
    fakes.put(handed_in, "poisoned", "KILL")
    fakes.put(handed_in, "raises", "RAISE x")
    fakes.put(handed_in, "unlucky", f"KILL-WORKER {tmp_path}/killed", f"LOG {log}")
    fakes.put(handed_in, "partial", files=fakes.FILES[:1])
    fakes.put(handed_in, "case", files=fakes.FILES[:1])
    (handed_in / "case" / "lab1" / "INITFUNC.C").write_text("")
    outcome, _ = fakes.run(handed_in, out)

    assert (tmp_path / "killed").exists()
    found = verdicts(outcome)
    assert found == {
        **{f"good{number}": ("graded", number) for number in range(8)},
        "unlucky": ("graded", fakes.MOST),
        "hunted": ("graded", fakes.MOST),
        "poisoned": ("attention", None),
        "raises": ("attention", None),
        "partial": ("ungradable", 0),
        "case": ("ungradable", 0),
    }
    by_name = {one.student: one for one in outcome.records}
    assert by_name["poisoned"].attempts == 3
    assert by_name["hunted"].attempts == 3
    assert by_name["unlucky"].attempts == 1  # Dask itself has moved it
    assert "SIGKILL" in str(by_name["poisoned"].reason)
    assert "upper and lower case differ" in str(by_name["case"].reason)
    for student in found:  # everybody has a report
        report = read_json(out / "reports" / student / "lab1.json")
        assert report.points == found[student][1]
        assert report.needs_attention == (found[student][0] == "attention")
        assert report.audit or found[student][0] == "graded"  # the fake grader keeps none
    page = outcome.page.read_text(encoding="utf-8")
    assert all(student in page for student in found)
    with (out / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert rows["good3"]["points"] == "3"
    assert rows["poisoned"]["points"] == ""

    graded = log.read_text().count("\n")
    assert graded == 9 + 0
    with pytest.raises(UsageError, match="already has results"):
        fakes.run(handed_in, out)
    fakes.put(handed_in, "good0", f"LOG {log}", "POINTS 9")
    (out / "reports" / "good1" / "lab1.json").write_text("half a rep")
    outcome, fresh = fakes.run(handed_in, out, resume=True)
    assert sorted(fresh) == ["good0", "good1", "poisoned", "raises"]
    assert verdicts(outcome)["good0"] == ("graded", 9)
    assert log.read_text().count("\n") == graded + 2


def heed_interrupts():
    """Undo what a shell does to a job in the background: it lets it ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "SIGKILL"])
def test_what_is_done_survives_the_end_of_everything(tmp_path: Path, number: int) -> None:
    handed_in, out, waits = tmp_path / "class", tmp_path / "out", tmp_path / "waits"
    os.mkfifo(tmp_path / "fifo")
    fakes.put(handed_in, "a", f"LOG {tmp_path}/log")
    fakes.put(handed_in, "b", f"WAIT {waits}")
    fakes.put(handed_in, "c", f"WAIT {tmp_path}/fifo")
    command = [sys.executable, fakes.HERE, str(handed_in), str(out)]
    process = subprocess.Popen(command, start_new_session=True, preexec_fn=heed_interrupts)
    record = out / "records" / "a" / "lab1.json"
    watched = psutil.Process(process.pid)
    while not (waits.exists() and record.exists()):
        assert process.poll() is None
        os.sched_yield()
    below = watched.children(recursive=True)
    os.kill(process.pid, number)
    code = process.wait(60)
    assert code == (130 if number == signal.SIGINT else -number)
    assert all(fakes.gone(one.pid) for one in below)
    if number == signal.SIGINT:
        assert "a" in (out / "index.html").read_text(encoding="utf-8")

    fakes.put(handed_in, "b", "POINTS 4")
    fakes.put(handed_in, "c", "POINTS 5")
    outcome, fresh = fakes.run(handed_in, out, resume=True)
    assert sorted(fresh) == ["b", "c"]
    assert verdicts(outcome) == {"a": ("graded", 20), "b": ("graded", 4), "c": ("graded", 5)}
    assert (tmp_path / "log").read_text().count("\n") == 1


def test_repetition_comparison_and_appeal(tmp_path: Path) -> None:
    handed_in, out, later = tmp_path / "class", tmp_path / "out", tmp_path / "later"
    fakes.put(handed_in, "steady", "POINTS 3")
    fakes.put(handed_in, "shaky", "SEED-DECIDES")
    outcome, _ = fakes.run(handed_in, out, repeat=2)
    assert {one.student for one in outcome.repeated} == {"shaky"}
    assert "with seed" in str(outcome.repeated[0].what[0])

    for folder in ("records", "reports"):  # a lab that the later batch does not grade
        of_lab1 = out / folder / "steady" / "lab1.json"
        text = of_lab1.read_text().replace('"lab": "lab1"', '"lab": "lab2"')
        of_lab1.with_name("lab2.json").write_text(text)
    fakes.put(handed_in, "steady", "POINTS 8")
    outcome, _ = fakes.run(handed_in, later, compare=out)
    assert [(one.student, str(one.what[0])) for one in outcome.compared] == [
        ("steady", "points: 3, now 8")
    ]

    outcome, fresh = fakes.run(handed_in, out, only="Steady", seed=5)
    assert fresh == ["steady"]
    history = out / "history" / "steady" / "lab1"
    assert read_json(history / "0001.json").points == 3
    assert read_json(out / "reports" / "steady" / "lab1.json").points == 8
    with pytest.raises(UsageError, match="nobody"):
        fakes.run(handed_in, out, only="nobody")
    with pytest.raises(UsageError, match="no results of a batch"):
        fakes.run(handed_in, tmp_path / "third", compare=tmp_path / "nowhere")
    assert not (tmp_path / "third" / "records").exists(), "nothing was graded before"


# --- worksheets ----------------------------------------------------------------------------------


def test_worksheets_are_in_the_summary(tmp_path: Path) -> None:
    handed_in, out = tmp_path / "class", tmp_path / "out"
    fakes.put(handed_in, "a", "POINTS 3")
    fakes.put(handed_in, "=b", "POINTS 4", files=("lab0/worksheet.ipynb",))
    asked: list[list[str]] = []

    def sheets(entries: Sequence[Submission]) -> Sequence[Sheet]:
        asked.append([one.student for one in entries if "lab0" in one.worksheets])
        return [
            Sheet("a", "A", "lab1", 2.5, 12.0, 3.0, fresh=False),
            Sheet("b", "=B", "lab0", problem="no\n<b>JSON</b>", attention=True),
        ]

    outcome, _ = fakes.run(handed_in, out, worksheets=sheets)
    assert asked == [["b"]]
    assert [one.student for one in outcome.sheets] == ["a", "b"]
    page = outcome.page.read_text(encoding="utf-8")
    assert "2.5/12" in page
    assert "&lt;b&gt;JSON&lt;/b&gt;" in page
    with (out / "worksheets.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (first["points"], first["by_hand"], first["fresh"]) == ("2.5", "3", "no")
    assert (second["name"], second["points"], second["problem"]) == ("'=B", "", "no <b>JSON</b>")


def test_a_class_may_have_worksheets_only(tmp_path: Path) -> None:
    handed_in, out = tmp_path / "class", tmp_path / "out"
    for student in ("a", "b"):
        fakes.put(handed_in, student, "{}", files=("lab0/worksheet.ipynb",))
    with pytest.raises(UsageError, match="no submission has a folder of a lab"):
        fakes.run(handed_in, out, labs=())
    outcome, _ = fakes.run(
        handed_in, out, labs=(), worksheets=lambda entries: [Sheet("a", "A", "lab0", 1.0, 2.0)]
    )
    assert outcome.records == ()
    assert "1/2" in outcome.page.read_text(encoding="utf-8")


@pytest.mark.parametrize("out", ["class", "class/out"])
def test_results_among_the_submissions_are_refused(
    tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.put(tmp_path / "class", "ada", "POINTS 3")
    words = ["batch", str(tmp_path / "class"), "--out", str(tmp_path / out)]
    assert main(words) == 2
    assert "the results would lie among the submissions" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "class").iterdir()] == ["ada"]

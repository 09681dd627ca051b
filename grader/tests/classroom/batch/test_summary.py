"""Figures, summary and CSV of a class: right numbers, nothing loaded, nothing inserted."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import fakes

from vmmlab.classroom.batch import compare, csvfile, figures, summary
from vmmlab.classroom.batch.figures import Judged
from vmmlab.classroom.batch.record import Record
from vmmlab.i18n.translate import Reader

HOSTILE = '=cmd|"<script>alert(1)</script>", 山田\r\nx'


def judged(student: str, points: int | None, *, name: str = "", cause: str = "c") -> Judged:
    verdict = "attention" if points is None else "graded"
    record = Record.model_validate(
        {
            "student": student,
            "name": name,
            "lab": "lab1",
            "fingerprint": "f",
            "verdict": verdict,
            "reason": "QEMU was lost" if points is None else "",
            "graded_at": "2026-01-01",
            "points": points,
            "max": fakes.MOST,
            "wall_s": len(student),
        }
    )
    page = f"reports/{student}/lab1.html"
    return Judged(record, fakes.report(points, cause), page)


CLASS = (
    judged("a", 20),
    judged("bb", 20),
    judged("ccc", 0),
    judged("dddd", 10, cause="d"),
    judged("eeeee", None, name=HOSTILE),
)


def test_figures() -> None:
    found = figures.of_lab("lab1", CLASS)
    assert found.bins == (1, 0, 0, 0, 0, 1, 0, 0, 0, 2)
    assert (found.full, found.mean, found.median) == (2, 12.5, 15)
    assert [(one.failed, one.judged) for one in found.failed] == [(2, 4)]
    assert [(one.cause, one.students) for one in found.causes] == [("c", 1), ("d", 1)]
    assert found.slowest[0].record.student == "dddd"
    assert figures.of_lab("lab1", CLASS[-1:]).mean is None  # no grade is not 0 points


def test_the_csv_is_read_back_and_holds_no_formula() -> None:
    text = csvfile.text_of(CLASS)
    assert text.count("\r\n") >= len(CLASS) + 1
    rows = {row["student"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}
    assert rows["ccc"]["points"] == "0"
    assert rows["eeeee"]["points"] == ""
    assert rows["eeeee"]["name"] == "'" + HOSTILE.replace("\r", "\\x0d")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def page(language: str = "en", **told) -> str:
    return summary.page(CLASS, summary.Told(**told), Reader(language))


def test_the_page_loads_nothing_and_takes_names_for_text() -> None:
    for text in (page(), page("ja")):
        tags = _Tags()
        tags.feed(text)
        assert not {"script", "img", "link", "iframe", "b", "i"} & set(tags.tags)
        assert set(tags.links) == {one.page for one in CLASS}
        assert "&lt;script&gt;" in text
        assert "default-src 'none'" in text
        assert not re.search(r"url\(|@import|https?://", text)
    assert "Needs attention" in page()
    assert "要確認" in page("ja")


def test_changes_and_remarks_are_on_the_page() -> None:
    found = compare.Change("ccc", "lab1", ("points: 1, now 2",), "reports/ccc/lab1.html")
    text = page(remarks=("<u>two archives</u>",), compared=(found,), repeated=())
    assert "&lt;u&gt;two archives" in text
    assert "points: 1, now 2" in text
    assert "Verdicts that differ with other seeds (0)" in text
    assert "What changed" not in page()


def test_compare() -> None:
    def by_student(*ones: Judged):
        return {(one.record.student, "lab1"): one for one in ones}

    before = by_student(judged("a", 3), judged("b", 3), judged("c", 3), judged("d", 3))
    after = by_student(judged("a", 3), judged("b", 5), judged("c", 3, cause="x"), judged("e", 3))
    found = {
        one.student: [str(what) for what in one.what] for one in compare.changes(before, after)
    }
    assert found["b"][0] == "points: 3, now 5"
    assert found["c"] == ["lab1.a.b: c, now x"]
    assert found["d"] == ["only in the earlier one"]
    assert found["e"] == ["only in the later one"]
    assert "a" not in found
    loosely = compare.changes(before, after, closely=False)
    assert {one.student for one in loosely} == {"b", "d", "e"}
    lost = compare.changes(by_student(judged("a", 3)), by_student(judged("a", None)))
    assert str(lost[0].what[0]) == "was graded, is attention"


def test_pages_of_students_with_strange_names_are_linked(tmp_path: Path) -> None:
    one = judged("a#b", 3)
    text = summary.page([one], summary.Told(), Reader())
    assert 'href="reports/a%23b/lab1.html"' in text

"""Honest work that arrives in a bad state: each has one clear line, in both languages."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from classes import DEADLINES, LAB3, course, laid_out, under, zipped

from vmmlab.base import archive
from vmmlab.base.errors import SubmissionError, UsageError
from vmmlab.classroom.intake import Intake, Submission, intake
from vmmlab.classroom.returns import canvas
from vmmlab.classroom.returns.rawcsv import RawTable
from vmmlab.classroom.roster import Entry, read_roster
from vmmlab.course.likeness import instead_of, other_kind
from vmmlab.course.submission import take
from vmmlab.i18n.translate import Reader

ADA = under("ada", LAB3)
ENGLISH, JAPANESE = Reader("en"), Reader("ja")


def taken(
    tmp_path: Path, files: Mapping[str, bytes], roster: Mapping[str, Entry] | None = None
) -> Intake:
    source = laid_out(tmp_path / "class", files)
    return intake(source, course(tmp_path, DEADLINES), tmp_path / "into", roster=roster)


def eve_of(tmp_path: Path, files: Mapping[str, bytes]) -> Submission:
    """Take in a class of Ada and Eve: Ada's work is there, whatever Eve has handed in."""
    found = {
        one.student: one for one in taken(tmp_path, {**ADA, **under("eve", files)}).submissions
    }
    assert found["ada"].labs == ("lab3",)
    return found["eve"]


def no_english(text: str) -> bool:
    """Return whether a Japanese text has no sentence of English in it."""
    return re.search(r"(?:[A-Za-z]{2,} ){3}", text) is None


def renamed(end: str) -> dict[str, bytes]:
    return {f"{name}{end}": data for name, data in LAB3.items()}


# --- names and archives ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("ap_start.c.txt", "ap_start.c.TXT", "ap_start - Copy.c", "ap_start copy.c"),
        *(
            "ap_start - Copy (2).c",
            "ap_startのコピー.c",
            "ap_start - コピー.c",
            "コピー ～ ap_start.c",
        ),
        *("Copy of ap_start.c", "ap_start.c ", "ap_start.c.", "ap_start.c~", "ap_start.c.orig"),
        *("AP_START.C", "ap-start.c", "apstart.c", "ａｐ_start.c"),
    ],
)
def test_a_file_under_another_name_is_named(tmp_path: Path, name: str) -> None:
    eve = eve_of(tmp_path, {f"lab3/{name}": b"x", "lab3/other.c": b"x"})
    assert not eve.labs
    assert name.strip() in ENGLISH(eve.problem)
    assert "lab3/ap_start.c is missing" in ENGLISH(eve.problem)
    assert no_english(JAPANESE(eve.problem).replace(name, ""))


@pytest.mark.parametrize("name", ["start.c", "ap_start.h", "ap_stop.c", "my_ap_start.c"])
def test_a_file_that_is_another_one_is_only_listed(name: str) -> None:
    assert not instead_of("lab3/ap_start.c", [f"lab3/{name}"])


@pytest.mark.parametrize(
    "name", ["lab3.7z", "lab3.rar", "lab3.tar.zst", "ap_start.c.gz", "a.7z.001"]
)
def test_what_nothing_opens_is_for_a_person(tmp_path: Path, name: str) -> None:
    eve = eve_of(tmp_path, {name: b"7z..."})
    assert eve.attention, "the work may be in it: no 0"
    assert f"{name}: is " in ENGLISH(eve.problem)
    assert "zip" in JAPANESE(eve.problem)
    assert no_english(JAPANESE(eve.problem))


def test_an_archive_in_an_archive_in_a_folder_is_for_a_person(tmp_path: Path) -> None:
    eve = eve_of(tmp_path, {"all.zip": zipped({"in.zip": zipped(LAB3)})})
    assert eve.attention
    assert "an archive in an archive" in ENGLISH(eve.problem)


def test_what_was_handed_in_instead_is_named(tmp_path: Path) -> None:
    eve = eve_of(tmp_path, {f"{n}.docx": b"PK" for n in range(5)})
    assert ENGLISH(eve.problem).endswith("0.docx, 1.docx, 2.docx and 2 more")
    assert not eve.attention


def _damaged() -> dict[str, bytes]:
    packed = zipped(LAB3)
    body = bytearray(packed)
    body[body.index(b"ap_start.c") + len("ap_start.c") + 1] ^= 0xFF
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as box:
        for name, data in LAB3.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            box.addfile(info, io.BytesIO(data))
    tar = out.getvalue()
    method = packed.replace(b"\x08\x00", b"\x5d\x00")
    return {
        "a.zip": packed[: len(packed) // 2],
        "b.zip": bytes(body),
        "c.zip": method,
        "d.tgz": tar[: len(tar) // 2],
        "e.tgz": tar[:-8] + bytes(8),
        "f.tar": gzip.decompress(tar)[:700] + b"junk" * 300,
        "g.zip": b"#!/bin/sh\n" + packed,
    }


@pytest.mark.parametrize("name", _damaged())
def test_a_damaged_archive_is_explained_in_both_languages(tmp_path: Path, name: str) -> None:
    eve = eve_of(tmp_path, {name: _damaged()[name]})
    assert eve.attention
    assert name in ENGLISH(eve.problem)
    assert not re.search(r"Error|zlib|marker|None|0x", ENGLISH(eve.problem))
    assert no_english(JAPANESE(eve.problem)), JAPANESE(eve.problem)


@pytest.mark.parametrize("pack", ["folder", "zip", "tar"])
def test_a_workspace_with_what_tools_have_made_is_taken(tmp_path: Path, pack: str) -> None:
    litter = {f".venv/lib/p{n}/m.py": b"" for n in range(1500)}
    litter |= {f".git/objects/{n:02x}/{'a' * 38}": b"" for n in range(256)}
    litter |= {f"tools/__pycache__/{n}.pyc": b"" for n in range(600)}
    files = {**litter, **LAB3}
    if pack == "zip":
        files = {"work.zip": zipped(files)}
    if pack == "tar":
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as box:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                box.addfile(info, io.BytesIO(data))
        files = {"work.tar": out.getvalue()}
    eve = eve_of(tmp_path, files)
    assert eve.labs == ("lab3",)
    assert not eve.problem


def test_files_in_folders_of_tools_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from vmmlab.base import box

    few = replace(box.SUBMISSION, members=20)
    monkeypatch.setattr(box, "_TOOLS_TIMES", 2)
    data = zipped({f".git/{n}": b"" for n in range(70)})
    with pytest.raises(SubmissionError, match="more than 20 files"), archive.opened(data, few):
        pass


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    laid_out(tmp_path / "class", {**ADA, **under("eve", LAB3)})
    (tmp_path / "class" / "eve" / "caf\udce9.txt").write_bytes(b"x")
    found = intake(tmp_path / "class", course(tmp_path), tmp_path / "into").submissions
    (eve,) = (one for one in found if one.student == "eve")
    assert eve.labs == ("lab3",)
    assert "not UTF-8" in ENGLISH(eve.refused[0].line)


# --- no source code -------------------------------------------------------------------------------


def _office() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as box:
        box.writestr("word/document.xml", "<w/>")
    return out.getvalue()


KINDS = {
    "UTF-16": "int x;\n".encode("utf-16"),
    "save it as UTF-8": "int x;\n".encode("utf-16-le"),
    "UTF-16 text": "int x;\n".encode("utf-16-be"),
    "office program": _office(),
    "gzip": gzip.compress(b"int x;\n"),
    "PDF": b"%PDF-1.7\n1 0 obj\n",
    "RTF": b"{\\rtf1\\ansi int x;}",
    "web page": b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html>",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\n",
}


@pytest.mark.parametrize("words", KINDS)
def test_what_is_no_source_code_is_called_what_it_is(tmp_path: Path, words: str) -> None:
    work = laid_out(tmp_path / "work", {**LAB3, "lab3/ap_start.c": KINDS[words]})
    with pytest.raises(SubmissionError) as caught:
        take(work, ["lab3"], course(tmp_path))
    assert words in ENGLISH(caught.value.found)
    assert "lab3/ap_start.c: is not source code" in ENGLISH(caught.value.found)
    assert no_english(JAPANESE(caught.value.found))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\xef\xbb\xbf/* with a mark */\r\n",
        "/* こんにちは */\n".encode(),
        "/* ソ表 */\n".encode("cp932"),
        b"<<<<<<< HEAD\nint x;\n",
        b"#include <html.h>\n",
        b"%:include <x.h>\n",
        b"{",
    ],
)
def test_what_may_be_source_code_is_left_to_the_compiler(data: bytes) -> None:
    assert not other_kind(data)


# --- lists of the class ---------------------------------------------------------------------------

HEAD = "id,first_name,last_name\n"


@pytest.mark.parametrize("above", ["\n", "\n\n", ",,\n", " \r\n\n", "\ufeff\n"])
def test_empty_lines_above_a_roster(tmp_path: Path, above: str) -> None:
    path = tmp_path / "roster.csv"
    path.write_text(f"{above}{HEAD}ada,Ada,Lovelace\n", encoding="utf-8", newline="")
    assert read_roster(path)["ada"].shown == "Ada Lovelace"


def test_lines_are_counted_from_the_top_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "roster.csv"
    path.write_text(f"\n\n{HEAD}ada,Ada,L\n../x,B,M\n")
    with pytest.raises(UsageError, match=r":5: '\.\./x' cannot be a student's id"):
        read_roster(path)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('"ada,Ada,L\n', "a quote that nothing closes"),
        ('ada,"A"da,L\n', "a quote inside of a cell"),
        (f"ada,{'A' * 200_000},L\n", "a cell that is too long"),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path: Path, row: str, words: str) -> None:
    path = tmp_path / "roster.csv"
    path.write_text(f"{HEAD}{row}")
    with pytest.raises(UsageError, match="cannot be read") as caught:
        read_roster(path)
    assert words in ENGLISH(caught.value.found)
    assert no_english(JAPANESE(caught.value.found))


CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,lab1 worksheet (8),lab1 (9)
,,,,,Manual Posting,
    Points Possible,,,,,10,20
"Lovelace, Ada",501,,,S1,,
"Student, Test",502,,deadbeef,S1,,
"""


def test_canvas_without_logins_and_with_its_trial_student(tmp_path: Path) -> None:
    path = tmp_path / "canvas.csv"
    path.write_text(CANVAS)
    (only,) = read_roster(path).values()
    assert (only.id, only.number, only.name) == ("Lovelace_Ada-501", "501", "Lovelace, Ada")


def test_of_two_assignments_the_one_that_is_called_so_is_filled() -> None:
    table = RawTable(CANVAS.encode(), "canvas.csv")
    assert table.header[canvas._column(table, "lab1", exact=False)] == "lab1 (9)"


def test_of_two_assignments_that_begin_so_none_is_filled() -> None:
    table = RawTable(CANVAS.replace("lab1 (9)", "lab1 code (9)").encode(), "canvas.csv")
    with pytest.raises(UsageError, match="several assignments") as caught:
        canvas._column(table, "lab1", exact=False)
    assert "lab1 worksheet (8), lab1 code (9)" in str(caught.value.found)


def test_a_member_of_several_groups_of_moodle(tmp_path: Path) -> None:
    path = tmp_path / "participants.csv"
    path.write_text(
        '"First name","Last name","ID number",Groups\n'
        'Ada,L,a1,"Evening, Group 1"\nBob,M,b1,Group 1\nCy,N,c1,"Group 10, Evening"\n'
    )
    name = "Group 1_9_assignsubmission_file"
    found = taken(tmp_path, under(name, LAB3), read_roster(path)).submissions
    assert [one.student for one in found if one.labs] == ["a1", "b1"]


WORKSHEET = """\
Identifier,Full name,ID number,Status,Grade,Last modified (submission),Last modified (grade)
Participant 7,Ada L,ada,{status},,"{at}",-
"""


@pytest.mark.parametrize(
    ("at", "status"),
    [
        ("Montag, 30. November 2026, 14:00", "Eingereicht"),
        (
            "Monday, 30 November 2026, 2:00 PM",
            '"Verlängerung bis: Dienstag, 1. Dezember 2026, 23:59"',
        ),
    ],
)
def test_times_in_an_unknown_language_are_told(tmp_path: Path, at: str, status: str) -> None:
    path = tmp_path / "grades.csv"
    path.write_text(WORKSHEET.format(at=at, status=status), encoding="utf-8")
    lines = taken(tmp_path, ADA, read_roster(path)).remarks
    (told,) = (line for line in lines if "not understood" in ENGLISH(line))
    assert "2026" in ENGLISH(told)
    assert "Moodle" in JAPANESE(told)


def test_times_in_a_known_language_are_not(tmp_path: Path) -> None:
    path = tmp_path / "grades.csv"
    at = "2026年 11月 30日(月曜日) 14:00"
    path.write_text(WORKSHEET.format(at=at, status="Submitted for grading"), encoding="utf-8")
    lines = taken(tmp_path, ADA, read_roster(path)).remarks
    assert not any("not understood" in ENGLISH(line) for line in lines)


def test_a_time_of_nbgrader_with_a_mark_in_front(tmp_path: Path) -> None:
    files = under(
        "submitted/ada", {**LAB3, "lab3/timestamp.txt": b"\xef\xbb\xbf2026-11-20 12:00:00 UTC\r\n"}
    )
    (ada,) = taken(tmp_path, files).submissions
    assert ada.late["lab3"].status == "on-time"

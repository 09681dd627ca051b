"""Worksheets that are none: each is called what it is, before nbgrader reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from vmmlab.base.errors import SubmissionError
from vmmlab.classroom.gradebook.worksheets import Graded, lines
from vmmlab.i18n.translate import Reader, error_text
from vmmlab.worksheet.autograde import KeepLast
from vmmlab.worksheet.handedin import check_sheets, why_none

CELL = {"cell_type": "code", "metadata": {}, "source": "", "outputs": [], "execution_count": None}


def sheet(**changes: Any) -> bytes:
    return json.dumps(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [CELL]} | changes
    ).encode()


NONE = {
    "an empty file": b" \n",
    "not JSON": b'{"cells": [',
    "web page": b"<!DOCTYPE html><html></html>",
    "byte order mark": b"\xef\xbb\xbf" + sheet(),
    "UTF-16": sheet().decode().encode("utf-16"),
    "not UTF-8": b'{"x": "caf\xe9"}',
    "marks of a merge": b"<<<<<<< HEAD\n" + sheet() + b"\n=======\n" + sheet() + b"\n>>>>>>> x\n",
    "version 3": sheet(nbformat=3),
    "version 5": sheet(nbformat=5),
    "no notebook": b"[1, 2]",
    "cells are missing": b"null",
    "or are none": sheet(cells=[{**CELL, "cell_type": "weird"}]),
    "JSON that is": sheet(cells=[{**CELL, "metadata": 5}]),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "submitted" / "eve" / "lab1"
    place.mkdir(parents=True)
    (place / "worksheet.ipynb").write_bytes(sheet())
    return place


@pytest.mark.parametrize("words", NONE)
def test_what_is_no_notebook_is_called_what_it_is(folder: Path, words: str) -> None:
    (folder / "worksheet.ipynb").write_bytes(NONE[words])
    with pytest.raises(
        SubmissionError, match=r"eve/lab1/worksheet\.ipynb is no notebook"
    ) as caught:
        check_sheets(folder)
    assert words in str(caught.value.found)
    assert "Error" not in error_text(caught.value, Reader("ja"))


@pytest.mark.parametrize(
    "name", ["worksheet (1).ipynb", "lab1.ipynb", "Worksheet.ipynb", "worksheet.txt"]
)
def test_a_worksheet_under_another_name(folder: Path, name: str) -> None:
    (folder / "worksheet.ipynb").rename(folder / name)
    with pytest.raises(SubmissionError, match="eve/lab1 has no worksheet") as caught:
        check_sheets(folder)
    assert name in str(caught.value.found)


@pytest.mark.parametrize("name", ["worksheet.ipynb", "worksheet.ja.ipynb"])
def test_a_worksheet_is_one(folder: Path, name: str) -> None:
    (folder / "worksheet.ipynb").rename(folder / name)
    (folder / "notes.ipynb").write_bytes(b"no notebook, and nobody asked for it")
    check_sheets(folder)


@pytest.mark.parametrize("text", ["garbage", "9999-99-99", "2026-11-30 25:00 UTC", "\ud800"])
def test_a_time_that_is_none(folder: Path, text: str) -> None:
    (folder / "timestamp.txt").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(SubmissionError, match=r"timestamp\.txt: this is not a time"):
        check_sheets(folder)


@pytest.mark.parametrize(
    "text", ["", "\n", "2026-11-30 12:00:00 UTC", "2026-11-30 12:00:00.123 +0900\r\n"]
)
def test_a_time_that_is_one(folder: Path, text: str) -> None:
    (folder / "timestamp.txt").write_text(text, newline="")
    check_sheets(folder)


def test_an_honest_notebook_is_one() -> None:
    assert not why_none(sheet())
    assert not why_none(sheet(cells=[]))


def test_of_copied_cells_the_last_one_keeps_its_mark() -> None:
    def cell(source: str) -> Any:
        made = nbformat.v4.new_code_cell(source)
        made.metadata["nbgrader"] = {"grade_id": "q1", "solution": True, "schema_version": 3}
        return made

    book = nbformat.v4.new_notebook(
        cells=[cell("first"), nbformat.v4.new_code_cell("x"), cell("last")]
    )
    KeepLast().preprocess(book, {})
    assert ["nbgrader" in one.metadata for one in book.cells] == [False, False, True]


def test_a_refusal_is_shown_in_the_readers_language(folder: Path) -> None:
    (folder / "worksheet.ipynb").write_bytes(b"")
    with pytest.raises(SubmissionError) as caught:
        check_sheets(folder)
    error = caught.value
    one = Graded(
        *("eve", None, 0.0, 0.0, (), False, error.message),
        **{
            "exit_code": 2,
            "expected": error.expected,
            "found": error.found,
            "next_step": error.next_step,
        },
    )
    shown = "\n".join(lines("lab1", [one], Reader("ja")))
    assert "ノートブックではありません" in shown
    assert "空のファイル" in shown
    assert "notebook as" not in shown

"""The table for the terminal: both languages, columns, and sanitised text."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from vmmlab.base.message import Message
from vmmlab.base.text import cells
from vmmlab.explore import text
from vmmlab.explore.schema import SAMPLE_FILES, from_data
from vmmlab.i18n.translate import Reader

RIGHT, WRONG = (from_data(json.loads(file.read_text(encoding="utf-8"))) for file in SAMPLE_FILES)
LAB = Path(__file__).parents[3] / "labs" / "lab4"
JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")
ENGLISH = re.compile(r"\b(the|is|to|reads|writes|and|in|of|stores?|states?|expected|step)\b")


def shown(found, language="en"):
    return list(text.lines(found, Reader(language).of(LAB)))


def table(lines):
    """Return the header of the table and its rows."""
    start = next(n for n, line in enumerate(lines) if line.startswith("  ") and "BSP" not in line)
    return lines[start : lines.index("", start)]


def test_an_included_part_is_shown_as_included():
    first, second, *_ = shown(RIGHT)
    assert re.fullmatch(r"registration, without store buffers +correct +included: .*", first)
    assert re.fullmatch(r"registration, with .* correct +[\d,]+ states  exhaustive, .* s", second)


def test_the_whole_table_is_translated():
    for found in (RIGHT, WRONG):
        for line in shown(found, "ja"):
            assert not ENGLISH.search(line), line
        assert sum(bool(JAPANESE.search(line)) for line in shown(found, "ja")) > 4


@pytest.mark.parametrize("language", ["en", "ja"])
def test_columns_are_aligned(language):
    say = Reader(language).of(LAB)
    lines = table(shown(WRONG, language))
    steps = WRONG.counterexample.steps
    assert len(lines) == 1 + len(steps)
    head, *rows = lines
    at = cells(head[: head.index(say.label("what"))])
    for row, step in zip(rows, steps, strict=True):
        what = say(step.target or step.action)
        start = next(n for n in range(len(row)) if cells(row[:n]) == at)
        assert row[start - 1] == " "
        assert row[start] != " "
        assert what in row[start:]
    for one in (RIGHT, WRONG):
        verdicts = shown(one, language)[: len(one.parts)]
        starts = {
            cells(line[: line.index(f" {say.label(part.verdict)} ")])
            for line, part in zip(verdicts, one.parts, strict=True)
        }
        assert len(starts) == 1


@pytest.mark.parametrize("language", ["en", "ja"])
def test_rows_are_aligned_whatever_the_longest_name_is(language):
    say = Reader(language).of(LAB)
    long = dataclasses.replace(RIGHT.parts[0], title="INIT, and SIPIs of two CPUs at one time")
    found = dataclasses.replace(RIGHT, parts=(long, *RIGHT.parts[1:]))
    rows = shown(found, language)[: len(found.parts)]
    verdict = f" {say.label('correct')} "
    assert len({cells(row[: row.index(verdict)]) for row in rows}) == 1


def test_a_text_that_does_not_fit_its_translation_is_shown_in_english(tmp_path):
    (tmp_path / "locale").mkdir()
    (tmp_path / "locale" / "ja.po").write_text(
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
        'msgid "{a} waits"\nmsgid_plural "{b} wait"\nmsgstr[0] "{b:d} は待つ"\n',
        encoding="utf-8",
    )
    evil = Message("{a} waits", (("a", "CPU 1"),), "{a} wait", 2)
    wrong = dataclasses.replace(WRONG.counterexample, what=evil)
    parts = (*WRONG.parts[:-1], dataclasses.replace(WRONG.parts[-1], counterexample=wrong))
    found = dataclasses.replace(WRONG, parts=parts)
    say = Reader("ja", [tmp_path])
    assert any("CPU 1 wait" in line for line in text.lines(found, say))
    assert "CPU 1 wait" in text.summary(found, say)


def test_text_from_a_file_is_sanitised():
    wrong = WRONG.counterexample
    evil = dataclasses.replace(wrong, what='CPU 1 panics: "\x1b[2Jall\nis well"')
    parts = (*WRONG.parts[:-1], dataclasses.replace(WRONG.parts[-1], counterexample=evil))
    lines = shown(dataclasses.replace(WRONG, parts=parts))
    assert not any("\x1b" in line or "\n" in line for line in lines)
    assert any("\\x1b[2Jall is well" in line for line in lines)

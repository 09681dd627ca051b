"""The recorded session of docs/learning.md: its commands exist, and they still print that."""

import re

import pytest
from book_pages import ROOT
from recorded_session import PAGES, SESSION, kept, recorded, shape, shown
from workspace_shell import needs_vmmlab

from vmmlab.cli.main import app


def test_both_pages_show_the_same_session():
    assert shown(PAGES[0]) == shown(PAGES[1])


def test_its_commands_are_those_that_are_run_and_exist():
    typed = re.findall(r"^\$ (.*)", shown(PAGES[0]), re.MULTILINE)
    assert typed == [line.text for line in SESSION]
    known = {one.name or one.callback.__name__ for one in app.registered_commands}
    used = {line.split()[1] for line in typed if line.startswith("vmmlab ")}
    assert used <= known
    assert {"hint", "show", "debug", "progress"} <= used


def test_it_gives_no_solution_away():
    text = shown(PAGES[0])
    assert "lgdtl\t%cs" not in text
    assert "%cs:CS_OFFSET" not in text


def test_what_is_left_out_is_marked():
    lines = ["a", "b", "", "c", "d"]
    assert list(kept(lines, [("b", "b"), ("c", "c")])) == ["…", "b", "c", "…"]
    assert shape("0xf02f (lab3/a.S:78)\n  1f 00") == shape("0xf031 (lab3/a.S:5) 00 1f")


@needs_vmmlab
@pytest.mark.full
def test_the_session_runs_as_it_is_shown():
    assert shape(recorded()) == shape(shown(PAGES[0]))
    assert (ROOT / "docs/learning.md").is_file()

"""Each `vmmlab` command that a page shows exists, with each of its options: nothing is run here.

Also those that `test_commands.py` passes over: they need other hosts, a server or a long time.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from book_pages import ROOT, commands, handouts, own_pages, shown, twin

from vmmlab.base.markdown import outside_fences
from vmmlab.cli.main import app

VMMLAB: Any = typer.main.get_command(app)
ENGLISH = [*own_pages(), *handouts(), ROOT / "README.md"]
SKELETON = ROOT / "vmm-skeleton" / "{{cookiecutter.slug}}" / "README.md"
PAGES = [*ENGLISH, *map(twin, ENGLISH), ROOT / "CONTRIBUTING.md", SKELETON]
SPAN = re.compile(r"`((?:\S+/)?vmmlab (?!is not here)[a-z-][^`]*)`")  # that one is a message
ENDS = {";", "|", "||", "&&", "&", ">", "<"}
GRADER = "vmmlab-grader"
"""The image whose entry point is vmmlab."""


@dataclass(frozen=True)
class Line:
    """What is typed after `vmmlab`; whole: it is a command, and no part of one in a sentence."""

    place: str
    words: tuple[str, ...]
    whole: bool


def calls(text: str) -> Iterator[tuple[str, ...]]:
    """The words after each `vmmlab` of a shell line."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = [*lexer, ";"]
    for at, word in enumerate(words):
        first = at == 0 or words[at - 1] in {*ENDS, "do", "vmmlab-student", "srun"}
        if (first and Path(word).name == "vmmlab") or word == GRADER:
            rest = words[at + 1 :]
            yield tuple(rest[: next(i for i, one in enumerate(rest) if one in ENDS)])


def lines_of(page: Path) -> Iterator[Line]:
    """Every use of `vmmlab` on a page."""
    for command in commands(page):
        text, more = command.text, list(command.output)
        while text.endswith("\\"):
            text = text[:-1] + more.pop(0)
        for words in calls(text):
            yield Line(f"{command.page}:{command.line}", words, True)
    for number, line in enumerate(outside_fences(page.read_text(encoding="utf-8")), 1):
        for span in SPAN.findall(line):
            for words in calls(span):
                yield Line(f"{shown(page)}: {span} ({number})", words, False)


def wrong_in(words: tuple[str, ...], *, whole: bool) -> str:
    """What of a command line `vmmlab` would refuse; "" for nothing."""
    command, rest = VMMLAB, list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            return "" if not whole and re.fullmatch(r"\W+|…", name) else f"no command {name}"
        command = command.commands[name]
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    for word in rest:
        option = word.partition("=")[0]
        if re.fullmatch(r"--?[a-zA-Z][\w-]*", option) and option not in {*known, "--help", "-h"}:
            return f"no option {option}"
    if not whole or hasattr(command, "commands"):
        return ""
    try:
        command.make_context("vmmlab", rest)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_what_a_page_tells_to_type_is_understood(page: Path) -> None:
    found = {one.place: wrong_in(one.words, whole=one.whole) for one in lines_of(page)}
    assert {place: why for place, why in found.items() if why} == {}


def test_there_are_many() -> None:
    found = [one for page in PAGES for one in lines_of(page)]
    assert sum(one.whole for one in found) > 100
    assert sum(not one.whole for one in found) > 200


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("vmmlab grades lab1", "no command grades"),
        ("vmmlab gradebook synch reports", "no command synch"),
        ("vmmlab batch class --out x --slurm", "no option --slurm"),
        ("for one in a b; do vmmlab grade lab1 --submision $one; done", "no option --submision"),
        ("docker run -v x:y vmmlab-grader grade lab3 --json-file x", "no option --json-file"),
        ("vmmlab batch class", "MissingParameter"),
        ("vmmlab batch class --out x -j many", "integer"),
    ],
)
def test_a_wrong_line_is_noticed(text: str, why: str) -> None:
    found = [wrong_in(words, whole=True) for words in calls(text)]
    assert len(found) == 1
    assert why in found[0]

"""What the tests of the book share: its pages, their tables, and the commands they show."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from vmmlab.base.markdown import FENCE, outside_fences

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"

SAMPLE = re.compile(r"^    lab3  .*\n(?:(?:    .*)?\n)+", re.MULTILINE)
"""The grading that the README of the kit shows."""

_NOT_RUN = re.compile(r"\s*<!-- not run: .+ -->\s*")


def own_pages() -> list[Path]:
    """The English pages in docs/."""
    return sorted(page for page in DOCS.glob("*.md") if not page.name.endswith(".ja.md"))


def handouts() -> list[Path]:
    """The English handouts."""
    return sorted(ROOT.glob("labs/lab*/README.md"))


def twin(page: Path) -> Path:
    """The Japanese page of an English one."""
    return page.with_name(page.name.removesuffix(".md") + ".ja.md")


def shown(page: Path) -> str:
    """A page's name for the ids of tests."""
    return page.relative_to(ROOT).as_posix()


def language_of(page: Path) -> str:
    """The language that a page is written in."""
    return "ja" if page.name.endswith(".ja.md") else "en"


def in_english(command: str) -> str:
    """A command as the English page has it: a Japanese reader asks for Japanese."""
    return command.replace(" --lang ja", "")


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a page: rows of cells, the heading first, without the line of dashes."""
    found: list[list[list[str]]] = []
    before = ""
    for line in outside_fences(text):
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not before.startswith("|"):
                found.append([])
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                found[-1].append(cells)
        before = line
    return found


@dataclass(frozen=True)
class Command:
    """One command that a page shows, and the lines of output below it."""

    page: str
    line: int
    text: str
    output: tuple[str, ...]
    run: bool


def commands(page: Path) -> list[Command]:
    """The commands in a page's console blocks, in order."""
    found: list[Command] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        mark = FENCE.fullmatch(lines[at])
        if mark and mark.group(3).strip() == "console":
            indent = len(mark.group(1))
            run = not _NOT_RUN.fullmatch(lines[at - 1])
            at += 1
            while not lines[at].strip().startswith(mark.group(2)):
                line = lines[at][indent:]
                if line.startswith("$ "):
                    found.append(Command(shown(page), at + 1, line[2:], (), run))
                else:
                    last = found.pop()
                    found.append(
                        Command(last.page, last.line, last.text, (*last.output, line), run)
                    )
                at += 1
        at += 1
    return found


def missing_output(command: Command, printed: str) -> str | None:
    """The first line that the page shows and the command did not print in that order, if any.

    `…` stands for anything, also for any number of lines when it stands alone.
    """
    lines = iter(" ".join(line.split()) for line in printed.splitlines())
    for wanted in command.output:
        parts = [re.escape(part) for part in " ".join(wanted.split()).split("…")]
        pattern = re.compile(".*".join(parts))
        if not wanted.replace("…", "").strip():
            continue
        if not any(pattern.fullmatch(line) for line in lines):
            return wanted
    return None


LANGUAGES = ("en", "ja")


def built_book(temporary: pytest.TempPathFactory) -> Path:
    """Both books, built with warnings as errors: once for all workers of a test run."""
    base = temporary.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    out = shared / "book"
    with (shared / "book.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for language in LANGUAGES:
            said = shared / f"book.{language}.log"
            if not said.exists():
                said.write_text(_build(language, out))
            assert said.read_text() == ""
    return out


def _build(language: str, out: Path) -> str:
    """Build one book; returns what Sphinx had to say, "" if all is well."""
    tag = ["-t", "ja"] if language == "ja" else []
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", *tag),
            *("-d", str(out / ".trees" / language), ".", str(out / language)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    return said or ("" if done.returncode == 0 else f"exit status {done.returncode}")

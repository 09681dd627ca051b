"""The commands that the book shows are run, in order, and print what the book says they print.

Both languages show the same commands (test_pages.py). Those of the Japanese pages are run once
more, in Japanese, and in a copy of their own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from book_pages import DOCS, ROOT, commands, language_of, missing_output, own_pages, twin
from course_copies import copy_of_the_clone, finish

from vmmlab.author import check_course
from vmmlab.course import markup
from vmmlab.course.load import load_course
from vmmlab.host.sandbox import Sandbox

pytestmark = pytest.mark.slow

RUN = {"evidence.md", "instructor.md", "lab-author.md"}
ELSEWHERE = {"gradebook.md"}
"""In grader/tests/classroom/test_page.py, where nbgrader is."""


PAGES_IN = {"en": lambda name: DOCS / name, "ja": lambda name: twin(DOCS / name)}
LOCALE = {"en": "C.UTF-8", "ja": "ja_JP.UTF-8"}
languages = pytest.mark.parametrize("language", LOCALE)


def run(text: str, folder: Path, language: str = "en") -> "subprocess.CompletedProcess[str]":
    """A command line as a reader types it, in `folder`, with the environment active."""
    clean = {name: one for name, one in os.environ.items() if not name.startswith("LC_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", text],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**clean, "PATH": path, "COLUMNS": "100", "LANG": LOCALE[language]},
        check=False,
    )


def adopted_copy(root: Path) -> Path:
    """A copy of the clone that its reader has declared to be their own, as vmmlab asks for."""
    clone = copy_of_the_clone(root)
    done = run("vmmlab adopt", clone)
    assert done.returncode == 0, done.stderr
    return clone


def follow(page: Path, folder: Path) -> None:
    """Run the commands of a page in its language; each prints what the page shows."""
    for command in commands(page):
        if not command.run:
            continue
        done = run(command.text, folder, language_of(page))
        where = f"{command.page}:{command.line}: {command.text}"
        assert done.returncode in (0, 1), f"{where}\n{done.stdout}{done.stderr}"
        absent = missing_output(command, done.stdout)
        assert absent is None, f"{where}\nno such line: {absent}\n{done.stdout}{done.stderr}"


def test_all_pages_with_commands_are_run():
    """A page with commands is followed below, or says of each why it is not."""
    with_commands = {page.name for page in own_pages() if any(one.run for one in commands(page))}
    assert with_commands <= RUN | ELSEWHERE, "follow the page in this file, or say in it why not"


@languages
def test_the_page_on_evidence(tmp_path, language):
    follow(PAGES_IN[language]("evidence.md"), adopted_copy(tmp_path / "clone"))


@languages
@pytest.mark.full
def test_the_instructors_guide(tmp_path, language):
    if Sandbox.choose(require=False).kind == "none":
        pytest.skip("other people's code is not graded without a sandbox")
    clone = adopted_copy(tmp_path / "clone")
    course = load_course(clone)
    for student, keep in (("ada", {"lab1.1"}), ("ben", set())):
        for file in course.lab("lab1").files:
            text = (clone / "reference" / file).read_text(encoding="utf-8")
            target = clone / "class" / student / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(markup.starter_text(text, path=file, keep=frozenset(keep)))
    follow(PAGES_IN[language]("instructor.md"), clone)
    reports = (clone / "results" / "reports").rglob("*.json")
    assert {one.parent.name for one in reports} == {"ada", "ben"}


@pytest.mark.full
def test_a_lab_made_as_the_guide_says(tmp_path):
    """The guide in a copy of the clone: the reference earns all, the starter nothing."""
    clone = adopted_copy(tmp_path / "clone")
    follow(DOCS / "lab-author.md", clone)
    finish(clone, "lab11")
    assert [str(one) for one in check_course.forgotten(clone, ["lab11"])] == []

    course = load_course(clone)
    own = tmp_path / "starter"
    (own / "lab11").mkdir(parents=True)
    text = (clone / "reference/lab11/start.c").read_text(encoding="utf-8")
    (own / "lab11" / "start.c").write_text(markup.starter_text(text, path="start.c"))
    done = run(f"vmmlab grade lab11 --submission {own} --no-sandbox", clone)
    assert (done.returncode, done.stderr) == (1, "")
    assert "lab11  0/10 points" in done.stdout
    assert "TODO(lab11.1)" in done.stdout

    # The other labs do not notice.
    assert list(course.labs)[-1] == "lab11"
    done = run("vmmlab grade lab1 --submission reference", clone)
    assert (done.returncode, "lab1  20/20 points" in done.stdout) == (0, True)


def test_the_guide_for_lab_authors_in_japanese(tmp_path):
    follow(twin(DOCS / "lab-author.md"), adopted_copy(tmp_path / "clone"))


def test_a_new_lab_is_clean_for_ruff_and_clang_format(tmp_path):
    clone = adopted_copy(tmp_path / "clone")
    assert run("vmmlab new-lab lab11", clone).returncode == 0
    shutil.copyfile(ROOT / "pyproject.toml", clone / "pyproject.toml")
    style = ROOT / "vmm-skeleton" / "{{cookiecutter.slug}}" / ".clang-format"
    for text in (
        "ruff check labs/lab11",
        "ruff format --check labs/lab11",
        f"clang-format --dry-run -Werror --style='file:{style}' reference/lab11/start.c",
    ):
        done = run(text, clone)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_page_that_shows_what_is_not_so_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("book_pages.ROOT", tmp_path)
    page = tmp_path / "a.md"
    page.write_text("```console\n$ echo one\ntwo\n```\n")
    with pytest.raises(AssertionError, match="no such line: two"):
        follow(page, tmp_path)
    twin(page).write_text("```console\n$ vmmlab doctor | head -n 1\nok …\n```\n")
    with pytest.raises(AssertionError, match="no such line: ok"):
        follow(twin(page), tmp_path)

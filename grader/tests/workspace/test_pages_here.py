"""The pages of a workspace: every link in it leads somewhere, as Markdown and in the browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from vmmlab.author.release import release
from vmmlab.base.markdown import headings, outside_fences
from vmmlab.cli.main import main
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.course.pages import adapted, pages
from vmmlab.student.handout import FOLDER, links_of, page, render
from vmmlab.student.new import new_workspace
from vmmlab.workspace.model import Workspace
from vmmlab.workspace.new import Answers

ROOT = Path(__file__).resolve().parents[3]
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def course() -> Course:
    return load_course(ROOT)


@pytest.fixture(scope="module")
def here(course: Course, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workspace(course, tmp_path_factory.mktemp("made") / "vmm")


def workspace(course: Course, folder: Path) -> Path:
    """Return a workspace without prebuilt objects, and with its pages for the browser."""

    def pretend(made: Workspace, of: Course) -> None:
        made.prebuilt.mkdir()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vmmlab.student.new._add_prebuilt", pretend)
        answers = Answers(student="Ada", cohort=Cohort.derive("dev"))
        root = new_workspace(folder, course, answers)
    render(root, course)
    return root


def dead_links(root: Path) -> Iterator[str]:
    """Yield each link of a Markdown page of a workspace that leads nowhere."""
    for source in [*root.glob("*.md"), *root.glob("lab*/*.md"), *root.glob("docs/*.md")]:
        for target in _LINK.findall("\n".join(outside_fences(source.read_text()))):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            file = (source.parent / path) if path else source
            where = f"{source.relative_to(root)}: {target}"
            if (
                not file.resolve().is_relative_to(root)
                or not file.exists()
                or (anchor and file.suffix == ".md" and anchor not in anchors(file))
            ):
                yield where


def anchors(file: Path) -> set[str]:
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", text).lower()).replace(" ", "-")
        for _, text in headings(file.read_text())
    }


def test_no_link_of_a_workspace_is_dead(here: Path) -> None:
    assert list(dead_links(here)) == []


@pytest.mark.full
@pytest.mark.parametrize("options", [{"self_study": True}, {"until": "lab5"}], ids=["alone", "5"])
def test_no_link_of_a_workspace_from_a_release_is_dead(
    course: Course, tmp_path: Path, options: dict[str, Any]
) -> None:
    release(course, tmp_path / "kit", book=False, **options)
    root = workspace(load_course(tmp_path / "kit"), tmp_path / "vmm")
    assert list(dead_links(root)) == []
    assert {"glossary.ja.md", "what-comes-next.md"} <= {one.name for one in root.glob("docs/*")}


def test_a_dead_link_is_noticed(here: Path, tmp_path: Path) -> None:
    (tmp_path / "lab1").mkdir()
    text = "[a](../docs/none.md) [b](#none) [c](../../outside.md) [d](README.md)\n"
    (tmp_path / "lab1" / "README.md").write_text(text)
    assert len(list(dead_links(tmp_path))) == 3


def test_the_pages_are_there(here: Path, course: Course) -> None:
    for name in ("glossary", "what-comes-next", "report", "i386"):
        assert (here / "docs" / f"{name}.md").is_file()
        assert (here / "docs" / f"{name}.ja.md").is_file()
    assert not (here / "docs" / "instructor.md").exists()
    assert not (here / "docs" / "answers.md").exists()
    text = (here / "lab3" / "README.md").read_text()
    assert "](../docs/" in text or "](../lab4/README.md)" in text
    assert "**ACPI**" in (here / "docs" / "glossary.md").read_text()
    assert not [path for path in here.glob("**/*.md") if "{literalinclude}" in path.read_text()]


@pytest.mark.parametrize("name", ["README.md", "README.ja.md"])
def test_each_handout_ends_with_the_next_one(course: Course, name: str) -> None:
    for lab, following in pairwise(course.labs):
        text = (course.labs_dir / lab / name).read_text().rstrip()
        if text.endswith("<!-- new-lab: the handout -->"):
            continue  # it is still to be written
        assert f"](../{following}/{name})" in text.splitlines()[-1], lab


def test_links_to_what_is_not_there_become_text() -> None:
    text = "[a](../../reference/x.c) ![b](pictures/none.svg) [c](../lab2/README.md#d) `[e](f)`"
    made = adapted(text, "labs/lab1/README.md", {"lab2/README.md"})
    assert made == "a  [c](../lab2/README.md#d) `e`"


def test_a_lab_that_is_held_back_is_not_linked(course: Course) -> None:
    made = pages(replace(course, until="lab3"), set())
    assert "lab4/README.md" not in made
    assert made["lab3/README.md"].decode().rstrip().endswith("Next: lab 4.")


# --- in the browser -------------------------------------------------------------------------------


def test_every_link_of_the_pages_in_the_browser_leads_somewhere(here: Path) -> None:
    checked = 0
    for path in (here / FOLDER).rglob("*.html"):
        text = path.read_text()
        for target in links_of(text):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            assert file.is_file() or file.is_dir(), f"{path.relative_to(here)}: {target}"
            if anchor and file.suffix == ".html":
                assert f'id="{anchor}"' in file.read_text(), f"{path}: {target}"
            checked += 1
    assert checked > 100


def test_a_page_is_made_again_only_if_it_has_changed(here: Path, course: Course) -> None:
    made = here / FOLDER / "lab1" / "README.html"
    before = made.stat().st_mtime_ns
    render(here, course)
    assert made.stat().st_mtime_ns == before


def test_html_in_a_page_is_only_text(course: Course) -> None:
    made = page("# A <b>\n\n<script>x</script>\n\n<!-- with lab1.1 -->\n", "lab1/README.md", course)
    assert "<script>" not in made
    assert "with lab1.1" not in made
    assert '<h1 id="a-b">' in made


def test_the_command(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VMMLAB_OWN", str(here))
    monkeypatch.chdir(here)
    assert main(["handout", "lab3", "--no-open"]) == 0
    assert "lab3/README.html" in capsys.readouterr().out
    assert main(["handout", "lab99", "--no-open"]) == 2

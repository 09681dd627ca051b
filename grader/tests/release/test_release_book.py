"""The book in a release: built once, opened from a workspace, and without a dead link."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from test_release import sh

from vmmlab.author.release import book, release
from vmmlab.base.errors import CourseError
from vmmlab.course.load import load_course
from vmmlab.course.materials import book_page
from vmmlab.student.handout import links_of

VMMLAB = "python -m vmmlab.cli.main"


def dead(root: Path) -> Iterator[str]:
    """Yield each link of the pages below a folder that leads nowhere."""
    texts = {path.resolve(): path.read_text(encoding="utf-8") for path in root.rglob("*.html")}
    for path, text in texts.items():
        for link in links_of(text):
            name, _, anchor = unquote(link).partition("#")
            if "://" in link or link.startswith(("data:", "mailto:", "#svg-")) or link == "#":
                continue
            name = name.partition("?")[0]
            file = (path.parent / name).resolve() if name else path
            if not file.is_file() or (anchor and f'id="{anchor}"' not in texts.get(file, "")):
                yield f"{path.relative_to(root.resolve())}: {link}"


def test_a_dead_link_is_noticed(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#x">1</a> <a href="c.html">2</a>')
    (tmp_path / "b.html").write_text('<a href="a.html">3</a> <img src="d.svg"> <p id="y">')
    assert sorted(dead(tmp_path)) == ["a.html: b.html#x", "a.html: c.html", "b.html: d.svg"]


def test_pages_show_code_that_every_release_has(course):
    included = re.compile(r"literalinclude} \.\./labs/(\w+)/")
    pages = [*(course.root / "docs").glob("*.md"), *course.labs_dir.glob("*/README*.md")]
    shown = {lab for page in pages for lab in included.findall(page.read_text(encoding="utf-8"))}
    assert shown == {"lab0"}, "a release with --until lab0 has no other lab"


@pytest.mark.full
def test_a_release_of_the_first_lab_alone_has_a_book(course, tmp_path):
    kit = release(course, tmp_path / "kit", until="lab0").folder
    assert list(dead(kit / "book")) == []


@pytest.mark.full
@pytest.mark.parametrize(
    "options", [{}, {"self_study": True}, {"until": "lab3"}], ids=["class", "alone", "until"]
)
def test_the_handout_is_the_books_page(course, tmp_path, options):
    kit = release(course, tmp_path / "kit", **options).folder
    assert list(dead(kit / "book")) == []
    made = sh(f"{VMMLAB} new --no-input --name Ada {tmp_path / 'vmm'}", kit, kit)
    assert (made.returncode, made.stderr) == (0, "")
    for lang, name in (("en", "README"), ("ja", "README.ja")):
        shown = sh(f"{VMMLAB} handout lab3 --no-open --lang {lang}", tmp_path / "vmm", kit)
        assert shown.returncode == 0, shown.stderr
        assert f"{kit}/book/{lang}/labs/lab3/{name}.html" in shown.stdout
    first = (kit / "book/en/labs/lab3/README.html").read_text()
    answers = kit / "book/en/docs/answers.html"
    assert answers.is_file() == ("self_study" in options)
    assert ("answers.html" in first) == answers.is_file()
    assert (kit / "book/en/labs/lab4/README.html").is_file() == ("until" not in options)
    assert not (kit / "docs/index.md").exists()
    assert "instructor" not in first


def test_a_page_that_cannot_be_built_stops_the_release(course, tmp_path):
    pytest.importorskip("furo")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/glossary.md").write_text("# A\n\n[b](#nowhere)\n")
    with pytest.raises(CourseError) as caught:
        list(book.add_book(course, tmp_path))
    assert "docs/" in str(caught.value.found)


def test_a_kit_has_the_book_only_if_it_is_not_older(course, tmp_path):
    (tmp_path / "labs/lab1").mkdir(parents=True)
    shutil.copy(course.root / "course.yml", tmp_path)
    here = load_course(tmp_path)
    source, page = (
        tmp_path / "labs/lab1/README.md",
        tmp_path / "build/book/en/labs/lab1/README.html",
    )
    source.write_text("# A\n")
    assert book_page(here, "labs/lab1/README") is None
    page.parent.mkdir(parents=True)
    page.write_text("")
    assert book_page(here, "labs/lab1/README") == page
    later = page.stat().st_mtime + 10
    os.utime(source, (later, later))
    assert book_page(here, "labs/lab1/README") is None
    shipped = tmp_path / "book/en/labs/lab1/README.html"
    shipped.parent.mkdir(parents=True)
    shipped.write_text("")
    assert book_page(here, "labs/lab1/README") == shipped

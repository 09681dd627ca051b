"""The book of a release: its handouts and pages as HTML, in both languages, built by Sphinx."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vmmlab.author.release.pages import unlink
from vmmlab.base.errors import CourseError, InfraError
from vmmlab.base.message import Text, msg
from vmmlab.base.scratch import scratch_folder
from vmmlab.base.text import clean_line
from vmmlab.course.materials import BOOK
from vmmlab.course.model import Course

_NEEDED: Final = ("sphinx", "myst_parser", "furo")
_NEEDS: Final = "pip install 'vmmlab[docs]'"
_BUILD_S: Final = 600.0
_TREE: Final = re.compile(r"^```\{toctree\}\n(?P<rest>.*?)^```\n", re.MULTILINE | re.DOTALL)
_ANSWERS: Final = "\n```{{toctree}}\n:hidden:\n\n{page}\n```\n"


def add_book(course: Course, made: Path) -> Iterator[Text]:
    """Build the book of a release from the pages that the release has, and yield notes.

    Args:
        course: the instructor's course; how its book looks is in docs/.
        made: the release, with its pages.

    Raises:
        CourseError: Sphinx cannot build it.
        InfraError: Sphinx did not come to an end.
        OSError: something cannot be written.
    """
    config = course.root / "docs"
    if not (config / "conf.py").is_file() or not (made / "docs").is_dir():
        return
    if not all(importlib.util.find_spec(name) for name in _NEEDED):
        yield msg(
            "no book: Sphinx is not installed; {command}. make handout shows plainer pages",
            command=_NEEDS,
        )
        return
    begins: list[Path] = []
    for source in sorted(config.glob("index*.md")):
        begins.append(made / "docs" / source.name)
        begins[-1].write_text(_beginning(source, made / "docs"), encoding="utf-8")
        unlink(begins[-1])
    with scratch_folder("book") as scratch:
        for lang in course.languages:
            _build(course, made, lang, scratch / lang)
    for page in begins:
        page.unlink()


def _beginning(source: Path, docs: Path) -> str:
    """Return the first page of the book, which names only the pages that a release has."""
    end = ".ja" if source.name.endswith(".ja.md") else ""

    def kept(tree: re.Match[str]) -> str:
        lines = tree["rest"].splitlines(keepends=True)
        pages = [line for line in lines if line.strip() and not line.startswith(":")]
        gone = [
            page
            for page in pages
            if not page.startswith("/") and not (docs / f"{page.strip()}.md").is_file()
        ]
        if len(gone) == len(pages):
            return ""
        return "```{toctree}\n" + "".join(line for line in lines if line not in gone) + "```\n"

    text = _TREE.sub(kept, source.read_text(encoding="utf-8"))
    answers = f"answers{end}"
    return text + _ANSWERS.format(page=answers) if (docs / f"{answers}.md").is_file() else text


def _build(course: Course, made: Path, lang: str, scratch: Path) -> None:
    """Build the book in one language."""
    words = [sys.executable, "-m", "sphinx", "-q", "-t", lang, "-d", str(scratch)]
    words += ["-c", str(course.root / "docs"), str(made), str(made / BOOK / lang)]
    if len(course.languages) == 1:
        words += ["-D", "suppress_warnings=twins"]
    try:
        done = subprocess.run(
            words, cwd=made, capture_output=True, text=True, timeout=_BUILD_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InfraError(
            msg("Sphinx did not finish within {limit_s:g} s.", limit_s=_BUILD_S)
        ) from error
    if done.returncode or done.stderr.strip():
        raise CourseError(
            msg("the book of the release cannot be built."),
            expected=msg("pages that Sphinx reads without a warning"),
            found=clean_line(done.stderr.strip().partition("\n")[0].replace(f"{made}/", "")),
            next_step=msg("change that page; nothing was written"),
        )

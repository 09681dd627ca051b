"""The pages of a workspace, as plain Markdown whose links work there.

In the course they lie in labs/ and docs/, and the book reads them there. In a workspace a lab's
folder is at the top. A link to what is not in the workspace becomes plain text.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from vmmlab.course.model import Course

PAGES: Final = (
    "answers", "crosswalk", "evidence", "glossary", "i386", "learning", "linux", "memo-questions",
    "probes", "real-hardware", "report", "what-comes-next",
)  # fmt: skip
"""The pages of docs/ that are for students; `answers` exists in a release for self-study only."""

_LINK: Final = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")
_TERM: Final = re.compile(r"\{term\}`([^`<]*?)(?:\s*<[^>]*>)?`")
_INCLUDE: Final = re.compile(r"^```\{literalinclude\} (\S+)\n(?:.*\n)*?```$", re.MULTILINE)
_GLOSSARY: Final = re.compile(r"^```\{glossary\}\n((?:.*\n)*?)```$", re.MULTILINE)
_TREE: Final = "vmm-skeleton/{{cookiecutter.slug}}/"


def pages(course: Course, there: Collection[str]) -> Mapping[str, bytes]:
    """Return the pages and pictures of a workspace by path.

    Args:
        course: the course.
        there: the paths of the other files in the workspace.
    """
    texts = dict(_texts(course))
    pictures = dict(_pictures(course, texts))
    known = {*there, *map(_moved, texts), *map(_moved, pictures)}
    made = {_moved(source): adapted(text, source, known).encode() for source, text in texts.items()}
    return made | {_moved(source): data for source, data in pictures.items()}


def adapted(text: str, source: str, known: Collection[str]) -> str:
    """Return a page as a workspace has it.

    Args:
        text: the page, as the book reads it.
        source: its path in the course.
        known: the paths of the files of the workspace.
    """
    folder, here = posixpath.dirname(source), posixpath.dirname(_moved(source))

    def link(found: re.Match[str]) -> str:
        mark, inner, target = found.groups()
        path, hash_, anchor = target.partition("#")
        if not path or "://" in path or path.startswith("mailto:"):
            return found[0]
        moved = _moved(posixpath.normpath(posixpath.join(folder, path)))
        if moved not in known:
            return f"{inner}" if not mark else ""
        return f"{mark}[{inner}]({posixpath.relpath(moved, here or '.')}{hash_}{anchor})"

    text = _INCLUDE.sub(lambda found: f"    {posixpath.basename(found[1])}", text)
    text = _GLOSSARY.sub(lambda found: _definitions(found[1]), text)
    return _LINK.sub(link, _TERM.sub(r"\1", text))


def _definitions(block: str) -> str:
    """Return the entries of a glossary as paragraphs: the term in bold, then its definition."""
    lines: list[str] = []
    for line in block.splitlines():
        if line and not line.startswith(" "):
            lines += [f"**{line}**", ""]
        else:
            lines.append(line.strip())
    return "\n".join(lines)


def _texts(course: Course) -> Iterator[tuple[str, str]]:
    """Yield the path in the course and the text of each page."""
    for lab in course.open_labs:
        for path in sorted((course.labs_dir / lab.name).glob("README*.md")):
            yield f"labs/{lab.name}/{path.name}", path.read_text(encoding="utf-8")
    for page in PAGES:
        for path in sorted((course.root / "docs").glob(f"{page}*.md")):
            yield f"docs/{path.name}", path.read_text(encoding="utf-8")


def _pictures(course: Course, texts: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each picture that a page shows."""
    for source, text in texts.items():
        for mark, _, target in _LINK.findall(text):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
            if mark and "://" not in target and not path.startswith("..") and _file(course, path):
                yield path, (course.root / path).read_bytes()


def _file(course: Course, path: str) -> bool:
    file = course.root / path
    return file.is_file() and Path(path).suffix in (".svg", ".png")


def _moved(path: str) -> str:
    """Return where a file of the course is in a workspace; the path itself if it is not there."""
    for prefix in (_TREE, "labs/"):
        if path.startswith(prefix):
            return path.removeprefix(prefix)
    return path

"""Handouts in a browser: pages of the book, or plainer ones made of a workspace's files."""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from vmmlab.base.errors import UsageError, os_reason
from vmmlab.base.files import write_atomically
from vmmlab.base.message import msg
from vmmlab.course import materials
from vmmlab.course.model import Course
from vmmlab.workspace.model import Workspace

FOLDER: Final = "build/pages"
"""The folder of a workspace that the pages are written to."""

_COMMENT: Final = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_NOT_IN_ANCHORS: Final = re.compile(r"[^\w\- ]")
_PAGE: Final = """<!DOCTYPE html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; padding: 1rem; }}
pre {{ overflow-x: auto; padding: 0.7rem; border: 1px solid #8886; border-radius: 4px; }}
code {{ font-family: ui-monospace, monospace; font-size: 0.9em; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
th, td {{ border: 1px solid #8886; padding: 0.3rem 0.5rem; }}
th, td {{ text-align: start; vertical-align: top; }}
img {{ max-width: 100%; background: #fff; }}
</style>
</head>
<body>
<nav>{links}</nav>
<main>
{body}</main>
</body>
</html>
"""


def page_of(here: Workspace, course: Course, lab: str, lang: str) -> Path:
    """Return the page of a lab's handout as HTML; pages that are older than their source are made.

    Args:
        here: the workspace.
        course: the course; if it has the book, that page is returned.
        lab: the lab.
        lang: the reader's language.

    Raises:
        UsageError: there is no such handout in the workspace, or it cannot be written.
    """
    course.lab(lab)
    name = "README.ja" if lang == "ja" else "README"
    if (built := materials.book_page(course, f"labs/{lab}/{name}", lang)) is not None:
        return built
    source = here.root / lab / f"{name}.md"
    if not source.is_file():
        raise UsageError(
            msg("{lab} has no handout in this workspace.", lab=lab),
            expected=f"{lab}/{name}.md",
            next_step=msg("vmmlab update brings it back"),
        )
    try:
        render(here.root, course)
    except OSError as error:
        raise UsageError(
            msg("the pages cannot be written to {folder}.", folder=here.root / FOLDER),
            found=os_reason(error),
        ) from None
    return here.root / FOLDER / lab / f"{name}.html"


def render(root: Path, course: Course) -> None:
    """Write each page of a workspace below `FOLDER`, unless a newer one is there.

    Raises:
        OSError: one cannot be read or written.
    """
    sources = [*root.glob("lab*/README*.md"), *root.glob("docs/*.md"), *root.glob("README*.md")]
    for source in sorted(sources):
        name = source.relative_to(root).as_posix()
        target = root / FOLDER / f"{name.removesuffix('.md')}.html"
        if target.is_file() and target.stat().st_mtime >= source.stat().st_mtime:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8", errors="replace")
        write_atomically(target, page(text, name, course).encode())


def page(text: str, name: str, course: Course) -> str:
    """Return a page as HTML.

    Args:
        text: Markdown.
        name: its path in the workspace.
        course: its labs are in the line of links at the top.
    """
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(_COMMENT.sub("", text))
    title = _anchors(tokens) or name
    up = posixpath.relpath(FOLDER, posixpath.dirname(f"{FOLDER}/{name}"))
    back = posixpath.relpath(".", posixpath.dirname(f"{FOLDER}/{name}"))
    for token in tokens:
        for inner in token.children or ():
            _lead(inner.attrs, posixpath.dirname(name), back)
    japanese = name.endswith(".ja.md")
    suffix = ".ja.html" if japanese else ".html"
    links = [
        f'<a href="{up}/{lab.name}/README{suffix}">{html.escape(lab.name)}</a>'
        for lab in course.open_labs
    ]
    links.append(f'<a href="{up}/docs/glossary{suffix}">{"用語集" if japanese else "glossary"}</a>')
    return _PAGE.format(
        lang="ja" if japanese else "en",
        title=html.escape(title),
        links=" · ".join(links),
        body=parser.renderer.render(tokens, parser.options, {}),
    )


def _lead(attrs: dict[str, Any], folder: str, back: str) -> None:
    """Let a link lead to the page as HTML, or to the file in the workspace itself."""
    for key in ("href", "src"):
        target = str(attrs.get(key, ""))
        path, hash_, anchor = target.partition("#")
        if not path or "://" in path or path.startswith("mailto:"):
            continue
        if path.endswith(".md"):
            attrs[key] = f"{path.removesuffix('.md')}.html{hash_}{anchor}"
        else:
            attrs[key] = posixpath.normpath(posixpath.join(back, folder, path)) + hash_ + anchor


def _anchors(tokens: list[Any]) -> str:
    """Give each heading the anchor that GitHub and the book give it; return the first heading."""
    first = ""
    seen: dict[str, int] = {}
    for token, inner in pairwise(tokens):
        if token.type == "heading_open":
            words: str = "".join(one.content for one in inner.children or ())
            first = first or words
            slug = _NOT_IN_ANCHORS.sub("", words.lower()).replace(" ", "-")
            count = seen[slug] = seen.get(slug, -1) + 1
            token.attrs["id"] = f"{slug}-{count}" if count else slug
    return first


def links_of(text: str) -> Mapping[str, str]:
    """Return the targets of the links and pictures of a page as HTML, each with its kind."""
    return {found[2]: found[1] for found in re.finditer(r'(href|src)="([^"]+)"', text)}

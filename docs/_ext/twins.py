"""Find the twin of each page in the other language, and add the switch between the two.

A page is NAME.md in English and NAME.ja.md in Japanese. Each language is a separate build, in the
sibling folders en and ja. A build does not know the pages of the other language, so a link to one
becomes a relative link between the two folders.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

OTHER = {"en": "ja", "ja": "en"}
WORDS = {"en": "English", "ja": "日本語"}


def twin_of(docname: str, language: str) -> str:
    """Return the name of the same page in the other language.

    Args:
        docname: name of a page of the book in `language`, but not of a page that both books have
            under the same name, such as the search page.
        language: `en` or `ja`.
    """
    return f"{docname}.ja" if language == "en" else docname.removesuffix(".ja")


def link_to_twin(docname: str, twin: str, language: str) -> str:
    """Return the relative address of a page of the other book, seen from a page of this one."""
    here = posixpath.dirname(f"{language}/{docname}")
    return posixpath.relpath(f"{OTHER[language]}/{twin}.html", here)


def _is_other_language(name: str, language: str) -> bool:
    return name.endswith(".ja") == (language == "en")


def _mend_links(app: Sphinx, doctree: nodes.document) -> None:
    """Resolve links to pages of the other language and to Markdown files outside the book."""
    language = str(app.config.language)
    env = app.env
    for link in list(doctree.findall(addnodes.pending_xref)):
        target = str(link.get("reftarget", ""))
        if link.get("refdomain") != "doc" or target in env.found_docs:
            continue
        of_the_book = target.startswith(("docs/", "labs/"))
        if of_the_book and _is_other_language(target, language):
            twin = twin_of(target, OTHER[language])
            if twin in env.found_docs:
                address = link_to_twin(env.docname, target, language)
                inner = link.children[0]
                link.replace_self(
                    nodes.reference("", "", *inner.children, internal=True, refuri=address)
                )
                continue
        file = Path(app.srcdir, f"{target}.md")
        if file.is_file() and not of_the_book:
            download = addnodes.download_reference(
                "", "", *link.children, reftarget=f"/{target}.md", refdoc=env.docname
            )
            link.replace_self(download)


def _add_switch(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Pass the languages and the address of the page's twin to the templates."""
    language = str(app.config.language)
    twin = twin_of(pagename, language) if pagename in app.env.found_docs else pagename
    lost = pagename in app.env.found_docs and not Path(app.srcdir, f"{twin}.md").is_file()
    if lost:
        logger.warning("%s.md has no twin %s.md", pagename, twin, type="twins")
    context["this_language"] = language
    context["languages"] = [
        {
            "code": code,
            "word": WORDS[code],
            "here": code == language,
            "link": "#" if code == language else link_to_twin(pagename, twin, language),
        }
        for code in WORDS
    ]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the event handlers with Sphinx."""
    app.connect("doctree-read", _mend_links)
    app.connect("html-page-context", _add_switch)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

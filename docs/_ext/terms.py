"""Link each term of the glossary where a page first uses it.

Terms need no mark-up in the Markdown. Only running text is searched, not titles, code or existing
links.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

_KINDS = ("A-Za-z0-9_", "\u30a1-\u30fa\u30fc", "\u3005\u3400-\u9fff")
_SKIPPED = (nodes.title, nodes.literal, nodes.literal_block, nodes.reference, nodes.raw)


def pattern(terms: list[str]) -> re.Pattern[str]:
    """Return a pattern that finds any of `terms`, longer ones first, as whole words.

    A word ends where the kind of character changes: Latin, katakana, kanji. A term in lower case
    also matches with a capital first letter, and an English term also matches in the plural. A part
    of a name such as `stack.c` or `boot-stack-own` does not match.
    """
    return re.compile("|".join(_one(term) for term in sorted(terms, key=len, reverse=True)))


def _one(term: str) -> str:
    body = re.escape(term)
    if re.fullmatch(r"[a-z].*", term) and term == term.lower():
        body = f"[{term[0]}{term[0].upper()}]{re.escape(term[1:])}"
    if re.fullmatch(r"[A-Za-z0-9_].*[A-Za-z]", term):
        body += "(?:e?s)?"
    before, after = (
        next((kind for kind in _KINDS if re.fullmatch(f"[{kind}]", letter)), "")
        for letter in (term[0], term[-1])
    )
    before = f"(?<![{before}])(?<![{before}][-.])" if before else ""
    after = f"(?![-.]?[{after}])" if after else ""
    return f"{before}{body}{after}"


def known(word: str, terms: dict[str, Any]) -> str | None:
    """Return the term that a word found by `pattern` stands for, or None."""
    low = word[:1].lower() + word[1:]
    for one in (word, low, word.removesuffix("s"), low.removesuffix("s"), low.removesuffix("es")):
        if one in terms:
            return one
    return None


def _link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    ordinary = set(app.config.terms_not_linked)
    terms = {
        name: (page, anchor)
        for name, _, kind, page, anchor, _ in app.env.get_domain("std").get_objects()
        if kind == "term" and name not in ordinary
    }
    glossaries = {page for page, _ in terms.values()}
    if not terms or docname in glossaries:
        return
    finder = pattern(list(terms))
    seen: set[str] = set()
    for text in list(doctree.findall(nodes.Text)):
        if any(isinstance(one, _SKIPPED) for one in _ancestors(text)):
            continue
        parts: list[nodes.Node] = []
        rest = 0
        for match in finder.finditer(str(text)):
            term = known(match.group(), terms)
            if term is None or term in seen:
                continue
            seen.add(term)
            page, anchor = terms[term]
            address = f"{app.builder.get_relative_uri(docname, page)}#{anchor}"
            word = nodes.inline("", match.group())
            parts.append(nodes.Text(str(text)[rest : match.start()]))
            parts.append(
                nodes.reference("", "", word, internal=True, refuri=address, classes=["term"])
            )
            rest = match.end()
        if parts and text.parent is not None:
            text.parent.replace(text, [*parts, nodes.Text(str(text)[rest:])])


def _ancestors(node: nodes.Node) -> list[nodes.Node]:
    found = []
    while node.parent is not None:
        node = node.parent
        found.append(node)
    return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the option and the event handler with Sphinx."""
    app.add_config_value("terms_not_linked", [], "html", list)
    app.connect("doctree-resolved", _link)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

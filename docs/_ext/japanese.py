"""Support for Japanese: searching for words, line breaks in the source, and theme texts.

Japanese is written without spaces. Sphinx splits the text into words when it builds the index, but
it does not split the search query, so a search for 物理アドレス fails if the index has 物理 and
アドレス. This module splits wherever the kind of character changes: kanji, katakana, Latin. The
index and the query can both do that with the same one-line rule. Runs of hiragana are mostly
grammar and are left out. A long run of kanji is also indexed by pairs, so that 起動 is found in
起動処理.

A line break in the source becomes a space in HTML, which is wrong between two Japanese characters.

The theme's own texts exist only in English, so this module also translates them.
"""

from __future__ import annotations

import gettext
import re
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.search import SearchLanguage

RUN = r"[A-Za-z0-9_]+|[\u30a1-\u30fa\u30fc]+|[\u3005\u3400-\u9fff]+"
"""One run of Latin letters and digits, katakana, or kanji; valid in Python and in JavaScript."""

_WIDE = "[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]"
_BREAK = re.compile(f"(?<={_WIDE})\n(?={_WIDE})")
_KANJI = re.compile(r"[\u3005\u3400-\u9fff]{3,}")


def words(text: str) -> list[str]:
    """Return the words of `text` for the index."""
    found: list[str] = re.findall(RUN, text)
    pairs = [run[i : i + 2] for run in found if _KANJI.fullmatch(run) for i in range(len(run) - 1)]
    return found + pairs


class SearchJapanese(SearchLanguage):
    """Japanese search, replacing the one that comes with Sphinx."""

    lang = "ja"
    language_name = "Japanese"
    js_splitter_code = f"function splitQuery(query) {{ return query.match(/{RUN}/g) || []; }}"

    def split(self, input: str) -> list[str]:
        """Return the words of a piece of text."""
        return words(input)

    def word_filter(self, word: str) -> bool:
        """Return whether a word is indexed: all words except empty ones."""
        return bool(word)


def _join_lines(app: Sphinx, doctree: nodes.document) -> None:
    """Remove line breaks between two Japanese characters."""
    for block in doctree.findall(nodes.TextElement):
        if isinstance(block, nodes.literal_block | nodes.raw):
            continue
        for one in list(block.children):
            if isinstance(one, nodes.Text) and "\n" in one:
                at = block.index(one)
                before = block[at - 1].astext()[-1:] if at else ""
                after = block[at + 1].astext()[:1] if at + 1 < len(block) else ""
                joined = _BREAK.sub("", f"{before}{one}{after}")
                text = joined[len(before) : len(joined) - len(after)]
                block.replace(one, nodes.Text(text))


class _Theme(gettext.NullTranslations):
    """Texts of the theme that Sphinx does not translate into Japanese."""

    WORDS: ClassVar[dict[str, str]] = {
        "Next": "次へ",
        "Previous": "前へ",
        "Home": "表紙",
        "On this page": "このページの内容",
        "Link to this heading": "この見出しへのリンク",
        "Link to this term": "この用語へのリンク",
        "Made with ": "作成に使用：",
    }

    def gettext(self, message: str) -> str:
        """Return the Japanese text for `message`, or `message` itself."""
        return self.WORDS.get(message, message)


def _add_theme(app: Sphinx) -> None:
    app.translator.add_fallback(_Theme())


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the search language and the event handlers with Sphinx."""
    app.add_search_language(SearchJapanese)
    if app.config.language == "ja":
        app.connect("doctree-read", _join_lines)
        app.connect("builder-inited", _add_theme)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""What Japanese needs: a search that finds words, lines that may be broken in the source, and the
words of the theme, which comes in English only.

Japanese is written without spaces. Sphinx cuts the text into words when it builds the index, but
not what the reader types, so that 物理アドレス is not found where the index has 物理 and アドレス.
Here the cut is wherever the kind of letter changes: kanji, katakana, Latin. Both sides can do that
in one line. Runs of hiragana are grammar and are left out. A long run of kanji is also entered by
pairs: then 起動 is found in 起動処理.

A line that ends in the source becomes a space in HTML, which is wrong between two Japanese letters.
"""

from __future__ import annotations

import gettext
import re
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.search import SearchLanguage

RUN = r"[A-Za-z0-9_]+|[\u30a1-\u30fa\u30fc]+|[\u3005\u3400-\u9fff]+"
"""One run: Latin letters and digits, katakana, kanji. Means the same in Python and JavaScript."""

_WIDE = "[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]"
_BREAK = re.compile(f"(?<={_WIDE})\n(?={_WIDE})")
_KANJI = re.compile(r"[\u3005\u3400-\u9fff]{3,}")


def words(text: str) -> list[str]:
    """What is entered into the index for `text`."""
    found: list[str] = re.findall(RUN, text)
    pairs = [run[i : i + 2] for run in found if _KANJI.fullmatch(run) for i in range(len(run) - 1)]
    return found + pairs


class SearchJapanese(SearchLanguage):
    """Japanese, in place of the one that comes with Sphinx."""

    lang = "ja"
    language_name = "Japanese"
    js_splitter_code = f"function splitQuery(query) {{ return query.match(/{RUN}/g) || []; }}"

    def split(self, input: str) -> list[str]:
        """The words of a piece of text."""
        return words(input)

    def word_filter(self, word: str) -> bool:
        """Whether a word is entered: all that are left after the cut."""
        return bool(word)


def _join_lines(app: Sphinx, doctree: nodes.document) -> None:
    """Take the end of a line away where it stands between two Japanese letters."""
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
    """The words that the theme puts on a page and Sphinx has no Japanese for."""

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
        """The Japanese of `message`, or `message` itself."""
        return self.WORDS.get(message, message)


def _add_theme(app: Sphinx) -> None:
    app.translator.add_fallback(_Theme())


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_search_language(SearchJapanese)
    if app.config.language == "ja":
        app.connect("doctree-read", _join_lines)
        app.connect("builder-inited", _add_theme)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

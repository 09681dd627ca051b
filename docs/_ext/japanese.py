"""Search in Japanese: the same rule cuts the text when it is indexed and the words one looks for.

Japanese is written without spaces. Sphinx cuts the text into words when it builds the index, but
not what the reader types, so that 物理アドレス is not found where the index has 物理 and アドレス.
Here the cut is wherever the kind of letter changes: kanji, katakana, Latin. Both sides can do that
in one line. Runs of hiragana are grammar and are left out. A long run of kanji is also entered by
pairs: then 起動 is found in 起動処理.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.search import SearchLanguage

RUN = r"[A-Za-z0-9_]+|[\u30a1-\u30fa\u30fc]+|[\u3005\u3400-\u9fff]+"
"""One run: Latin letters and digits, katakana, kanji. Means the same in Python and JavaScript."""

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


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_search_language(SearchJapanese)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

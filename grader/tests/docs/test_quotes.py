"""What the tables of mistakes quote from a grading is what a grading says, in both languages.

A quote is a piece of a message: whole words of one template of the catalogs, with something in
place of each {}. `…` stands for anything.
"""

import re
from functools import cache

import pytest
from book_pages import ROOT, handouts, language_of, shown, tables, twin

from vmmlab.i18n.catalog import parsed, po_file
from vmmlab.i18n.translate import OWN_CATALOGS

PAGES = [one for page in handouts() for one in (page, twin(page))]
QUOTE = {"en": re.compile(r'"([^"]+)"'), "ja": re.compile(r"「([^」]+)」")}
OTHERS = frozenset(
    {
        # of the compiler and of the assembler
        *("'noreturn' function does return", "indirect jmp without \\`*'"),
        # names of cases and of conditions, and one entry of the list of ICR writes
        *("-O0", "入った数 = 離れた数", "SIPI, vector 0x00", "RBP ="),
        # instructions
        *("cmpb $0, (%rdi)", "call"),
        # the beginning of a row
        *("期待", "expected"),
    }
)
WIDE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
WORD = re.compile(r"(?<![\w'.])[a-z]{3,}(?![\w'.])")
LEAST = 3
"""So many letters of a quote at least must be words of a message, and not values in it."""


@cache
def messages(lab, language):
    """All that a grading of a lab can say, as templates."""
    texts = []
    for folder in (OWN_CATALOGS, ROOT / "labs" / lab):
        path = po_file(folder, "ja")
        for entry in parsed(path, path.read_bytes()):
            said = entry.id if language == "en" else entry.string
            texts += [said] if isinstance(said, str) else said
    return [re.split(r"\{[^{}]*\}", text) for text in texts if text]


def said(quote, lab, language):
    """Whether a quote is a message, or a piece of one with values in place of its {}."""
    known = messages(lab, language)
    return any(fits(quote, parts, known, language) for parts in known)


def fits(quote, parts, known, language):
    """The same for one message."""
    if any(quote in part for part in parts):
        return True
    for first, part in enumerate(parts[:-1]):
        start = next(part[at:] for at in range(len(part) + 1) if quote.startswith(part[at:]))
        words, here, values = len(start), len(start), []
        for other in parts[first + 1 :]:
            found = quote.find(other, here) if other else -1
            if found < 0:  # the quote ends in the value before this part, or in it
                rest = range(min(len(other), len(quote) - here), -1, -1)
                end = next(size for size in rest if quote.endswith(other[:size]))
                values.append(quote[here : len(quote) - end])
                words, here = words + end, len(quote)
                break
            code = other.startswith("`")  # and it ends the code that stands before it
            values.append("" if code else quote[here:found])
            words, here = words + len(other), found + len(other)
        texts = [one.strip() for one in values if has_words(one, language)]
        whole = here == len(quote) and words and words + sum(map(len, texts)) >= LEAST
        if whole and all(is_message(one, known, language) for one in texts):
            return True
    return False


@cache
def pattern(*parts):
    """What a whole message looks like."""
    return re.compile("(.+?)".join(map(re.escape, parts)))


def is_message(text, known, language):
    """Whether it is a whole message; what stands in place of a {} may be one with values only."""
    for parts in known:
        if not (text.startswith(parts[0]) and text.endswith(parts[-1])):
            continue
        found = pattern(*parts).fullmatch(text)
        if found and all([one] in known or not has_words(one, language) for one in found.groups()):
            return len("".join(parts)) >= LEAST
    return False


def has_words(value, language):
    """Whether it can be in place of a {} only as a message of its own: it is not a mere value."""
    pattern = WIDE if language == "ja" else WORD
    return pattern.search(re.sub(r"`.*?`", "", value)) is not None


def quotes(text, language):
    """What the table of mistakes of a page quotes."""
    heading = {"en": "mistake", "ja": "間違い"}[language]
    rows = [row for table in tables(text) if table[0][0] == heading for row in table[1:]]
    return [one for row in rows for one in QUOTE[language].findall(row[1])]


def pieces(quote, language):
    """The parts of a quote between its …, without the values that stand alone."""
    found = (piece.strip() for piece in quote.split("…"))
    return [piece for piece in found if " " in piece or WIDE.search(piece)]


def unsaid(text, lab, language):
    """The quotes that no message fits."""
    return [
        quote
        for quote in quotes(text, language)
        if quote not in OTHERS
        and not all(
            piece in OTHERS or said(piece, lab, language) for piece in pieces(quote, language)
        )
    ]


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_what_a_handout_quotes_is_what_a_grading_says(page):
    text = page.read_text(encoding="utf-8")
    assert unsaid(text, page.parent.name, language_of(page)) == []


def test_there_are_quotes_in_both_languages():
    for page in handouts()[1:]:
        counts = [
            len(quotes(one.read_text(encoding="utf-8"), language_of(one)))
            for one in (page, twin(page))
        ]
        assert min(counts) >= 5, counts


@pytest.mark.parametrize("said", ["it added 0", "足したのは 0"])
def test_a_quote_of_what_is_no_longer_said_is_noticed(said):
    language = "en" if said.isascii() else "ja"
    table = {
        "en": '| mistake | x |\n|---|---|\n| a | "{}" |',
        "ja": "| 間違い | x |\n|---|---|\n| a | 「{}」 |",
    }
    assert unsaid(table[language].format(said), "lab3", language) == []
    for wrong in (
        said.replace("added", "raised").replace("足した", "引いた"),
        "nobody says this" if language == "en" else "これは誰も言わない",
        "a little below 0, the address that RBP = 0 gives"
        if language == "en"
        else "0 のすぐ下、RBP = 0 から",
    ):
        assert unsaid(table[language].format(wrong), "lab3", language) == [wrong]

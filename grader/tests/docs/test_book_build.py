"""The book as it is built: without a warning, without a dead link, found by its search."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from book_pages import ROOT, built_book, handouts, own_pages, shown

sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import japanese
import terms as terms_of_the_book

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both books, built with warnings as errors."""
    return built_book(tmp_path_factory)


class Page(HTMLParser):
    """Links and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.switch: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        self.ids |= {said[key] for key in ("id", "name") if said.get(key)}
        for key in ("href", "src"):
            if said.get(key):
                self.links.append(said[key])
        if tag == "a" and said.get("hreflang"):
            self.switch[said["hreflang"]] = said["href"]


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def dead_links(root: Path) -> list[str]:
    """Links below `root` that lead to no file, or to no place in it."""
    pages = {path: read(path) for path in root.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link == "#":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not target.is_file():
                dead.append(f"{path.relative_to(root)}: {link}")
            elif place and target in pages and place not in pages[target].ids:
                svg = place.startswith("svg-")  # icons, drawn on the page itself
                if not svg:
                    dead.append(f"{path.relative_to(root)}: {link}")
    return dead


def test_no_link_is_dead(book):
    assert dead_links(book) == []


@pytest.mark.parametrize("language", ["en", "ja"])
def test_each_picture_is_a_link_to_its_file(book, language):
    found = 0
    for page in (book / language).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        pattern = r'<a class="[^"]*picture[^"]*" href="([^"]*)"><img [^>]*src="([^"]*)"'
        linked = re.findall(pattern, text)
        assert len(re.findall(r'<img [^>]*src="[^"]*_images/', text)) == len(linked), page
        assert all(href == src for href, src in linked), page
        found += len(linked)
    assert found > 20


def test_a_dead_link_is_noticed(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#x">1</a><a href="c.html">2</a><p id="y">')
    (tmp_path / "b.html").write_text('<a href="a.html#y">3</a>')
    assert dead_links(tmp_path) == ["a.html: b.html#x", "a.html: c.html"]


@pytest.mark.parametrize("page", [*own_pages(), *handouts()], ids=shown)
def test_the_switch_leads_to_the_same_page_and_back(book, page):
    name = page.relative_to(ROOT).with_suffix("").as_posix()
    english, theirs = book / "en" / f"{name}.html", book / "ja" / f"{name}.ja.html"
    there = (english.parent / read(english).switch["ja"]).resolve()
    back = (theirs.parent / read(theirs).switch["en"]).resolve()
    assert (there, back) == (theirs.resolve(), english.resolve())


def test_the_search_page_has_the_switch(book):
    assert read(book / "en" / "search.html").switch == {"ja": "../ja/search.html"}


def search_index(book: Path, language: str) -> dict:
    text = (book / language / "searchindex.js").read_text(encoding="utf-8")
    return json.loads(re.fullmatch(r"Search\.setIndex\((.*)\)", text, re.DOTALL).group(1))


def pages_of(index: dict, word: str) -> set[str]:
    """Pages in whose title or text a word stands, as the page's own script looks it up."""
    pages: set[str] = set()
    for where in ("titleterms", "terms"):
        found = index[where].get(word, [])
        pages |= {index["docnames"][n] for n in ([found] if isinstance(found, int) else found)}
    return pages


@pytest.mark.parametrize(
    ("page", "term"),
    [("en/labs/lab3/README.html", "SIPI"), ("ja/labs/lab3/README.ja.html", "トランポリン")],
)
def test_terms_lead_to_the_glossary(book, page, term):
    text = (book / page).read_text(encoding="utf-8")
    links = re.findall(r'<a class="term[^"]*" href="([^"]+)"><span>([^<]+)</span></a>', text)
    (target,) = [link for link, word in links if word == term]
    assert "docs/glossary" in target
    assert len({word for _, word in links}) == len(links) > 20, "only the first use is a link"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SIPIs and a SIPI", ["SIPIs", "SIPI"]),
        ("Trampoline, XSIPI, stackless", ["Trampoline"]),
        ("the boot stack", ["boot stack"]),
        ("stack.c, boot-stack-own. A stack.", ["stack"]),
        ("スタックポインタとスタック", ["スタック"]),
    ],
)
def test_what_is_taken_for_a_term(text, found):
    terms = ["SIPI", "trampoline", "stack", "boot stack", "スタック"]
    assert terms_of_the_book.pattern(terms).findall(text) == found


def test_the_japanese_index_has_the_words_of_the_field(book):
    index = search_index(book, "ja")
    assert "labs/lab3/README.ja" in pages_of(index, "トランポリン")
    for words in ("物理アドレス", "実機で動かす", "割り込みコマンドレジスタ"):
        each = [pages_of(index, word) for word in japanese.words(words)]
        assert each, words
        assert set.intersection(*each), f"{words} is cut into words that no page has together"


def test_the_index_is_not_everything():
    index = {"titleterms": {"b": 0}, "terms": {"a": 0, "b": [1]}, "docnames": ["x", "y"]}
    assert pages_of(index, "a") == {"x"}
    assert pages_of(index, "b") == {"x", "y"}
    assert pages_of(index, "c") == set()


def test_the_english_index_finds_the_trampoline(book):
    index = search_index(book, "en")
    assert "labs/lab3/README" in pages_of(index, "trampolin")  # by its stem


def test_index_and_query_are_cut_alike(book):
    script = (book / "ja" / "_static" / "language_data.js").read_text(encoding="utf-8")
    rule = re.search(r"query\.match\(/(.*?)/g\)", script).group(1)
    assert rule == japanese.RUN


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("トランポリンの写し", ["トランポリン", "写"]),
        ("apinit_addr は物理アドレス", ["apinit_addr", "物理", "アドレス"]),
        ("初期化関数", ["初期化関数", "初期", "期化", "化関", "関数"]),
        ("これはひらがな", []),
    ],
)
def test_how_japanese_is_cut(text, words):
    assert japanese.words(text) == words


def test_a_broken_line_of_japanese_has_no_space_in_it(tmp_path):
    (tmp_path / "index.md").write_text("# 題\n\n今日は\n*よい*\n天気。 SIPI\nの話\n", "utf-8")
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'docs' / '_ext')!r})\n"
        "extensions = ['myst_parser', 'japanese']\nlanguage = 'ja'\n"
    )
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", ".", "out"], cwd=tmp_path, check=True
    )
    html = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "今日は<em>よい</em>天気。 SIPI\nの話" in html


def test_the_first_page_leads_to_both_books(book):
    chooser = read(ROOT / "docs" / "_templates" / "choose.html")
    for link in chooser.switch.values():
        assert (book / link).is_file()


@pytest.mark.parametrize("page", ["en/docs/instructor.html", "ja/docs/instructor.ja.html"])
def test_what_can_be_scrolled_can_be_reached_by_keyboard(book, page):
    text = (book / page).read_text("utf-8")
    assert '<pre tabindex="0">' in text
    assert '<div tabindex="0" class="table-wrapper' in text
    assert "<pre>" not in text
    assert text.count('role="heading"') == text.count('role="heading" aria-level="2"') > 0

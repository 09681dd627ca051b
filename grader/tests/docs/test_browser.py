"""The book in a real browser: its search finds, no page scrolls sideways, everybody can read it.

Needs Chromium (`make test-browser` installs it).
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from book_pages import ROOT, built_book
from browsing import DESKTOP, PHONE

pytestmark = [pytest.mark.full, pytest.mark.browser]

# Loads each page in a frame of the given width and writes down how wide it is.
MEASURE = """<!doctype html><meta charset="utf-8"><pre id="out"></pre><script>
const pages = %s, width = %d, out = [];
(async () => {
  for (const page of pages) {
    const frame = document.createElement("iframe");
    frame.style = `width: ${width}px; height: 800px; border: 0`;
    frame.src = page;
    const loaded = new Promise((done) => frame.addEventListener("load", done));
    document.body.append(frame);
    await loaded;
    const root = frame.contentDocument.documentElement;
    out.push([page, root.scrollWidth, root.clientWidth]);
    frame.remove();
  }
  document.getElementById("out").textContent = JSON.stringify(out);
})();
</script>"""


# axe-core takes a second for some thousand elements, and the further ones of a kind are alike.
SHORTER = """
const further = (kind, most) => [...document.querySelectorAll(kind)].slice(most);
document.querySelectorAll("tbody").forEach((one) =>
  [...one.rows].slice(5).forEach((row) => row.remove()));
further("article pre", 4).forEach((one) => one.remove());
further("article section p, article section li", 30).forEach((one) => one.remove());
further(".sidebar-tree li", 20).forEach((one) => one.remove());
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server that says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Keep the output of the tests readable."""


class Book:
    """The book as a web site, and a browser for it."""

    def __init__(self, root: Path, address: str, chromium: str) -> None:
        self.root, self.address, self.chromium = root, address, chromium

    def dom(self, page: str, language: str = "en") -> str:
        """A page after its scripts have run."""
        done = subprocess.run(
            [
                self.chromium,
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
                *(f"--lang={language}", f"--accept-lang={language}"),
                *("--virtual-time-budget=60000", "--window-size=1400,900", "--dump-dom"),
                f"{self.address}/{page}",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout, done.stderr
        return done.stdout

    def widths(self, pages: list[str], width: int) -> dict[str, tuple[int, int]]:
        """How wide each page is, and how wide the window it is in."""
        (self.root / "measure.html").write_text(MEASURE % (json.dumps(pages), width))
        text = re.search(r'<pre id="out">(.*?)</pre>', self.dom("measure.html")).group(1)
        return {page: (wide, window) for page, wide, window in json.loads(text)}

    def found(self, language: str, words: str) -> list[str]:
        """Titles that the search page lists."""
        text = self.dom(f"{language}/search.html?q={quote(words)}")
        results = re.search(r'<ul[^>]*class="search"[^>]*>(.*?)</ul>', text, re.DOTALL)
        return re.findall(r'<a href="([^"?#]+)', results.group(1)) if results else []


@pytest.fixture(scope="module")
def book(chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    """Both books, served."""
    out = Path(
        shutil.copytree(built_book(tmp_path_factory), tmp_path_factory.mktemp("web") / "book")
    )
    shutil.copyfile(ROOT / "docs" / "_templates" / "choose.html", out / "index.html")
    handler = functools.partial(Quiet, directory=str(out))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Book(out, f"http://127.0.0.1:{server.server_port}", chromium.program)
        server.shutdown()


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_no_page_scrolls_sideways(book, width):
    pages = [
        path.relative_to(book.root).as_posix()
        for language in ("en", "ja")
        for path in sorted((book.root / language).rglob("*.html"))
    ]
    widths = book.widths(pages, width)
    assert len(widths) == len(pages) > 20
    assert {page: got for page, got in widths.items() if got[0] > got[1] or got[1] > width} == {}


def test_a_page_that_is_too_wide_is_noticed(book):
    (book.root / "wide.html").write_text(
        '<meta name="viewport" content="width=device-width"><pre>' + "x" * 500
    )
    ((wide, window),) = book.widths(["wide.html"], PHONE).values()
    assert wide > window


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("トランポリン", "labs/lab3/README.ja.html"),
        ("物理アドレス", "labs/lab3/README.ja.html"),
        ("ブートスタック", "docs/probes.ja.html"),
        ("apinit_addr", "docs/crosswalk.ja.html"),
    ],
)
def test_the_japanese_search_finds(book, words, page):
    assert page in book.found("ja", words)


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("ja/search.html?q=SIPI", r"\d+ 件見つかりました。"),
        ("en/search.html?q=SIPI", r"found \d+ pages"),
    ],
)
def test_the_search_says_how_much_it_found(book, page, told):
    text = book.dom(page)
    (said,) = re.findall(r'<p class="search-summary">(.*?)</p>', text)
    assert re.search(told, said)


def test_the_english_search_finds(book):
    assert "labs/lab3/README.html" in book.found("en", "trampoline")


def test_the_search_does_not_find_everything(book):
    assert book.found("ja", "冷蔵庫") == []
    assert book.found("en", "refrigerator") == []


@pytest.mark.parametrize(
    ("language", "page"), [("ja", "ja/docs/index.ja.html"), ("en", "en/docs/index.html")]
)
def test_the_first_page_goes_by_the_browsers_language(book, language, page):
    title = re.search(r"<title>(.*?)</title>", (book.root / page).read_text("utf-8")).group(1)
    assert f"<title>{title}</title>" in book.dom("index.html", language)


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
@pytest.mark.parametrize(
    "page",
    [
        "index.html",
        "en/docs/index.html",
        "en/labs/lab3/README.html",
        "en/docs/kill-matrix.html",
        "ja/labs/lab7/README.ja.html",
        "ja/docs/report.ja.html",
    ],
)
def test_no_error_and_no_serious_fault_of_accessibility(book, browser, axe, page, width, scheme):
    browser.visit(f"{book.address}/{page}", width, scheme)
    # Browsers ask every server for this file, whatever is on the page.
    assert [one for one in browser.errors() if "/favicon.ico" not in one] == []
    browser.js(SHORTER)
    assert browser.faults(axe) == []
    browser.picture(f"book-{page.replace('/', '-')}-{width}")

"""What templates of pages do with texts."""

import pytest

from vmmlab.report.pages import with_code


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("`mi` holds `88` bytes", "<code>mi</code> holds <code>88</code> bytes"),
        ("`ljmpl *%cs:0xc0`", "<code>ljmpl *%cs:0xc0</code>"),
        ("`<b>` & <i>", "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"),
        ("not `mvo' and not `mvq'", "not `mvo&#39; and not `mvq&#39;"),
        ("one ` alone", "one ` alone"),
        ("`two\nlines`", "`two\nlines`"),
        ("", ""),
    ],
)
def test_what_stands_between_backticks_is_code(text: str, html: str) -> None:
    assert with_code(text) == html

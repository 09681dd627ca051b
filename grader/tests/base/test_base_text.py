"""Untrusted text cannot change a terminal, and its width is known."""

from __future__ import annotations

import pytest

from vmmlab.base.text import cells, clean, clean_line, from_guest


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("a\tb", "a    b"),
        ("\x1b[0m", "\\x1b[0m"),
        ("\u202e", "\\u202e"),
        ("\U000e0001", "\\U000e0001"),
        ("é日本", "é日本"),
        ("a\r\nb", "a\\x0d\nb"),
    ],
)
def test_clean(raw: str, shown: str) -> None:
    assert clean(raw) == shown


def test_tabs_can_stay() -> None:
    assert clean("a\x1b[31mb\x00\r\n\tü€", tabs=True) == "a\\x1b[31mb\\x00\\x0d\n\tü€"
    assert clean("\x85\u202e", tabs=True) == "\\x85\\u202e"


def test_clean_line() -> None:
    assert clean_line("a\n  b\x07") == "a b\\x07"
    assert clean_line("x" * 500, 400) == "x" * 399 + "…"
    assert clean_line("x" * 400, 400) == "x" * 400


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain\r\ntext\n", "plain\ntext\n"),
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07after", "after"),
        (b"\x1bPq#0\x1b\\after", "after"),
        (b"bell\x07 nul\x00", "bell\\x07 nul\\x00"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("\u00e9\u3042".encode(), "\u00e9\u3042"),
        ("\x9b31m".encode(), "\\x9b31m"),
        (b"half \x1b[", "half "),
        (b"a\rb", "a\nb"),
        (b"a\tb", "a\tb"),
        ("a\u202eb\U0001f600".encode(), "a\\u202eb\U0001f600"),
    ],
)
def test_from_guest(raw: bytes, shown: str) -> None:
    text = from_guest(raw)
    assert text == shown
    assert "\x1b" not in text


def test_cells() -> None:
    assert [cells(text) for text in ("", "abc", "日本", "e\u0301", "…")] == [0, 3, 4, 1, 1]

"""Makes untrusted text (of the guest, students, tools) safe to show, and measures its width."""

from __future__ import annotations

import re
import unicodedata

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_TO_CHECK = re.compile(r"[^\n -~]")
_TAB = "    "
_NOT_IN_NAMES = re.compile(r"[^\w.$@+~-]", re.ASCII)
_LONGEST_NAME = 120
_SPACES = 16
_TERMINAL_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"
    r"|\][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|[PX^_][^\x1b]*(?:\x1b\\)?"
    r"|[ -/]*[0-~])"
)


def clean(text: str, *, tabs: bool = False) -> str:
    """Return `text` with control, format and unassigned characters as escapes; line ends stay.

    ANSI sequences, carriage returns, bidirectional overrides and zero-width characters can no
    longer hide or repaint anything.

    Args:
        text: any text.
        tabs: keep tabs; otherwise each becomes four spaces.
    """
    return _TO_CHECK.sub(lambda match: _shown(match[0], tabs), text)


def clean_line(text: str, most: int | None = None) -> str:
    """Return `text` cleaned and on one line.

    Args:
        text: any text.
        most: the length in characters to which it is shortened; None for any length.
    """
    if most is not None:
        text = text[: _SPACES * most]  # what follows is not looked at, however long it is
    line = " ".join(clean(text).split())
    return line if most is None or len(line) <= most else line[: most - 1] + "…"


def clean_name(name: str) -> str:
    """Return the name of a symbol or a section, which can have any character, fit for any report.

    All but letters, digits and `_ . $ @ + -` become escapes, and it is shortened to 120 characters.
    """
    if len(name) > _LONGEST_NAME:
        name = name[: _LONGEST_NAME - 1] + "~"
    return _NOT_IN_NAMES.sub(lambda match: _escape(ord(match[0])), name)


def from_guest(data: bytes) -> str:
    """Return what a guest has sent to its serial port as clean text, tabs kept.

    Terminal escape sequences are removed as a whole, and every kind of line end becomes a newline.
    """
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\r", "\n")
    return clean(_TERMINAL_SEQUENCE.sub("", text), tabs=True)


def cells(text: str) -> int:
    """Return how many columns of a terminal a line takes; wide characters take two."""
    # Imported here: it takes 50 ms, and most commands measure nothing before they print.
    from rich.cells import cell_len

    return cell_len(text)


def _shown(char: str, tabs: bool) -> str:
    if char == "\t":
        return char if tabs else _TAB
    if unicodedata.category(char) not in _UNSAFE:
        return char
    return _escape(ord(char))


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

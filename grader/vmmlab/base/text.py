"""Making text from the guest, or from a student's files, safe to show on a terminal."""

from __future__ import annotations

import unicodedata

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean(text: str) -> str:
    """Show control, format and unassigned characters as escapes; keep line ends.

    ANSI sequences, carriage returns, bidirectional overrides and zero-width characters can no
    longer hide or repaint anything. A tab becomes four spaces.
    """
    return "".join(_shown(char) for char in text)


def clean_line(text: str) -> str:
    """`clean`, on one line."""
    return " ".join(clean(text).split())


def _shown(char: str) -> str:
    if char == "\n" or " " <= char <= "~":
        return char
    if char == "\t":
        return "    "
    if unicodedata.category(char) not in _UNSAFE:
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

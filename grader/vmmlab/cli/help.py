"""The help of the commands in the reader's language, including the words that typer adds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from vmmlab.base.message import Message
from vmmlab.i18n.translate import Reader

_NOTES = re.compile(r"\[([^\[\]]+)\]$")


def translate(command: Any, say: Reader) -> None:
    """Translate the help of a command and of those below it.

    Args:
        command: from typer; it is changed.
        say: the reader.
    """
    if command.help:
        command.help = say(Message(" ".join(command.help.split())))
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = say(Message(" ".join(parameter.help.split())))
    command.context_class = _context(command.context_class, say)
    for inner in getattr(command, "commands", {}).values():
        translate(inner, say)


def _context(plain: Any, say: Reader) -> Any:
    """Return a class of contexts whose help has headings and notes in the reader's language."""

    class Formatter(plain.formatter_class):  # type: ignore[misc]
        def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
            super().write_usage(prog, args, prefix or say.label("Usage") + ": ")

        def write_heading(self, heading: str) -> None:
            super().write_heading(say.label(heading))

        def write_dl(self, rows: Sequence[tuple[str, str]], *more: Any, **named: Any) -> None:
            super().write_dl([(name, shown(text)) for name, text in rows], *more, **named)

    def shown(text: str) -> str:
        return _NOTES.sub(lambda found: f"[{noted(found[1])}]", say(text))

    def noted(notes: str) -> str:
        words = (note.partition(": ") for note in notes.split("; "))
        return "; ".join(say.label(name) + colon + value for name, colon, value in words)

    return type("Context", (plain,), {"formatter_class": Formatter})

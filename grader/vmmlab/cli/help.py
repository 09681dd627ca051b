"""The help of the commands in the reader's language, including the words that typer adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from vmmlab.base.message import Message, label, msg
from vmmlab.i18n.translate import Reader

_TYPERS_OPTIONS: Final = {
    str(text): text
    for text in (
        msg("Show this message and exit."),
        msg("Install completion for the current shell."),
        msg("Show completion for the current shell, to copy it or customize the installation."),
    )
}
"""What typer says about the options that it adds itself."""
_TYPERS_WORDS: Final = frozenset(
    (
        label("Arguments"),
        label("Options"),
        label("Commands"),
        label("required"),
        label("default"),
    )
)


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
            super().write_heading(word(heading))

        def write_dl(self, rows: Sequence[tuple[str, str]], *more: Any, **named: Any) -> None:
            super().write_dl([(name, shown(text)) for name, text in rows], *more, **named)

    def word(text: str) -> str:
        return say.label(text) if text in _TYPERS_WORDS else text

    def shown(text: str) -> str:
        if text in _TYPERS_OPTIONS:
            return say(_TYPERS_OPTIONS[text])
        before, bracket, notes = text.rpartition("[")
        if not bracket or not notes.endswith("]"):
            return text
        parts = (note.partition(": ") for note in notes.removesuffix("]").split("; "))
        return f"{before}[{'; '.join(word(name) + colon + value for name, colon, value in parts)}]"

    return type("Context", (plain,), {"formatter_class": Formatter})

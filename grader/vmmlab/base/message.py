"""Messages: source text with named values, put into the reader's language only when shown.

A message is built where the fact arises::

    msg("CPU {cpu} reads {address:#x} through {segment}", cpu=2, address=0x10480, segment="DS")

`text` is the English source text and the key of the translation (a gettext msgid); `values` fill
its fields. A value may be a message itself, or `listed` values, and is translated with it. A plain
`str` in a place where `Text` is asked for is never translated: the words of a compiler, a name.
Nothing here knows catalogs: `vmmlab.i18n` looks texts up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """Source text with named values.

    Args:
        text: English, with fields such as `{cpu}` or `{address:#x}`. A text without values is shown
            as it is, braces included, so a title of a data file needs no escapes.
        values: the value of each field, in the order of the call.
        plural: the source text for a count other than 1; "" if the text has no plural form.
        count: the number that selects the plural form.
    """

    text: str
    values: tuple[tuple[str, Value], ...] = ()
    plural: str = ""
    count: int = 1

    def __bool__(self) -> bool:
        """Whether it says anything."""
        return bool(self.text)

    def __str__(self) -> str:
        """The English text."""
        return shown(self, source_text)


@dataclass(frozen=True, slots=True)
class Listed:
    """Values side by side, such as the CPUs of a sentence.

    Args:
        items: what is listed.
        separator: source text between two of them; it is translated as well.
    """

    items: tuple[Value, ...]
    separator: str = ", "

    def __bool__(self) -> bool:
        """Whether it says anything."""
        return bool(self.items)

    def __str__(self) -> str:
        """The English text."""
        return shown(self, source_text)


Value = str | int | float | Message | Listed
"""What a field of a message may hold."""

Text = str | Message | Listed
"""What is shown to a reader. A `str` is shown as it is, in every language."""


class Translate(Protocol):
    """Looks a source text up, as `gettext` and `ngettext` do."""

    def __call__(self, text: str, plural: str, count: int, /) -> str:
        """Return the translation of `text` (or `plural`, by `count`), or the source text."""


def msg(text: str, /, **values: Value | Path) -> Message:
    """Return a message.

    Args:
        text: English source text; Babel extracts it from this call, so it is a literal. A text that
            stands elsewhere, such as a title of course.yml, is `Message(text)`.
        values: one for each field of the text; a path counts as text.
    """
    return Message(text, _values(values))


def template(text: str, /) -> Message:
    """Return a message that gets its values later, from `filled`.

    Args:
        text: English source text, a literal, with at least one field.
    """
    return Message(text)


def filled(text: Message, /, **values: Value | Path) -> Message:
    """Return a template with its values.

    Args:
        text: what `template` returned.
        values: one for each field.
    """
    return replace(text, values=_values(values))


def nmsg(singular: str, plural: str, /, *, count: int, **values: Value | Path) -> Message:
    """Return a message whose text depends on a number.

    Args:
        singular: source text for a count of 1.
        plural: source text for every other count. Both may use the field `{count}`.
        count: the number.
        values: one for each other field of the texts.
    """
    return Message(singular, (("count", count), *_values(values)), plural, count)


def listed(items: Iterable[Value], separator: str = ", ") -> Listed:
    """Return values side by side.

    Args:
        items: what is listed.
        separator: ", " or "; "; translated like any text.
    """
    return Listed(tuple(items), separator)


def _values(values: Mapping[str, Value | Path]) -> tuple[tuple[str, Value], ...]:
    return tuple((k, str(v) if isinstance(v, Path) else v) for k, v in values.items())


def label(word: str, /) -> str:
    """Return a word of a table, such as the name of a row, as it is.

    Babel extracts it from this call in the context `label`; the word is shown by `Reader.label`.

    Args:
        word: a literal.
    """
    return word


def source_text(text: str, plural: str, count: int) -> str:
    """Return the English text itself: the translation into the source language."""
    return plural if plural and count != 1 else text


def shown(text: Value, translate: Translate) -> str:
    """Return the text of a value in one language.

    A translation that the values do not fit is not used: then the text is English.

    Args:
        text: a message, listed values, or a plain value, which is not translated.
        translate: looks source texts up.

    Raises:
        KeyError: a field of the text has no value.
    """
    if isinstance(text, Message):
        template = translate(text.text, text.plural, text.count)
        if not text.values:
            return template
        fields = {name: _field(value, translate) for name, value in text.values}
        try:
            return template.format_map(fields)
        except (KeyError, ValueError, OverflowError):
            # The values were made for the source text: those of a file may not fit a translation.
            loose = {name: _Loose(value) for name, value in fields.items()}
            return source_text(text.text, text.plural, text.count).format_map(loose)
    if isinstance(text, Listed):
        separator = translate(text.separator, "", 1)
        return separator.join(shown(item, translate) for item in text.items)
    return str(text)


class _Loose:
    """A value that shows itself as it is where it does not fit its field."""

    def __init__(self, value: str | int | float) -> None:
        self._value = value

    def __format__(self, form: str) -> str:
        try:
            return format(self._value, form)
        except (ValueError, OverflowError):
            return str(self._value)


def _field(value: Value, translate: Translate) -> str | int | float:
    return value if isinstance(value, (str, int, float)) else shown(value, translate)


EMPTY: Final = ""
"""The text that says nothing."""

Shower = Callable[[Text], str]
"""Turns a text into what one reader sees."""

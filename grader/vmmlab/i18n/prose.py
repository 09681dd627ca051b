"""The former catalogs, messages.ja.yml: an English text is recognised by a template with holes.

For texts that are still plain English, not messages. It goes when there are none left::

    "CPU {} waits as well": "CPU {} も待っています"
    "{} before {}": "{1} より {0} が先"

A text that fits a template is shown as the Japanese one, with its values in place of {}; a value
that is a known text itself is translated too, and so is a known text behind `lab3/apinit.S:7: `.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.base.errors import CourseError
from vmmlab.base.message import Listed, Message, Text, Value

_HOLE: Final = "{}"
_WEAK: Final = 8
_SUMMARY: Final = re.compile(r"(CPU \d+)(?:, (.*?))?: (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Template:
    """An English template with holes, cut at them, and its translation."""

    parts: tuple[str, ...]
    translation: str

    @property
    def weight(self) -> int:
        """How much of a text it fixes."""
        return sum(map(len, self.parts))

    def values(self, text: str) -> list[str] | None:
        """What stands in the holes if `text` fits, else None."""
        first, *middle, last = self.parts
        at, end = len(first), len(text) - len(last)
        if at > end or not text.startswith(first) or not text.endswith(last):
            return None
        found = []
        for part in middle:
            here = text.find(part, at, end)
            if here < 0:
                return None
            found.append(text[at:here])
            at = here + len(part)
        return [*found, text[at:end]]


class Prose:
    """Plain English texts in another language.

    Args:
        language: not English.
        folders: where messages.LANGUAGE.yml and causes.LANGUAGE.yml may lie; the first one wins.
    """

    def __init__(self, language: str, folders: Sequence[Path]) -> None:
        self._language = language
        self._folders = tuple(folders)
        self._texts: dict[str, str] | None = None
        self._templates: tuple[_Template, ...] = ()

    def text(self, text: str) -> str:
        """A text, or as it is if no catalog knows it; of several lines, each for itself.

        Raises:
            CourseError: a catalog cannot be read.
        """
        shown = self._shown(text, whole=True) if text else text
        if shown == text and "\n" in text:
            lines = text.split("\n")
            return "\n".join(f"{_indent(line)}{self.text(line.strip())}" for line in lines)
        return shown

    def label(self, word: str) -> str:
        """The word as the name of a row, a column or an outcome; a catalog has it as `label: `."""
        return self._known().get(f"label: {word}", word)

    def resolve(self, text: Text, known: Callable[[str], bool]) -> Text:
        """A text without plain English in it, as far as it is known here.

        Args:
            text: may be plain English, or hold some as values.
            known: whether the gettext catalogs have a source text.
        """
        if isinstance(text, str):
            return self.text(text)
        if isinstance(text, Message) and not known(text.text):
            english = str(text)
            if (shown := self.text(english)) != english:
                return shown
        return self._resolved(text, known)

    def _resolved(self, text: Message | Listed, known: Callable[[str], bool]) -> Text:
        if isinstance(text, Listed):
            items = tuple(self._value(item, known) for item in text.items)
            return Listed(items, text.separator)
        values = tuple((name, self._value(value, known)) for name, value in text.values)
        return Message(text.text, values, text.plural, text.count)

    def _value(self, value: Value, known: Callable[[str], bool]) -> Value:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Message | Listed):
            return self.resolve(value, known)
        return value

    def _known(self) -> Mapping[str, str]:
        if self._texts is None:
            self._read()
        assert self._texts is not None
        return self._texts

    def _shown(self, text: str, *, whole: bool) -> str:
        exact = self._known().get(text)
        if exact is not None:
            return exact
        for template in self._templates:
            if not whole and template.weight < _WEAK:
                break  # too little to go by: "{} in {}" fits many a value
            values = template.values(text)
            if values is not None:
                filled = template.translation.format(*(self._shown(v, whole=False) for v in values))
                return _spaced(filled, text)
        place, colon, message = text.partition(": ")
        if whole and colon and (shown := self._shown(message, whole=True)) != message:
            return f"{place}{self.label(': ')}{shown}"
        return text

    def _read(self) -> None:
        self._texts = {}
        templates: dict[str, str] = {}
        for folder in reversed(self._folders):  # the first one wins
            for english, translation in catalog(folder, self._language).items():
                (templates if _HOLE in english else self._texts)[english] = translation
            self._texts.update(_hints(folder, self._language))
        made = (_Template(tuple(one.split(_HOLE)), other) for one, other in templates.items())
        self._templates = tuple(sorted(made, key=lambda template: -template.weight))


def catalog(folder: Path, language: str) -> Mapping[str, str]:
    """What `folder`/messages.LANGUAGE.yml says; nothing if there is no such file.

    Raises:
        CourseError: the file is not a mapping of texts.
    """
    from vmmlab.base import yamlfile

    path = folder / f"messages.{language}.yml"
    if not path.exists():
        return {}
    file = yamlfile.read(path)
    data = {} if file.data is None else file.data
    if not isinstance(data, dict):
        raise CourseError(f"{file.shown}:1: these are not messages.", expected='"English": "other"')
    for english, translation in data.items():
        if not (isinstance(english, str) and isinstance(translation, str)):
            raise CourseError(
                f"{file.shown}:{file.line((english,))}: this is not a text and its translation.",
                next_step="put both in quotes",
            )
    return data


def _hints(folder: Path, language: str) -> Iterable[tuple[str, str]]:
    """Each hint of a lab with its translation: the same rung for the same cause."""
    from vmmlab.checks.causes import Causes

    theirs = Causes(folder / f"causes.{language}.yml")
    if not theirs.load():
        return
    for cause, said in Causes(folder / "causes.yml").load().items():
        other = theirs.of(cause)
        yield from zip(said.hints, other.hints, strict=False)
        if said.next and other.next:
            yield said.next, other.next


def _spaced(shown: str, english: str) -> str:
    """No space behind a wide bracket, nor in front of it all if the English has none there."""
    shown = shown.replace("） ", "）")
    return shown if english.startswith(" ") else shown.lstrip(" ")


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]

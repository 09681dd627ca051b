"""What is shown, in the reader's language. Reports, errors and programs keep their English.

Texts are messages: English source text with named values (`vmmlab.base.message`). On its way to a
person a message is looked up in gettext catalogs. What no catalog has is shown in English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vmmlab.base.errors import VmmlabError
from vmmlab.base.message import Text, label, shown, source_text
from vmmlab.base.text import cells
from vmmlab.base.workspacefile import LANGUAGE_KEY, own_workspace_folder, text_of

if TYPE_CHECKING:
    from vmmlab.i18n.catalog import Catalogs

ENGLISH: Final = "en"
LANGUAGES: Final = (ENGLISH, "ja")
"""The languages that something is shown in. English needs no catalog."""

OWN_CATALOGS: Final = Path(__file__).parent
_VARIABLES: Final = ("LC_ALL", "LC_MESSAGES", "LANG")


def known(language: str) -> str:
    """Return the language of a locale such as `ja_JP.UTF-8`; English if there is no such one."""
    short = re.split(r"[_.@-]", language.strip().lower(), maxsplit=1)[0]
    return short if short in LANGUAGES else ENGLISH


def choose(wanted: str | None, environment: Mapping[str, str], remembered: str = "") -> str:
    """Return the language to show things in.

    Args:
        wanted: what was asked for in this very command, if anything.
        environment: variables; the first of LC_ALL, LC_MESSAGES and LANG that is set counts.
        remembered: what the workspace says, "" for nothing; it comes before the environment.
    """
    said = (wanted, remembered, *map(environment.get, _VARIABLES))
    return known(next(filter(None, said), ENGLISH))


def remembered(start: Path) -> str:
    """Return the language of the user's own workspace around `start`; "" if it says none."""
    folder = own_workspace_folder(start.resolve())
    if folder is None:
        return ""
    import tomllib  # late: most commands find none

    with suppress(OSError, ValueError):  # `vmmlab.workspace.model` says what is wrong with it
        said = tomllib.loads(text_of(folder)).get(LANGUAGE_KEY)
        return said if isinstance(said, str) else ""
    return ""


class Reader:
    """Shows texts in one language.

    Args:
        language: one of `LANGUAGES`.
        folders: where catalogs lie; nothing is read before the first text, in English nothing.
    """

    def __init__(self, language: str = ENGLISH, folders: Sequence[Path] = (OWN_CATALOGS,)) -> None:
        self.language = language
        self._folders = tuple(folders)

    def of(self, *labs: Path) -> Reader:
        """Return a reader that also knows the texts of some labs.

        Args:
            labs: their folders; each may have a catalog, and another one in `hidden/`.
        """
        if self.language == ENGLISH:
            return self
        theirs = (folder for lab in labs for folder in (lab, lab / "hidden"))
        return Reader(self.language, (*theirs, *self._folders))

    def __call__(self, text: Text) -> str:
        """Return a text in the reader's language, as far as a catalog knows it.

        Raises:
            CourseError: a catalog cannot be read.
        """
        if self.language == ENGLISH or not text:
            return str(text)
        return text if isinstance(text, str) else _spaced(shown(text, self._translate))

    def label(self, word: str) -> str:
        """Return a word as the name of a row, a column or an outcome: the context `label`."""
        if self.language == ENGLISH:
            return word
        return self._catalogs.find_label(word) or word

    def _translate(self, text: str, plural: str, count: int) -> str:
        return self._catalogs.find(text, plural, count) or source_text(text, plural, count)

    @cached_property
    def _catalogs(self) -> Catalogs:
        from vmmlab.i18n.catalog import Catalogs  # late: English needs none

        return Catalogs(self.language, self._folders)


def error_text(error: VmmlabError, say: Reader) -> str:
    """Return an error as `str` does, in the reader's language."""
    lines = [say(error.message)]
    rows = {
        label("expected"): error.expected,
        label("found"): error.found,
        label("next"): error.next_step,
    }
    labels = {name: f"{say.label(name)}{say.label(':')}" for name in rows}
    width = max(map(cells, labels.values()))
    for name, text in rows.items():
        if text:
            lines.append(f"  {labels[name]}{' ' * (width - cells(labels[name]))} {say(text)}")
    return "\n".join(lines)


def _spaced(text: str) -> str:
    """Leave no space behind a wide bracket, nor in front of it all."""
    return text.replace("） ", "）").lstrip(" ")

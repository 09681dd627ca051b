"""Finds the student of the roster whom a platform, or a folder's name, means."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vmmlab.classroom.intake.owners import Owner
from vmmlab.classroom.roster import Entry, names_of


@dataclass(frozen=True, slots=True)
class Match:
    """Which students an owner may be: none, one, or several."""

    entries: tuple[Entry, ...] = ()

    @property
    def entry(self) -> Entry | None:
        """The student, if there is exactly one."""
        return self.entries[0] if len(self.entries) == 1 else None


class Index:
    """The roster by ids, addresses, numbers, names and groups.

    Args:
        roster: the class.
    """

    def __init__(self, roster: Mapping[str, Entry]) -> None:
        self._ids: dict[str, set[str]] = {}
        self._numbers: dict[str, set[str]] = {}
        self._names: dict[str, set[str]] = {}
        self._groups: dict[str, set[str]] = {}
        self._roster = roster
        for entry in roster.values():
            for text in (entry.id, entry.email, entry.email.partition("@")[0]):
                _put(self._ids, _folded(text), entry)
            _put(self._numbers, entry.number, entry)
            # Moodle lists all groups of a person.
            for group in {entry.group, *entry.group.split(",")}:
                _put(self._groups, _squeezed(group), entry)
            for name in names_of(entry):
                _put(self._names, _squeezed(name), entry)

    def student(self, owner: Owner) -> Match:
        """Return whom an owner may be: by the platform's number, by id or address, by name."""
        if owner.number and (found := self._numbers.get(owner.number)):
            return self._match(found)
        for hint in owner.hints:
            if found := self._ids.get(_folded(hint)):
                return self._match(found)
        if found := self._names.get(_squeezed(owner.name)):
            return self._match(found)
        # `s1234567 山田 太郎`: exactly one of its words is the id of a student.
        words = {_folded(word) for word in re.split(r"[\s_()（）,、]+", owner.name)}
        known = [self._ids[word] for word in words if word in self._ids]
        return self._match(known[0]) if len(known) == 1 else Match()

    def members(self, group: str) -> tuple[Entry, ...]:
        """Return the members of a group."""
        return self._match(self._groups.get(_squeezed(group), set())).entries

    def _match(self, ids: Iterable[str]) -> Match:
        return Match(tuple(self._roster[one] for one in sorted(ids)))


def _put(index: dict[str, set[str]], key: str, entry: Entry) -> None:
    if key:
        index.setdefault(key, set()).add(entry.id)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()


def _squeezed(text: str) -> str:
    """Return a name without what platforms change: case, width, blanks, punctuation."""
    return re.sub(r"[\W_]+", "", _folded(text))

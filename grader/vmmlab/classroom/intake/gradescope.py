"""Reads the list of submissions that Gradescope's exports have: who has handed in what, and when.

The list has names that students choose. So it is read from the events of a YAML parser: every value
is the text that stands there (a number keeps its zeros), no tag makes an object, an alias costs
nothing, and there is an end to nesting. Composing the document instead ends the process when it is
nested 100,000 times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import EMPTY, Text, msg
from vmmlab.base.text import clean_line
from vmmlab.classroom.students import timestamp

METADATA: Final = "submission_metadata.yml"
"""The list's name, at the top of an export."""

_DEPTH: Final = 100
_SHOWN: Final = 80
_NANOSECONDS: Final = re.compile(r"(\.\d{6})\d+")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has handed in; what the list does not say is ""."""

    name: str
    sid: str
    email: str


@dataclass(frozen=True, slots=True)
class Listed:
    """One submission of the list: its people, and when it was received, if that is known."""

    people: tuple[Person, ...]
    received: datetime | None


@dataclass(slots=True)
class _Node:
    """A mapping or a list that is being read; `key` is the key whose value comes next."""

    values: dict[str, _Value] = field(default_factory=dict)
    items: list[_Value] = field(default_factory=list)
    mapping: bool = True
    key: str | None = None

    def put(self, value: _Value) -> Text:
        """Take what comes next; return what is wrong with it, or ""."""
        if not self.mapping:
            self.items.append(value)
        elif self.key is None:
            self.key = value if isinstance(value, str) else "?"
        else:
            key, self.key = self.key, None
            if key in self.values:
                return msg("{key} stands there twice", key=clean_line(key, _SHOWN))
            self.values[key] = value
        return EMPTY


_Value = str | _Node


def named(data: bytes) -> Mapping[str, Listed]:
    """Return the submissions of a list, by the names of their folders.

    Raises:
        UsageError: the list cannot be read.
    """
    top = _read(data)
    if not isinstance(top, _Node) or not top.mapping:
        raise UsageError(
            msg("{metadata} has no submissions.", metadata=METADATA),
            expected=msg("the file that Gradescope's export has"),
        )
    entries = {key: one for key, one in top.values.items() if isinstance(one, _Node)}
    return {
        key: Listed(_people(one), _time(_said(one, ":created_at"))) for key, one in entries.items()
    }


def _people(entry: _Node) -> tuple[Person, ...]:
    submitters = entry.values.get(":submitters")
    if not isinstance(submitters, _Node):
        return ()
    found = [submitters] if submitters.mapping else submitters.items
    people = [
        Person(*(_said(one, key) for key in (":name", ":sid", ":email")))
        for one in found
        if isinstance(one, _Node)
    ]
    return tuple(one for one in people if one.name or one.sid or one.email)


def _said(entry: _Node, key: str) -> str:
    value = entry.values.get(key)
    return value.strip() if isinstance(value, str) and value not in ("~", "null") else ""


def _time(text: str) -> datetime | None:
    """Return a time of the list; its zone is written out."""
    return timestamp(_NANOSECONDS.sub(r"\1", text))


def _read(data: bytes) -> _Value | None:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return _document(YAML(typ="safe").parse(data.decode("utf-8-sig")))
    except _Refused as error:
        reason = error.why
    except UnicodeDecodeError:
        reason = msg("it is not UTF-8 text")
    except (YAMLError, ValueError) as error:
        reason = clean_line(str(error).split("\n")[0], _SHOWN)
    raise UsageError(
        msg("{metadata} cannot be read: {reason}.", metadata=METADATA, reason=reason),
        next_step=msg("download it again"),
    )


class _Refused(Exception):
    """The document has what no list has."""

    def __init__(self, why: Text) -> None:
        super().__init__(str(why))
        self.why = why


def _document(events: Iterator[object]) -> _Value | None:
    """Return the first document."""
    from ruamel.yaml import events as yaml

    anchors: dict[str, _Value] = {}
    open_nodes = [_Node(mapping=False)]
    for event in events:
        value: _Value
        if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            open_nodes.pop()
            continue
        if isinstance(event, yaml.DocumentEndEvent):
            break
        if isinstance(event, yaml.AliasEvent):
            value = anchors.get(event.anchor, "")
        elif isinstance(event, yaml.ScalarEvent):
            value = str(event.value)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            value = _Node(mapping=isinstance(event, yaml.MappingStartEvent))
        else:
            continue
        if anchor := getattr(event, "anchor", None):
            anchors.setdefault(anchor, value)
        if why := open_nodes[-1].put(value):
            raise _Refused(why)
        if isinstance(value, _Node) and not isinstance(event, yaml.AliasEvent):
            open_nodes.append(value)
            if len(open_nodes) > _DEPTH:
                raise _Refused(msg("it is nested more than {depth} times", depth=_DEPTH))
    return open_nodes[0].items[0] if open_nodes[0].items else None

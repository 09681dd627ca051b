"""Messages as JSON, which can still be shown in any language.

A message is written with its source text, its values and its English text, so that a program
without catalogs has something to show::

    {"message": "CPU {cpu} ended in {mode}",
     "values": {"cpu": 2, "mode": {"message": "real mode", "values": {}, "text": "real mode"}},
     "text": "CPU 2 ended in real mode"}

What is never translated, such as the words of a compiler, is `{"text": …}`. Whatever is read is
untrusted: its source text may only ask for the values that come with it, and not for too much.
"""

from __future__ import annotations

import marshal
import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from string import Formatter
from typing import TYPE_CHECKING, Annotated, Any, Final

from vmmlab.base.message import Listed, Message, Text, Value
from vmmlab.base.text import clean

if TYPE_CHECKING:
    from pydantic_core.core_schema import CoreSchema

TEXT_MAX: Final = 4000
"""No text is longer than this many characters."""

_FIELD: Final = re.compile(r"[a-z_][a-z0-9_]*")
_SPEC: Final = re.compile(r"[<>^]?\+?#?[0-9]{0,3}[,_]?(\.[0-9])?[a-zA-Z%]?")
_DEPTH: Final = 8
_EXPANDED_MAX: Final = 1_000_000
"""A text that is read is not put together if it could be longer than this many characters."""
_FIELD_MAX: Final = 1000  # a number, or a value that is filled up with blanks
_SHORT: Final = 1000  # a source text of at most so many characters is remembered
_REMEMBERED_MAX: Final = 2000  # so is a whole text of at most so many bytes
_Field = tuple[str, str, str | None]
_REPR_GROWTH: Final = 10  # "\U0001f600" for one character


def bounded(text: str) -> str:
    """Return a text of at most `TEXT_MAX` characters, without control characters."""
    return _cut(_valid(text), TEXT_MAX)


def bounded_text(text: Text) -> Text:
    """Return a text whose English has at most `TEXT_MAX` characters.

    The values of a message are cut. If that is not enough, only its English text is left.
    """
    if isinstance(text, str):
        return bounded(text)
    if isinstance(text, Listed) or text.values:
        text = with_strings(text, _valid)
    english = str(text)
    if len(english) > TEXT_MAX:
        share = max(TEXT_MAX // (_strings(text) + 1), 80)
        text = with_strings(text, lambda value: _cut(value, share))
        english = str(text)
    return text if len(english) <= TEXT_MAX else bounded(english)


def with_strings(text: Message | Listed, change: Callable[[str], str]) -> Message | Listed:
    """Return a copy in which every value that is text is changed, at any depth.

    Args:
        text: its source text stays as it is.
        change: is given each of these values.
    """

    def changed(value: Value) -> Value:
        if isinstance(value, str):
            return change(value)
        return with_strings(value, change) if isinstance(value, Message | Listed) else value

    if isinstance(text, Listed):
        return Listed(tuple(map(changed, text.items)), text.separator)
    values = tuple((name, changed(value)) for name, value in text.values)
    return Message(text.text, values, text.plural, text.count)


def to_json(text: Text) -> dict[str, Any]:
    """Return a text as JSON has it: a dictionary."""
    if isinstance(text, Message):
        plural = {"plural": text.plural, "count": text.count} if text.plural else {}
        values = {name: _value_to_json(value) for name, value in text.values}
        return {"message": text.text, **plural, "values": values, "text": str(text)}
    if isinstance(text, Listed):
        items = [_value_to_json(item) for item in text.items]
        return {"items": items, "separator": text.separator, "text": str(text)}
    return {"text": text}


def from_json(data: object) -> Text:
    """Return the text that `data` describes, as `to_json` makes it.

    Raises:
        ValueError: it describes none.
    """
    found = _value_from_json(data, _DEPTH)
    if isinstance(found, str | Message | Listed):
        return found
    raise ValueError("a number is no text")


def _value_to_json(value: Value) -> object:
    return to_json(value) if isinstance(value, Message | Listed) else value


def _value_from_json(data: object, depth: int) -> Value:
    if isinstance(data, str | int | float):
        return data
    if not isinstance(data, dict) or depth == 0:
        raise ValueError("this is no text")
    match data:
        case {"message": str(text), "values": dict(values), "text": str()}:
            found = tuple((str(k), _value_from_json(v, depth - 1)) for k, v in values.items())
            match data.get("plural", ""), data.get("count", 1):
                case str(plural), int(count):
                    return _shown_safely(Message(text, found, plural, count))
        case {"items": list(items), "separator": str(separator), "text": str()}:
            return _not_too_long(
                Listed(tuple(_value_from_json(item, depth - 1) for item in items), separator)
            )
        case {"text": str(text)} if not {"message", "items"} & data.keys():
            return text
    raise ValueError("an object with message and values, with items and separator, or with text")


def _shown_safely(message: Message) -> Message:
    """Return a message that can be filled, and asks for no more than the values themselves.

    Raises:
        ValueError: it cannot, or is too long.
    """
    known = {name for name, _ in message.values}
    for text in filter(None, (message.text, message.plural)) if known else ():
        for name, spec, conversion in _fields(text):
            if not _FIELD.fullmatch(name) or name not in known:
                raise ValueError(f"no value for the field {name!r}")
            if conversion not in (None, "r") or not _SPEC.fullmatch(spec):
                raise ValueError(f"the format of the field {name!r} cannot be used")
    _not_too_long(message)
    if known:
        _fill(message)
    return message


def _fill(message: Message) -> None:
    """Fill the source texts of a message strictly; `shown` would show what does not fit as it is.

    Raises:
        ValueError: a value does not fit its format.
    """
    fields = {
        name: str(value) if isinstance(value, Message | Listed) else value
        for name, value in message.values
    }
    for text in (message.text, message.plural):
        try:
            text.format_map(fields)
        except OverflowError as error:
            raise ValueError(str(error)) from error


def _not_too_long(text: Message | Listed) -> Message | Listed:
    if _longest(text) > _EXPANDED_MAX:
        raise ValueError("this text is too long")
    return text


def _longest(value: Value) -> int:
    """Return how many characters a value has at most; its fields are known to have values."""
    if isinstance(value, Listed):
        return sum(_longest(item) + len(value.separator) for item in value.items)
    if not isinstance(value, Message):
        return len(value) if isinstance(value, str) else _FIELD_MAX
    if not value.values:
        return max(len(value.text), len(value.plural))
    each = {name: max(_longest(one), _FIELD_MAX) for name, one in value.values}
    return max(_longest_filled(text, each) for text in (value.text, value.plural))


def _longest_filled(text: str, each: Mapping[str, int]) -> int:
    most = len(text)
    for name, _, conversion in _fields(text):
        most += each[name] * (_REPR_GROWTH if conversion else 1)
    return most


def _fields(text: str) -> Sequence[_Field]:
    """Return name, format and conversion of each field of a source text.

    Raises:
        ValueError: its braces do not match.
    """
    return _fields_of_short(text) if len(text) <= _SHORT else _parsed(text)


@lru_cache(maxsize=2048)  # the reports of a class have the same source texts again and again
def _fields_of_short(text: str) -> Sequence[_Field]:
    return _parsed(text)


def _parsed(text: str) -> Sequence[_Field]:
    return tuple(
        (name, spec or "", conversion)
        for _, name, spec, conversion in Formatter().parse(text)
        if name is not None
    )


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    left_out = len(text) - most + 40
    return f"{text[: most - 40]}… ({left_out} more characters)"


def _valid(text: str) -> str:
    if text.isprintable():  # so are most texts, and these stay as they are
        return text
    # Half a surrogate pair, from bytes that were no UTF-8, has no place in JSON; what students and
    # guests wrote must not reach a terminal or a browser as control characters.
    return clean(text.encode("utf-8", "backslashreplace").decode("utf-8"), tabs=True)


def _strings(value: Value) -> int:
    """How many values, at any depth, are text."""
    if isinstance(value, Message):
        return sum(_strings(one) for _, one in value.values)
    if isinstance(value, Listed):
        return sum(map(_strings, value.items))
    return int(isinstance(value, str))


def _validated(value: Any) -> Text:
    if isinstance(value, dict) and len(value) == 1:  # most texts, and the reports of a class: fast
        plain = value.get("text")
        if isinstance(plain, str) and len(plain) <= TEXT_MAX and plain.isprintable():
            return plain
    if isinstance(value, Message | Listed):
        return bounded_text(value)
    key = marshal.dumps(value, 2)  # by value: this version writes no references
    return _read(key) if len(key) <= _REMEMBERED_MAX else bounded_text(from_json(value))


@lru_cache(maxsize=4096)  # the reports of a class have the same titles, hints and reasons
def _read(key: bytes) -> Text:
    return bounded_text(from_json(marshal.loads(key)))


def nested(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a value; pydantic cannot follow a reference that leads back.

    Args:
        name: that of the definition of a text.
    """
    return {"anyOf": [{"type": ["string", "number"]}, {"$ref": f"#/$defs/{name}"}]}


TEXT_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "description": "A text for a reader: a message, values side by side, or plain text",
    "properties": {
        "text": {"type": "string", "description": "English"},
        "message": {
            "type": "string",
            "description": "source text: {cpu} stands for a value; without values it "
            "is the text itself",
        },
        "values": {"type": "object", "additionalProperties": {}},
        "plural": {"type": "string", "description": "source text for other counts"},
        "count": {"type": "integer"},
        "items": {"type": "array", "items": {}},
        "separator": {"type": "string"},
    },
    "required": ["text"],
}
"""JSON Schema of a text, without what its values and items are: see `nested`."""


class TextForm:
    """Tells pydantic how a text is checked and written: `Annotated[Text, TextForm()]`."""

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> CoreSchema:
        """Return how pydantic reads and writes the text."""
        from pydantic_core import core_schema  # late: not everything that makes texts has pydantic

        written = core_schema.plain_serializer_function_ser_schema(
            to_json, return_schema=core_schema.dict_schema()
        )
        return core_schema.no_info_plain_validator_function(_validated, serialization=written)

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, Any]:
        """Return the JSON Schema of a text."""
        return deepcopy(dict(TEXT_SCHEMA))


TextData = Annotated[Text, TextForm()]
"""A field of a record that a reader sees in their language."""

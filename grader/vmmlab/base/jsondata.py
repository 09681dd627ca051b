"""Converts dataclasses to JSON data, without pydantic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def json_data(value: Any) -> Any:
    """Return a value as JSON has it; bytes are written in hexadecimal.

    Raises:
        TypeError: it holds something other than dataclasses, mappings, tuples, lists, text, bytes
            and numbers.
    """
    if isinstance(value, str | int | float) or value is None:
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [json_data(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): json_data(one) for key, one in value.items()}
    if is_dataclass(value):
        return {one.name: json_data(getattr(value, one.name)) for one in fields(value)}
    raise TypeError(type(value).__name__)

"""The Observation as JSON: what other programs may rely on, and the way there and back."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from vmmlab.observe.observation import Observation, Rung

SCHEMA_FILE = Path(__file__).with_name("observation.schema.json")
SCHEMA_ID = "vmmlab/observation/1"


@cache
def _adapter() -> TypeAdapter[Observation]:
    return TypeAdapter(Observation)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of an Observation; committed as observation.schema.json."""
    schema = _adapter().json_schema(mode="serialization")
    record = schema["$defs"]["CpuRecord"]["properties"]["rungs"]
    record["propertyNames"] = {"enum": [str(int(rung)) for rung in Rung]}  # JSON keys are text
    return {"$id": SCHEMA_ID, **schema}


def to_json(observation: Observation, *, indent: int | None = None) -> str:
    """An Observation as JSON text; bytes of memory are written in hexadecimal."""
    return _adapter().dump_json(observation, indent=indent).decode("utf-8")


def from_json(text: str) -> Observation:
    """The Observation that `to_json` wrote.

    Raises:
        ValueError: the text is none.
    """
    return _adapter().validate_json(text)

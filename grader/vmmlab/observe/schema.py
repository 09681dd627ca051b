"""The Observation as JSON: a format for other programs, and the conversion in both directions."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from vmmlab.observe.evidence import LabEvidence
from vmmlab.observe.milestones import milestones
from vmmlab.observe.observation import Observation

SCHEMA_FILE: Final = Path(__file__).with_name("observation.schema.json")
SCHEMA_ID: Final = "vmmlab/observation/2"


@cache
def _adapter() -> TypeAdapter[Observation]:
    return TypeAdapter(Observation)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an Observation; committed as observation.schema.json."""
    schema = _adapter().json_schema(mode="serialization")
    record = schema["$defs"]["CpuRecord"]["properties"]["milestones"]
    record["propertyNames"] = {"enum": [one.name for one in milestones()]}
    return {"$id": SCHEMA_ID, **schema}


def to_json(observation: Observation, *, indent: int | None = None) -> str:
    """Return an Observation as JSON text; bytes of memory are written in hexadecimal."""
    return _adapter().dump_json(observation, indent=indent).decode("utf-8")


def from_json(text: str, lab: type[LabEvidence] | None = None) -> Observation:
    """Return the Observation that `to_json` wrote.

    Args:
        text: the JSON.
        lab: the class of the evidence that a lab's own probe recorded.

    Raises:
        ValueError: the text is no Observation, or it has a lab's own evidence of another class.
    """
    seen = _adapter().validate_json(text)
    if seen.lab is None:
        return seen
    if lab is None:
        raise ValueError("a lab's own probe recorded this boot: from_json needs its LabEvidence")
    recorded = json.loads(text)["lab"]
    if unknown := recorded.keys() - {one.name for one in fields(lab)}:
        raise ValueError(f"{lab.__name__} has no field {', '.join(sorted(unknown))}")
    return replace(seen, lab=TypeAdapter(lab).validate_python(recorded))


def main() -> None:
    """Write observation.schema.json again: `python -m vmmlab.observe.schema`."""
    SCHEMA_FILE.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

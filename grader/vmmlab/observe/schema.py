"""The Observation as JSON: a format for other programs, and the conversion in both directions."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, cast

from pydantic import TypeAdapter

from vmmlab.base.jsondata import json_data
from vmmlab.observe.evidence import LabEvidence, UnreadEvidence, evidence_in_use
from vmmlab.observe.milestones import milestones
from vmmlab.observe.observation import Observation

SCHEMA_FILE: Final = Path(__file__).with_name("observation.schema.json")
SCHEMA_ID: Final = "vmmlab/observation/2"


@cache
def _adapter() -> TypeAdapter[Observation]:
    return TypeAdapter(Observation)


@lru_cache(maxsize=4)  # not more: a class keeps the modules of its lab
def _adapter_of(lab: type[Any]) -> TypeAdapter[LabEvidence]:
    return TypeAdapter(lab)


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
        lab: the class of the evidence that a lab's own probe recorded; None: that of the lab in
            use.

    Raises:
        ValueError: the text is no Observation, or it has a lab's own evidence of another class.
    """
    return with_own_evidence(_adapter().validate_json(text), lab)


def with_own_evidence(seen: Observation, lab: type[LabEvidence] | None = None) -> Observation:
    """Return an Observation with the evidence of its lab as that lab's checks expect it.

    Args:
        seen: the Observation; if its evidence is not `UnreadEvidence`, it is returned as it is.
        lab: the class of the evidence; None: that of the lab in use.

    Raises:
        ValueError: no class is known, or the evidence is of another class.
    """
    if not isinstance(seen.lab, UnreadEvidence):
        return seen
    lab = lab or evidence_in_use()
    if lab is None:
        raise ValueError("a lab's own probe recorded this boot: from_json needs its LabEvidence")
    recorded = seen.lab.data
    if unknown := recorded.keys() - {one.name for one in fields(lab)}:
        raise ValueError(f"{lab.__name__} has no field {', '.join(sorted(unknown))}")
    made = _adapter_of(cast(Any, lab)).validate_python(recorded)
    if not _holds(json_data(made), recorded):
        raise ValueError(f"{lab.__name__} does not hold all that was recorded")
    return replace(seen, lab=made)


def _holds(made: Any, recorded: Any) -> bool:
    """Whether all that was recorded is in what was made of it; fields may have been added."""
    if isinstance(recorded, dict):
        return all(name in made and _holds(made[name], one) for name, one in recorded.items())
    if isinstance(recorded, list):
        return len(made) == len(recorded) and all(map(_holds, made, recorded))
    return bool(made == recorded)


def main() -> None:
    """Write observation.schema.json again: `python -m vmmlab.observe.schema`."""
    SCHEMA_FILE.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""JSON Schema of explorations, for other programs, and the way back from JSON.

`python -m vmmlab.explore.schema` writes `exploration.schema.json`, which is committed; a test keeps
it up to date. exploration.wrong.json and exploration.right.json are samples.
"""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import TypeAdapter

from vmmlab.base.messagedata import TEXT_SCHEMA, nested
from vmmlab.explore.exploration import SCHEMA, Exploration, Verdict

SCHEMA_FILE: Final = Path(__file__).with_name("exploration.schema.json")
SAMPLE_FILES: Final = tuple(
    Path(__file__).with_name(f"exploration.{name}.json") for name in ("right", "wrong")
)
_TEXT: Final = "Text"
_COUNTS: Final = ("states", "transitions", "seconds", "cpus", "cpu", "doomed")
_OWN: Final[dict[str, Any]] = {
    "schema": {"const": SCHEMA, "type": "string", "description": "the version of this layout"},
    "verdict": {"enum": list(get_args(Verdict)), "type": "string"},
    "states": {"type": "integer", "minimum": 0},
}


@cache
def _adapter() -> TypeAdapter[Exploration]:
    return TypeAdapter(Exploration)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an exploration."""
    schema = _adapter().json_schema(mode="serialization")
    schema = _with_references(schema)
    schema["properties"] = {**_OWN, **schema["properties"]}
    for node in (schema, *schema["$defs"].values()):
        node["required"] = list(node["properties"])  # every field is written
        node["description"], fields = _described(node["description"])
        for name, field in node["properties"].items():
            field.pop("default", None)
            field.pop("title", None)
            field.update({"description": fields[name]} if name in fields else {})
            if name in _COUNTS and field.get("type") in ("integer", "number"):
                field["minimum"] = 0
    schema["$defs"][_TEXT] = _text_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA,
        **schema,
    }


def _with_references(node: Any) -> Any:
    """Return a schema that refers to the definition of a text wherever it has one."""
    if isinstance(node, list):
        return [_with_references(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("properties") == TEXT_SCHEMA["properties"]:
        return {"$ref": f"#/$defs/{_TEXT}"}
    return {name: _with_references(one) for name, one in node.items()}


def _text_schema() -> dict[str, Any]:
    """Return the definition of a text, whose values may be texts."""
    schema = deepcopy(dict(TEXT_SCHEMA))
    properties = schema["properties"]
    properties["values"]["additionalProperties"] = nested(_TEXT)
    properties["items"]["items"] = nested(_TEXT)
    return schema


def _described(docstring: str) -> tuple[str, dict[str, str]]:
    """Return what a docstring says about a record, and about each of its fields."""
    about, _, fields = docstring.partition("\n\nAttributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in fields.splitlines():
        if line.startswith(" " * 8):
            found[name] += f" {line.strip()}"
        else:
            name, _, text = line.strip().partition(": ")
            found[name] = text
    return " ".join(about.split()), found


def schema_text() -> str:
    """Return the text of exploration.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def from_data(data: Any) -> Exploration:
    """Return the exploration that `Exploration.data` describes.

    Args:
        data: untrusted data, as read from JSON.

    Raises:
        ValueError: the data do not describe an exploration.
    """
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"this does not say that it is {SCHEMA}")
    found = _adapter().validate_json(json.dumps(data), strict=True)
    if (data.get("verdict"), data.get("states")) != (found.verdict, found.states):
        raise ValueError("verdict or states are not those of the parts")
    return found


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")

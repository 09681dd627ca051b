"""Writes report.schema.json and run.schema.json: `python -m vmmlab.report.schema`.

A test keeps them up to date.
"""

from __future__ import annotations

import json
from pathlib import Path

from vmmlab.base.messagedata import to_json
from vmmlab.report import runrecord
from vmmlab.report.model import SCHEMA, Report
from vmmlab.report.text import NESTED

SCHEMA_FILE = Path(__file__).with_name("report.schema.json")
RUN_SCHEMA_FILE = Path(__file__).with_name("run.schema.json")
SAMPLE_FILE = Path(__file__).with_name("report.sample.json")


def schema_text() -> str:
    """Return the JSON Schema of report.json as text."""
    schema = Report.model_json_schema(by_alias=True, mode="serialization")
    text = schema["$defs"]["ReportText"]["properties"]
    text["values"]["additionalProperties"] = text["items"]["items"] = NESTED
    for model in schema["$defs"].values():
        for field in model["properties"].values():
            if field.get("$ref", "").endswith("/ReportText") and "default" in field:
                field["default"] = to_json(field["default"])
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA.replace('/', ':')}",
        **schema,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def run_schema_text() -> str:
    """Return the JSON Schema of the record of a grading as text.

    What an Observation and a text are, their own schemas say: here they are objects.
    """
    schema = runrecord.RunRecord.model_json_schema(by_alias=True, mode="validation")
    known = {"Report": "report.schema.json", "Observation": "../observe/observation.schema.json"}
    known |= {"Exploration": "../explore/exploration.schema.json"}
    wanted = ("RecordedBoot", "ReportText")
    schema["$defs"] = {
        **{name: schema["$defs"][name] for name in wanted if name in schema["$defs"]},
        **{name: {"type": "object", "$comment": f"see {file}"} for name, file in known.items()},
    }
    if "ReportText" in schema["$defs"]:
        text = schema["$defs"]["ReportText"]["properties"]
        text["values"]["additionalProperties"] = text["items"]["items"] = NESTED
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{runrecord.SCHEMA.replace('/', ':')}",
        **schema,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    RUN_SCHEMA_FILE.write_text(run_schema_text(), encoding="utf-8")
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")

"""Explorations as JSON: the committed schema, the samples, and invalid data."""

import json

import jsonschema
import pytest

from vmmlab.explore.schema import SAMPLE_FILES, SCHEMA_FILE, from_data, schema_text

RIGHT, WRONG = SAMPLE_FILES


@pytest.fixture
def schema():
    return json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


def data(file):
    return json.loads(file.read_text(encoding="utf-8"))


def test_the_committed_schema_is_up_to_date(schema, without_dialect):
    assert without_dialect(schema) == without_dialect(json.loads(schema_text())), (
        "run python -m vmmlab.explore.schema"
    )


def test_every_field_is_described_and_required(schema):
    for node in (schema, *schema["$defs"].values()):
        assert node["description"], node
        assert node["required"] == list(node["properties"])
        for name, field in node["properties"].items():
            assert name in ("states", "verdict") or field.get("description"), (node["title"], name)


@pytest.mark.parametrize("file", SAMPLE_FILES, ids=["right", "wrong"])
def test_a_sample_fits_schema_and_model(schema, file):
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(data(file), schema)
    found = from_data(data(file))
    assert json.loads(found.to_json()) == data(file), "the model holds all that the sample says"
    assert found.verdict == ("wrong" if file == WRONG else "correct")


def test_new_explorations_fit_the_schema(schema, explored, solution):
    """The samples were written by an earlier version."""
    files = dict(solution)
    source = files["lab4/sync.c"].decode()
    files["lab4/sync.c"] = source.replace("asm_pause ();", 'asm volatile ("hlt");').encode()
    for exploration in (explored(files, "barrier"), explored(solution, "barrier")):
        jsonschema.validate(json.loads(exploration.to_json()), schema)
        assert from_data(exploration.data()) == exploration


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "vmmlab/exploration/2"),
        (("verdict",), "right"),
        (("states",), "12"),
        (("cpus",), None),
        (("parts",), {}),
        (("parts", 0, "verdict"), "ok"),
        (("parts", 0, "memory"), "none"),
        (("parts", 0, "states"), -1),
        (("parts", 0, "limits"), [{"what": "this"}]),
        (("parts", -1, "counterexample", "steps", 0, "cpu"), "1"),
        (("parts", -1, "counterexample", "cpus"), 3),
    ],
)
def test_schema_and_model_both_refuse_invalid_data(schema, path, value):
    changed = data(WRONG)
    node = changed
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, schema)
    with pytest.raises(ValueError, match=r"validation error|does not say|of the parts"):
        from_data(changed)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        (RIGHT, {"verdict": "wrong"}),
        (RIGHT, {"states": 1}),
        (WRONG, {"verdict": "correct"}),
    ],
)
def test_a_summary_that_contradicts_the_parts_is_refused(file, changes):
    with pytest.raises(ValueError, match="of the parts"):
        from_data({**data(file), **changes})


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        (WRONG, {"counterexample": None}),
        (WRONG, {"verdict": "correct"}),
        (RIGHT, {"verdict": "unsupported"}),
        (RIGHT, {"transitions": -1}),
    ],
)
def test_a_part_that_contradicts_itself_is_refused(file, changes):
    changed = data(file)
    changed["parts"][-1] |= changes
    with pytest.raises(ValueError, match=r"counterexample|nothing says what|than none"):
        from_data(changed)

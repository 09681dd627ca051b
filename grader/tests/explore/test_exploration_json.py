"""Explorations as JSON: the committed schema, the samples, and invalid data."""

import json

import jsonschema
import pytest

from vmmlab.base.message import Message
from vmmlab.base.messagedata import TEXT_MAX
from vmmlab.explore.schema import SAMPLE_FILES, SCHEMA_FILE, from_data, schema_text
from vmmlab.report.schema import SCHEMA_FILE as REPORT_SCHEMA

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
    records = [node for name, node in schema["$defs"].items() if name != "Text"]
    for node in (schema, *records):
        assert node["description"], node
        assert node["required"] == list(node["properties"])
        for name, field in node["properties"].items():
            assert name in ("states", "verdict") or field.get("description"), (node["title"], name)


def test_a_text_is_what_it_is_in_a_report(schema):
    report = json.loads(REPORT_SCHEMA.read_text(encoding="utf-8"))["$defs"]["ReportText"]
    assert json.loads(json.dumps(report).replace("ReportText", "Text")) == schema["$defs"]["Text"]


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
        (("schema",), "vmmlab/exploration/1"),
        (("verdict",), "right"),
        (("states",), "12"),
        (("parts", 0, "cpus"), None),
        (("parts",), {}),
        (("parts", 0, "verdict"), "ok"),
        (("parts", 0, "memory"), "none"),
        (("parts", 0, "states"), -1),
        (("parts", 0, "limits"), [{"what": "this"}]),
        (("parts", 0, "bound"), {"message": "this"}),
        (("parts", 0, "assumptions"), [7]),
        (("parts", -1, "counterexample", "what"), None),
        (("parts", -1, "counterexample", "steps", 0, "details"), "this"),
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


def what(said):
    """The sample with another sentence about what is wrong."""
    changed = data(WRONG)
    changed["parts"][-1]["counterexample"]["what"] = said
    return changed


def message(text, **values):
    return {"message": text, "values": values, "text": "anything"}


def test_a_text_comes_back_with_its_values():
    inner = message("the block of CPU {cpu}", cpu=1)
    found = from_data(what(message("CPU {cpu} is on {stack}", cpu=2, stack=inner)))
    told = found.counterexample.what
    assert isinstance(told, Message)
    assert str(told) == "CPU 2 is on the block of CPU 1", "not the English that came with it"
    assert dict(told.values)["stack"] == Message("the block of CPU {cpu}", (("cpu", 1),))


def laughs(depth):
    """A message that doubles its length often at each level."""
    said = message("ha", x=1)
    for _ in range(depth):
        said = message("{x}" * 300, x=said)
    return said


@pytest.mark.parametrize(
    "said",
    [
        message("{x.__class__}", x=1),
        message("{x[0]}", x="a"),
        message("{x.__class__.__mro__[1].__subclasses__}", x="a"),
        message("{x!s:{y}}", x="a", y=9),
        message("{}", x=1),
        message("{0}", x=1),
        message("{y}", x=1),
        message("{x", x=1),
        message("{x:d}", x="a"),
        message("{x:c}", x=10**30),
        message("{x:f}", x=10**400),
        message("{x:99999999}", x="a"),
        message("{x}", x=[1]),
        message("{x}", x={"message": "{y}"}),
        {**message("{x}", x=1), "plural": ["{x}"]},
        {**message("{x}", x=1), "plural": "{x.real}"},
        {**message("{x}", x=1), "plural": "{x}", "count": {}},
        {"items": [1, None], "separator": ", ", "text": ""},
        {"items": ["a"] * 2000, "separator": "," * 2000, "text": ""},
        laughs(4),
        laughs(9),
    ],
)
def test_a_text_that_asks_for_more_than_its_values_is_refused(said):
    with pytest.raises(ValueError, match="validation error"):
        from_data(what(said))


def test_a_long_text_is_cut():
    found = from_data(what(message("CPU {cpu}", cpu="1" * 100_000)))
    assert len(str(found.counterexample.what)) <= TEXT_MAX

"""report.json: the model, its committed schema and sample, writing and reading it."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from vmmlab import report as reports
from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.message import Message, listed, msg, nmsg
from vmmlab.base.messagedata import TEXT_MAX, from_json, to_json
from vmmlab.report import Report, exit_code, read_json, write_json
from vmmlab.report.schema import SAMPLE_FILE, SCHEMA_FILE, schema_text


@pytest.fixture
def sample() -> Report:
    return read_json(SAMPLE_FILE)


@pytest.fixture
def schema() -> dict:
    return json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


def changed(report: Report, **fields) -> Report:
    data = json.loads(report.to_json())
    return Report.model_validate({**data, **fields})


def test_the_committed_schema_is_up_to_date(schema, without_dialect):
    assert without_dialect(schema) == without_dialect(json.loads(schema_text())), (
        "run python -m vmmlab.report.schema"
    )


def test_the_sample_fits_schema_and_model(sample, schema):
    data = json.loads(SAMPLE_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(data, schema)
    assert json.loads(sample.to_json()) == data, "and says nothing that the model does not hold"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "vmmlab/report/1"),
        (("points",), -1),
        (("points",), "12"),
        (("checks", 0, "outcome"), "ok"),
        (("checks", 0, "max"), None),
        (("checks", 0, "title"), {"message": "a title", "values": {}}),
        (("checks", 0, "title"), {"text": "a title", "message": 1}),
        (("checks", 0, "title"), {"text": "{a}", "message": "{a}", "values": {"a": [1]}}),
        (("checks", 0, "cases"), [{"name": "CPU 1"}]),
        (("build",), {}),
        (("mode",), "mine"),
    ],
)
def test_schema_and_model_both_refuse_what_is_wrong(schema, path, value):
    data = json.loads(SAMPLE_FILE.read_text(encoding="utf-8"))
    node = data
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, schema)
    with pytest.raises(ValidationError):
        Report.model_validate_json(json.dumps(data), strict=True)


def test_every_field_is_described_by_the_schema(schema):
    data = json.loads(SAMPLE_FILE.read_text(encoding="utf-8"))
    assert set(data) == set(schema["required"])
    assert set(data["checks"][0]) == set(schema["$defs"]["CheckReport"]["required"])


def test_a_reader_ignores_what_a_later_vmmlab_added(sample, tmp_path):
    data = {**json.loads(sample.to_json()), "new_field": 1}
    (tmp_path / "r.json").write_text(json.dumps(data))
    assert read_json(tmp_path / "r.json") == sample


def test_it_is_frozen(sample):
    with pytest.raises(ValidationError):
        sample.points = 100


def test_texts_are_bounded_and_valid_unicode(sample):
    check = json.loads(sample.to_json())["checks"][0]
    wild = reports.CheckReport.model_validate({**check, "observed": "half \ud800" + "x" * 10**6})
    assert len(wild.observed) <= TEXT_MAX
    assert "more characters" in wild.observed
    json.dumps(wild.observed).encode()
    assert "\\ud800" in wild.observed
    changed(sample, checks=[{**check, "observed": "\udcff\x00\x1b[31m"}]).to_json().encode()


def test_a_message_is_written_with_its_values_and_its_english_text(sample):
    mode = msg("real mode")
    text = msg("CPU {cpu} ended at {address:#x} in {mode}", cpu=2, address=0x10480, mode=mode)
    assert to_json(text) == {
        "message": "CPU {cpu} ended at {address:#x} in {mode}",
        "values": {
            "cpu": 2,
            "address": 0x10480,
            "mode": {"message": "real mode", "values": {}, "text": "real mode"},
        },
        "text": "CPU 2 ended at 0x10480 in real mode",
    }
    assert to_json("undefined reference") == {"text": "undefined reference"}


@pytest.mark.parametrize(
    "text",
    [
        "undefined {reference}",
        msg("real mode"),
        Message("a { that is no field"),
        msg("{a!r:>10} {b:#06x} {c:.1f} {d:,}", a="x", b=2, c=1.5, d=10**6),
        nmsg("a CPU", "{count} CPUs", count=3),
        listed(["a", 1, msg("in {mode}", mode=listed([msg("real mode")], "; "))]),
    ],
)
def test_a_text_survives_a_file(sample, schema, text, tmp_path):
    changed_one = sample.model_copy(update={"notes": (text,)})
    write_json(changed_one, tmp_path / "r.json")
    assert read_json(tmp_path / "r.json").notes == (text,)
    assert from_json(to_json(text)) == text
    jsonschema.validate(json.loads(changed_one.to_json()), schema)


@pytest.mark.parametrize(
    ("source", "values"),
    [
        ("CPU {cpu}", {"address": 1}),
        ("CPU {}", {"cpu": 1}),
        ("{cpu.__class__}", {"cpu": 1}),
        ("{cpu[0]}", {"cpu": "x"}),
        ("{cpu:>999999999}", {"cpu": 1}),
        ("{cpu:{cpu}}", {"cpu": 1}),
        ("{cpu:x}", {"cpu": "one"}),
        ("{cpu", {"cpu": 1}),
        ("{cpu}", {"cpu": None}),
    ],
)
def test_a_message_that_cannot_be_shown_is_refused(source, values):
    with pytest.raises(ValueError, match=r".") as caught:
        from_json({"message": source, "values": values, "text": "x"})
    assert not isinstance(caught.value, KeyError)


def test_the_values_of_a_long_message_are_cut(sample):
    long = msg("{a} and {b}", a="x" * 10**6, b=listed(["y" * 3000, "\udcff"]))
    (cut,) = changed(sample, notes=[long]).notes
    assert isinstance(cut, Message)
    assert cut.text == "{a} and {b}"
    assert TEXT_MAX * 0.4 < len(str(cut)) <= TEXT_MAX
    assert str(cut).count("more characters") == 2
    hopeless = listed([msg("word")] * TEXT_MAX)
    (cut,) = changed(sample, notes=[hopeless]).notes
    assert isinstance(cut, str)
    assert len(cut) <= TEXT_MAX
    assert Report.model_validate_json(changed(sample, notes=[long, hopeless]).to_json())


def test_whole_points_are_written_as_integers(sample):
    check = json.loads(sample.to_json())["checks"][0]
    text = changed(sample, checks=[{**check, "points": 3.0}], points=3.0).to_json()
    assert '"points": 3,' in text
    assert "3.0" not in text


def test_exit_codes(sample):
    checks = json.loads(sample.to_json())["checks"]
    passing = changed(sample, checks=checks[:1], points=5, needs_attention=False)
    losing = changed(sample, checks=checks[:2], points=5, needs_attention=False)
    assert checks[0]["outcome"] == "pass"
    assert [exit_code(passing), exit_code(losing), exit_code(sample)] == [0, 1, 3]
    assert exit_code(passing, losing) == 1
    assert exit_code(losing, sample, passing) == 3


def test_write_and_read(sample, tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")
    write_json(sample, path)
    assert read_json(path) == sample
    assert [item.name for item in tmp_path.iterdir()] == ["report.json"]


def test_write_obeys_the_umask(sample, tmp_path):
    before = os.umask(0o027)
    try:
        write_json(sample, tmp_path / "report.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == 0o640


def test_write_through_a_symbolic_link(sample, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "there" / "real.json")
    write_json(sample, tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert read_json(tmp_path / "there" / "real.json") == sample


def test_write_to_a_pipe(sample, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_json(sample, tmp_path / "pipe")
    reader.join(10)
    assert got == [sample.to_json().encode()]
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("where", ["missing/report.json", "file/report.json", "folder"])
def test_where_it_cannot_be_written(sample, tmp_path, where):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="the report could not be written to") as caught:
        write_json(sample, tmp_path / where)
    assert caught.value.next_step
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_is_no_usage_error_and_loses_nothing(sample, tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    path.write_text("old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InfraError, match="could not be written"):
        write_json(sample, path)
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_device(sample):
    with pytest.raises(InfraError, match="no space left"):
        write_json(sample, Path("/dev/full"))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": "vmmlab/report/9"}', "\xff"])
def test_read_something_else(tmp_path, text):
    (tmp_path / "r.json").write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match="not a report"):
        read_json(tmp_path / "r.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_json(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [('"lab": "lab3"', '"lab": "../../etc"'), ('"max": 40', f'"max": 1{400 * "0"}')],
    ids=["a lab that is a path", "a number that fills pages"],
)
def test_read_what_no_grading_has_written(sample, tmp_path, right, wrong):
    text = sample.to_json()
    assert right in text
    (tmp_path / "r.json").write_text(text.replace(right, wrong))
    with pytest.raises(UsageError, match="not a report"):
        read_json(tmp_path / "r.json")


def test_reasons_for_a_person_to_look_come_from_checks_and_from_the_runner(sample):
    assert (sample.review, sample.review_reasons) == (False, ())
    flagged = changed(sample, review=True, review_reasons=["why"])
    assert read_back(flagged) == flagged
    assert exit_code(flagged) == exit_code(sample), "the verdict stands"


def read_back(report: Report) -> Report:
    return Report.model_validate_json(report.to_json())

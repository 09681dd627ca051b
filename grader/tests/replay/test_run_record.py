"""The record of a grading: written fast, read with care, bounded, and refused if it is none."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator
from records import boot, html, record, with_boot

from vmmlab.base.errors import UsageError
from vmmlab.explore import schema as exploration_schema
from vmmlab.observe import schema as observation_schema
from vmmlab.report import runrecord
from vmmlab.report.runrecord import STEPS_KEPT, from_json, read, shortened, to_json, write
from vmmlab.report.schema import RUN_SCHEMA_FILE, SCHEMA_FILE, run_schema_text
from vmmlab.student import show

SOME = ["lab3", "lab4", "lab3.real.lgdt-by-ds", "lab1", "lab3.i386"]


@pytest.mark.parametrize("name", SOME)
def test_what_is_written_is_read_again(name):
    made = record(name)
    back = from_json(to_json(made))
    assert [one.seen for one in back.boots] == [one.seen for one in made.boots]
    assert (back.hints, back.lines, back.files) == (made.hints, made.lines, made.files)
    assert back.report.to_json() == made.report.to_json()
    assert html(back) == html(made)


@pytest.mark.parametrize("name", SOME)
def test_an_observation_is_written_as_pydantic_writes_it(name):
    for one in json.loads(to_json(record(name)))["boots"]:
        seen = next(b.seen for b in record(name).boots if b.scenario == one["scenario"])
        assert one["seen"] == json.loads(observation_schema.to_json(seen))


def test_the_schema_is_up_to_date():
    assert RUN_SCHEMA_FILE.read_text("utf-8") == run_schema_text(), (
        "run python -m vmmlab.report.schema"
    )


def test_a_record_fits_its_schemas():
    data = json.loads(to_json(record("lab3.real.lgdt-by-ds")))
    validator = Draft202012Validator(json.loads(RUN_SCHEMA_FILE.read_text("utf-8")))
    assert list(validator.iter_errors(data)) == []
    report = Draft202012Validator(json.loads(SCHEMA_FILE.read_text("utf-8")))
    assert list(report.iter_errors(data["report"])) == []
    seen = Draft202012Validator(json.loads(observation_schema.SCHEMA_FILE.read_text("utf-8")))
    for one in data["boots"]:
        assert list(seen.iter_errors(one["seen"])) == []
    assert exploration_schema.SCHEMA_FILE.is_file()
    for key in ("schema", "report", "boots"):
        wrong = {**data, key: 1}
        assert list(validator.iter_errors(wrong))


def test_a_file_keeps_it(tmp_path):
    path = tmp_path / "build" / "lab3" / runrecord.FILE
    write(record("lab3"), path)
    assert html(read(path)) == html(record("lab3"))
    assert path.stat().st_size < 200_000


def test_long_traces_are_cut():
    ap = boot("lab3", "ladder").cpus[1]
    steps = tuple(replace(ap.steps[0], counted=n) for n in range(STEPS_KEPT + 1))
    seen = boot("lab3", "ladder")
    long = replace(seen, cpus=(seen.cpus[0], replace(ap, steps=steps), *seen.cpus[2:]))
    short, cut = shortened(long)
    assert cut
    kept = [step.counted for step in short.cpus[1].steps]
    assert kept == [*range(STEPS_KEPT // 2), *range(STEPS_KEPT // 2 + 1, STEPS_KEPT + 1)]
    assert shortened(seen) == (seen, False)


def packed(tmp_path, data, name="run.json.gz"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(data.encode() if isinstance(data, str) else data))
    return path


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{}",
        "[]",
        "no JSON",
        json.dumps({"schema": "vmmlab/run/2"}),
        b"\xff\xfe\x00",
        "[" * 200_000,
    ],
)
def test_what_is_no_record_is_refused(tmp_path, data):
    with pytest.raises(UsageError, match="not the record of a grading"):
        read(packed(tmp_path, data))


def test_a_record_of_another_version_and_a_damaged_one_say_what_they_are(tmp_path):
    text = to_json(record("lab1"))
    other = gzip.compress(text.replace("vmmlab/run/1", "vmmlab/run/9", 1).encode())
    for data, found in (
        (other, "vmmlab/run/9, of another vmmlab"),
        (gzip.compress(text.encode())[:-50], "its end is missing"),
        (b"hello", "a file that was not written by vmmlab"),
    ):
        path = tmp_path / "run.json.gz"
        path.write_bytes(data)
        with pytest.raises(UsageError) as raised:
            read(path)
        assert str(raised.value.found) == found
        assert str(raised.value.expected) == "vmmlab/run/1"


def test_another_version_is_named(tmp_path):
    data = json.loads(to_json(record("lab1")))
    data["schema"] = "vmmlab/run/2"
    with pytest.raises(UsageError) as caught:
        read(packed(tmp_path, json.dumps(data)))
    assert "vmmlab/run/1" in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path):
    path = packed(tmp_path, to_json(record("lab1")))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError):
        read(path)


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(runrecord, "_TEXT_MOST", 1 << 20)
    with pytest.raises(UsageError, match="MiB"):
        read(packed(tmp_path, b" " * (2 << 20)))


def test_a_link_or_a_pipe_is_not_followed(tmp_path):
    path = packed(tmp_path, to_json(record("lab1")))
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(UsageError):
        read(link)


# --- in a workspace -------------------------------------------------------------------------------


def test_a_workspace_keeps_the_last_one(tmp_path):
    with pytest.raises(UsageError, match="has not been graded"):
        show.last(tmp_path, "lab3", "x86_64")
    show.keep(record("lab3"), tmp_path)
    assert show.last(tmp_path, "lab3", "x86_64").report.points == 40
    show.keep(record("lab3.real.lgdt-by-ds"), tmp_path)
    assert show.last(tmp_path, "lab3", "x86_64").report.points < 40


def test_without_a_place_no_old_record_is_left(tmp_path, monkeypatch):
    show.keep(record("lab3"), tmp_path)

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runrecord, "write_atomically", full)
    show.keep(record("lab3.real.lgdt-by-ds"), tmp_path)
    with pytest.raises(UsageError, match="has not been graded"):
        show.last(tmp_path, "lab3", "x86_64")


def test_files_that_have_changed_since_are_named(tmp_path):
    from records import COURSE

    from vmmlab.course.reference import reference

    for name, text in reference(COURSE, ["lab3"]).files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text)
    assert list(show.changed_since(record("lab3"), tmp_path)) == []
    (tmp_path / "lab3/apinit.S").write_text("nop\n")
    assert list(show.changed_since(record("lab3"), tmp_path)) == ["lab3/apinit.S"]


def test_one_boot_changed_changes_the_page():
    made = record("lab3")
    other = with_boot(made, lambda seen: replace(seen, cpus=seen.cpus[:2]))
    assert html(other) != html(made)


def test_the_record_of_another_lab_is_refused(tmp_path):
    show.keep(record("lab4"), tmp_path)
    there = show.path_of(tmp_path, "lab3", "x86_64")
    there.parent.mkdir(parents=True)
    show.path_of(tmp_path, "lab4", "x86_64").rename(there)
    with pytest.raises(UsageError, match="is the record of another grading") as raised:
        show.last(tmp_path, "lab3", "x86_64")
    assert raised.value.found == "lab4, x86_64"

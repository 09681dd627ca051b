"""What a workspace remembers of its student's way."""

from __future__ import annotations

import json

import pytest

from vmmlab.workspace.progress import (
    OLD,
    CheckProgress,
    Grading,
    load,
    note_run,
    path_of,
)


def grading(lab="lab1", *, partial=False, **outcomes):
    checks = {
        f"{lab}.a.{name}": CheckProgress(outcome=outcome, points=float(outcome == "pass"))
        for name, outcome in outcomes.items()
    }
    return Grading(lab, "x86_64", checks, partial)


def test_nothing_is_remembered_at_first(tmp_path):
    known, damaged = load(tmp_path)
    assert (known.labs, known.hints, damaged) == ({}, {}, False)


def test_gradings_are_counted_and_a_partial_run_keeps_what_is_known(tmp_path):
    note_run(tmp_path, [grading(one="fail", two="pass")])
    note_run(tmp_path, [grading(one="pass", partial=True)])
    lab = load(tmp_path)[0].labs["lab1"]
    assert lab.gradings == 2
    assert {name: one.outcome for name, one in lab.checks.items()} == {
        "lab1.a.one": "pass",
        "lab1.a.two": "pass",
    }
    note_run(tmp_path, [grading(one="fail")])
    assert list(load(tmp_path)[0].labs["lab1"].checks) == ["lab1.a.one"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"schema": "vmmlab/progress/2", "labs": {}}',
        b'{"schema": "vmmlab/progress/1", "labs": {"lab1": {"gradings": -1}}}',
        b'{"schema": "vmmlab/progress/1", "labs": []}',
        b"\xff\xfe",
        b" " * (2 << 20),
    ],
    ids=["empty", "cut", "newer", "negative", "wrong", "binary", "huge"],
)
def test_a_file_that_cannot_be_read_is_kept_and_begun_anew(tmp_path, content):
    path = path_of(tmp_path)
    path.parent.mkdir()
    path.write_bytes(content)
    known, damaged = load(tmp_path)
    assert (known.labs, damaged) == ({}, True)
    note_run(tmp_path, [grading(one="pass")])
    assert load(tmp_path)[1] is False
    assert load(tmp_path)[0].labs["lab1"].gradings == 1
    assert path.with_name(OLD).read_bytes() == content


def test_fields_of_a_later_version_are_passed_over(tmp_path):
    note_run(tmp_path, [grading(one="pass")])
    data = json.loads(path_of(tmp_path).read_text())
    data["more"] = data["labs"]["lab1"]["more"] = 1
    path_of(tmp_path).write_text(json.dumps(data))
    known, damaged = load(tmp_path)
    assert (known.labs["lab1"].gradings, damaged) == (1, False)


def test_a_link_is_replaced_and_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path).symlink_to(victim)
    note_run(tmp_path, [grading(one="pass")])
    assert victim.read_text() == "mine"
    assert not path_of(tmp_path).is_symlink()


def test_what_cannot_be_written_is_not(tmp_path):
    (tmp_path / ".vmmlab").write_text("a file")
    note_run(tmp_path, [grading(one="pass")])
    assert (tmp_path / ".vmmlab").read_text() == "a file"

"""grader/bench/verdicts.py: what counts as another verdict, and dumps that were interrupted."""

import copy
import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def verdicts():
    path = ROOT / "grader" / "bench" / "verdicts.py"
    spec = importlib.util.spec_from_file_location("verdicts", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["verdicts"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["verdicts"]


def record(name, **check):
    passed = {"outcome": "pass", "points": 2, "cause": None, "cpu": None, "step": "lab9.1"}
    return {
        "name": name, "lab": "lab9", "arch": "x86_64", "hidden": False, "cohort": "dev", "seed": 1,
        "exit": 0, "points": 2, "max": 2, "hidden_points": None, "hidden_max": 0,
        "checks": {"lab9.a.b": {**passed, **check}}, "took_s": 1.0,
    }  # fmt: skip


def dumps(*records):
    return {one["name"]: one for one in records}


def test_equal_verdicts_do_not_differ(verdicts):
    old = dumps(record("one"), record("two"))
    new = copy.deepcopy(old)
    new["one"] |= {"took_s": 9.0, "added": 1}
    new["one"]["checks"]["lab9.a.b"]["added"] = 1
    assert verdicts.compare(old, new) == (["2 submissions, 2 checks: no verdict differs."], 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [("outcome", "fail"), ("points", 1), ("cause", "lost"), ("cpu", 0), ("step", "lab9.2")],
)
def test_each_field_of_a_check_counts(verdicts, field, value):
    before = record("one")["checks"]["lab9.a.b"][field]
    lines, different = verdicts.compare(
        dumps(record("one")), dumps(record("one", **{field: value}))
    )
    assert lines[:2] == [f"lab9.a.b: {field} {before} -> {value}", "    one"]
    assert different == 1


@pytest.mark.parametrize("key", ["exit", "points", "max", "hidden_points", "seed", "cohort"])
def test_each_field_of_a_report_counts(verdicts, key):
    lines, different = verdicts.compare(dumps(record("one")), dumps(record("one") | {key: 7}))
    assert lines[0].startswith(f"{key}: ")
    assert different == 1


def test_equal_differences_are_grouped(verdicts):
    old = dumps(*(record(name) for name in ("one", "two", "three")))
    new = dumps(record("one", cause="lost"), record("two"), record("three", cause="lost"))
    assert verdicts.compare(old, new) == (
        [
            "lab9.a.b: cause None -> lost",
            "    one",
            "    three",
            "3 submissions, 3 checks: 2 submissions differ.",
        ],
        2,
    )


def test_what_is_in_one_dump_only_differs(verdicts):
    renamed = record("two")
    renamed["checks"] = {"lab9.a.c": renamed["checks"]["lab9.a.b"]}
    lines, different = verdicts.compare(
        dumps(record("one"), record("two")), dumps(renamed, record("three"))
    )
    assert different == 3
    assert lines[:-1] == [
        "lab9.a.b: only in the old dump", "    two",
        "lab9.a.c: only in the new dump", "    two",
        "only in the new dump", "    three",
        "only in the old dump", "    one",
    ]  # fmt: skip
    assert verdicts.compare(dumps(record("one")), dumps(record("two")), "o*")[1] == 1


def test_a_part_of_a_corpus_can_be_compared(verdicts):
    old, new = dumps(record("one"), record("two")), dumps(record("two", cpu=1))
    lines, different = verdicts.compare(old, new, common=True)
    assert lines == [
        "lab9.a.b: cpu None -> 1",
        "    two",
        "1 submissions, 1 checks: 1 submissions differ. 1 in one dump only are left out.",
    ]
    assert different == 1


def test_a_comparison_of_nothing_proves_nothing(verdicts, tmp_path, capsys):
    for name in ("old", "new"):
        (tmp_path / name).write_text(json.dumps(record(name)))
    command = ["compare", str(tmp_path / "old"), str(tmp_path / "new"), "--common"]
    assert verdicts.main(command) == 2
    assert "nothing to compare" in capsys.readouterr().err


def test_a_grading_without_a_report_differs_from_one_with_a_report(verdicts):
    failed = {k: v for k, v in record("one").items() if k != "checks"}
    failed |= {"exit": 3, "stderr": "no disk"}
    lines, different = verdicts.compare(dumps(record("one")), dumps(failed))
    assert different == 1
    assert "exit 0, 2/2 -> exit 3, no report: no disk" in lines
    in_other_words = failed | {"stderr": "the disk is full"}
    assert verdicts.compare(dumps(failed), dumps(in_other_words))[1] == 0


def test_fields_that_are_new_in_a_report_are_ignored(verdicts, tmp_path):
    sample = json.loads((ROOT / "grader/vmmlab/report/report.sample.json").read_text())
    path = tmp_path / "report.json"
    path.write_text(json.dumps(sample))
    before = verdicts.verdict(path)
    assert before["checks"].keys() == {check["id"] for check in sample["checks"]}
    sample["added"] = sample["checks"][0]["added"] = [1]
    path.write_text(json.dumps(sample))
    assert verdicts.verdict(path) == before
    assert verdicts.verdict(tmp_path / "none.json") == {}


GRADER = """#!{python}
import json, pathlib, sys
arguments = sys.argv
name = pathlib.Path(arguments[arguments.index("--submission") + 1]).name
with open({log!r}, "a") as log:
    log.write(name + "\\n")
if name == "refused":
    print("\\nno such file\\nmore", file=sys.stderr)
    sys.exit(2)
check = {{"id": "lab9.a.b", "outcome": "fail", "points": 0, "cause": "lost", "step": "lab9.1"}}
path = pathlib.Path(arguments[arguments.index("--json") + 1])
path.write_text(json.dumps({{"points": 0, "max": 2, "checks": [check]}}))
sys.exit(1)
"""


def test_a_dump_is_resumed_where_it_was_interrupted(verdicts, tmp_path, capsys):
    log = tmp_path / "log"
    vmmlab = tmp_path / "vmmlab"
    vmmlab.write_text(GRADER.format(python=sys.executable, log=str(log)))
    vmmlab.chmod(0o755)
    (tmp_path / "course.yml").touch()
    names = ["graded", "refused", "left"]
    index = [{"name": name, "lab": "lab9"} for name in names]
    (tmp_path / "index.json").write_text(json.dumps(index))
    out = tmp_path / "out.jsonl"
    command = ["dump", str(out), "--corpus", str(tmp_path), "--vmmlab", str(vmmlab)]
    command += ["--course", str(tmp_path), "--jobs", "1"]

    assert verdicts.main([*command, "--only", "*ed"]) == 0
    assert "[2/2] refused: exit 2, no report: no such file" in capsys.readouterr().out
    with out.open("a") as file:
        file.write('{"name": "le')
    assert verdicts.main(command) == 2
    assert "say --resume" in capsys.readouterr().err
    assert verdicts.main([*command, "--resume"]) == 0

    assert log.read_text().split() == names
    records = verdicts.read_dump(out)
    assert list(records) == names
    assert records["left"]["exit"] == 1
    assert records["left"]["checks"] == {
        "lab9.a.b": {
            "outcome": "fail", "points": 0, "cause": "lost", "cpu": None, "step": "lab9.1"
        }
    }  # fmt: skip
    assert records["refused"]["stderr"] == "no such file"
    assert verdicts.main(["compare", str(out), str(out)]) == 0

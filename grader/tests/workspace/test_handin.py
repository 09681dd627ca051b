"""Handing in: what the archive holds, what it refuses, and what a grader takes from one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from vmmlab.base.errors import SubmissionError, UsageError
from vmmlab.cli.main import main
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.course.reference import reference
from vmmlab.student.handin import hand_in
from vmmlab.workspace.handin import MANIFEST, unpack
from vmmlab.workspace.model import Workspace
from vmmlab.workspace.source import Source

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def course() -> Course:
    return load_course(ROOT)


@pytest.fixture
def here(tmp_path: Path, course: Course) -> Workspace:
    """A workspace with the reference, and much that is not to be handed in."""
    root = tmp_path / "vmm"
    labs = [name for name, lab in course.labs.items() if lab.files]
    others = {"lab3/notes.txt": b"x", "lab3/README.md": b"x", "core/mm.c": b"x", ".git/config": b""}
    for name, data in {**reference(course, labs).files, **others}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return Workspace(root, Cohort.derive("autumn"), "Ada", "0")


def packed(files: Mapping[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    return path


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as made:
        return {name: made.read(name) for name in made.namelist()}


def test_exactly_the_files_that_course_yml_lists(here: Workspace, course: Course) -> None:
    told = [str(line) for line in hand_in(here, course, ["lab3"])]
    path = here.root / "handin" / "lab3.zip"
    found = contents(path)
    manifest = json.loads(found.pop(MANIFEST))
    assert set(found) == set(course.lab("lab3").files) == set(manifest["files"])
    assert (manifest["cohort"], manifest["student"], manifest["labs"]) == (
        "autumn",
        "Ada",
        ["lab3"],
    )
    assert str(path) in told[-1]
    assert path.stat().st_size < 10_000


def test_the_same_files_make_the_same_archive(here: Workspace, course: Course) -> None:
    first, again = here.root / "1.zip", here.root / "2.zip"
    list(hand_in(here, course, [], first))
    list(hand_in(here, course, [], again))
    assert first.read_bytes() == again.read_bytes()


def test_it_is_graded_as_the_folder_is(here: Workspace, course: Course) -> None:
    list(hand_in(here, course, []))
    path = here.root / "handin" / "vmm.zip"
    source = Source(str(path), here)
    assert not source.trusted
    taken = source.take(["lab3", "lab1"], course)
    assert dict(taken.files) == dict(reference(course, ["lab3", "lab1"]).files)
    assert "Ada, cohort autumn" in str(taken.notes[0])
    assert len(taken.notes) == 1


def test_nothing_is_made_if_something_is_missing(here: Workspace, course: Course) -> None:
    (here.root / "lab3" / "apinit.S").unlink()
    (here.root / "lab4" / "sync.c").write_bytes(b"\0")
    with pytest.raises(SubmissionError) as caught:
        list(hand_in(here, course, ["lab3", "lab4"]))
    assert "lab3/apinit.S: is missing" in str(caught.value)
    assert "lab4/sync.c: is not text" in str(caught.value)
    assert not (here.root / "handin").exists()
    with pytest.raises(UsageError, match="nothing to hand in for lab0"):
        list(hand_in(here, course, ["lab0"]))


def test_what_is_still_to_be_written_is_said(here: Workspace, course: Course) -> None:
    part = reference(course, ["lab1"], ["lab1.1", "lab1.2"])
    for name, data in part.files.items():
        (here.root / name).write_bytes(data)
    told = [str(line) for line in hand_in(here, course, ["lab1", "lab2"])]
    assert "note: still to be written: lab1.3, lab1.4" in told
    assert not [line for line in told if "lab2.1" in line]


# --- archives that others made --------------------------------------------------------------------


def test_one_that_was_packed_by_hand(tmp_path: Path, course: Course) -> None:
    files = dict(reference(course, ["lab2"]).files)
    flat = packed({**files, "lab2/notes.txt": b""}, tmp_path / "flat.zip")
    around = packed({f"my vmm/{name}": data for name, data in files.items()}, tmp_path / "a.zip")
    assert unpack(flat, ["lab2"], course).files == files
    assert "lab2/notes.txt" in str(unpack(flat, ["lab2"], course).notes[0])
    assert unpack(around, ["lab2"], course).files == files


def test_what_a_class_may_upload_one_may_grade(tmp_path: Path, course: Course) -> None:
    """The same rules as for the uploads of a class: test_upload.py has them all."""
    files = dict(reference(course, ["lab3"]).files)
    alone = {name.partition("/")[2]: data for name, data in files.items()}
    twice = {**files, "old/lab3/apinit.S": b"older"}
    assert unpack(packed(alone, tmp_path / "1.zip"), ["lab3"], course).files == files
    taken = unpack(packed(twice, tmp_path / "2.zip"), ["lab3"], course)
    assert taken.files == files
    assert "old/lab3/apinit.S: is another copy, and not used" in map(str, taken.notes)
    unclear = {f"{place}/{name}": data for place in "ab" for name, data in files.items()}
    with pytest.raises(SubmissionError, match=r"a/lab3/apinit\.S: is there more than once"):
        unpack(packed(unclear, tmp_path / "3.zip"), ["lab3"], course)
    every = dict(reference(course, [name for name, lab in course.labs.items()]).files)
    assert unpack(packed(every, tmp_path / "4.zip"), ["lab3"], course).notes == ()


def test_a_changed_one(here: Workspace, course: Course, tmp_path: Path) -> None:
    list(hand_in(here, course, ["lab2"]))
    files = contents(here.root / "handin" / "lab2.zip")
    files["lab2/stack.c"] += b"\n"
    with pytest.raises(SubmissionError, match=r"lab2/stack\.c: was changed"):
        unpack(packed(files, tmp_path / "1.zip"), ["lab2"], course)
    del files["lab2/stack.c"]
    with pytest.raises(SubmissionError, match=r"lab2/stack\.c: is missing"):
        unpack(packed(files, tmp_path / "2.zip"), ["lab2"], course)


@pytest.mark.parametrize(
    "manifest", [b"", b"[]", b"{}", b'{"schema": 2}', b"\xff", b"[" * 100_000], ids=range(6)
)
def test_a_strange_manifest(course: Course, tmp_path: Path, manifest: bytes) -> None:
    files = {MANIFEST: manifest, **reference(course, ["lab2"]).files}
    with pytest.raises(SubmissionError, match="cannot be read"):
        unpack(packed(files, tmp_path / "1.zip"), ["lab2"], course)


@pytest.mark.parametrize(
    "files",
    [
        {"lab2/../../x": b""},
        {"/lab2/stack.c": b""},
        {"lab2/stack.c": bytes(70 << 20)},
        {"bomb.bin": bytes(70 << 20)},
        {f"{n}": b"" for n in range(5000)},
        {"lab2/STACK.C": b"1", "lab2/stack.c": b"2"},
    ],
    ids=["..", "absolute", "large", "bomb", "many", "case"],
)
def test_a_hostile_one_is_refused_and_nothing_touched(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    files: Mapping[str, bytes],
) -> None:
    """It has all the files of the lab besides; test_archive.py looks at the reasons."""
    monkeypatch.chdir(tmp_path)
    good = reference(load_course(ROOT), ["lab2"]).files
    packed({**good, **files}, tmp_path / "1.zip")
    words = ["grade", "lab2", "--submission", "1.zip", "--course", str(ROOT)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "cannot be" in said
    assert "next:" in said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["1.zip"]


def test_a_file_that_is_no_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stack.c").write_text("int x;\n")
    assert main(["grade", "lab2", "--submission", "stack.c", "--course", str(ROOT)]) == 2
    assert "no archive" in capsys.readouterr().err


def test_a_link_in_an_archive(course: Course, tmp_path: Path) -> None:
    made = io.BytesIO()
    entry = zipfile.ZipInfo("lab2/stack.c")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    (tmp_path / "1.zip").write_bytes(made.getvalue())
    with pytest.raises(SubmissionError, match="link"):
        unpack(tmp_path / "1.zip", ["lab2"], course)

"""Reading a submission: what is read, what is refused, and that no link is followed."""

import os
import socket
import stat
from pathlib import Path

import pytest

from vmmlab.base.errors import CourseError, SubmissionError, UngradableError, UsageError
from vmmlab.course import submission
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.course.reference import reference
from vmmlab.workspace.model import Workspace
from vmmlab.workspace.source import Source

COURSE = """\
schema: 1
title: A course
labs:
  lab0: {title: Look around}
  lab2: {title: Stack, files: {lab2/stack.c: [bsp_continue]}}
  lab3:
    title: The trampoline
    files: {lab3/apinit.S: [cpuinit_start], lab3/ap_start.c: [ap_start]}
    steps:
      - {id: lab3.1, title: jump, file: lab3/ap_start.c, function: ap_start}
"""


@pytest.fixture
def kit(tmp_path: Path) -> Course:
    root = tmp_path / "kit"
    (root / "labs" / "lab3").mkdir(parents=True)
    (root / "labs" / "lab3" / "test_lab3.py").write_text("")
    (root / "labs" / "lab3" / "README.md").write_text("")
    tree = root / "vmm-skeleton" / "{{cookiecutter.slug}}"
    (tree / "core").mkdir(parents=True)
    (tree / "Makefile").write_text("")
    (root / "course.yml").write_text(COURSE)
    return load_course(root)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lab = tmp_path / "sub" / "lab3"
    lab.mkdir(parents=True)
    (lab / "apinit.S").write_text("nop\n")
    (lab / "ap_start.c").write_text("int x;\n")
    return tmp_path / "sub"


def refusal(folder: Path, kit: Course, *labs: str) -> str:
    with pytest.raises(SubmissionError) as caught:
        submission.take(folder, labs or ("lab3",), kit)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_files_that_the_course_lists(folder: Path, kit: Course) -> None:
    got = submission.take(folder, ["lab3"], kit)
    assert got.files == {"lab3/apinit.S": b"nop\n", "lab3/ap_start.c": b"int x;\n"}
    assert got.notes == ()
    with pytest.raises(TypeError):
        got.files["lab3/x"] = b""  # type: ignore[index]


def test_several_labs(folder: Path, kit: Course) -> None:
    (folder / "lab2").mkdir()
    (folder / "lab2" / "stack.c").write_text("")
    got = submission.take(folder, ["lab0", "lab2", "lab3"], kit)
    assert got.of("lab2") == {"lab2/stack.c": b""}
    assert len(got.of("lab3")) == 2


def test_an_empty_file_is_taken(folder: Path, kit: Course) -> None:
    (folder / "lab3" / "apinit.S").write_text("")
    assert submission.take(folder, ["lab3"], kit).files["lab3/apinit.S"] == b""


def test_a_workspace_is_a_submission(folder: Path, kit: Course) -> None:
    for name in ("Makefile", "standin", "lab1", "core"):
        (folder / name).mkdir()
    for name in ("test_lab3.py", "README.md"):
        (folder / "lab3" / name).write_text("")
    got = submission.take(folder, ["lab3"], kit)
    assert tuple(map(str, got.notes)) == ("left out, not asked for: lab1",)


def test_what_nobody_asked_for_is_left_out_and_named(folder: Path, kit: Course) -> None:
    for name in ("conftest.py", "vmm.ld", "lab3/sitecustomize.py", "lab3/evil\x1b[2J.c"):
        (folder / name).write_text("boom")
    got = submission.take(folder, ["lab3"], kit)
    assert set(got.files) == {"lab3/apinit.S", "lab3/ap_start.c"}
    (note,) = got.notes
    assert "conftest.py, vmm.ld, lab3/evil\\x1b[2J.c, lab3/sitecustomize.py" in str(note)
    for n in range(100):
        (folder / f"x{n:03}").write_text("")
    assert "and 92 more" in str(submission.take(folder, ["lab3"], kit).notes[0])


@pytest.mark.parametrize(
    ("is_called", "said"),
    [
        ("Lab3/apinit.S", "lab3/: is missing; Lab3 is there, but upper and lower case differ"),
        ("lab3/APINIT.s", "lab3/apinit.S: is missing; APINIT.s is there, but upper and lower case"),
        ("lab3/apinit.asm", "lab3/apinit.S: is missing\n"),
    ],
)
def test_a_name_in_other_letters(folder: Path, kit: Course, is_called: str, said: str) -> None:
    (folder / "lab3").rename(folder / "before")
    (folder / is_called).parent.mkdir()
    for name in ("apinit.S", "ap_start.c"):
        new = Path(is_called).name if name == "apinit.S" else name
        (folder / "before" / name).rename((folder / is_called).with_name(new))
    assert said in refusal(folder, kit, "lab3") + "\n"


def test_a_name_in_other_letters_in_an_archive(kit: Course) -> None:
    files = {"lab3/apinit.s": b"", "lab3/ap_start.c": b"int x;\n"}
    with pytest.raises(SubmissionError) as caught:
        submission.take_files(files, Path("a.zip"), ["lab3"], kit)
    assert "lab3/apinit.S: is missing; lab3/apinit.s is there" in str(caught.value.found)


@pytest.mark.parametrize("name", ["APINIT.s", "mine/LAB3/APINIT.S", "a.zip: ApInit.S"])
def test_a_name_in_other_letters_beside_the_folder(folder: Path, kit: Course, name: str) -> None:
    (folder / "lab3" / "apinit.S").unlink()
    with pytest.raises(UngradableError) as caught:
        submission.take(folder, ["lab3"], kit, beside=["apinit.S.orig", "other/apinit.S", name])
    assert f"lab3/apinit.S: is missing; {name} is there, but upper" in str(caught.value.found)


@pytest.mark.parametrize(
    ("name", "there"), [("Lab3", True), ("apinit.S", True), ("lab2", False), ("notes.txt", False)]
)
def test_whether_anything_was_handed_in(
    tmp_path: Path, kit: Course, name: str, there: bool
) -> None:
    (tmp_path / "sub" / name).mkdir(parents=True)
    with pytest.raises(UngradableError) as caught:
        submission.take(tmp_path / "sub", ["lab3"], kit)
    assert caught.value.handed_in is there


def test_all_problems_are_named_at_once(folder: Path, kit: Course) -> None:
    (folder / "lab3" / "apinit.S").unlink()
    (folder / "lab3" / "ap_start.c").write_bytes(b"int x;\nint\0y;\n")
    said = refusal(folder, kit, "lab2", "lab3")
    assert "3 problems" in said
    assert "lab2/: is missing" in said
    assert "lab3/apinit.S: is missing" in said
    assert "lab3/ap_start.c: is not text: it contains a zero byte in line 2" in said


def test_a_link_is_not_followed(folder: Path, kit: Course, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the course's secret")
    (folder / "lab3" / "apinit.S").unlink()
    (folder / "lab3" / "apinit.S").symlink_to(tmp_path / "secret")
    said = refusal(folder, kit)
    assert "lab3/apinit.S: is a symbolic link, not a file" in said
    assert "secret" not in said


def test_a_linked_folder_is_not_followed(folder: Path, kit: Course) -> None:
    (folder / "lab3").rename(folder / "elsewhere")
    (folder / "lab3").symlink_to(folder / "elsewhere")
    assert "lab3/: is a symbolic link, not a folder" in refusal(folder, kit)


def test_what_is_no_file(folder: Path, kit: Course) -> None:
    one, two = folder / "lab3" / "apinit.S", folder / "lab3" / "ap_start.c"
    one.unlink()
    two.unlink()
    os.mkfifo(one)
    two.mkdir()
    said = refusal(folder, kit)
    assert "lab3/apinit.S: is a named pipe, not a file" in said
    assert "lab3/ap_start.c: is a folder, not a file" in said


def test_a_socket_and_a_device(folder: Path, kit: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = folder / "lab3" / "apinit.S", folder / "lab3" / "ap_start.c"
    one.unlink()
    two.unlink()
    monkeypatch.chdir(one.parent)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(one.name)
        try:
            os.mknod(two, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        except PermissionError:
            two.mkdir()
        said = refusal(folder, kit)
    assert "lab3/apinit.S: is a socket, not a file" in said
    assert "lab3/ap_start.c: is a " in said


def test_a_file_in_place_of_the_folder(folder: Path, kit: Course) -> None:
    (folder / "lab2").write_text("")
    assert "lab2/: is a file, not a folder" in refusal(folder, kit, "lab2")


def test_a_large_file(folder: Path, kit: Course) -> None:
    path = folder / "lab3" / "apinit.S"
    path.write_bytes(b"#" * submission.MAX_BYTES)
    submission.take(folder, ["lab3"], kit)
    path.write_bytes(b"#" * (submission.MAX_BYTES + 1))
    assert "lab3/apinit.S: is larger than 256 KiB" in refusal(folder, kit)
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "lab3/apinit.S: is larger than 256 KiB" in refusal(folder, kit)


def test_what_cannot_be_read(folder: Path, kit: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def deny(path: str, flags: int, *args: int, **more: int) -> int:
        if path == "apinit.S":
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, *args, **more)

    monkeypatch.setattr(os, "open", deny)
    assert "lab3/apinit.S: cannot be read: permission denied" in refusal(folder, kit)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_really_cannot_be_read(folder: Path, kit: Course) -> None:
    (folder / "lab3" / "apinit.S").chmod(0)
    assert "lab3/apinit.S: cannot be read: permission denied" in refusal(folder, kit)


def test_a_folder_that_is_not_there(tmp_path: Path, kit: Course) -> None:
    said = refusal(tmp_path / "nowhere", kit)
    assert "no such file" in said
    assert "a folder that holds lab3/" in said
    (tmp_path / "file").write_text("")
    assert "not a directory" in refusal(tmp_path / "file", kit)


def test_a_folder_given_one_level_too_deep(folder: Path, kit: Course) -> None:
    said = refusal(folder / "lab3", kit)
    assert "lab3/: is missing" in said
    assert "give the folder above" in said


def test_files_that_lie_flat(folder: Path, kit: Course) -> None:
    flat = (folder / "lab3").rename(folder.parent / "ada")
    said = refusal(flat, kit)
    assert f"put apinit.S, ap_start.c into a folder lab3/ in {flat}" in said
    assert "above" not in said


def test_a_lab_that_the_course_does_not_have(folder: Path, kit: Course) -> None:
    with pytest.raises(UsageError, match="no lab called 'lab7'"):
        submission.take(folder, ["lab7"], kit)


def test_the_reference_as_a_submission(kit: Course) -> None:
    lab = kit.root / "reference" / "lab3"
    lab.mkdir(parents=True)
    (lab / "apinit.S").write_text("nop\n")
    marked = "/* BEGIN SOLUTION lab3.1\n * TODO(lab3.1): do\n */\nsolve ();\n/* END SOLUTION */\n"
    (lab / "ap_start.c").write_text(marked)
    whole = reference(kit, ["lab3"])
    assert whole.files["lab3/ap_start.c"] == marked.encode()
    none = reference(kit, ["lab3"], steps=frozenset())
    assert b"solve" not in none.files["lab3/ap_start.c"]
    one = reference(kit, ["lab3"], steps={"lab3.1"})
    assert one.files["lab3/ap_start.c"] == b"solve ();\n"
    (lab / "apinit.S").unlink()
    with pytest.raises(CourseError, match=r"reference/lab3/apinit\.S cannot be read"):
        reference(kit, ["lab3"])


# --- whose it is -----------------------------------------------------------------------------


@pytest.fixture
def here(folder: Path) -> Workspace:
    return Workspace(folder.resolve(), Cohort.derive("autumn"), "Ada", "0.1.0")


def test_the_reference_is_nobodys_folder(kit: Course, here: Workspace) -> None:
    source = Source("reference", here)
    assert (source.is_reference, source.own, source.trusted) == (True, None, True)
    assert source.cohort(kit).name == kit.cohort
    assert source.cohort(kit, "spring").name == "spring"
    (kit.root / "reference" / "lab2").mkdir(parents=True)
    (kit.root / "reference" / "lab2" / "stack.c").write_text("int y;\n")
    assert source.take(["lab2"], kit).files == {"lab2/stack.c": b"int y;\n"}


def test_ones_own_workspace_is_trusted_and_has_its_own_numbers(
    folder: Path, kit: Course, here: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for name in (".", str(folder)):
        source = Source(name, here)
        assert (source.is_reference, source.own, source.trusted) == (False, here, True)
        assert source.cohort(kit).name == "autumn"
        assert source.cohort(kit, "spring").name == "spring"
        assert set(source.take(["lab3"], kit).files) == {"lab3/apinit.S", "lab3/ap_start.c"}


def test_somebody_elses_folder_is_not_trusted(
    folder: Path, kit: Course, here: Workspace, tmp_path: Path
) -> None:
    for source in (Source(str(tmp_path), here), Source(str(folder))):
        assert (source.is_reference, source.own, source.trusted) == (False, None, False)
        assert source.cohort(kit).name == kit.cohort

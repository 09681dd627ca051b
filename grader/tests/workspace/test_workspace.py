"""Workspaces: what `vmmlab new` makes, what it never destroys, and how one is recognised."""

import errno
import json
import os
import re
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmmlab.base.errors import CourseError, InfraError, UsageError
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.student.new import new_workspace
from vmmlab.workspace import model as workspace
from vmmlab.workspace.new import Answers
from vmmlab.workspace.templating import toml_string

ROOT = Path(__file__).resolve().parents[3]
RENDERED = {"cohort.h", "workspace.toml"}
SOMEONE = Answers(student="Ada", cohort=Cohort.derive("dev"))


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> Course:
    """The kit's own course; prebuilt labs are not built (test_in_a_workspace.py does)."""

    def pretend(made: workspace.Workspace, of: Course) -> None:
        made.prebuilt.mkdir()
        (made.prebuilt / "lab1.o").write_text(made.cohort.name)

    monkeypatch.setattr("vmmlab.student.new._add_prebuilt", pretend)
    return load_course(ROOT)


def tree_of(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and not p.is_symlink() and ".venv" not in p.parts
    }


def test_what_is_in_it(tmp_path: Path, kit: Course) -> None:
    made = new_workspace(tmp_path / "vmm", kit, SOMEONE)
    assert made == tmp_path / "vmm"
    files = tree_of(made)
    given = tree_of(kit.tree)
    for name, content in given.items():
        if name not in RENDERED:
            assert files.pop(name) == content, f"{name} is copied as it is"
    assert files.pop("cohort.h").decode() == SOMEONE.cohort.header()
    assert tomllib.loads(files.pop("workspace.toml").decode())["student"] == "Ada"
    assert files.pop("standin/lab1.o") == b"dev"
    assert set(json.loads(files.pop(".vmmlab/given.json"))) == set(tree_of(made)) - {
        ".vmmlab/given.json",
        "workspace.toml",
    }
    for lab in kit.labs.values():
        for file in lab.files:
            starter = files.pop(file).decode()
            assert "SOLUTION" not in starter
            assert "TODO(" in starter
    module = r"test_lab\d+\.py|[a-z]+\.py"
    handout = rf"lab\d+/(README(\.ja)?\.md|{module}|pictures/[a-z-]+(\.ja)?\.svg)"
    handout = rf"{handout}|docs/([a-z0-9-]+(\.ja)?\.md|pictures/[a-z0-9-]+\.png)"
    assert not [name for name in files if not re.fullmatch(handout, name)]
    assert list(tmp_path.iterdir()) == [made], "nothing is left beside it"


def test_the_given_code_speaks_the_language_of_the_workspace(tmp_path: Path, kit: Course) -> None:
    made = new_workspace(tmp_path / "vmm", kit, Answers("Ada", SOMEONE.cohort, lang="ja"))
    files, given = tree_of(made), tree_of(kit.tree)
    changed = {name for name, content in given.items() if files[name] != content}
    assert {Path(name).parts[0] for name in changed - RENDERED} == {
        "boot",
        "core",
        "guest",
        "include",
        "vmm.ld",
    }
    assert "/* BSP は、bsp_continue から" in files["core/bsp.c"].decode()
    assert workspace.read(made).cohort == SOMEONE.cohort


def test_the_environment_is_linked(tmp_path: Path, kit: Course) -> None:
    made = new_workspace(tmp_path / "vmm", kit, SOMEONE)
    assert (Path(sys.prefix) / "pyvenv.cfg").is_file(), "the tests run in an environment"
    assert (made / ".venv").is_symlink()
    assert (made / ".venv" / "bin" / "activate").is_file()
    assert (made / ".gitignore").read_text().split("\n")[0] == ".venv"


def test_without_an_environment_there_is_no_link(
    tmp_path: Path, kit: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert not (new_workspace(tmp_path / "vmm", kit, SOMEONE) / ".venv").is_symlink()


def test_another_cohort(tmp_path: Path, kit: Course) -> None:
    cohort = Cohort.derive("2026-autumn", "a secret that the template does not know")
    made = new_workspace(tmp_path / "vmm", kit, Answers(student="Ada", cohort=cohort))
    assert (made / "cohort.h").read_text() == cohort.header()
    assert workspace.read(made).cohort == cohort


@pytest.mark.parametrize(
    "name", ['Grace "Amazing" Hopper', "O'Neil \\ Sons", "山田 太郎", "🐧", "a % b $HOME"]
)
def test_names_of_all_kinds(tmp_path: Path, kit: Course, name: str) -> None:
    made = new_workspace(tmp_path / "vmm", kit, Answers(student=name, cohort=SOMEONE.cohort))
    assert workspace.read(made).student == name


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "{{ 7*7 }}", "{% x %}", "\x1b[2J", "a" * 101])
def test_names_of_nobody(name: str) -> None:
    with pytest.raises(UsageError, match="not a valid name of a student"):
        Answers(student=name, cohort=SOMEONE.cohort)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_written_as_toml(text: str) -> None:
    assert tomllib.loads(f"x = {toml_string(text)}") == {"x": text}


# --- where it may go --------------------------------------------------------------------------


def test_a_folder_that_is_not_empty_stays_as_it_is(tmp_path: Path, kit: Course) -> None:
    (tmp_path / "vmm").mkdir()
    (tmp_path / "vmm" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"not empty; nothing was changed(.|\n)*thesis\.txt"):
        new_workspace(tmp_path / "vmm", kit, SOMEONE)
    assert tree_of(tmp_path) == {"vmm/thesis.txt": b"years of work"}


def test_a_workspace_stays_as_it_is(tmp_path: Path, kit: Course) -> None:
    made = new_workspace(tmp_path / "vmm", kit, SOMEONE)
    (made / "lab1" / "vmm_main.c").write_text("my work")
    with pytest.raises(UsageError, match="is already a workspace"):
        new_workspace(made, kit, SOMEONE)
    assert (made / "lab1" / "vmm_main.c").read_text() == "my work"


def test_an_empty_folder_is_filled(tmp_path: Path, kit: Course) -> None:
    (tmp_path / "vmm").mkdir()
    inode = (tmp_path / "vmm").stat().st_ino
    new_workspace(tmp_path / "vmm", kit, SOMEONE)
    assert (tmp_path / "vmm").stat().st_ino == inode, "a shell may be standing in it"
    assert workspace.read(tmp_path / "vmm").student == "Ada"
    assert [p.name for p in tmp_path.iterdir()] == ["vmm"]


def test_the_folder_one_is_in(tmp_path: Path, kit: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vmm").mkdir()
    monkeypatch.chdir(tmp_path / "vmm")
    assert new_workspace(Path(), kit, SOMEONE) == tmp_path / "vmm"


def test_home_and_folders_on_the_way(
    tmp_path: Path, kit: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    made = new_workspace(Path("~/courses/vmm {{x}}"), kit, SOMEONE)
    assert made == tmp_path / "courses" / "vmm {{x}}"
    assert workspace.read(made).student == "Ada"
    assert not list(tmp_path.glob(".cookiecutter*")), "nothing is written to the home folder"


def test_a_file_or_a_dead_link_in_the_way(tmp_path: Path, kit: Course) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="not a directory"):
        new_workspace(tmp_path / "file", kit, SOMEONE)
    with pytest.raises(UsageError):
        new_workspace(tmp_path / "file" / "vmm", kit, SOMEONE)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="points nowhere"):
        new_workspace(tmp_path / "link", kit, SOMEONE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize(
    ("failure", "becomes"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), InfraError),
        (CourseError("the markup is wrong"), CourseError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_what_fails_half_way_leaves_nothing(
    tmp_path: Path,
    kit: Course,
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    becomes: type[BaseException],
    exists: bool,
) -> None:
    def fail(made: workspace.Workspace, of: Course) -> None:
        raise failure

    monkeypatch.setattr("vmmlab.student.new._add_prebuilt", fail)
    dest = tmp_path / "a" / "b" / "vmm"
    if exists:
        dest.mkdir(parents=True)
    with pytest.raises(becomes):
        new_workspace(dest, kit, SOMEONE)
    if exists:
        assert list(dest.iterdir()) == []
        assert [p.name for p in dest.parent.iterdir()] == ["vmm"]
    else:
        assert list(tmp_path.iterdir()) == []


def test_what_fails_while_moving_in_leaves_nothing(
    tmp_path: Path, kit: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vmm").mkdir()
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name == "lab2" and target.parent == tmp_path / "vmm":
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(InfraError, match=r"nothing was left behind"):
        new_workspace(tmp_path / "vmm", kit, SOMEONE)
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["vmm"]


# --- the template -----------------------------------------------------------------------------


def test_only_two_files_are_rendered() -> None:
    """Patterns decide which files cookiecutter renders; a new file must match one of them."""
    settings = json.loads((ROOT / "vmm-skeleton" / "cookiecutter.json").read_text())
    patterns = settings["_copy_without_render"]
    tree = load_course(ROOT).tree
    for path in tree.rglob("*"):
        relative = path.relative_to(tree)
        if path.is_file():
            copied = any(
                fnmatch(str(part), pattern)
                for part in (relative, *relative.parents)
                for pattern in patterns
            )
            assert copied == (str(relative) not in RENDERED), relative


def test_a_template_that_does_not_work(tmp_path: Path, kit: Course) -> None:
    import dataclasses
    import shutil

    root = tmp_path / "kit"
    shutil.copytree(kit.template, root / "vmm-skeleton")
    broken = dataclasses.replace(kit, root=root)
    (broken.tree / "workspace.toml").write_text("{{ cookiecutter.nothing }}")
    with pytest.raises(CourseError, match="template"):
        new_workspace(tmp_path / "vmm", broken, SOMEONE)
    assert not (tmp_path / "vmm").exists()


# --- recognising one --------------------------------------------------------------------------


def test_locating_one(tmp_path: Path, kit: Course) -> None:
    made = new_workspace(tmp_path / "vmm", kit, SOMEONE)
    found = workspace.locate(made / "lab3")
    assert found is not None
    assert (found.root, found.cohort, found.student) == (made, SOMEONE.cohort, "Ada")
    assert workspace.locate(tmp_path) is None


GOOD = """\
schema = 1
vmmlab = "0.1.0"
student = "Ada"
[cohort]
name = "dev"
apinit_addr = 0xF000
apinit_offset = 0x0
stack_size = 0x8000
pcpu_pad = 0
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("schema = 1", "schema = 2", "another version"),
        ("schema = 1", "", "no key 'schema'"),
        ("schema = 1", "schema = ", "line 1"),
        ('student = "Ada"', "student = 7", "student = 7"),
        ("pcpu_pad = 0\n", "", "no key 'pcpu_pad'"),
        ("pcpu_pad = 0", 'pcpu_pad = "0"', "pcpu_pad = '0'"),
        ("[cohort]", "[other]", "no key 'cohort'"),
        ('[cohort]\nname = "dev"', 'cohort = "dev"\nname = 1', "found"),
    ],
)
def test_a_broken_workspace_toml(
    tmp_path: Path, old: str, new: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMMLAB_OWN", str(tmp_path))
    (tmp_path / "workspace.toml").write_text(GOOD)
    assert workspace.read(tmp_path).cohort == SOMEONE.cohort
    assert old in GOOD
    (tmp_path / "workspace.toml").write_text(GOOD.replace(old, new))
    with pytest.raises(UsageError) as caught:
        workspace.locate(tmp_path)
    assert "workspace.toml" in str(caught.value)
    assert said in str(caught.value)


def test_no_machine_path_is_in_a_workspace(tmp_path: Path, kit: Course) -> None:
    made = new_workspace(tmp_path / "vmm", kit, SOMEONE)
    for name, content in tree_of(made).items():
        assert os.fsencode(tmp_path) not in content, name
        assert os.fsencode(ROOT) not in content, name

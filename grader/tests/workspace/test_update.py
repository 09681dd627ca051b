"""vmmlab update: newer given files, nothing of the student's touched, all or nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vmmlab.base.errors import UsageError, VmmlabError
from vmmlab.cli.main import main
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.student.new import new_workspace
from vmmlab.workspace import journal
from vmmlab.workspace import model as workspace
from vmmlab.workspace.new import Answers
from vmmlab.workspace.update import Plan, plan, update

ROOT = Path(__file__).resolve().parents[3]


def pretend(made: workspace.Workspace, course: Course | None = None) -> None:
    made.prebuilt.mkdir(exist_ok=True)
    (made.prebuilt / "lab1.o").write_text("an object")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Course:
    return load_course(copy_of(ROOT, tmp_path_factory.mktemp("course") / "old"))


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """One given file is changed, one is new, one is gone; a check and a starter are changed."""
    root = copy_of(ROOT, tmp_path_factory.mktemp("course") / "new")
    tree = root / "vmm-skeleton" / "{{cookiecutter.slug}}"
    (tree / "core" / "mm.c").write_text("/* newer */\n")
    (tree / "core" / "new.c").write_text("/* new */\n")
    (tree / "core" / "vga.c").unlink()
    (root / "labs" / "lab1" / "test_lab1.py").write_text("# newer\n")
    source = root / "reference" / "lab2" / "stack.c"
    source.write_text(f"/* newer */\n{source.read_text()}")
    return load_course(root)


def copy_of(kit: Path, root: Path) -> Path:
    for name in ("vmm-skeleton", "reference", "labs"):
        shutil.copytree(kit / name, root / name, ignore=shutil.ignore_patterns("*.ipynb", "hidden"))
    shutil.copy(kit / "course.yml", root)
    return root


@pytest.fixture(scope="module")
def master(older: Course, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vmmlab.student.new._add_prebuilt", pretend)
        answers = Answers(student="Ada", cohort=Cohort.derive("dev"))
        return new_workspace(tmp_path_factory.mktemp("made") / "vmm", older, answers)


@pytest.fixture
def here(master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> workspace.Workspace:
    """A workspace in which the student has worked."""
    root = Path(shutil.copytree(master, tmp_path / "vmm", symlinks=True))
    monkeypatch.setenv("VMMLAB_OWN", str(root))
    (root / "lab2" / "stack.c").write_text("mine\n")
    (root / "lab3" / "notes.txt").write_text("mine\n")
    return workspace.require(root)


def tree_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink() and ".venv" not in path.parts
    }


def test_newer_given_files_come_and_the_students_stay(
    here: workspace.Workspace, newer: Course
) -> None:
    before = tree_of(here.root)
    made = update(here, newer, pretend)
    after = tree_of(here.root)
    assert list(made.added) == ["core/new.c"]
    assert set(made.changed) == {"core/mm.c", "lab1/test_lab1.py"}
    assert made.removed == ("core/vga.c",)
    assert made.starters == ("lab2/stack.c",)
    assert after["core/mm.c"] == b"/* newer */\n"
    assert after["lab2/stack.c"] == after["lab3/notes.txt"] == b"mine\n"
    touched = {"core/mm.c", "core/new.c", "core/vga.c", "lab1/test_lab1.py", ".vmmlab/given.json"}
    assert {name for name in before | after if before.get(name) != after.get(name)} == touched
    assert update(here, newer, pretend).empty
    assert workspace.require(here.root) == here


def test_a_change_of_the_students_in_a_file_that_did_not_change_stays(
    here: workspace.Workspace, newer: Course
) -> None:
    (here.root / "core" / "apic.c").write_text("mine, too\n")
    made = update(here, newer, pretend)
    assert made.kept == ("core/apic.c",)
    assert (here.root / "core" / "apic.c").read_text() == "mine, too\n"


def test_a_conflict_stops_it_and_nothing_is_done(
    here: workspace.Workspace, newer: Course, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (here.root / "core" / "mm.c").write_text("mine, too\n")
    before = tree_of(here.root)
    monkeypatch.setattr("vmmlab.student.new._add_prebuilt", pretend)
    monkeypatch.chdir(here.root)
    assert main(["update", str(newer.root)]) == 2
    said = capsys.readouterr().err
    assert "changed by you and by the release: core/mm.c" in said
    assert "nothing was changed" in said
    assert main(["update", str(newer.root), "--dry-run"]) == 1
    assert "core/mm.c: conflict" in capsys.readouterr().out
    assert tree_of(here.root) == before


def test_without_a_list_of_what_was_given_every_difference_is_a_conflict(
    here: workspace.Workspace, newer: Course
) -> None:
    (here.root / ".vmmlab" / "given.json").unlink()
    found = plan(here, newer, pretend)
    assert set(found.conflicts) == {"core/mm.c", "lab1/test_lab1.py"}
    assert found.removed == ()


@pytest.mark.parametrize("place", ["core/mm.c", "core", "lab1", "core/new.c"])
def test_links_in_the_way_are_refused(
    here: workspace.Workspace, newer: Course, tmp_path: Path, place: str
) -> None:
    outside = tmp_path / "outside"
    path = here.root / place
    if path.is_dir() or path.exists():
        path.rename(outside)
    path.symlink_to(outside)
    before = tree_of(here.root)
    with pytest.raises(UsageError, match="nothing was changed"):
        update(here, newer, pretend)
    assert tree_of(here.root) == before
    assert not (outside / "new.c").exists()


def test_another_persons_workspace_is_refused(
    here: workspace.Workspace, newer: Course, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = tree_of(here.root)
    monkeypatch.delenv("VMMLAB_OWN")
    monkeypatch.chdir(here.root)
    with_mark = (here.root / "workspace.toml").read_text()
    (here.root / "workspace.toml").write_text(with_mark.replace('id = "', 'id = "0'))
    assert main(["update", str(newer.root)]) == 2
    assert "is not a workspace that vmmlab created for you here" in capsys.readouterr().err
    (here.root / "workspace.toml").write_text(with_mark)
    assert main(["update", str(newer.root)]) == 2, "a copy is not one's own either"
    assert tree_of(here.root) == before


def test_a_folder_that_is_no_release(
    here: workspace.Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here.root)
    assert main(["update", "lab1"]) == 2
    said = capsys.readouterr().err
    assert "lab1 is not a release." in said
    assert "found:    a folder without this file" in said
    assert "--course" not in said, "the release is an argument"
    assert main(["update", "nowhere"]) == 2
    assert "found:    no such folder" in capsys.readouterr().err


# --- interruptions --------------------------------------------------------------------------------


def killed_at(number: int, act: Callable[[], object]) -> bool:
    """Do something in a process that is killed at its n-th change of the disk; was it?"""
    child = os.fork()
    if child == 0:
        left = iter(range(number))
        for name in ("replace", "unlink", "rmdir", "mkdir"):
            real = getattr(os, name)

            def change(*words: object, real: Any = real, **more: object) -> object:
                if next(left, None) is None:
                    os._exit(9)
                return real(*words, **more)

            setattr(os, name, change)
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def moments() -> Iterator[int]:
    yield from range(40)


def test_killed_at_any_moment_it_is_old_or_new(tmp_path: Path) -> None:
    put = {"core/mm.c": b"new", "core/new.c": b"new", "deep/er/a": b"new", "lab1/t.py": b"new"}
    seen: set[str] = set()
    for number in moments():
        root = tmp_path / str(number)
        for name in ("core/mm.c", "core/vga.c", "lab1/t.py"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"old")
        old = tree_of(root)
        was_killed = killed_at(number, lambda root=root: journal.write(root, put, ["core/vga.c"]))
        journal.finish(root)  # what every command does first
        now = {k: v for k, v in tree_of(root).items() if not k.startswith(".vmmlab/update/")}
        assert now in (old, put), number
        seen.add("old" if now == old else "new")
        journal.write(root, put, ["core/vga.c"])
        assert tree_of(root) == put
        if not was_killed:
            break
    assert not was_killed, "the last one came to its end"
    assert seen == {"old", "new"}
    assert number > 8


def test_interrupted_by_ctrl_c_it_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = os.replace, iter(range(100))

    def replace(*words: object) -> None:
        if next(count) == 2:  # the first one is that of the list
            raise KeyboardInterrupt
        real(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        journal.write(tmp_path, {"a": b"1", "b": b"2", "c": b"3"})
    assert tree_of(tmp_path) == {"a": b"1", "b": b"2", "c": b"3"}


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"put": {"../x": "0"}, "remove": []}', '{"put": {}, "remove": ["/etc/passwd"]}',
     json.dumps({"put": {"a": "../../x"}, "remove": []})],
)  # fmt: skip
def test_a_list_that_leads_out_is_not_carried_out(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "vmm" / ".vmmlab" / "update"
    folder.mkdir(parents=True)
    (folder / "list.json").write_text(text)
    (folder / "0").write_text("hostile")
    with pytest.raises(VmmlabError, match="damaged"):
        journal.finish(tmp_path / "vmm")
    assert not (tmp_path / "x").exists()


def test_a_plan_without_changes_is_empty() -> None:
    assert Plan({}, {}, (), (), ("a",), ("b",)).empty

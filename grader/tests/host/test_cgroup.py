"""Control groups: where they can be made, what they limit, and that nothing of them stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmmlab.host import cgroup
from vmmlab.host.cgroup import Group, Support
from vmmlab.host.sandbox import Sandbox

OWN = "user.slice/app.slice/run.scope"


def system(root: Path, own: str = OWN, handed: dict[str, str] | None = None) -> Path:
    """A system with control groups; `handed` tells what a folder hands out."""
    mount = root / "sys/fs/cgroup"
    folder = mount / own
    folder.mkdir(parents=True)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"5:memory:/old\n0::/{own}\n")
    for one in (folder, *folder.parents):
        if one.is_relative_to(mount):
            (one / "cgroup.procs").write_text("")
            (one / "cgroup.subtree_control").write_text("")
    (mount / "cgroup.controllers").write_text("cpu memory pids\n")
    for name, text in (handed or {}).items():
        (mount / name / "cgroup.subtree_control").write_text(text)
    return mount


def test_the_nearest_folder_that_hands_out_both_is_taken(tmp_path: Path) -> None:
    both = {"": "cpu memory pids\n", "user.slice": "memory pids\n", OWN: "cpu\n"}
    mount = system(tmp_path, handed=both)
    assert cgroup.examine(tmp_path).parent == mount / "user.slice"
    assert "1280 MiB of memory, 512 processes" in str(cgroup.examine(tmp_path).text)


@pytest.mark.parametrize("handed", [{}, {"user.slice": "pids\n"}, {"user.slice": "memory cpu\n"}])
def test_without_both_there_is_none(tmp_path: Path, handed: dict[str, str]) -> None:
    system(tmp_path, handed=handed)
    found = cgroup.examine(tmp_path)
    assert found.parent is None
    assert "limits of each process alone" in str(found.text)
    assert cgroup.make(found) is None


def test_a_folder_of_another_user_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system(tmp_path, handed={"user.slice": "memory pids\n"})
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "cgroup.procs")
    assert cgroup.examine(tmp_path).parent is None


def test_version_1_and_no_groups_at_all(tmp_path: Path) -> None:
    assert "version 2" in str(cgroup.examine(tmp_path).reason)
    mount = system(tmp_path, handed={"user.slice": "memory pids\n"})
    (tmp_path / "proc/self/cgroup").write_text("5:memory:/old\n")
    assert cgroup.examine(tmp_path).parent is None
    (mount / "cgroup.controllers").unlink()
    assert cgroup.examine(tmp_path).parent is None


def test_a_path_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    system(tmp_path, handed={"": "memory pids\n"})
    (tmp_path / "proc/self/cgroup").write_text("0::/../../../elsewhere\n")
    found = cgroup.examine(tmp_path).parent
    assert found is None or ".." not in found.parts


def test_a_group_has_its_limits_and_everything_enters_it(tmp_path: Path) -> None:
    group = cgroup.make(Support(tmp_path))
    assert group is not None
    (folder,) = tmp_path.iterdir()
    assert (folder / "memory.max").read_text() == str(1280 << 20)
    assert (folder / "pids.max").read_text() == "512"
    assert not (folder / "memory.swap.max").exists(), "not every kernel has it"
    box = Sandbox.none().within(group)
    assert box.level == "none+cgroup"
    assert Sandbox.none().level == "none+rlimits"
    done = box.run(["/bin/sh", "-c", "echo $PPID"], timeout_s=20)
    assert done.ok
    assert int((folder / "cgroup.procs").read_text()) > 0, "it entered before it became the program"


def test_what_cannot_enter_does_not_run(tmp_path: Path) -> None:
    done = Sandbox.none().within(Group(tmp_path / "gone")).run(["echo", "ran"], timeout_s=20)
    assert (done.returncode, done.stdout) == (125, b"")


def test_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "vmmlab-1"
    folder.mkdir()
    group = Group(folder)
    group.close()
    assert not folder.exists()
    group.close()
    monkeypatch.setattr(cgroup, "_GONE_WITHIN_S", 0.05)
    folder.mkdir()
    (folder / "cgroup.kill").write_text("")  # a folder that is not empty cannot be removed
    Group(folder).close()
    assert (folder / "cgroup.kill").read_text() == "1", "all of it was told to end"


def test_a_parent_that_lies_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert cgroup.make(Support(tmp_path / "file")) is None

"""Whether bubblewrap works, and the reason if it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmmlab.host import bubblewrap
from vmmlab.host.bubblewrap import Bubblewrap, explain

ROOT = Path(__file__).resolve().parents[3]


def examined(monkeypatch: pytest.MonkeyPatch, path: Path) -> Bubblewrap:
    monkeypatch.setenv("PATH", str(path))
    bubblewrap._examine_once.cache_clear()
    try:
        return bubblewrap.examine()
    finally:
        bubblewrap._examine_once.cache_clear()


def test_without_bwrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = examined(monkeypatch, tmp_path)
    assert not found.works
    assert "not installed" in str(found.reason)
    assert "apt-get install bubblewrap" in str(found.next_step)


def test_with_broken_bwrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    fake.chmod(0o755)
    found = examined(monkeypatch, tmp_path)
    assert not found.works
    assert "uid map" in str(found.reason)


def test_it_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = bubblewrap.examine()
    monkeypatch.setattr(bubblewrap.subprocess, "run", None)
    assert bubblewrap.examine() is first


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n", "AppArmor"),
        ("proc/sys/kernel/unprivileged_userns_clone", "0\n", "denies user namespaces"),
        ("proc/sys/user/max_user_namespaces", "0\n", "no user namespaces"),
        (".dockerenv", "", "container"),
        ("run/.containerenv", "", "container"),
        ("nothing", "", "bwrap failed: it said"),
    ],
)
def test_reasons(tmp_path: Path, file: str, content: str, reason: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    why, step = explain("it said", tmp_path)
    assert reason in str(why)
    assert "it said" in str(why)
    assert step


@pytest.mark.parametrize(
    ("said", "reason", "what"),
    [
        ("bwrap: No permissions to create new namespace", "namespaces", "seccomp-grader.json"),
        ("bwrap: pivot_root: Operation not permitted", "namespaces", "seccomp-grader.json"),
        ("bwrap: Failed to make / slave: Permission denied", "AppArmor", "apparmor-grader"),
        ("bwrap: setting up uid map: Permission denied", "AppArmor", "apparmor-grader"),
    ],
)
def test_reasons_in_a_container(tmp_path: Path, said: str, reason: str, what: str) -> None:
    (tmp_path / ".dockerenv").touch()
    why, step = explain(said, tmp_path)
    assert reason in str(why)
    assert f"docker/{what}" in str(step)
    assert (ROOT / "docker" / what).is_file()

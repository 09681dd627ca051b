"""Attacks 4 and 11: what a killed grader leaves behind, and folders that will not go away."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vmmlab.base import scratch
from vmmlab.base.errors import InfraError
from vmmlab.base.removal import remove_tree
from vmmlab.base.scratch import reap, scratch_folder
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.cache import Cache

# --- removing -----------------------------------------------------------------------------------


def nest(top: Path, depth: int) -> None:
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 50, dir_fd=here)
        inner = os.open("d" * 50, os.O_RDONLY, dir_fd=here)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
        os.close(here)
        here = inner
    os.close(here)


def test_three_thousand_folders_in_each_other(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    nest(top, 3000)
    assert remove_tree(top)


def test_odd_names_many_files_and_no_rights(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    for number in range(2500):
        (top / "a" / f"{number}").touch()
    for name in (b"\xff", b"-rf", b".vmmlab-0", b".vmmlab-1", b"new\nline", b"x" * 255):
        (top / "a" / os.fsdecode(name)).mkdir()
        (top / os.fsdecode(name)).mkdir()
    os.mkfifo(top / "pipe")
    (top / "a").chmod(0)
    assert remove_tree(top)


def test_links_are_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    top = tmp_path / "top"
    top.mkdir()
    (top / "link").symlink_to(kept)
    assert remove_tree(top)
    link = tmp_path / "link"
    link.symlink_to(kept)
    assert not remove_tree(link)
    assert (kept / "file").exists()


def test_nothing_there(tmp_path: Path) -> None:
    assert remove_tree(tmp_path / "none")


# --- what a killed process leaves ----------------------------------------------------------------

CODE = """
import sys, time
from pathlib import Path
from vmmlab.base.scratch import scratch_folder
with scratch_folder("x", Path(sys.argv[1])) as folder:
    (folder / "deep" / "er").mkdir(parents=True)
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_folder_stays_as_long_as_its_process_and_no_longer(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", CODE, tmp_path], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        folder = Path(os.fsdecode(other.stdout.readline()).strip())
        reap(tmp_path)
        assert folder.is_dir(), "its process lives"
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert folder.is_dir(), "this is what a killed process leaves"
    reap(tmp_path)
    assert not folder.exists()


def test_the_next_process_reaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / "vmmlab-modules-1"
    left.mkdir()
    others = tmp_path / "other"
    others.mkdir()
    (tmp_path / "vmmlab-link").symlink_to(others)
    monkeypatch.setattr(scratch, "_reaped", set())
    with scratch_folder("y", tmp_path) as folder:
        assert not left.exists()
        assert folder.is_dir()
    assert not folder.exists()
    assert others.is_dir()


def test_scratch_folders_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / "tmp" / "vmmlab-build-dead"
    left.mkdir(parents=True)
    monkeypatch.setattr(scratch, "_reaped", set())
    with Cache(tmp_path).scratch() as work:
        assert not left.exists()
        nest(work, 1500)
    assert not work.exists()


# --- Ctrl-C while compiling -----------------------------------------------------------------------


def test_a_compiler_ends_when_the_grading_ends() -> None:
    box = Sandbox.choose(require=False)
    seen: list[object] = []

    def compile_for_ever() -> None:
        seen.append(box.run(["/bin/sh", "-c", "while :; do :; done"], timeout_s=60).returncode)
        try:
            box.run(["/bin/true"], timeout_s=60)
        except InfraError as error:
            seen.append(str(error))

    worker = threading.Thread(target=compile_for_ever)
    worker.start()
    while not box.running._processes:
        assert worker.is_alive()
        time.sleep(0.01)
    box.hiding(Path("/nowhere")).stop()
    worker.join(20)
    assert not worker.is_alive()
    assert seen == [137, "stopped"]


# --- the cache ------------------------------------------------------------------------------------


def test_large_entries_do_not_stay(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    for name, size in (("small", 1000), ("large", 10 << 20)):
        file = tmp_path / name
        file.write_bytes(bytes(size))
        cache.put(name, {"lab.o": file}, {})
    cache.drop_large()
    assert cache.get("small") is not None
    assert cache.get("large") is None


def test_what_a_tool_has_made_is_no_link(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    link = tmp_path / "lab.o"
    link.symlink_to(secret)
    with pytest.raises(InfraError):
        cache.put("k", {"lab.o": link}, {})

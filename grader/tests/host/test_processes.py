"""No process outlives the one that started it, at whatever moment that is killed."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from vmmlab.host import processes
from vmmlab.host.processes import children, end_tree, oom_kills

BWRAP = shutil.which("bwrap")
SLEEPER = ["sleep", "4217"]


def gone(pid: int) -> bool:
    """Return whether a process is gone, or is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def all_gone(pids: list[int]) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if all(map(gone, pids)):
            return True
        os.sched_yield()
    return False


def until(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        os.sched_yield()


@pytest.fixture
def detached():
    """A process whose child has its own session, which killpg does not reach."""
    script = f"setsid {' '.join(SLEEPER)} & wait"
    process = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    until(lambda: children(process.pid))
    child = children(process.pid)[0]
    until(lambda: gone(child) or os.getsid(child) != process.pid)
    yield process, child
    for pid in (child, process.pid):
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def test_a_child_with_its_own_session_is_ended_too(detached):
    process, child = detached
    end_tree(process.pid)
    assert all_gone([process.pid, child])


def test_killing_the_group_would_not_have_been_enough(detached):
    process, child = detached
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not gone(child)


def test_a_process_that_is_gone_is_no_error():
    process = subprocess.Popen(["true"])
    process.wait()
    end_tree(process.pid)
    assert children(process.pid) == []


def sleepers() -> set[int]:
    """Return all processes that run SLEEPER."""
    wanted = "\0".join(SLEEPER).encode() + b"\0"
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().endswith(wanted):
                found.add(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(BWRAP is None, reason="there is no bubblewrap on this machine")
@pytest.mark.parametrize("wait_us", [0, 200, 500, 1000, 1500, 2000, 2500, 3000, 4000, 6000])
def test_a_sandbox_killed_while_it_starts_leaves_nothing(wait_us):
    before = sleepers()
    command = [BWRAP, "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/", "/"]
    for _ in range(5):
        process = subprocess.Popen([*command, *SLEEPER], start_new_session=True)
        begun = time.monotonic()
        while (time.monotonic() - begun) * 1e6 < wait_us:
            os.sched_yield()
        end_tree(process.pid)
        process.wait()
    assert all_gone(list(sleepers() - before))


def test_what_linux_says_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert oom_kills() is not None
    monkeypatch.setattr(processes, "_PROC", tmp_path)
    assert oom_kills() is None
    (tmp_path / "vmstat").write_text("nr_free_pages 8\noom_kill 3\noom_kill_x 4\n")
    assert oom_kills() == 3

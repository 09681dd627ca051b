"""What the sandbox allows, what it stops, and its error when it cannot work."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.host import bubblewrap, sandbox
from vmmlab.host.bubblewrap import Bubblewrap
from vmmlab.host.container import Confinement
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.host.running import kill_tree
from vmmlab.host.sandbox import Sandbox

needs_bwrap = pytest.mark.skipif(
    not bubblewrap.examine().works, reason="bubblewrap does not work here"
)
KINDS = [pytest.param("bwrap", marks=needs_bwrap), "none"]


@pytest.fixture(params=KINDS)
def box(request: pytest.FixtureRequest) -> Sandbox:
    return make(request.param)


def make(kind: str) -> Sandbox:
    return Sandbox.choose(require=True) if kind == "bwrap" else Sandbox.none()


def sh(box: Sandbox, script: str, *, timeout_s: float = 20, **rest: object) -> sandbox.Completed:
    return box.run(["/bin/sh", "-c", script], timeout_s=timeout_s, **rest)  # type: ignore[arg-type]


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def alive(mark: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                return True
        except OSError:
            continue
    return False


class TestBothKinds:
    def test_output_and_status(self, box: Sandbox) -> None:
        done = sh(box, "echo out; echo err >&2; exit 7")
        assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 7)
        assert not done.ok
        assert not done.timed_out

    def test_environment_is_bare(self, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VMMLAB_SECRET", "42")
        done = sh(box, "env", env={"WANTED": "yes"})
        assert b"VMMLAB_SECRET" not in done.stdout
        assert b"WANTED=yes" in done.stdout
        assert b"LC_ALL=C" in done.stdout

    def test_works_in_a_directory_it_may_write(self, box: Sandbox, tmp_path: Path) -> None:
        done = sh(box, "echo hello >file; pwd", cwd=tmp_path, rw=(tmp_path,))
        assert done.ok, done
        assert done.stdout.decode().strip() == str(tmp_path)
        assert (tmp_path / "file").read_text() == "hello\n"

    def test_wall_time_out_ends_everything(self, box: Sandbox) -> None:
        mark = f"vmmlab-mark-{os.getpid()}-{box.kind}"
        began = time.monotonic()
        done = sh(box, f"sh -c 'sleep 77 # {mark}' & sh -c 'sleep 78; : {mark}'", timeout_s=0.3)
        assert done.timed_out
        assert time.monotonic() - began < 70, "it was waited for, not ended"
        until(lambda: not alive(mark), "a child outlived the sandbox")

    def test_what_is_left_behind_ends(self, box: Sandbox) -> None:
        mark = f"vmmlab-left-{os.getpid()}-{box.kind}"
        assert sh(box, f"sh -c 'sleep 77; : {mark}' >/dev/null 2>&1 &").ok
        until(lambda: not alive(mark), "a background child outlived the sandbox")

    def test_file_size_is_limited(self, box: Sandbox, tmp_path: Path) -> None:
        done = sh(
            box,
            "dd if=/dev/null of=big bs=1 seek=9M 2>/dev/null; dd if=big of=copy bs=1M; exit 0",
            cwd=tmp_path,
            rw=(tmp_path,),
            limits=ResourceLimits(file_mib=1),
        )
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1024 * 1024, done

    def test_flood_of_output_is_limited(self, box: Sandbox) -> None:
        line = "0123456789" * 500
        done = sh(box, f"while :; do echo {line}; done")
        assert done.returncode == 128 + 25
        assert len(done.stdout) == 1024 * 1024

    def test_processor_time_is_limited(self, box: Sandbox) -> None:
        done = sh(box, "while :; do :; done", limits=ResourceLimits(cpu_s=1))
        assert done.returncode == 128 + 24
        assert not done.timed_out

    def test_memory_is_limited(self, box: Sandbox) -> None:
        done = sh(box, "ulimit -v", limits=ResourceLimits(memory_mib=300))
        assert done.stdout == b"%d\n" % (300 * 1024)

    def test_limits_never_rise_above_those_of_the_caller(self, box: Sandbox) -> None:
        code = (
            "import resource; from vmmlab.host.sandbox import *; "
            "resource.setrlimit(resource.RLIMIT_CPU, (5, 5)); "
            f"b = Sandbox({box.kind!r}, '', {box.bwrap!r}); "
            "limits = ResourceLimits(cpu_s=60); "
            "d = b.run(['/bin/sh', '-c', 'ulimit -t'], timeout_s=9, limits=limits); "
            "assert d.stdout == b'5\\n', d"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_program_that_does_not_exist(self, box: Sandbox) -> None:
        assert box.run(["/no/such/program"], timeout_s=5).returncode == 127

    def test_bind_that_does_not_exist(self, box: Sandbox, tmp_path: Path) -> None:
        with pytest.raises(InfraError, match="does not exist"):
            box.run(["/bin/true"], ro=(tmp_path / "none",), timeout_s=5)

    def test_from_many_threads(self, box: Sandbox) -> None:
        with ThreadPoolExecutor(8) as pool:
            runs = list(pool.map(lambda n: sh(box, f"echo {n}").stdout, range(24)))
        assert runs == [b"%d\n" % n for n in range(24)]

    def test_socket_in_a_bound_directory_is_reachable(self, box: Sandbox, tmp_path: Path) -> None:
        path = tmp_path / "s.sock"
        code = (
            "import socket; s = socket.socket(socket.AF_UNIX); "
            f"s.bind({str(path)!r}); s.listen(); s.accept()[0].sendall(b'hello')"
        )
        python = Path("/usr/bin/python3")
        if not python.exists():
            pytest.skip("no /usr/bin/python3")
        process = subprocess.Popen(
            box.wrap([str(python), "-c", code], rw=(tmp_path,)), start_new_session=True
        )
        try:
            until(path.exists, "no socket")
            with socket.socket(socket.AF_UNIX) as client:
                until(lambda: client.connect_ex(str(path)) == 0, "no answer")
                assert client.recv(5) == b"hello"
        finally:
            kill_tree(process)

    def test_long_lived_process_dies_with_its_parent(self, box: Sandbox, tmp_path: Path) -> None:
        mark = f"vmmlab-orphan-{os.getpid()}-{box.kind}"
        code = (
            "import subprocess, pathlib; from vmmlab.host.sandbox import *; "
            f"d = pathlib.Path({str(tmp_path)!r}); b = Sandbox({box.kind!r}, '', {box.bwrap!r}); "
            f"a = b.wrap(['/bin/sh', '-c', 'echo >up; sleep 77; : {mark}'], rw=(d,), cwd=d); "
            "subprocess.Popen(a, start_new_session=True); input()"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as parent:
            until((tmp_path / "up").exists, "did not start")
            parent.kill()
        until(lambda: not alive("sleep 77; : " + mark), "outlived its killed parent")

    def test_killing_twice_is_harmless(self, box: Sandbox) -> None:
        process = subprocess.Popen(box.wrap(["/bin/sleep", "50"]), start_new_session=True)
        kill_tree(process)
        kill_tree(process)
        assert process.returncode == -9


@needs_bwrap
class TestBwrap:
    @pytest.mark.parametrize(
        "path", ["/etc/passwd", "/etc/hostname", "/proc/self", "/root", "/home"]
    )
    def test_host_is_invisible(self, path: str) -> None:
        assert not sh(make("bwrap"), f"test -e {path}").ok

    def test_usr_local_is_hidden(self) -> None:
        assert sh(make("bwrap"), "ls /usr/local").stdout == b""

    def test_unbound_directory_is_invisible(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("x")
        assert not sh(make("bwrap"), f"cat {tmp_path}/secret").ok

    def test_read_only_is_read_only(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        done = sh(make("bwrap"), f"cat {tmp_path}/file; echo y >{tmp_path}/file", ro=(tmp_path,))
        assert done.stdout == b"x"
        assert not done.ok
        assert (tmp_path / "file").read_text() == "x"

    def test_tmp_is_private(self) -> None:
        name = f"/tmp/vmmlab-private-{os.getpid()}"
        assert sh(make("bwrap"), f"echo >{name}; test -e {name}").ok
        assert not Path(name).exists()

    def test_only_dev_null(self) -> None:
        assert sh(make("bwrap"), "ls /dev").stdout == b"null\n"

    def test_no_network(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
            done = make("bwrap").run(["/usr/bin/python3", "-c", code], timeout_s=10)
        assert not done.ok

    def test_hidden_directory_below_a_shown_one(self, tmp_path: Path) -> None:
        (tmp_path / "kit" / "data").mkdir(parents=True)
        for place in ("kit/code", "kit/data/secret"):
            (tmp_path / place).write_text("seen")
        script = f"cat {tmp_path}/kit/code; cat {tmp_path}/kit/data/secret"
        shown = sh(make("bwrap"), script, ro=[tmp_path / "kit"])
        assert shown.stdout == b"seenseen"
        box = make("bwrap").hiding(tmp_path / "kit" / "data", tmp_path / "nowhere")
        assert sh(box, script, ro=[tmp_path / "kit"]).stdout == b"seen"

    def test_hidden_directory_below_usr(self) -> None:
        box = make("bwrap").hiding(Path("/usr/share/doc"), Path("/nowhere"))
        assert sh(box, "ls /usr/share/doc").stdout == b""
        assert sh(make("bwrap"), "ls /usr/share/doc").stdout != b""

    def test_detached_children_end_too(self) -> None:
        mark = f"vmmlab-detached-{os.getpid()}"
        script = f"for i in 1 2 3 4 5; do setsid sh -c 'sleep 77; : {mark}' & done; sleep 77"
        assert sh(make("bwrap"), script, timeout_s=0.5).timed_out
        until(lambda: not alive("sleep 77; : " + mark), "a detached child outlived the sandbox")

    def test_working_directory_that_vanished(self, tmp_path: Path) -> None:
        with pytest.raises(InfraError, match="could not be set up"):
            sh(make("bwrap"), ":", cwd=tmp_path / "gone")


class TestChoosing:
    def fake(self, monkeypatch: pytest.MonkeyPatch, found: Bubblewrap) -> None:
        monkeypatch.setattr(bubblewrap, "examine", lambda: found)

    def test_required_and_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake(
            monkeypatch, Bubblewrap(False, reason="bwrap is not installed", next_step="install it")
        )
        with pytest.raises(InfraError) as caught:
            Sandbox.choose(require=True)
        assert caught.value.exit_code == 3
        assert str(caught.value.found) == "bwrap is not installed"
        assert str(caught.value.next_step) == "install it"

    def test_not_required_and_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake(monkeypatch, Bubblewrap(False, reason="bwrap is not installed"))
        box = Sandbox.choose(require=False)
        assert box.kind == "none"
        assert "bwrap is not installed" in str(box.note)

    def test_works(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake(monkeypatch, Bubblewrap(True, "/usr/bin/bwrap", "0.8.0"))
        box = Sandbox.choose(require=True)
        assert box.kind == "bwrap"
        assert "no network" in box.note

    def test_a_container_limits_the_number_of_processes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.fake(monkeypatch, Bubblewrap(True, "/usr/bin/bwrap", "0.8.0"))
        around = Confinement(10001, False, False, True, False, False, None, None)
        monkeypatch.setattr(sandbox.container, "examine", lambda: around)
        assert Sandbox.choose(require=True).note.endswith("the number of processes is not")
        monkeypatch.setattr(sandbox.container, "examine", lambda: replace(around, processes=200))
        assert Sandbox.choose(require=True).note.endswith("by the container, to 200 in all")


FILLS = "for i in 1 2 3; do yes | head -c 40M >/tmp/$i || exit 9; done"


@needs_bwrap
class TestRoomInside:
    """What is written inside is memory of the host."""

    def test_tmp_has_a_size(self) -> None:
        done = sh(make("bwrap"), FILLS)
        assert done.returncode == 9
        assert b"No space" in done.stderr

    def test_tmp_can_be_used(self) -> None:
        assert sh(make("bwrap"), "yes | head -c 30M >/tmp/x && mkdir /tmp/a && ls /tmp").ok

    @pytest.mark.parametrize("place", ["/x", "/dev/x", "/usr/local/x", "/usr/x"])
    def test_nothing_else_can_be_written(self, place: str) -> None:
        done = sh(make("bwrap"), f": >{place}")
        assert done.returncode != 0
        assert b"Read-only" in done.stderr or b"denied" in done.stderr

    def test_hidden_folders_are_empty_and_stay_so(self, tmp_path: Path) -> None:
        (tmp_path / "secret").mkdir()
        (tmp_path / "secret" / "solution").write_text("42")
        box = make("bwrap").hiding(tmp_path / "secret")
        done = sh(box, f"ls -A {tmp_path}/secret; : >{tmp_path}/secret/x", ro=(tmp_path,))
        assert done.stdout == b""
        assert b"Read-only" in done.stderr

    def test_without_a_size_it_is_not_limited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bubblewrap, "can_size", lambda: False)
        bubblewrap.profile.cache_clear()
        try:
            done = sh(make("bwrap"), FILLS)
        finally:
            bubblewrap.profile.cache_clear()
        assert done.ok

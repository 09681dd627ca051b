"""`make images-test` itself: which engine it takes, what it says without one, what fails it."""

import importlib.machinery
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "docker" / "images-test"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The script as a module."""
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader = importlib.machinery.SourceFileLoader("images_test", str(SCRIPT))
    spec = importlib.util.spec_from_loader("images_test", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["images_test"] = module
    loader.exec_module(module)
    yield module
    del sys.modules["images_test"]
    sys.dont_write_bytecode = writes


class Host:
    """A machine whose engines are stubs: each notes what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.log = folder / "bin", folder / "log"
        self.bin.mkdir()
        self.log.touch()

    def stub(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{self.log}\n{text}\n')
        (self.bin / name).chmod(0o755)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(SCRIPT), *words],
            env={"PATH": f"{self.bin}", "HOME": os.environ.get("HOME", "/")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_without_an_engine(host: Host) -> None:
    done = host.run()
    assert (done.returncode, done.stdout) == (3, "")
    assert "docker: not installed; podman: not installed" in done.stderr
    assert "next:" in done.stderr


def test_with_an_engine_whose_service_does_not_run(host: Host) -> None:
    """The client of docker ends with 0 or 1 then, depending on its version."""
    complaint = "echo Client: Docker; echo 'Cannot connect to the Docker daemon at x.' >&2"
    for status in (0, 1):
        host.stub("docker", f"{complaint}; exit {status}")
        done = host.run()
        assert done.returncode == 3
        assert "docker: Cannot connect to the Docker daemon at x.; podman: not" in done.stderr


def test_the_other_engine_is_taken(host: Host) -> None:
    host.stub("docker", "echo 'Cannot connect' >&2; exit 1")
    host.stub("podman", 'case "$1" in image) echo 123456789;; esac')
    done = host.run("--build-only", "--build-option=--network=host")
    assert done.returncode == 0, done.stderr
    assert "podman" in done.stdout.splitlines()[0]
    assert "vmmlab-student: 123 MB" in done.stdout
    assert [line for line in host.log.read_text().splitlines() if " build " in line] == [
        f"podman build --network=host -f docker/{name}.Dockerfile -t vmmlab-{name} ."
        for name in ("student", "grader")
    ]


def test_a_build_that_fails(host: Host) -> None:
    host.stub("docker", 'case "$1" in build) echo "no such package"; exit 1;; esac')
    done = host.run("--engine", "docker")
    assert done.returncode == 1
    assert "FAIL  build vmmlab-student" in done.stdout
    assert "    no such package" in done.stdout
    assert "docker run" not in host.log.read_text(), "nothing is tried then"


def test_large_images_that_do_nothing_fail_every_try(host: Host, script: ModuleType) -> None:
    host.stub("docker", 'case "$1" in image) echo 901000000;; esac')
    done = host.run("--no-build")
    assert done.returncode == 1
    assert done.stdout.count("FAIL  ") == len(script.TRIES)
    assert "Traceback" not in done.stderr
    assert "docker build" not in host.log.read_text()


def test_no_container_gets_more_rights(host: Host) -> None:
    host.stub("docker", 'case "$1" in image) echo 1;; esac')
    host.run("--no-build")
    runs = [line for line in host.log.read_text().splitlines() if line.startswith("docker run")]
    assert runs
    for line in runs:
        assert "--privileged" not in line
        assert "--cap-add" not in line
        assert "unconfined" not in line
        if "vmmlab-grader" in line and "--security-opt" in line:
            for words in ("--cap-drop ALL", "--read-only", "--network none", "--pids-limit 200"):
                assert words in line


def test_the_profile_without_a_call(script: ModuleType) -> None:
    """Each call that the tests of the profile know is taken away, and only that."""
    whole = json.loads(script.PROFILE.read_text())
    for name in script.FOR_THE_SANDBOX:
        with script.without(name) as path:
            less = json.loads(path.read_text())
        before, after = (sorted(map(str, one["syscalls"])) for one in (whole, less))
        gone = [rule for rule in before if rule not in after]
        assert len(gone) == 1
        assert f"'{name}'" in gone[0]
    assert not path.exists()


def test_the_tries_and_the_tests_of_the_profile_agree(script: ModuleType) -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        import test_seccomp
    finally:
        sys.path.pop(0)
    assert set(script.FOR_THE_SANDBOX) == test_seccomp.FOR_THE_SANDBOX


def test_what_only_the_reference_has(script: ModuleType) -> None:
    lines = script.only_in_reference().decode().splitlines()
    assert len(lines) > 20
    given = (ROOT / "vmm-skeleton" / "{{cookiecutter.slug}}" / "core" / "main.c").read_text()
    assert not any(line in given for line in lines)


def test_a_folder_is_added_to_an_archive(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    empty = io.BytesIO()
    with tarfile.open(fileobj=empty, mode="w"):
        pass
    with tarfile.open(fileobj=io.BytesIO(script.with_folder(empty.getvalue(), tmp_path, "a"))) as t:
        assert t.getnames() == ["a", "a/x"]

"""What is wrong with the machine is no bug of vmmlab: closed streams, odd places, no memory."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from vmmlab.cli import main as cli
from vmmlab.i18n.translate import Reader, error_text

VMMLAB = f'"{sys.executable}" -m vmmlab.cli.main'


@pytest.mark.parametrize("streams", [">&-", "<&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["--version", "doctor --help"])
def test_streams_that_whoever_called_has_closed(streams: str, command: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{VMMLAB} {command} {streams}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "bug" not in done.stderr


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import os, sys; from vmmlab.cli.main import _streams_are_open as mend; mend();"
        "print(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY))"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -c "$1" "$2" <&- 2>&-', sys.executable, code, tmp_path / "report"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert int(done.stdout) > 2


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ELOOP, "Too many levels of symbolic links", "/a/loop"),
        RuntimeError("Symlink loop from '/a/loop'"),
        PermissionError(errno.EACCES, "Permission denied", "/a/loop"),
        OSError(errno.EROFS, "Read-only file system", "/a/loop"),
    ],
)
def test_a_place_that_cannot_be_used_is_named(error: Exception, language: str) -> None:
    found = cli._of_the_host(error)
    assert found is not None
    said = error_text(found, Reader(language))
    assert "/a/loop" in said
    assert "bug" not in said
    assert language == "en" or not any(word in said for word in ("levels", "denied", "file system"))


def test_memory_and_the_disk() -> None:
    assert "memory" in str(cli._of_the_host(MemoryError()))
    assert "disk is full" in str(cli._of_the_host(OSError(errno.ENOSPC, "No space left", "/x")))


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), RuntimeError("x"), OSError("x"), FileNotFoundError(errno.ENOENT, "x", "/x")],
)
def test_a_bug_stays_one(error: Exception) -> None:
    assert cli._of_the_host(error) is None


def test_a_loop_of_links_as_the_folder_for_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "class" / "ada" / "lab1").mkdir(parents=True)
    words = ["batch", str(tmp_path / "class"), "--out", str(tmp_path / "loop")]
    assert cli.main(words) in (2, 3)
    said = capsys.readouterr().err
    assert "loop" in said
    assert "bug" not in said

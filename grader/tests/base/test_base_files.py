"""Writing a file in one go: old or new content, and no other file is left."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vmmlab.base.files import cache_dir, staged, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_only_what_is_put_in_place_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with staged(path, b"new"):
        assert path.read_text() == "old"
    assert path.read_text() == "old"
    with staged(path, b"new") as put_in_place:
        put_in_place()
        assert path.read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_an_error_in_the_block_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), staged(tmp_path / "file", b"new"):
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        for name, mode in (("usual", None), ("open", 0o664), ("closed", 0o600)):
            with staged(tmp_path / name, b"", mode=mode) as put_in_place:
                put_in_place()
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert modes == {"usual": 0o640, "open": 0o664, "closed": 0o600}


def test_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    with staged(tmp_path / "link", b"newer") as put_in_place:
        put_in_place()
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_device_is_written_to(tmp_path: Path) -> None:
    write_atomically(Path(os.devnull), b"gone")
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("where", ["missing/file", "folder"])
def test_where_nothing_can_be_written(tmp_path: Path, where: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"\[Errno"):
        write_atomically(tmp_path / where, b"new")
    assert names(tmp_path) == ["folder"]


def test_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "vmmlab"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache_dir() == Path.home() / ".cache/vmmlab"

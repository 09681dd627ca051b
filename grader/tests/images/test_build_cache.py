"""The cache: entries appear whole, its size is bounded, damage is repaired."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.images import cache as module
from vmmlab.images.cache import Cache, digest, digest_files

Put = Callable[..., None]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", limit_bytes=10_000)


def put(cache: Cache, key: str, content: bytes = b"x", **data: object) -> Path:
    with cache.scratch() as work:
        (work / "a").write_bytes(content)
        return cache.put(key, {"a": work / "a"}, data).path


def test_found_again(cache: Cache) -> None:
    assert cache.get("k1") is None
    put(cache, "k1", b"hello", number=3)
    entry = cache.get("k1")
    assert entry is not None
    assert (entry.path / "a").read_bytes() == b"hello"
    assert entry.data == {"number": 3}
    assert not list((cache.directory / "tmp").iterdir())


def test_second_writer_finds_the_first(cache: Cache) -> None:
    first = put(cache, "k1", b"hello")
    assert put(cache, "k1", b"hello") == first


@pytest.mark.parametrize("how", ["cut", "gone", "meta", "empty", "list"])
def test_damaged_entry_is_none(cache: Cache, how: str) -> None:
    path = put(cache, "k1", b"hello")
    if how == "cut":
        (path / "a").write_bytes(b"h")
    elif how == "gone":
        (path / "a").unlink()
    elif how == "meta":
        (path / "entry.json").write_text("{")
    elif how == "list":
        (path / "entry.json").write_text("[]")
    else:
        (path / "entry.json").unlink()
    assert cache.get("k1") is None
    assert put(cache, "k1", b"hello") == path
    assert cache.get("k1") is not None


def test_an_entry_that_comes_while_it_is_looked_for_stays(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, looks = Path.read_bytes, []

    def look(path: Path) -> bytes:
        looks.append(path)
        try:
            return read(path)
        finally:
            if len(looks) == 1:  # another process is done just now
                put(cache, "k1", b"hello")

    monkeypatch.setattr(Path, "read_bytes", look)
    found = cache.get("k1")
    assert found is not None
    assert (found.path / "a").read_bytes() == b"hello"


def test_threads_write_the_same(cache: Cache) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: put(cache, "kk", b"same"), range(40)))) == 1


def test_only_once(cache: Cache) -> None:
    made: list[int] = []

    def work(number: int) -> None:
        with cache.only_once("k1"):
            if cache.get("k1") is None:
                made.append(number)
                put(cache, "k1")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))
    assert len(made) == 1


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_least_recently_used_go_first(cache: Cache) -> None:
    paths = [put(cache, f"{n}{n}", b"x" * 3000) for n in range(6)]
    for n, path in enumerate(paths):
        age(path, 10_000 - n)
    assert cache.get("00") is not None, "using an entry makes it young"
    cache.prune()
    assert [path.exists() for path in paths] == [True, False, False, False, True, True]


def test_what_is_taken_while_the_cache_is_pruned_stays(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that is listed as old may be in use by the time it is deleted."""
    paths = [put(cache, f"{n}{n}", b"x" * 3000) for n in range(5)]
    for n, path in enumerate(paths):
        age(path, 10_000 - n)
    plain, taken = cache._children, []

    def children(directory: Path) -> Iterator[Path]:
        yield from plain(directory)
        if directory.name == "entries":  # all are listed
            taken.append(cache.get("00"))

    monkeypatch.setattr(cache, "_children", children)
    cache.prune()
    assert taken[0] is not None
    assert [path.exists() for path in paths] == [True, False, False, True, True]


def test_taking_waits_while_an_entry_is_dropped(cache: Cache) -> None:
    put(cache, "k1")
    with ThreadPoolExecutor(1) as pool:
        with cache._in_use(module.fcntl.LOCK_EX):
            waiting = pool.submit(cache.get, "k1")
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
        assert waiting.result(20) is not None


def test_young_entries_stay(cache: Cache) -> None:
    paths = [put(cache, f"{n}{n}", b"x" * 6000) for n in range(5)]
    assert cache.prune() == 0
    assert all(path.exists() for path in paths)


def test_growth_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_YOUNG_S", -1.0)
    monkeypatch.setattr(module, "_PRUNE_EVERY_BYTES", 20_000)
    cache = Cache(tmp_path, limit_bytes=50_000)
    for n in range(200):
        put(cache, digest(n), bytes(2000))
    left = sum(path.stat().st_size for path in tmp_path.rglob("a"))
    assert left < 50_000 + 10 * 20_000


def test_leftovers_of_a_crash_go(cache: Cache) -> None:
    put(cache, "k1")
    old, new = cache.directory / "tmp" / "old", cache.directory / "tmp" / "new"
    for path in (old, new):
        path.mkdir()
    age(old, 2 * 24 * 3600)
    cache.prune()
    assert not old.exists()
    assert new.exists()


def test_full_disk(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*args: object, **rest: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    monkeypatch.setattr(Path, "write_text", no_room)
    with pytest.raises(InfraError, match="disk is full") as caught:
        put(cache, "k1")
    assert str(cache.directory) in str(caught.value.message)
    assert "XDG_CACHE_HOME" in str(caught.value.next_step)
    monkeypatch.undo()
    assert cache.get("k1") is None


def test_room_is_tried(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in (False, True):
        cache.check_room(tmp_path, asked=asked)
    assert not list(tmp_path.glob("room"))

    def no_room(*args: object, **rest: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded", "x")

    monkeypatch.setattr(Path, "write_bytes", no_room)
    with pytest.raises(InfraError, match="disk is full"):
        cache.check_room(tmp_path, asked=False)


def test_unusable_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfraError, match="cannot be used") as caught:
        put(Cache(tmp_path / "file"), "k1")
    assert str(tmp_path / "file") in str(caught.value)
    assert "XDG_CACHE_HOME" in str(caught.value.next_step)


def test_digest_keeps_borders() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(None) != digest("")
    assert digest_files({"a": b"1", "b": b"2"}) == digest_files({"b": b"2", "a": b"1"})
    assert digest_files({"a": b"1"}) != digest_files({"a": b"2"})

"""Archives and folders of a stranger: what is taken, and what is refused with its reason."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmmlab.base import archive, foldertree
from vmmlab.base.box import CLASS, SUBMISSION, Box, BoxError, Limits, Unusable, contents

SMALL = Limits(archive=1 << 20, members=20, depth=4, file=5000, total=40_000)


def zipped(
    *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return out.getvalue()


def tarred(*members: tuple[str | tarfile.TarInfo, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as file:  # type: ignore[call-overload]
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if info.isreg():
                info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return out.getvalue()


def reasons(box: Box) -> dict[str, str]:
    return {one.name: str(one.why) for one in box.refused}


PACKERS: dict[str, Callable[..., bytes]] = {
    "zip": zipped,
    "tar": lambda *m: tarred(*m, mode="w"),
    "gz": tarred,
    "bz2": lambda *m: tarred(*m, mode="w:bz2"),
    "xz": lambda *m: tarred(*m, mode="w:xz"),
}


@pytest.mark.parametrize("kind", PACKERS)
def test_files_by_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "upload"  # the name says nothing
    path.write_bytes(PACKERS[kind](("./lab3/a.c", b"one"), ("lab3\\b.c", b"two"), ("é.c", b"3")))
    assert archive.is_archive(path)
    found = archive.read(path, SMALL)
    assert found.files == {"lab3/a.c": b"one", "lab3/b.c": b"two", "é.c": b"3"}
    assert not found.refused


@pytest.mark.parametrize("kind", PACKERS)
def test_what_is_not_wanted_is_named_and_not_read(kind: str) -> None:
    found = archive.read(PACKERS[kind](("a.c", b"1"), ("b.o", b"2")), SMALL, lambda n: n == "a.c")
    assert (dict(found.files), found.others) == ({"a.c": b"1"}, ("b.o",))


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("../x.c", "leads out"),
        ("lab3/../../x.c", "leads out"),
        ("..\\x.c", "leads out"),
        ("/etc/passwd", "absolute"),
        ("C:\\x.c", "absolute"),
        ("a\nb.c", "control characters"),
        ("a/b/c/d/e.c", "folders deep"),
        ("x" * 256, "too long"),
    ],
)
def test_names_that_lead_elsewhere(kind: str, bad: str, why: str) -> None:
    found = archive.read(PACKERS[kind]((bad, b"bad"), ("good.c", b"good")), SMALL)
    assert dict(found.files) == {"good.c": b"good"}
    (refused,) = found.refused
    assert why in str(refused.why)
    assert "\n" not in refused.name


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_collide_are_refused_both(kind: str) -> None:
    data = PACKERS[kind](("a.c", b"1"), ("a.c", b"2"), ("B.c", b"3"), ("b.c", b"4"), ("c.c", b"5"))
    with archive.opened(data, SMALL) as box:
        assert list(box.names) == ["c.c"]
        assert reasons(box) == {
            "a.c": "is there twice",
            "B.c": "differs from another name only in upper and lower case",
            "b.c": "differs from another name only in upper and lower case",
        }


def special(mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("lab3/a.c")
    info.create_system, info.external_attr = 3, mode << 16
    return info


@pytest.mark.parametrize(
    ("mode", "why"),
    [(stat.S_IFLNK | 0o777, "symbolic link"), (stat.S_IFCHR, "special"), (stat.S_IFIFO, "special")],
)
def test_links_and_devices_of_a_zip(mode: int, why: str) -> None:
    with archive.opened(zipped((special(mode), b"/etc/passwd"))) as box:
        assert not box.names
        assert why in reasons(box)["lab3/a.c"]


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "special"),
        (tarfile.FIFOTYPE, "special"),
        (tarfile.GNUTYPE_SPARSE, "sparse"),
    ],
)
def test_links_and_devices_of_a_tar(kind: bytes, why: str) -> None:
    info = tarfile.TarInfo("lab3/a.c")
    info.type, info.linkname = kind, "/etc/passwd"
    with archive.opened(tarred((info, b""))) as box:
        assert not box.names
        assert why in reasons(box)["lab3/a.c"]


def test_an_encrypted_member(tmp_path: Path) -> None:
    data = bytearray(zipped(("a.c", b"text")))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with archive.opened(bytes(data)) as box:
        assert reasons(box) == {"a.c": "is encrypted"}


def test_a_method_that_takes_much_memory() -> None:
    with archive.opened(zipped(("a.c", b"text"), method=zipfile.ZIP_LZMA)) as box:
        assert "not supported" in reasons(box)["a.c"]


@pytest.mark.parametrize("encoding", ["cp932", "utf-8"])
def test_names_without_the_flag_for_utf8(encoding: str) -> None:
    raw = "課題/表示.c".encode(encoding)  # 表 in Shift-JIS ends with a backslash's code
    stand_in = "x" * len(raw)
    data = zipped((stand_in, b"x")).replace(stand_in.encode(), raw)
    with archive.opened(data) as box:
        assert list(box.names) == ["課題/表示.c"]
        assert box.read("課題/表示.c") == b"x"


# --- bombs -----------------------------------------------------------------------------------


def test_a_bomb_in_a_zip_is_refused_unread() -> None:
    bomb = zipped(("a.c", bytes(50 << 20)), ("b.c", b"2"))
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    found = archive.read(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dict(found.files) == {"b.c": b"2"}
    assert "larger than 8 MiB" in str(found.refused[0].why)
    assert peak < 4 << 20


def test_a_zip_that_lies_about_sizes() -> None:
    data = bytearray(zipped(("a.c", b"x" * 100_000)))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = (10).to_bytes(4, "little")
    with archive.opened(bytes(data), SMALL) as box, pytest.raises(Unusable, match="unpacked"):
        box.read("a.c")


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_bomb_around_a_tar(kind: str) -> None:
    bomb = PACKERS[kind](*((f"{n}.c", bytes(2 << 20)) for n in range(8)))
    assert len(bomb) < 1 << 20
    limits = Limits(archive=1 << 20, members=20, depth=4, file=1 << 10, total=4 << 20)
    tracemalloc.start()
    with pytest.raises(BoxError, match="unpacks to more than 4 MiB"):
        archive.read(bomb, limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20  # xz has a dictionary of 8 MiB


def test_many_small_files_are_too_much_together() -> None:
    many = [(f"{n}.c", bytes(4900)) for n in range(9)]
    for kind in ("zip", "gz"):
        with pytest.raises(BoxError, match="unpacks to more"):
            archive.read(PACKERS[kind](*many), SMALL)


@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_too_many_members(kind: str) -> None:
    many = [(f"{n}.c", b"") for n in range(SMALL.members + 1)]
    with pytest.raises(BoxError, match="more than 20 files"):
        archive.read(PACKERS[kind](*many), SMALL)
    assert len(archive.read(PACKERS[kind](*many[1:]), SMALL).files) == SMALL.members


def test_the_list_of_members_is_measured_before_it_is_read() -> None:
    data = zipped(*((f"{n:0>230}.c", b"") for n in range(80)))
    tracemalloc.start()
    with pytest.raises(BoxError, match="more than 20 files"):
        archive.read(data, SMALL)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_an_archive_of_three_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.zip"
    with path.open("wb") as file:
        file.write(zipped(("a.c", b"1")))
        file.truncate(3 << 30)  # sparse
    with pytest.raises(BoxError, match="larger than 32 MiB") as caught:
        archive.read(path)
    assert str(caught.value.found) == "3072 MiB"
    assert "hand in only the files" in str(caught.value.next_step)
    with pytest.raises(BoxError, match="larger than 2048 MiB") as caught:
        archive.read(path, CLASS)
    assert "several folders or archives" in str(caught.value.next_step)


@pytest.mark.parametrize("cut", [0, 1, 30, 60, -1, -22])
@pytest.mark.parametrize("kind", PACKERS)
def test_damaged_archives(kind: str, cut: int, tmp_path: Path) -> None:
    whole = PACKERS[kind](("a.c", os.urandom(500)), ("b.c", os.urandom(500)))
    path = tmp_path / "a"
    path.write_bytes(whole[:cut])
    with contextlib.suppress(BoxError):
        found = archive.read(path, SMALL)
        assert kind != "zip"  # what is missing at the end of a tar can be padding
        assert set(found.files) <= {"a.c", "b.c"}


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("int main;" * 100)
    (tmp_path / "real").write_bytes(zipped(("a.c", b"")))
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "pipe")
    assert archive.is_archive(tmp_path / "real")
    for name in ("a.zip", "link", "pipe", "missing", "."):
        assert not archive.is_archive(tmp_path / name)
        with pytest.raises(BoxError):
            archive.read(tmp_path / name)


# --- folders ---------------------------------------------------------------------------------


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "lab3").mkdir()
    (tmp_path / "lab3" / "a.c").write_bytes(b"1")
    (tmp_path / "lab3" / "link.c").symlink_to("/etc/passwd")
    (tmp_path / "up").symlink_to("..")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "hard").hardlink_to(tmp_path / "lab3" / "a.c")
    (tmp_path / "lab3" / "B.c").write_bytes(b"2")
    (tmp_path / "a" / "b" / "c" / "d").mkdir(parents=True)
    (tmp_path / "big").write_bytes(bytes(5001))
    with foldertree.opened(tmp_path, SMALL) as box:
        found = contents(box)
    assert dict(found.files) == {"lab3/B.c": b"2"}
    assert {one.name: str(one.why) for one in found.refused} == {
        "lab3/a.c": "is the same file as another name (a hard link)",
        "hard": "is the same file as another name (a hard link)",
        "lab3/link.c": "is a symbolic link",
        "up": "is a symbolic link",
        "pipe": "is a special file",
        "a/b/c/d": "lies more than 3 folders deep",
        "big": "is larger than 5 KiB",
    }


def test_a_file_that_becomes_a_link_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_bytes(b"1")
    with foldertree.opened(tmp_path) as box:
        (tmp_path / "a.c").unlink()
        (tmp_path / "a.c").symlink_to("/etc/passwd")
        with pytest.raises(Unusable, match="cannot be read"):
            box.read("a.c")


def test_a_folder_with_too_many_files(tmp_path: Path) -> None:
    for number in range(SMALL.members + 1):
        (tmp_path / f"{number}").touch()
    with pytest.raises(BoxError, match="more than 20 files"), foldertree.opened(tmp_path, SMALL):
        pass
    assert SUBMISSION.members > SMALL.members


# --- damage ------------------------------------------------------------------------------------

WHOLE = {kind: pack(("lab3/a.c", b"x" * 700), ("b.c", b"y")) for kind, pack in PACKERS.items()}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    kind=st.sampled_from(sorted(PACKERS)),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
)
def test_whatever_is_damaged_is_refused_in_words(kind: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE[kind])
    for place, value in changes:
        data[place % len(data)] = value
    with contextlib.suppress(BoxError):
        archive.read(bytes(data), SMALL)


def test_a_member_without_a_name() -> None:
    data = zipped(("x", b"1"), ("b.c", b"2"))
    at = data.index(b"PK\x01\x02")
    nameless = data[: at + 28] + b"\0\0" + data[at + 30 : at + 46] + data[at + 47 :]
    end = nameless.index(b"PK\x05\x06")
    size = int.from_bytes(nameless[end + 12 : end + 16], "little") - 1
    nameless = nameless[: end + 12] + size.to_bytes(4, "little") + nameless[end + 16 :]
    with archive.opened(nameless, SMALL) as box:
        assert list(box.names) == ["b.c"]
        assert reasons(box) == {"?": "has no name"}


@pytest.mark.parametrize("seconds", [1e13, -1e13, float(1 << 62)])
def test_a_file_changed_in_a_year_that_has_no_date(tmp_path, monkeypatch, seconds):
    """As tar leaves it; most file systems know such years, a date of Python does not."""
    (tmp_path / "a.c").write_text("x")
    real = foldertree.os.scandir

    class Entry:
        def __init__(self, entry):
            self.name, self._entry = entry.name, entry

        def stat(self, *, follow_symlinks):
            found = self._entry.stat(follow_symlinks=follow_symlinks)
            return os.stat_result((*found[:7], 0, seconds, 0))

    @contextlib.contextmanager
    def scandir(folder):
        with real(folder) as entries:
            yield [Entry(one) for one in entries]

    monkeypatch.setattr(foldertree.os, "scandir", scandir)
    with foldertree.opened(tmp_path) as box:
        assert box.names["a.c"].modified is None
        assert box.read("a.c") == b"x"

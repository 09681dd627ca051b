"""Untrusted archives: what is read, and everything that is refused."""

from __future__ import annotations

import io
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vmmlab.base.archive import Limits, is_archive, read
from vmmlab.base.errors import SubmissionError

FILES = {"lab3/apinit.S": b".code16\n", "lab3/ap_start.c": b"int x;\n", "名前/a.c": b""}
SMALL = Limits(entries=20, each=1000, total=3000, packed=100_000)


def zipped(files: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] | None = None,
           method: int = zipfile.ZIP_DEFLATED) -> bytes:  # fmt: skip
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            if change is not None:
                change(info)
            archive.writestr(info, data)
    return made.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w", **fields: object) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


@pytest.mark.parametrize(
    "data",
    [zipped(FILES), zipped(FILES, method=zipfile.ZIP_STORED)]
    + [tarred(FILES, mode) for mode in ("w", "w:gz", "w:bz2", "w:xz")],
    ids=["zip", "stored", "tar", "tar.gz", "tar.bz2", "tar.xz"],
)
def test_plain_files_are_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "handin"
    path.write_bytes(data)
    assert is_archive(path)
    assert read(path, SMALL) == read(data, SMALL) == FILES
    assert list(tmp_path.iterdir()) == [path], "nothing is written"


def test_names_from_other_systems() -> None:

    data = zipped({"lab3\\a.c": b"1", "./lab3/b.c": b"2", "__MACOSX/lab3/._a.c": b"", "lab3/": b""})
    assert read(data) == {"lab3/a.c": b"1", "lab3/b.c": b"2"}
    raw = "山田 太郎/lab3/a.c".encode("cp932")
    data = zipped({"x" * len(raw): b"1"}).replace(b"x" * len(raw), raw)
    assert read(data) == {"山田 太郎/lab3/a.c": b"1"}
    decomposed = "か\u3099.c"
    assert list(read(zipped({decomposed: b""}))) == ["が.c"]


def link(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def encrypted(data: bytes) -> bytes:
    """Set the flag in both headers."""
    at = data.index(b"PK\x01\x02")
    return data[:6] + b"\x01" + data[7 : at + 8] + b"\x01" + data[at + 9 :]


REFUSED = {
    "zip: a link": (zipped({"lab3/a": b"/etc/passwd"}, link), "link"),
    "zip: ..": (zipped({"lab3/../../x": b""}), "leads out"),
    "zip: .. by backslashes": (zipped({"lab3\\..\\..\\x": b""}), "leads out"),
    "zip: absolute": (zipped({"/etc/passwd": b""}), "absolute"),
    "zip: a drive": (zipped({"C:\\x": b""}), "absolute"),
    "zip: a share": (zipped({"\\\\server\\x": b""}), "absolute"),
    "zip: an escape in a name": (zipped({"a\x1b[2J": b""}), "not a valid name"),
    "zip: a name twice": (
        zipped({"lab3/b": b"1", "lab3/c": b"2"}).replace(b"lab3/c", b"lab3/b"),
        "more than one lab3/b",
    ),
    "zip: by case": (zipped({"lab3/a": b"1", "LAB3/A": b"2"}), "more than one"),
    "zip: by normal form": (zipped({"か\u3099": b"", "が": b""}), "more than one"),
    "zip: a file as a folder": (zipped({"a": b"", "a/b": b""}), "both a file and a folder"),
    "zip: a folder as a file": (zipped({"a/b": b"", "a": b""}), "both a file and a folder"),
    "zip: too many": (zipped({f"f{n}": b"" for n in range(21)}), "more than 20 files"),
    "zip: a bomb": (zipped({"a": b"\0" * (1 << 24)}), "a is larger"),
    "zip: many small ones": (zipped({f"f{n}": b"x" * 900 for n in range(9)}), "more than"),
    "zip: encrypted": (encrypted(zipped({"a": b"x"})), "encrypted"),
    "zip: another method": (zipped({"a": b"x"}, method=zipfile.ZIP_LZMA), "unusual method"),
    "zip: cut": (zipped(FILES)[:-30], "damaged"),
    "zip: wrong content": (
        zipped({"a": b"hello"}, method=zipfile.ZIP_STORED).replace(b"hello", b"hallo"),
        "damaged",
    ),
    "tar: a link": (tarred({"a": b""}, type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link"),
    "tar: a hard link": (tarred({"a": b""}, type=tarfile.LNKTYPE, linkname="b"), "link"),
    "tar: a device": (tarred({"a": b""}, type=tarfile.CHRTYPE), "special file"),
    "tar: ..": (tarred({"../x": b""}), "leads out"),
    "tar: absolute": (tarred({"/x": b""}), "absolute"),
    "tar: a bomb": (tarred({"a": b"\0" * (1 << 24)}, "w:gz"), "more than"),
    "tar: too many": (tarred({f"f{n}": b"" for n in range(21)}, "w:xz"), "more than 20 files"),
    "tar: cut": (tarred({"a": b"x" * 900}, "w:gz")[:-40], "damaged"),
    "text": (b"hello\n", "no archive"),
    "nothing": (b"", "no archive"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    data, why = REFUSED[name]
    with pytest.raises(SubmissionError, match="cannot be used") as caught:
        read(data, SMALL)
    assert why in str(caught.value.found)
    assert caught.value.expected
    assert caught.value.next_step


def test_a_bomb_is_not_unpacked() -> None:
    bombs = [zipped({"a": b"\0" * (32 << 20)}), tarred({"a": b"\0" * (32 << 20)}, "w:xz")]
    for bomb in bombs:
        tracemalloc.start()
        with pytest.raises(SubmissionError):
            read(bomb, SMALL)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
        tracemalloc.stop()


def test_a_directory_of_a_million_entries_is_not_read() -> None:
    one = zipped({"a": b""})
    entry = one[one.index(b"PK\x01\x02") : one.rindex(b"PK\x05\x06")]
    end = bytearray(one[one.rindex(b"PK\x05\x06") :])
    end[12:16] = (len(entry) * 100_000).to_bytes(4, "little")
    data = one[: one.index(b"PK\x01\x02")] + entry * 100_000 + bytes(end)
    with pytest.raises(SubmissionError, match="more than 1000 files"):
        read(data, Limits(entries=1000, packed=1 << 30))


def test_an_archive_in_an_archive_is_a_file() -> None:
    inner = zipped(FILES)
    outer = read(zipped({"Ada/handin.zip": inner}, method=zipfile.ZIP_STORED), SMALL)
    assert read(outer["Ada/handin.zip"], name="Ada/handin.zip") == FILES


def test_only_a_regular_file_is_an_archive(tmp_path: Path) -> None:
    real = tmp_path / "real.zip"
    real.write_bytes(zipped(FILES))
    (tmp_path / "link.zip").symlink_to(real)
    for path in (tmp_path, tmp_path / "link.zip", tmp_path / "none.zip"):
        assert not is_archive(path)
        with pytest.raises(SubmissionError, match="cannot be read"):
            read(path)

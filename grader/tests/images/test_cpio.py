"""The initial file system for Linux, read back by a reader of the test's own."""

import stat

import pytest

from vmmlab.images.cpio import initramfs


def read(archive: bytes) -> list[tuple[str, int, bytes]]:
    """Return path, mode and content of each entry, in order."""
    entries, at = [], 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, owner, size, name_size = fields[1], fields[2:4], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size]
        assert name[-1] == 0
        assert owner == [0, 0]
        data = at + 110 + name_size
        data += -data % 4
        if name == b"TRAILER!!!\0":
            assert data + -data % 4 == len(archive)
            return entries
        entries.append((name[:-1].decode(), mode, archive[data : data + size]))
        at = data + size
        at += -at % 4


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 100_000])
def test_what_is_put_in_comes_out(size):
    entries = read(initramfs({"init": b"#!x\n", "bin/busybox": bytes(size)}, ("proc",)))
    assert entries == [
        ("bin", stat.S_IFDIR | 0o755, b""),
        ("bin/busybox", stat.S_IFREG | 0o755, bytes(size)),
        ("init", stat.S_IFREG | 0o755, b"#!x\n"),
        ("proc", stat.S_IFDIR | 0o755, b""),
    ]


def test_a_folder_comes_before_what_is_in_it_and_only_once():
    names = [name for name, *_ in read(initramfs({"a/b/c": b"", "a/b-": b"", "a/b/d": b""}))]
    assert sorted(names) == ["a", "a/b", "a/b-", "a/b/c", "a/b/d"]
    assert names.index("a") < names.index("a/b") < names.index("a/b/c")


def test_the_same_files_give_the_same_bytes():
    assert initramfs({"b": b"1", "a": b"2"}) == initramfs({"a": b"2", "b": b"1"})


@pytest.mark.parametrize("path", ["", "/init", "a//b", "../init", "a/./b", "café"])
def test_a_path_that_leads_elsewhere_is_refused(path):
    with pytest.raises(ValueError, match="inside"):
        initramfs({path: b""})

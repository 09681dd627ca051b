"""The FAT file system for UEFI firmware, read back by a reader of the test's own."""

import struct

import pytest

from vmmlab.images.fat import fat_image

SECTOR = 512


def files_in(image, entries=None, path=""):
    """Every file of a FAT12 file system: content by path."""
    size, per_cluster, reserved, fats, roots, _, _, fat_size = struct.unpack_from(
        "<HBHBHHBH", image, 11
    )
    assert (size, fats) == (SECTOR, 2)
    cluster_size = per_cluster * SECTOR
    root = (reserved + fats * fat_size) * SECTOR
    data = root + roots * 32
    first_fat = image[reserved * SECTOR : (reserved + fat_size) * SECTOR]
    assert image[(reserved + fat_size) * SECTOR : root] == first_fat

    def chain(cluster):
        content = b""
        while 2 <= cluster < 0xFF8:
            at = data + (cluster - 2) * cluster_size
            content += image[at : at + cluster_size]
            pair = int.from_bytes(first_fat[cluster * 3 // 2 : cluster * 3 // 2 + 2], "little")
            cluster = pair >> 4 if cluster % 2 else pair & 0xFFF
        return content

    found = {}
    entries = image[root:data] if entries is None else entries
    for at in range(0, len(entries), 32):
        name, kind, cluster, length = struct.unpack_from("<11sB14xHI", entries, at)
        if not name[0] or name[0] == ord("."):
            continue
        base, extension = name[:8].decode().rstrip(), name[8:].decode().rstrip()
        here = f"{path}{base}{'.' if extension else ''}{extension}"
        if kind & 0x10:
            found |= files_in(image, chain(cluster), f"{here}/")
        else:
            found[here] = chain(cluster)[:length]
    return found


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 100_000, 1_500_000, 3_900_000, 9_000_000])
def test_what_is_put_in_comes_out(length):
    files = {
        "EFI/BOOT/BOOTX64.EFI": bytes(range(256)) * (length // 256 + 1),
        "README.TXT": b"hello",
    }
    files["EFI/BOOT/BOOTX64.EFI"] = files["EFI/BOOT/BOOTX64.EFI"][:length]
    assert files_in(fat_image(files)) == files


def test_the_same_files_give_the_same_bytes_and_whole_sectors():
    files = {"EFI/BOOT/BOOTX64.EFI": b"x" * 1000}
    image = fat_image(files)
    assert image == fat_image(dict(files))
    assert len(image) % SECTOR == 0
    assert image[510:512] == b"\x55\xaa"
    assert struct.unpack_from("<H", image, 19)[0] * SECTOR == len(image)


@pytest.mark.parametrize("name", ["lower.txt", "TOOLONGNAME.EFI", "A.LONG", ""])
def test_a_name_that_is_not_8_3_is_refused(name):
    with pytest.raises(ValueError, match=r"8\.3"):
        fat_image({name: b""})


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="FAT12"):
        fat_image({"BIG.BIN": bytes(20_000_000)})

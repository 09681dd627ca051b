"""The EFI loader: what it is made of, and what is checked in a file that firmware would refuse."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.course.load import load_course
from vmmlab.images.efi import NAME, OS_ROOM, VMM_ROOM, EfiBuilder, wrong_with

TREE = load_course(Path(__file__).parents[3]).tree
MULTIBOOT = struct.pack("<I", 0x1BADB002)
BOX = b"vmmlab-uefi-box1"


@pytest.fixture(scope="session")
def efi(box, cache_dir):
    return EfiBuilder(TREE, box, cache_dir)


def box_of(application: bytes) -> tuple[int, ...]:
    """hold, vmm, vmm_len, room_len, os, os_len, os_room_len as they are in the file."""
    return struct.unpack_from("<7Q", application, application.index(BOX) + 16)


def test_the_loader_of_a_template_waits_and_has_room(efi):
    made = efi.template()
    assert made.name == NAME
    assert box_of(made.read_bytes()) == (1, 0, 0, VMM_ROOM, 0, 0, OS_ROOM)
    assert made.stat().st_size < 64 * 1024
    assert wrong_with(made.read_bytes()) is None


def test_a_loader_carries_vmm_and_guest(efi):
    vmm, guest = b"\177ELF" + MULTIBOOT + b"vmm" * 5000, b"MZ guest"
    made = efi.loader(vmm, guest).read_bytes()
    hold, _, vmm_len, room, _, os_len, _ = box_of(made)
    assert (hold, vmm_len, os_len) == (0, len(vmm), len(guest))
    assert room == len(vmm)
    assert vmm in made
    assert guest in made
    assert wrong_with(made) is None


def test_a_loader_carries_a_command_line_and_files_for_linux(efi):
    made = efi.loader(b"vmm", b"MZ", options="console=ttyS0", initrd=b"070701 files").read_bytes()
    assert "console=ttyS0\0".encode("utf-16-le") in made
    assert b"070701 files" in made
    assert wrong_with(made) is None


def test_qemu_does_not_take_the_loader_for_a_multiboot_kernel(efi):
    assert MULTIBOOT not in efi.loader(MULTIBOOT * 8).read_bytes()[:8192]


def test_the_same_sources_give_the_same_bytes(efi, box, tmp_path):
    again = EfiBuilder(TREE, box, tmp_path)
    assert again.template().read_bytes() == efi.template().read_bytes()
    assert again.loader(b"vmm", b"os").read_bytes() == efi.loader(b"vmm", b"os").read_bytes()


def test_text_of_the_linker_is_an_error_even_if_it_exits_with_0(efi):
    source = b'__asm__ (".section .comment\\n.ascii \\"x\\"");\nvoid efi_start (void) {}\n'
    with pytest.raises(InfraError, match="could not be built") as caught:
        efi.application({"a.c": source}, ["a.c"])
    assert "below image base" in str(caught.value.found)


def test_a_guest_is_an_application_made_of_all_files_that_begin_like_it(efi):
    made = efi.guest("guest/efi_os.c").read_bytes()
    assert wrong_with(made) is None
    assert b"guest: all processors have started" in made
    assert len(made) < OS_ROOM


@pytest.mark.parametrize("name", ["guest/nothing.c", "guest/efi_os", ""])
def test_a_guest_that_is_missing(efi, name):
    with pytest.raises(InfraError, match=r"test guest .*is missing") as caught:
        efi.guest(name)
    assert "whole kit" in str(caught.value.next_step)


def test_a_tree_without_a_loader(kit, box, tmp_path):
    with pytest.raises(InfraError, match="EFI loader is missing"):
        EfiBuilder(kit / "tree", box, tmp_path).template()


def field(application: bytes, offset: int, form: str, value: int) -> bytes:
    """Return the file with another value in the section table or behind the PE signature."""
    changed = bytearray(application)
    (start,) = struct.unpack_from("<I", application, 0x3C)
    struct.pack_into(form, changed, start + offset, value)
    return bytes(changed)


SECTIONS = 24 + 240


@pytest.mark.parametrize(
    ("offset", "form", "value", "said"),
    [
        (4, "<H", 0x14C, "no PE32\\+ file for x86_64"),
        (24 + 68, "<H", 3, "subsystem is 3"),
        (SECTIONS + 8, "<I", 0x100000, "overlap at 0x2000"),
        (SECTIONS + 16, "<I", 0x100000, "section at 0x1000 ends behind the file"),
    ],
)
def test_what_firmware_refuses_is_named(efi, offset, form, value, said):
    application = efi.template().read_bytes()
    assert re.search(said, str(wrong_with(field(application, offset, form, value))))


def test_no_pe_file():
    assert "no PE file" in str(wrong_with(b"MZ"))

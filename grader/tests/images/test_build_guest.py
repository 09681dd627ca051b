"""The test guests: flat binaries that begin where a BIOS loads an MBR."""

from pathlib import Path

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.course.load import load_course
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.guest import DATA_AT, LOADED_AT, GuestBuilder
from vmmlab.student.systems import is_static

TREE = load_course(Path(__file__).parents[3]).tree
NAME = "guest/bios.S"
PROGRAM = "guest/linux_vmmcall.S"
MAGIC = b"ugst"  # GUEST_MAGIC of include/guest.h


@pytest.fixture(scope="module")
def guests(tmp_path_factory):
    return GuestBuilder(TREE, Sandbox.choose(require=False), tmp_path_factory.mktemp("cache"))


def test_a_guest_is_an_mbr_that_knows_this_vmm(guests):
    flat = guests.build(NAME).flat.read_bytes()
    assert flat[4:8] == MAGIC
    assert flat[510:512] == b"\x55\xaa"
    assert 512 < len(flat) <= DATA_AT - LOADED_AT


def test_the_places_that_the_probe_of_lab_7_watches_are_there(guests):
    text = guests.build(NAME).flat.read_bytes()
    for address in (0x8060, 0x8080, 0x80A0):
        at = address - LOADED_AT
        assert text[at : at + 2] == b"\xfa\xf4", hex(address)  # cli; hlt


def test_it_is_built_once(guests):
    assert guests.build(NAME).flat == guests.build(NAME).flat


def test_a_program_for_linux_needs_nothing_else(guests):
    made = guests.program(PROGRAM).read_bytes()
    assert is_static(made)
    assert guests.program(PROGRAM) != guests.build(PROGRAM).elf


def test_a_guest_that_is_not_there_is_named(guests):
    with pytest.raises(InfraError, match=r"guest/none\.S"):
        guests.build("guest/none.S")


def test_an_error_is_shown(tmp_path):
    tree = tmp_path / "tree"
    for name in ("boot", "core", "include", "guest"):
        (tree / name).mkdir(parents=True)
    (tree / "vmm.ld").write_text("")
    (tree / "boot" / "entry.S").write_text("")
    (tree / "guest" / "bad.S").write_text("	no_such_instruction\n")
    builder = GuestBuilder(tree, Sandbox.choose(require=False), tmp_path / "cache")
    with pytest.raises(InfraError) as caught:
        builder.build("guest/bad.S")
    assert "no_such_instruction" in str(caught.value.found)


def test_a_guest_must_not_reach_its_own_data(tmp_path):
    tree = tmp_path / "tree"
    for name in ("boot", "core", "include", "guest"):
        (tree / name).mkdir(parents=True)
    (tree / "vmm.ld").write_text("")
    (tree / "boot" / "entry.S").write_text("")
    (tree / "guest" / "long.S").write_text("	.globl _start\n_start:\n	.skip 0x1500, 0x90\n")
    builder = GuestBuilder(tree, Sandbox.choose(require=False), tmp_path / "cache")
    with pytest.raises(InfraError):
        builder.build("guest/long.S")

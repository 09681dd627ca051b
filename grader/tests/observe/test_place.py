"""Places as a student reads them."""

from dataclasses import replace

import pytest

from vmmlab.observe.place import Place

AP_START = Place(
    0x40101005, symbol="ap_start+0x5", file="lab3/ap_start.c", line=12, owner="student"
)
MEMCPY = Place(0x40100106, symbol="memcpy+0x6", file="core/string.c", line=12, owner="provided")
IN_COPY = Place(0xF012, "trampoline", "cpuinit_start+0x12", "lab3/apinit.S", 30, "student", 0x12)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (AP_START, "ap_start+0x5 (lab3/ap_start.c:12)"),
        (replace(AP_START, file="", line=0), "ap_start+0x5"),
        (Place(0x40101005), "0x40101005"),
        (replace(AP_START, symbol=""), "0x40101005 (lab3/ap_start.c:12)"),
        (IN_COPY, "trampoline+0x12, cpuinit_start+0x12 (lab3/apinit.S:30)"),
        (replace(IN_COPY, file="", line=0), "trampoline+0x12, cpuinit_start+0x12"),
        (Place(3, "low"), "physical address 0x3"),
        (Place(0x8000, "elsewhere"), "0x8000"),
        (Place(0xDFFFF, "elsewhere"), "0xdffff"),
        (Place(0xFD09A, "elsewhere"), "0xfd09a, in the firmware"),  # an AP that SeaBIOS has parked
        (Place(0xFFFFFFF0, "elsewhere"), "0xfffffff0, in the firmware"),  # where a CPU begins
        (Place(0x100000, "elsewhere"), "0x100000"),
        (
            replace(AP_START, address=0x101005, region="elsewhere"),
            "0x101005, the physical address of ap_start+0x5 (lab3/ap_start.c:12)",
        ),
        (
            Place(0x101005, "elsewhere", "ap_start+0x5"),
            "0x101005, the physical address of ap_start+0x5",
        ),
        (
            replace(MEMCPY, caller=AP_START),
            "memcpy+0x6 (core/string.c:12), called by ap_start+0x5 (lab3/ap_start.c:12)",
        ),
    ],
)
def test_a_place_in_words(place, text):
    assert str(place) == text


@pytest.mark.parametrize(
    ("place", "source", "lab_source", "in_lab"),
    [
        (AP_START, "lab3/ap_start.c:12", "lab3/ap_start.c:12", True),
        (MEMCPY, "core/string.c:12", "", False),
        (replace(MEMCPY, caller=AP_START), "core/string.c:12", "lab3/ap_start.c:12", False),
        (replace(AP_START, caller=IN_COPY), "lab3/ap_start.c:12", "lab3/apinit.S:30", True),
        (IN_COPY, "lab3/apinit.S:30", "lab3/apinit.S:30", True),
        (Place(0x8000, "elsewhere"), "", "", False),
    ],
)
def test_the_line_to_look_at(place, source, lab_source, in_lab):
    assert (place.source, place.lab_source, place.in_lab) == (source, lab_source, in_lab)


def test_the_function_is_the_symbol_without_the_distance():
    assert AP_START.is_in("ap_start")
    assert replace(AP_START, symbol="ap_start").is_in("ap_start")
    assert not AP_START.is_in("ap_start_addr")
    assert not replace(AP_START, symbol="ap_start_addr+0x5").is_in("ap_start")
    assert not Place(0x8000, "elsewhere").is_in("ap_start")

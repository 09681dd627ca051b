"""Cohorts: their numbers are safe, repeatable, and different where they should be."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmmlab.base.errors import UsageError
from vmmlab.course.cohort import DEV, DEV2, TRAMPOLINE_MAX, Cohort

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", fullmatch=True).filter(
    lambda name: name not in ("dev", "dev2")
)
secrets = st.text(max_size=40)


@given(names, secrets)
def test_every_cohort_is_safe(name: str, secret: str) -> None:
    cohort = Cohort.derive(name, secret)
    addr, offset = cohort.apinit_addr, cohort.apinit_offset
    assert 0 <= offset <= 0x1F0
    assert offset < addr
    assert (addr - offset) % 16 == 0
    assert cohort.segment == (addr - offset) // 16
    assert 0 < cohort.segment <= 0xFFFF
    assert addr % 8 == 0, "the counter and the lock inside the trampoline stay aligned"
    assert 0x8000 <= addr <= 0x9E000 - TRAMPOLINE_MAX
    assert cohort.stack_size in {0x4000, 0x6000, 0x8000, 0xC000}
    assert 0 <= cohort.pcpu_pad <= 128
    assert cohort.pcpu_pad % 8 == 0
    for taken in (range(0x7C00, 0x7E00), range(0x9000, 0x9558), range(0x9FC00, 0x100000)):
        assert addr + TRAMPOLINE_MAX <= taken.start or addr >= taken.stop


@given(names, secrets)
def test_a_cohort_is_the_same_every_time(name: str, secret: str) -> None:
    assert Cohort.derive(name, secret) == Cohort.derive(name, secret)


def test_cohorts_differ_by_name_and_by_secret() -> None:
    derived = {Cohort.derive(f"c{n}").apinit_addr for n in range(100)}
    assert len(derived) > 90
    assert Cohort.derive("c1", "one").apinit_addr != Cohort.derive("c1", "two").apinit_addr
    aligned = sum(Cohort.derive(f"c{n}").apinit_addr % 4096 == 0 for n in range(100))
    assert aligned < 5, "most are not aligned to 4 KiB"
    assert len({Cohort.derive(f"c{n}").stack_size for n in range(100)}) == 4


def test_a_derived_cohort_never_changes() -> None:
    """Workspaces and prebuilt labs of students contain these numbers."""
    assert Cohort.derive("2026-autumn") == Cohort(
        "2026-autumn",
        apinit_addr=0x58AD0,
        apinit_offset=0x1D0,
        stack_size=0xC000,
        pcpu_pad=32,
    )


def test_dev_is_fixed() -> None:
    dev = Cohort("dev", apinit_addr=0xF000, apinit_offset=0, stack_size=0x8000, pcpu_pad=0)
    assert Cohort.derive("dev") == Cohort.derive("dev", "secret") == dev
    assert dev.segment == 0xF00


def test_dev2_is_fixed() -> None:
    """Workspaces, releases and wheels contain prebuilt labs for it."""
    assert Cohort.derive("dev2") == Cohort.derive("dev2", "secret") == DEV2
    assert (
        Cohort("dev2", apinit_addr=0x5C648, apinit_offset=0x2A8, stack_size=0xA000, pcpu_pad=136)
        == DEV2
    )
    assert DEV2.segment == 0x5C3A
    assert DEV2.apinit_addr % 4096


@given(names | st.sampled_from(["dev", "dev2"]), secrets)
def test_the_cohorts_of_a_grading_share_no_number(name: str, secret: str) -> None:
    own = Cohort.derive(name)
    assert own.in_role("own", secret) is own
    other, third = own.in_role("other", secret), own.in_role("third", secret)
    assert other.name == ("dev" if name == "dev2" else "dev2")
    assert third.name == "third"
    assert third.apinit_offset
    assert third.pcpu_pad
    for number in ("apinit_addr", "apinit_offset", "stack_size", "pcpu_pad"):
        assert len({getattr(one, number) for one in (own, other, third)}) == 3, number
    assert own.in_role("third", secret) == third, "it is the same every time"


def test_only_the_third_cohort_follows_from_the_secret() -> None:
    assert DEV.in_role("other", "one") == DEV.in_role("other", "two")
    assert DEV.in_role("third", "one") != DEV.in_role("third", "two")


def test_a_guest_cannot_tell_the_role_of_its_cohort_from_a_name() -> None:
    for role in ("own", "other", "third"):
        assert '"autumn"' in Cohort.derive("autumn").in_role(role).header()


@pytest.mark.parametrize("name", ["", "a b", "a\n", "ü", "-a", 'a"', "a" * 33, "{{x}}"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a cohort's name"):
        Cohort.derive(name)


@given(names)
def test_the_header_says_what_the_cohort_is(name: str) -> None:
    cohort = Cohort.derive(name)
    found = dict(re.findall(r"^#define (\w+) +(\S+)$", cohort.header(), re.MULTILINE))
    assert found == {
        "VMM_COHORT": f'"{name}"',
        "APINIT_ADDR": f"0x{cohort.apinit_addr:X}",
        "APINIT_OFFSET": f"0x{cohort.apinit_offset:X}",
        "VMM_STACKSIZE": f"0x{cohort.stack_size:X}",
        "PCPU_PAD": str(cohort.pcpu_pad),
    }

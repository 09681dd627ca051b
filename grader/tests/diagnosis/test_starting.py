"""What is wrong with the way in which the BSP starts the APs, found in boots made by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from handmade import INIT, SAMPLE, SIPI, ap, boot, code, hit

from vmmlab.diagnosis import aps, ipis, moved, owncalls, resets, starting
from vmmlab.failure import Failure
from vmmlab.observe.cpu import TakenException
from vmmlab.observe.evidence import Physical0, Pointer
from vmmlab.observe.milestones import AP_ENTRY, PARKED
from vmmlab.observe.observation import Observation
from vmmlab.observe.place import Place
from vmmlab.observe.starting import (
    AtApWait,
    Changed,
    CondCall,
    IcrCall,
    Mapping,
    OwnCalls,
    Starting,
)

IMAGE = SAMPLE.trampoline.image
COPY = SAMPLE.apinit_addr
JUMP = bytes.fromhex("ea0000000f")
WINDOW = 0xC0000000
INIT_CALL = IcrCall(0, INIT.low, 0, 0, 0, bytes(8), 0)
SIPI_CALL = IcrCall(0, SIPI.low, 100, 1, 0, bytes(8), 1)
MAPPED = (
    Mapping(0, 5, True, WINDOW, True),
    Mapping(COPY, len(IMAGE), True, WINDOW + 0x1000 + (COPY & 0xFFF), True),
)
END = AtApWait(JUMP, IMAGE[:16], (0, COPY & -4096), 1, 1)
RIGHT = Starting(100, 5000, (INIT_CALL, SIPI_CALL), MAPPED, END, slept_us=5000, sleeps=1)
OWN = OwnCalls(1, 1, 0, 0x20, 5, 6, True, 2, 0x30, 8, True)
OWN_WRITES = (INIT, SIPI, INIT, *[replace(SIPI, low=SIPI.low | 0x20)] * 5)
LAST_WRITE = replace(SIPI, low=SIPI.low | 0x30)


LISTED = 0x4500  # INIT, level assert, no shorthand
IDS = (0x35, 0, 0x1F7)


def listing(**changes: object) -> Observation:
    """The grader's calls when the tables list other processors, right but for `changes`."""
    told = tuple(IcrCall(one, LISTED, 0, 0) for one in IDS if one)
    sipi = (IcrCall(0, SIPI.low, 0, 0),)
    many = (CondCall(0, 1, 1), CondCall(0, 0, 0))
    given: dict[str, object] = {"many": many, "ids": IDS, "init_told": told, "sipi_told": sipi}
    return called(**(given | changes))


def started(**changes: object) -> Observation:
    """A boot with one AP that was started as it should be, but for `changes` in the record."""
    seen = boot(
        ap(AP_ENTRY),
        hits=(hit("ap_wait", 0), hit("bsp_proc", 0)),
        starting=replace(RIGHT, **changes),
        physical_0=Physical0(bytes(16), during=JUMP + bytes(11)),
    )
    apinitprocs = Pointer(MAPPED[1].virtual + 8, COPY + 8)
    return replace(
        seen,
        bringup=replace(seen.bringup, apinitprocs=apinitprocs),
        trampoline=replace(seen.trampoline, copy=IMAGE),
    )


def calls(*made: IcrCall) -> Observation:
    """The same with other IPIs, as the trace shows them as well."""
    return replace(started(calls=made), icr=tuple(ipis.as_write(one) for one in made))


def end(**changes: object) -> Observation:
    """The same with something else in place at ap_wait."""
    return started(at_ap_wait=replace(END, **changes))


def called(**changes: object) -> Observation:
    """A boot in which the grader made calls of its own."""
    return boot(ap(), own_calls=replace(OWN, **changes), icr=(*OWN_WRITES, LAST_WRITE))


def reset_by_out(after: bool = True) -> Observation:
    """A boot that ended with a reset, when the BSP had written to a port, or had not."""
    place = Place(0x40102010, "image", "ap_start+0x10", "lab3/ap_start.c", 12, "student")
    bsp = replace(SAMPLE.bsp, end_kind="shutdown", end_place=place, after_out=after)
    made = boot(ap(), how_ended="shutdown")
    return replace(made, cpus=(bsp, *made.aps))


def in_two_pages(address: int, first: int = 16) -> Observation:
    """A boot in which the copy was moved, and the BSP has touched an address that is not mapped.

    So many bytes of the copy are in its first page.
    """
    taken = TakenException(14, 2, code("memcpy+0x10"), address)
    bsp = replace(SAMPLE.bsp, end_kind="exception", exception=taken)
    moved = replace(MOVED, apinit_addr=0x13000 - first)
    return replace(moved, cpus=(bsp, *moved.aps))


def sent(kind: str, low: int) -> Observation:
    """A boot in which an IPI of a kind was this word."""
    write = replace(INIT if kind == "INIT" else SIPI, low=low)
    return boot(ap(), icr=(write, SIPI) if kind == "INIT" else (INIT, write))


def late(*hits: tuple[str, int]) -> Observation:
    """A boot with these stops, in which the BSP is in a loop of its own at the end."""
    made = tuple(replace(hit(place, cpu), order=at) for at, (place, cpu) in enumerate(hits))
    bsp = replace(SAMPLE.bsp, end_kind="running", end_place=code("ap_start_loopcond+0x9"))
    return boot(ap(), bsp=bsp, hits=made)


MOVED = replace(
    started(), apinit_addr=0x12340, apinit_addr_linked=COPY, how_ended="quiet", icr=(INIT,)
)


def word(kind: str):
    """The rule of the word of an IPI."""
    return partial(ipis.wrong_word, kind=kind)


LOST = replace(ap(), end=replace(ap().end, pc=0x12000, cs=0x1200, rip=0))
LEFT = replace(LOST, end_kind="running", end_place=Place(0xFD09A, "elsewhere"))
GROWN = replace(INIT_CALL, counted=0)
ONE_AP = partial(ipis.sipi_after_all, cpu=1)
PROCS = partial(starting.not_zero, label="apinit_procs")
LOCK = partial(starting.not_zero, label="apinit_lock")

STARTING = {
    "INIT with level 0": (word("INIT"), sent("INIT", 0xC0500), "init-without-assert"),
    "SIPI with level 0": (word("SIPI"), sent("SIPI", 0xC0600), "sipi-without-assert"),
    "INIT, level triggered": (word("INIT"), sent("INIT", 0xCC500), "ipi-level-triggered"),
    "SIPI, level triggered": (word("SIPI"), sent("SIPI", 0xCC600), "ipi-level-triggered"),
    "INIT with a vector": (word("INIT"), sent("INIT", 0xC450F), "init-with-vector"),
    "INIT with bit 13": (word("INIT"), sent("INIT", 0xC6500), "icr-reserved-bits"),
    "SIPI with bit 31": (word("SIPI"), sent("SIPI", 0x800C4600), "icr-reserved-bits"),
    "SIPI by a store": (
        partial(ipis.written_directly, kind="SIPI"),
        replace(started(calls=(INIT_CALL,)), icr=(INIT, SIPI)),
        "icr-written-directly",
    ),
    "the counter set back while an AP is late": (
        starting.counter_lost,
        boot(ap(AP_ENTRY), counters=replace(SAMPLE.counters, apinit_procs=0)),
        "counter-written-late",
    ),
    "INIT after a SIPI": (
        partial(ipis.init_again, cpu=1),
        calls(INIT_CALL, SIPI_CALL, INIT_CALL),
        "init-after-sipi",
    ),
    "a de-assert after a SIPI": (
        partial(ipis.init_again, cpu=1),
        calls(INIT_CALL, SIPI_CALL, replace(INIT_CALL, low=0xC8500)),
        "init-after-sipi",
    ),
    "a SIPI too many": (ONE_AP, calls(INIT_CALL, SIPI_CALL, SIPI_CALL), "sipi-after-all-arrived"),
    "no delay after INIT": (
        ipis.wrong_delay,
        calls(INIT_CALL, replace(SIPI_CALL, slept_us=0, sleeps=0)),
        "no-delay-after-init",
    ),
    "a second INIT": (
        ipis.wrong_delay,
        calls(INIT_CALL, replace(INIT_CALL, slept_us=100), replace(SIPI_CALL, slept_us=0)),
        "no-delay-after-init",
    ),
    "20 seconds after INIT": (
        ipis.wrong_delay,
        calls(INIT_CALL, replace(SIPI_CALL, slept_us=20_000_000)),
        "another-delay-after-init",
    ),
    "no delay after a SIPI": (ipis.wrong_delay, started(slept_us=0), "no-delay-after-sipi"),
    "a long delay after a SIPI": (
        ipis.wrong_delay,
        started(slept_us=50_000),
        "another-delay-after-sipi",
    ),
    "no tables, no SIPI": (
        partial(ipis.none_without_tables, late=boot(ap()), cpu=1),
        boot(ap(), icr=(INIT,), own_calls=replace(OWN, writes=1)),
        "no-sipi-without-tables",
    ),
    "data ignored": (owncalls.ignored_argument, called(first=0, count=0), "argument-ignored"),
    "loopcond ignored": (owncalls.ignored_argument, called(asked=0), "argument-ignored"),
    "addr ignored": (owncalls.ignored_argument, called(vector=0x55), "argument-ignored"),
    "vector ignored": (owncalls.ignored_argument, called(sipi_vector=0x55), "argument-ignored"),
    "APINIT_ADDR in ap_start": (starting.apinit_addr_ignored, MOVED, "apinit-addr-ignored"),
    "APINIT_ADDR in apinit.S": (
        moved.lost_at_another_place,
        replace(MOVED, cpus=(MOVED.bsp, LOST), icr=(INIT, SIPI)),
        "apinit-addr-in-the-trampoline",
    ),
    "a copy in two pages": (
        moved.mapped_in_part,
        in_two_pages(WINDOW + 0x2000),
        "copy-mapped-in-part",
    ),
    "copied up to the end of a page": (
        moved.copied_up_to_a_page,
        replace(
            MOVED,
            apinit_addr=0x20FF0,
            trampoline=replace(
                SAMPLE.trampoline,
                before=b"\xcc" * len(IMAGE),
                copy=IMAGE[:16] + b"\xcc" * len(IMAGE[16:]),
            ),
        ),
        "trampoline-copied-in-part",
    ),
    "memcpy swapped": (
        starting.copied_wrongly,
        started(image=b"\xcc" * len(IMAGE)),
        "memcpy-swapped",
    ),
    "copied elsewhere": (
        starting.copied_wrongly,
        started(before=(Changed(0x8000, len(IMAGE), IMAGE[:8]),)),
        "trampoline-copied-elsewhere",
    ),
    "copied late": (
        starting.copied_wrongly,
        replace(started(), trampoline=replace(SAMPLE.trampoline, copy=b"\xcc" * len(IMAGE))),
        "trampoline-copied-late",
    ),
    "a page copied": (
        starting.written_elsewhere,
        started(before=(Changed(COPY + len(IMAGE), 3000, bytes(8)),)),
        "low-memory-changed",
    ),
    "a note left behind": (
        starting.changed_later,
        started(after=(Changed(0x4F0, 1, bytes(1)),)),
        "low-memory-changed",
    ),
    "a counter of 1": (
        PROCS,
        started(calls=(INIT_CALL, replace(SIPI_CALL, procs=1))),
        "counter-not-zero",
    ),
    "a lock with one byte": (
        LOCK,
        started(calls=(INIT_CALL, replace(SIPI_CALL, lock=bytes(7) + b"\1"))),
        "lock-not-zero",
    ),
    "a counter set back": (PROCS, end(counter=0), "counter-written-late"),
    "a lock set back": (LOCK, end(lock_written=True), "lock-written-late"),
    "no ap_wait": (
        starting.no_ap_wait,
        replace(started(), hits=(hit("bsp_proc", 0),)),
        "ap-wait-not-called",
    ),
    "ap_wait within ap_start_addr": (
        owncalls.waits_for_aps,
        called(waits=True),
        "ap-wait-in-ap-start-addr",
    ),
    "reset by a port": (resets.reset_by_bsp, reset_by_out(), "machine-reset-by-port"),
    "loopcond sleeps": (owncalls.ignored_argument, called(cond_slept_us=1000), "loopcond-waits"),
    "loopcond spins": (owncalls.ignored_argument, called(cond_turns=100), "loopcond-waits"),
    "8 bytes of the int": (
        owncalls.wrong_number,
        called(last_count=3, last_beside=1),
        "another-width-of-the-number",
    ),
    "8 bytes of the int, of 0": (
        owncalls.wrong_number,
        called(last_count=3, first_beside=0),
        "another-width-of-the-number",
    ),
    "sign of the vector": (
        owncalls.ignored_argument,
        replace(
            called(),
            icr=(*OWN_WRITES[:3], *[replace(SIPI, low=0xFFFFFFA0)] * 5, LAST_WRITE),
        ),
        "vector-in-other-bits",
    ),
    "a byte of the int": (
        owncalls.wrong_number,
        called(last_count=3, far=(CondCall(0x10000, 1, 0x10001), CondCall(0x10003, 0, 0x10003))),
        "another-width-of-the-number",
    ),
    "a byte of the int is not carried": (
        owncalls.wrong_number,
        called(last_count=3, far=(CondCall(0xFF, 1, 0),)),
        "another-width-of-the-number",
    ),
    "256 APs are taken for none": (
        owncalls.ignored_argument,
        listing(many=(CondCall(0, 0, 0), CondCall(0, 0, 0))),
        "part-of-the-number-of-aps",
    ),
    "the first one of the tables is left out": (
        owncalls.ignored_argument,
        listing(init_told=(IcrCall(0, LISTED, 0, 0), IcrCall(0x1F7, LISTED, 0, 0))),
        "cpu-of-the-tables-left-out",
    ),
    "apic_send_init sends nothing": (
        owncalls.ignored_argument,
        called(init_writes=len(OWN_WRITES) + 1),
        "argument-ignored",
    ),
    "ap_wait first": (
        starting.ap_wait_before_ipis,
        replace(started(), icr=()),
        "ap-wait-before-ipis",
    ),
    "an NMI": (
        ipis.another_kind,
        calls(IcrCall(0, 0xC4400, 0, 0, 0, bytes(8), 0), INIT_CALL, SIPI_CALL),
        "ipi-of-another-kind",
    ),
    "restored before ap_wait": (
        starting.gone_at_ap_wait,
        end(physical_0=bytes(16)),
        "physical-0-restored-too-early",
    ),
    "the jump unmapped": (
        starting.wrong_mapping,
        end(mapped=(COPY & -4096,)),
        "unmapped-too-early",
    ),
    "the alias": (starting.wrong_mapping, started(mappings=MAPPED[1:]), "not-through-mapmem"),
    "a mapping not used": (
        starting.wrong_mapping,
        started(mappings=(replace(MAPPED[0], written=False), MAPPED[1])),
        "not-through-mapmem",
    ),
    "a pointer of its own": (
        starting.wrong_mapping,
        started(mappings=(MAPPED[0], replace(MAPPED[1], virtual=WINDOW + 0x9000))),
        "not-through-mapmem",
    ),
    "ap_started early": (starting.started_early, started(started_early=True), "ap-started-wrong"),
    "a loop in ap_start_loopcond": (
        partial(starting.waits_for_late, cpu=1),
        late(("not-entered.held", 1)),
        "ap-start-waits-itself",
    ),
}


def test_an_ap_that_the_firmware_has_left_is_not_lost():
    seen = replace(MOVED, cpus=(MOVED.bsp, LEFT))
    assert moved.lost_at_another_place(seen) is None
    assert aps.why_not(seen, LEFT, PARKED).cause == "ap-got-no-sipi"


@pytest.mark.parametrize(("find", "seen", "cause"), STARTING.values(), ids=STARTING)
def test_each_mistake_is_found(find, seen, cause):
    found = find(seen)
    assert isinstance(found, Failure)
    assert found.cause == cause
    assert found.place
    assert found.expected
    assert found.observed


@pytest.mark.parametrize("find", [find for find, _, _ in STARTING.values()], ids=STARTING)
def test_nothing_is_found_where_nothing_is_wrong(find):
    right = replace(started(), own_calls=OWN, icr=(*OWN_WRITES, LAST_WRITE))
    if find is ipis.wrong_delay or getattr(find, "func", None) is ipis.written_directly:
        right = started()
    assert find(replace(right, hits=(hit("ap_wait", 0), hit("bsp_proc", 0)))) is None


def test_a_de_assert_before_the_first_sipi_is_right():
    seen = calls(INIT_CALL, replace(INIT_CALL, low=0xC8500), SIPI_CALL)
    assert ipis.init_again(seen, 1) is None


@pytest.mark.parametrize("answer", [0, 1])
def test_any_answer_to_more_than_three_is_right(answer):
    far = tuple(CondCall(sent, answer, sent + answer) for sent in (0x10000, 0x10003))
    assert owncalls.wrong_number(called(last_count=3, far=far)) is None


def test_a_boot_that_was_not_followed_accuses_nobody():
    for find, _, _ in STARTING.values():
        assert find(boot(ap())) is None


@pytest.mark.parametrize(
    ("dest", "low", "said"),
    [
        (0x01000000, 0x4500, "shifts the id"),
        (0xFE, 0x4D00, "LDR"),
        (0xFF, 0x4500, "all CPUs"),
        (0, 0x4500, "APIC id 0 is the BSP"),
    ],
)
def test_the_destination_is_explained(dest, low, said):
    seen = calls(replace(INIT_CALL, dest=dest, low=low))
    assert said in str(ipis.destination(seen, "INIT"))


def test_a_shorthand_needs_no_explanation():
    assert str(ipis.destination(started(), "INIT")) == ""


def test_what_a_bsp_that_waits_is_blamed_for():
    assert starting.why_it_waits(started()) is None
    again = starting.why_it_waits(calls(INIT_CALL, SIPI_CALL, INIT_CALL))
    assert again is not None
    assert again.cause == "init-after-sipi"
    assert "ap_start_loopcond" in str(starting.where_it_waits(late()))
    assert starting.where_it_waits(started()) == ""


def test_a_reset_that_is_not_right_after_a_write_to_a_port_is_not_blamed_on_one():
    assert resets.reset_by_bsp(reset_by_out(after=False)) is None


def test_an_ipi_for_each_listed_cpu_and_the_shorthand_are_right():
    assert owncalls.ignored_argument(listing()) is None
    shorthand = (IcrCall(0, INIT.low, 0, 0),)
    assert owncalls.ignored_argument(listing(init_told=shorthand)) is None

"""The lanes that are read back from the picture are those of the Observation."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from recordings import load, names
from records import INIT, SIPI, boot, many, reader, record, with_boot

from vmmlab.base.text import cells
from vmmlab.i18n.translate import Reader
from vmmlab.observe.icr import Icr
from vmmlab.observe.milestones import WAITING, milestones
from vmmlab.observe.observation import Hit, Observation
from vmmlab.report import lanes, lanetext, perfetto, stops
from vmmlab.report.bootorder import failing, in_order
from vmmlab.report.reduced import reduced
from vmmlab.report.runrecord import RecordedBoot
from vmmlab.report.timeline import EACH_MOST, ranges, timeline

SVG = "{http://www.w3.org/2000/svg}"
ENGLISH = Reader()
SOME = ["lab3", "lab3.real.lgdt-by-ds", "lab4", "lab3.i386", "lab1", "lab4.lock.store-only"]


def drawn(text: str, run: str = "own") -> dict[str, object]:
    """Read a picture by where things are: no attribute is believed but positions and classes."""
    root = ET.fromstring(text)
    heads: dict[float, str] = {}
    for one in root.iter(f"{SVG}text"):
        if one.get("data-head") not in (None, "ipi"):
            heads[float(one.get("x"))] = one.get("data-head")
    found = {}
    rows = {}
    for group in root.iter(f"{SVG}g"):
        if run not in group.get("class", "").split():
            continue
        label = next(one for one in group.iter(f"{SVG}text") if one.get("class") == "name")
        y = float(label.get("y")) - 4
        rows[y] = label.text
        points = []
        for circle in group.iter(f"{SVG}circle"):
            assert float(circle.get("cy")) == pytest.approx(y)
            points.append((heads[float(circle.get("cx"))], circle.get("class").split()[1]))
        kinds = {one.get("class") for one in group} & {"rest", "cross", "stop"}
        found[label.text] = (points, *kinds)
    signals = []
    for group in root.iter(f"{SVG}g"):
        if run != "own" or not group.get("class", "").startswith("signal"):
            continue
        senders = [rows[float(one.get("cy"))] for one in group.iter(f"{SVG}circle")]
        heads_at = [re.match(r"M\S+ (\S+)h10l-5 (-?\d+)z", one.get("d")) for one in group.iter(
            f"{SVG}path")]  # fmt: skip
        targets = [rows[float(one[1]) + float(one[2])] for one in heads_at]
        signals.append((group.get("data-kind"), senders, sorted(targets)))
    return {"lanes": found, "signals": signals}


def meant(seen: Observation) -> dict[str, object]:
    """What the picture of a boot has to show, worked out from the Observation alone."""
    found = {}
    for cpu in seen.cpus:
        path = [
            (one.name, cpu.milestones[one.name].mode)
            for one in milestones()
            if one.name in cpu.milestones and one != WAITING
        ]
        faults = (cpu.refusal, cpu.triple_fault, cpu.exception, cpu.left_code)
        fault = any(one is not None for one in faults)
        stopped = cpu.end_kind in ("shown", "held", "missing") and not fault
        kind = "rest" if cpu.end_kind == "parked" else "stop" if stopped else "cross"
        found[cpu.name] = (path, kind)
    signals = []
    for write in seen.icr:
        sender = [] if write.cpu is None else [seen.cpus[write.cpu].name]
        to = [cpu.name for cpu in seen.cpus if seen.reaches(write, cpu.index)]
        one = (write.kind, sender, sorted({*to} - {*sender}))
        if not signals or signals[-1] != one:
            signals.append(one)
    return {"lanes": found, "signals": signals}


def picture(seen: Observation, say: Reader = ENGLISH) -> str:
    return lanes.svg(timeline(seen), say)


@pytest.mark.parametrize("name", SOME)
def test_the_picture_shows_the_observation(name):
    for one in record(name).boots:
        if len(timeline(one.seen).signals) < 5:  # more are put together
            assert drawn(picture(one.seen)) == meant(one.seen), one.scenario


@pytest.mark.parametrize("name", [name for name in names() if name not in SOME])
def test_every_recorded_boot_can_be_drawn(name):
    for scenario, seen in load(name).boots.items():
        line = timeline(seen)
        assert drawn(lanes.svg(line, ENGLISH))["lanes"] == meant(seen)["lanes"]
        assert list(lanetext.lines(line, ENGLISH, scenario))


def exchanged(seen: Observation, one: int, other: int) -> Observation:
    """A boot in which two CPUs have changed places."""
    cpus = list(seen.cpus)
    cpus[one], cpus[other] = replace(cpus[other], index=one), replace(cpus[one], index=other)
    return replace(seen, cpus=tuple(cpus))


def test_exchanging_two_cpus_changes_the_picture():
    seen = boot("lab3", "late")
    other = exchanged(seen, 1, 2)  # CPU 2 is the late one
    assert picture(other) != picture(seen)
    assert drawn(picture(other)) != meant(seen)
    assert drawn(picture(other)) == meant(other)


def test_a_lost_milestone_changes_the_picture():
    seen = boot("lab3", "ladder")
    less = dict(seen.cpus[2].milestones)
    del less["long-mode"]
    other = replace(
        seen, cpus=(*seen.cpus[:2], replace(seen.cpus[2], milestones=less), *seen.cpus[3:])
    )
    assert drawn(picture(other)) != meant(seen)


def test_one_ipi_to_one_cpu_has_one_arrow():
    seen = boot("lab3", "ladder")
    one = Icr(cpu=0, low=0x4500, dest=2, time_s=0.0)
    assert drawn(picture(replace(seen, icr=(one,))))["signals"] == [
        ("INIT", ["CPU 0 (BSP)"], ["CPU 2"])
    ]


def test_ipis_to_one_cpu_after_the_other_share_a_column():
    seen = many(boot("lab3", "ladder"), 64)
    writes = tuple(Icr(0, low, n, 0.0) for n in range(1, 64) for low in (0x4500, 0x4600))
    line = timeline(replace(seen, icr=writes))
    assert [(one.kind, one.count, len(one.targets)) for one in line.signals] == [
        ("INIT", 63, 63),
        ("SIPI", 63, 63),
    ]


# --- labels --------------------------------------------------------------------------------------


def boxes(text: str) -> list[tuple[float, float, float, float, str]]:
    """Where each label is: left, top, right, bottom."""
    found = []
    for one in ET.fromstring(text).iter(f"{SVG}text"):
        told = one.text or ""
        wide = cells(told) * lanes.CELL
        x, y = float(one.get("x")), float(one.get("y"))
        left = x - wide / 2 if one.get("text-anchor") == "middle" else x
        found.append((left, y - 10, left + wide, y + 2, told))
    return found


def overlapping(text: str) -> list[tuple[str, str]]:
    return [
        (a[4], b[4])
        for a, b in combinations(boxes(text), 2)
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("cpus", [2, 4, 16, 64, 255])
def test_no_labels_overlap(cpus, language):
    text = picture(many(boot("lab3", "ladder"), cpus), reader("lab3", language))
    assert overlapping(text) == []
    root = ET.fromstring(text)
    assert max(one[2] for one in boxes(text)) <= float(root.get("width"))


@pytest.mark.parametrize("name", SOME)
def test_no_labels_of_a_recorded_boot_overlap(name):
    for one in record(name).boots:
        assert overlapping(picture(one.seen)) == []


def test_labels_that_overlap_are_noticed():
    text = picture(boot("lab3", "ladder"))
    moved = re.sub(r'(data-head="long-mode" x=)"[\d.]+"', r'\1"300.0"', text)
    moved = re.sub(r'(data-head="real-mode" x=)"[\d.]+"', r'\1"310.0"', moved)
    assert overlapping(moved)


def test_many_cpus_are_grouped():
    seen = many(boot("lab3", "ladder"), 255)
    line = timeline(seen)
    assert [lane.name for lane in line.lanes] == ["CPU 0 (BSP)", "CPU 1-254"]
    lost = replace(seen.cpus[77], milestones={}, end_kind="waiting-for-sipi")
    line = timeline(replace(seen, cpus=(*seen.cpus[:77], lost, *seen.cpus[78:])))
    assert [lane.name for lane in line.lanes] == ["CPU 0 (BSP)", "CPU 1-76, 78-254", "CPU 77"]
    assert sum(len(lane.cpus) for lane in line.lanes) == 255


def test_up_to_64_cpus_have_a_lane_each():
    assert len(timeline(many(boot("lab3", "ladder"), EACH_MOST)).lanes) == EACH_MOST


def test_ranges():
    assert ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"


# --- the right run beside it ----------------------------------------------------------------------


def test_the_right_run_is_aligned():
    wrong, right = boot("lab3.real.lgdt-by-ds", "ladder"), reduced(boot("lab3", "ladder"))
    text = lanes.svg(timeline(wrong, right.lanes()), ENGLISH, right=right.lanes())
    assert drawn(text) == meant(wrong)
    assert list(drawn(text, "right")["lanes"]) == ["CPU 0 (BSP)", "CPU 1-3 (3)"]
    path, end = drawn(text, "right")["lanes"]["CPU 1-3 (3)"]
    assert [name for name, _ in path] == [one.name for one in milestones() if one != WAITING]
    assert end == "rest"
    assert overlapping(text) == []


# --- why a lane ends ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cpu", "words"),
    [
        ("lab3.real.lgdt-by-ds", 1, "#GP (13) on a real processor: trampoline+0x3f"),
        ("lab3.sipi.never", 1, "waits for a SIPI"),
        ("lab3.entry.physical", 1, "while running: strncmp"),
    ],
)
def test_a_lane_says_why_it_ends(name, cpu, words):
    lane = timeline(boot(name, "ladder")).lanes[cpu]
    assert lane.early
    assert str(lane.why).startswith(words)


# --- in the terminal ------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_no_line_is_wider_than_the_terminal(width, language):
    for name in ("lab3.real.lgdt-by-ds", *(f"lab{number}" for number in range(1, 11))):
        say = reader(name.partition(".")[0], language)
        for one in record(name).boots:
            for line in lanetext.lines(timeline(one.seen), say, one.title, width):
                assert cells(line) <= width
    assert all(cells(line) <= width for line in lanetext.legend(say, width))


def test_the_text_has_every_milestone():
    seen = boot("lab3.real.lgdt-by-ds", "ladder")
    told = list(lanetext.lines(timeline(seen), ENGLISH, "x", 160))
    assert told[3].startswith("CPU 1 ")
    assert told[3].count("●") == len(seen.cpus[1].milestones)
    assert "✗ #GP (13)" in told[3]
    head, row = told[1], told[3]
    assert row[head.index("real mode")] == "●"
    assert row[head.index("SIPI")] == "▼"


def test_a_line_that_is_cut_says_so_and_its_text_follows():
    seen = boot("lab3.real.lgdt-by-ds", "ladder")
    told = list(lanetext.lines(timeline(seen), ENGLISH, "x", 60))
    assert [line.endswith("…") for line in told if "✗ #GP" in line] == [True] * 3
    at = next(
        number for number, line in enumerate(told) if line.startswith("  CPU 1, CPU 2, CPU 3")
    )
    why = str(next(one for one in timeline(seen).lanes if one.name == "CPU 1").why)
    assert " ".join(line.strip() for line in told[at:]) == f"CPU 1, CPU 2, CPU 3: {why}"


def test_a_boot_in_which_a_check_fails_comes_first():
    ours = record("lab4.barrier.id-too-late")
    shown = in_order(ours, failing(ours))
    assert [one.name for one in ours.boots].index("barrier") > 0
    assert shown[0].name == "barrier"
    assert {id(one) for one in shown} == {id(one) for one in ours.boots}


def test_a_boot_that_was_watched_behind_the_trampoline_has_no_columns_for_it():
    assert [one.name for one in timeline(boot("lab7", "four")).columns] == ["numbered", "parked"]
    assert timeline(boot("lab8", "calls")).columns == (), "one CPU, the BSP"
    assert len(timeline(boot("lab3.real.lgdt-by-ds", "ladder")).columns) == 9


# --- stops and locks ------------------------------------------------------------------------------


def hit(order: int, cpu: int, place: str) -> Hit:
    return Hit(order, cpu, place, boot("lab3", "ladder").cpus[1].end)


def test_two_cpus_on_one_stack_are_marked():
    apart = [hit(0, 1, "apinitproc0"), hit(1, 1, "apinitproc1"), hit(2, 2, "apinitproc0")]
    assert stops.shared(stops.holds(apart)) == []
    mixed = [hit(0, 1, "apinitproc0"), hit(1, 2, "apinitproc0"), hit(2, 1, "apinitproc1")]
    assert [(a.cpu, b.cpu) for a, b in stops.shared(stops.holds(mixed))] == [(1, 2)]


def test_the_same_cpu_twice_is_no_overlap():
    again = [hit(0, 1, "apinitproc0"), hit(1, 1, "lock-released"), hit(2, 1, "apinitproc0")]
    assert stops.shared(stops.holds(again)) == []


@pytest.mark.parametrize("name", ["lab2", "lab3", "lab4"])
def test_the_reference_never_shares_the_boot_stack(name):
    for one in record(name).boots:
        assert stops.shared(stops.holds(one.seen.hits)) == [], one.scenario


def test_every_stop_is_drawn_where_it_was():
    seen = boot("lab4", "barrier")
    root = ET.fromstring(stops.svg(seen, ENGLISH, "x"))
    marks = list(root.iter(f"{SVG}circle"))
    rows = {float(one.get("y")): one.text for one in root.iter(f"{SVG}text")
            if one.get("class") == "name"}  # fmt: skip
    assert [rows[float(one.get("cy")) + 4] for one in marks] == [
        seen.cpus[one.cpu].name for one in seen.hits
    ]
    places = [float(one.get("cx")) for one in marks]
    assert places == sorted(set(places))


# --- perfetto -------------------------------------------------------------------------------------


def test_the_chrome_trace():
    one = record("lab3").boots[0]
    events = json.loads(perfetto.trace([one], ENGLISH))["traceEvents"]
    seen = one.seen
    threads = [e["args"]["name"] for e in events if e["name"] == "thread_name"]
    assert threads == [cpu.name for cpu in seen.cpus]
    complete = [e for e in events if e["ph"] == "X" and e["cat"] != "ipi"]
    assert {(e["tid"], e["args"]["mode"]) for e in complete} == {
        (cpu.index, state.mode) for cpu in seen.cpus for state in cpu.milestones.values()
    }
    assert len(complete) == sum(len(cpu.milestones) for cpu in seen.cpus)
    starts = [e["id"] for e in events if e["ph"] == "s"]
    assert sorted(starts) == sorted(e["id"] for e in events if e["ph"] == "f")
    assert len(starts) == 2 * 3  # INIT and SIPI, to three APs
    for event in complete:
        assert event["dur"] > 0


def test_nothing_of_a_trace_overlaps_in_a_thread():
    one: RecordedBoot = with_boot(record("lab3"), lambda seen: many(seen, 16)).boots[0]
    events = json.loads(perfetto.trace([one], ENGLISH))["traceEvents"]
    spans: dict[int, list[tuple[int, int]]] = {}
    for e in events:
        if e["ph"] == "X":
            spans.setdefault(e["tid"], []).append((e["ts"], e["ts"] + e["dur"]))
    for found in spans.values():
        found.sort()
        assert all(a[1] <= b[0] for a, b in pairwise(found))


def test_the_made_boot_sends_what_it_says():
    assert [one.kind for one in many(boot("lab3", "ladder"), 4).icr] == ["INIT", "SIPI"]
    assert (INIT, SIPI) == (0xC4500, 0xC4600)

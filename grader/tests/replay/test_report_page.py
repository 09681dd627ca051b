"""The report as a page: whole, self-contained, and harmless whatever a student has written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from records import COURSE, boot, html, many, record, with_boot

import vmmlab.explore
from vmmlab.base.message import Listed, Message, msg
from vmmlab.base.text import clean_line
from vmmlab.course.reference import reference
from vmmlab.explore import Exploration
from vmmlab.i18n.translate import Reader
from vmmlab.observe.guest import CpuGuest, GuestExit, GuestRun
from vmmlab.observe.observation import Hit
from vmmlab.report import memorymap
from vmmlab.report.guestview import guest_rows
from vmmlab.report.model import Case, CheckReport
from vmmlab.report.replay import REGISTERS, replay
from vmmlab.student.show import html_of

SOME = ["lab3", "lab3.real.lgdt-by-ds", "lab4", "lab4.lock.store-only", "lab1", "lab2", "lab3.i386"]
VOID = {"meta", "link", "input", "br"}
WRONG = Path(vmmlab.explore.__file__).with_name("exploration.wrong.json")


class Page(HTMLParser):
    """Reads a page, and fails if its elements do not close in their order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: dict[str, list[str]] = {}
        self._kind = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._kind = dict(attrs).get("class") or dict(attrs).get("id") or ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.setdefault(self._kind, []).append(data)
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def ids(self) -> list[str]:
        return [one["id"] for _, one in self.tags if one.get("id")]


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("name", SOME)
def test_a_page_is_whole(name, language):
    page = Page(html(record(name), language))
    assert len(page.ids()) == len(set(page.ids()))
    links = [one["href"] for tag, one in page.tags if tag == "a"]
    assert {link[1:] for link in links} <= {*page.ids()}
    for tag, one in page.tags:
        for wanted in (one.get("aria-labelledby") or "").split():
            assert wanted in page.ids(), tag


@pytest.mark.parametrize("name", SOME)
def test_a_page_loads_nothing(name):
    text = html(record(name))
    for tag, one in Page(text).tags:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
        assert "src" not in one
        assert not any(key.startswith("on") for key in one)
        assert (one.get("href") or "#").startswith(("#", "data:"))
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)
    assert "default-src 'none'" in text


def test_what_a_person_reads():
    page = Page(html(record("lab3.real.lgdt-by-ds")))
    check = next(c for c in record("lab3.real.lgdt-by-ds").report.checks if c.outcome == "fail")
    for one in (check.title, check.expected, check.observed, check.next, check.id, check.again):
        assert letters(one) in letters(page.text)
    assert "`" in str(check.observed)
    assert "`" not in page.text, "it is code"
    assert "21/40 points" in page.text
    folded = [one for tag, one in page.tags if tag == "details" and one.get("class") == "hint"]
    causes = record("lab3.real.lgdt-by-ds").hints[check.cause]
    assert len(folded) == len(causes) > 1
    assert all("open" not in one for one in folded)
    for level in causes:
        assert letters(level) in letters(page.text)


def letters(text):
    """A text without spaces and the marks of code."""
    return "".join(str(text).replace("`", "").split())


def test_it_is_in_japanese():
    page = Page(html(record("lab3.real.lgdt-by-ds"), "ja"))
    assert ("html", {"lang": "ja"}) in page.tags
    assert "タイムライン" in page.text
    english = Page(html(record("lab3.real.lgdt-by-ds"))).text
    assert "Timeline" in english
    assert "Timeline" not in page.text


def test_the_boot_that_shows_the_failure_comes_first():
    page = Page(html(record("lab4.lock.store-only")))
    first = next(one for tag, one in page.tags if one.get("class") == "boot")
    assert "open" in first
    assert page.text.index("ladder") if "ladder" in page.text else True
    alone = [one for tag, one in page.tags if one.get("class") == "boot" and "open" in one]
    assert len(alone) == 1


def test_differences_from_the_right_run_are_marked():
    right = Page(html(record("lab3")))
    assert "differs" not in right.text
    made = with_boot(record("lab3"), _other_tables)
    assert "differs" in Page(html(made)).text


def _other_tables(seen):
    ap = seen.cpus[1]
    state = replace(ap.milestones["ap-entry"], cr3=0x123000)
    changed = replace(ap, milestones={**ap.milestones, "ap-entry": state})
    return replace(seen, cpus=(seen.cpus[0], changed, *seen.cpus[2:]))


# --- how large -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cpus", [16, 64, 255])
def test_a_page_has_at_most_a_megabyte(cpus):
    made = with_boot(record("lab3"), lambda seen: many(seen, cpus))
    assert len(html(made).encode()) < 1_000_000


def test_a_wild_run_has_a_page_of_a_readable_size():
    assert len(html(record("lab3.entry.physical")).encode()) < 1_000_000


# --- hostile text --------------------------------------------------------------------------------

EVIL = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% for x in y %}",
    "`<img src=x onerror=alert(1)>`",
    "<!--",
    "]]>",
    "\x1b[31mred\x1b[0m\x07",
    "\u202egnp.exe",
    "javascript:alert(1)",
    "<style>*{display:none}</style>",
    "A" * 200_000,
]


def poisoned(evil):
    """A record with the same hostile text in every place where a student's text can be."""
    made = record("lab3.real.lgdt-by-ds")
    report = made.report
    checks = []
    for one in report.checks:
        data = one.model_dump(by_alias=True)
        data |= dict.fromkeys(("place", "expected", "observed", "next", "title", "again"), evil)
        if one.outcome == "pass":
            data["title"] = Listed((evil, msg("{what}!", what=evil)))
        data["cases"] = (Case(name=evil, outcome="fail", message=evil),)
        checks.append(CheckReport.model_validate(data))
    report = report.model_copy(
        update={
            "checks": tuple(checks),
            "notes": (evil, Message(evil)),
            "review_reasons": (evil,),
            "versions": {evil: evil},
            "cohort": evil,
            "label": evil,
            "lab": "lab3",
        }
    )
    boots = []
    for one in made.boots:
        seen = one.seen
        place = replace(seen.cpus[-1].end_place, symbol=evil, file=evil)
        step = seen.cpus[-1].steps
        step = tuple(replace(s, text=evil, place=place) for s in step)
        ap = replace(seen.cpus[-1], end_place=place, end_kind=evil, end_code=evil, steps=step)
        hits = (*seen.hits, Hit(len(seen.hits), 0, evil, ap.end, text=evil))
        symbols = {**seen.symbols, evil: 1}
        seen = replace(seen, cpus=(*seen.cpus[:-1], ap), hits=hits, symbols=symbols, serial=evil)
        boots.append(
            one.model_copy(update={"scenario": evil, "name": evil, "words": evil, "seen": seen})
        )
    return made.model_copy(
        update={
            "report": report,
            "boots": tuple(boots),
            "hints": dict.fromkeys(made.hints, (evil,)),
            "lines": {evil: dict.fromkeys(range(200), evil)},
        }
    )


def skeleton(text):
    """The elements of a page, with those attributes that no text goes into."""
    return [(tag, sorted(one)) for tag, one in Page(text).tags if tag != "details"]


@pytest.mark.parametrize(
    ("name", "english", "japanese"),
    [
        ("lab3.real.lgdt-by-ds", "4 CPUs (ladder)", "CPU 4 個（ladder）"),
        ("lab7", "CPUs, -O0, cohort dev2 (there)", "、-O0、コホート dev2（there）"),
    ],
)
def test_a_boot_is_named_in_words(name, english, japanese):
    for language, words in (("en", english), ("ja", japanese)):
        text = html(record(name), language)
        assert words in text
        assert "probe=" not in text


@pytest.mark.parametrize("evil", EVIL, ids=lambda one: one[:20])
def test_hostile_text_is_text(evil):
    text = html(poisoned(evil))
    harmless = "`harmless`" if evil.startswith("`") else "harmless"
    assert skeleton(text) == skeleton(html(poisoned(harmless)))
    assert len(text.encode()) < 3_000_000
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", text)
    for data in Page(text).scripts["steps"]:
        json.loads(data)


def test_text_that_is_not_escaped_is_noticed():
    text = html(poisoned("harmless")).replace("harmless", "<b>harm</b>", 1)
    assert skeleton(text) != skeleton(html(poisoned("harmless")))


def test_numbers_without_end_are_drawn():
    seen = boot("lab3", "ladder")
    state = replace(seen.cpus[1].end, cr3=10**60, rsp=-5)
    ap = replace(seen.cpus[1], milestones={"ap-entry": state, "no-such": state}, end=state)
    ap = replace(ap, stackaddr=1 << 90)
    made = with_boot(record("lab3"), lambda one: replace(one, cpus=(one.cpus[0], ap)))
    Page(html(made))


def test_a_build_that_failed():
    report = record("lab3").report
    error = {"file": "lab3/ap_start.c", "line": 7, "severity": "error", "message": "no <such> type"}
    built = report.model_validate(
        {
            **report.model_dump(by_alias=True),
            "build": {"ok": False, "diagnostics": [error]},
            "checks": [{**c.model_dump(), "outcome": "build-error"} for c in report.checks],
        }
    )
    page = Page(html(record("lab3").model_copy(update={"report": built, "boots": ()})))
    assert "lab3/ap_start.c:7" in page.text.replace(" :", ":").replace(": 7", ":7")
    assert "no <such> type" in page.text


# --- the replay ----------------------------------------------------------------------------------


def expanded(data, cpu):
    """What the slider shows at each step: registers by name."""
    values = ["0"] * len(REGISTERS)
    shown = []
    for _, _, changed, _ in next(one for one in data["cpus"] if one["cpu"] == cpu)["steps"]:
        for number, value in changed.items():
            values[int(number)] = value
        shown.append(dict(zip(REGISTERS, values, strict=True)))
    return shown


def test_the_replay_shows_every_step():
    from records import reader

    made = record("lab3")
    seen = made.boots[0].seen
    data = json.loads(json.dumps(replay(seen, made.lines, reader("lab3"))))
    for cpu in seen.cpus[1:]:
        assert expanded(data, cpu.index) == [
            {name: f"{getattr(step.state, name):x}" for name in REGISTERS} for step in cpu.steps
        ]
    numbers = [step[0] for step in data["cpus"][0]["steps"]]
    rows = [data["instructions"][number] for number in numbers]
    assert [int(row[0], 16) for row in rows] == [step.state.pc for step in seen.cpus[1].steps]
    assert rows[0][1:3] == ["ljmpw $0xf00, $0x0", "ljmp 0xf00:0"]
    att, intel = rows[14][1:3]
    assert (att, intel) == ("movl %eax, %cr0", "mov cr0, eax")
    place = seen.cpus[1].steps[14].place
    text = reference(COURSE, ["lab3"]).files[place.file].decode().splitlines()[place.line - 1]
    assert rows[14][4:] == [f"{place.file}:{place.line}", clean_line(text)]


def test_code_of_other_labs_is_not_shown():
    from records import reader

    seen = boot("lab3", "ladder")
    place = replace(seen.cpus[1].steps[3].place, owner="prebuilt")
    steps = tuple(replace(step, place=place) for step in seen.cpus[1].steps)
    hidden = replace(seen, cpus=(seen.cpus[0], replace(seen.cpus[1], steps=steps)))
    text = json.dumps(replay(hidden, record("lab3").lines, reader("lab3")))
    assert "apinit.S" not in text
    assert "%cr0" not in text
    assert "apinit.S" in json.dumps(replay(seen, record("lab3").lines, reader("lab3")))


# --- guests --------------------------------------------------------------------------------------


def with_guests(seen):
    """A boot in which two CPUs ran a guest, and one of them still does."""
    left = GuestRun(vmcb=0x5000, exit=GuestExit(code=0x400, info1=4, info2=0xFEE00300, rip=0x7C00))
    guests = (CpuGuest(), *(CpuGuest(runs=(left,), count=1, exits={0x400: 1}),) * 2)
    inside = CpuGuest(runs=(replace(left, vmcb=0x9000), GuestRun(0x9000)), count=2, exits={0x72: 1})
    return replace(seen, guests=(*guests, inside))


def test_what_each_cpu_did_with_guests():
    rows = guest_rows(with_guests(boot("lab3", "ladder")))
    assert [(row.cpus, row.runs, str(row.exits), row.now) for row in rows] == [
        ("0", 0, "", False),
        ("1-2", 1, "VMEXIT_NPF: 1", False),
        ("3", 2, "VMEXIT_CPUID: 1", True),
    ]
    page = Page(html(with_boot(record("lab3"), with_guests)))
    assert "VMEXIT_NPF: 1" in page.text
    assert "in the guest at the end" in page.text
    assert "VMRUN" not in Page(html(record("lab3"))).text


# --- the memory map -------------------------------------------------------------------------------


def test_what_is_where():
    seen = boot("lab3", "ladder")
    found = {str(one.what): one for one in memorymap.regions(seen)}
    jump, copy = found["the far jump at physical 0"], found["the copy of the trampoline"]
    assert (jump.start, jump.end, str(jump.by)) == (0, 5, "CPU 0")
    assert (copy.start, copy.end - copy.start) == (0xF000, len(seen.trampoline.image))
    stack = found["stack of CPU 1"]
    assert (stack.start, stack.end - stack.start) == (
        seen.cpus[1].stackaddr - 0x40000000,
        seen.stack_size,
    )
    writes = [one for one in memorymap.regions(seen) if one.kind == "write"]
    assert {str(one.by) for one in writes} == {"CPU 1-3"}
    assert all(copy.start <= one.start < one.end <= copy.end for one in writes)


def test_the_memory_of_the_reference_does_not_overlap():
    for name in ("lab0", "lab1", "lab2", "lab3", "lab4"):
        for one in record(name).boots:
            assert [r for r in memorymap.regions(one.seen) if r.overlaps] == [], one.scenario


def test_overlaps_are_marked():
    seen = boot("lab3", "ladder")
    lower = replace(seen.cpus[2], stackaddr=seen.cpus[1].stackaddr + 0x1000)
    cpus = (*seen.cpus[:2], lower, *seen.cpus[3:])
    found = [one for one in memorymap.regions(replace(seen, cpus=cpus)) if one.overlaps]
    assert {str(one.what) for one in found} >= {"stack of CPU 1", "stack of CPU 2"}
    in_image = replace(seen.cpus[2], stackaddr=seen.symbols["__image_start"])
    cpus = (*seen.cpus[:2], in_image, *seen.cpus[3:])
    found = [one for one in memorymap.regions(replace(seen, cpus=cpus)) if one.overlaps]
    assert {str(one.what) for one in found} == {"stack of CPU 2", "the VMM's image"}


# --- the explorer's counterexample ----------------------------------------------------------------


def explored():
    found = TypeAdapter(Exploration).validate_json(WRONG.read_text("utf-8"))
    return record("lab4").model_copy(update={"exploration": found}), found.counterexample


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_counterexample_step_by_step(language):
    made, found = explored()
    page = Page(html(made, language))
    rows = [one for tag, one in page.tags if tag == "tr" and one.get("data-step")]
    assert [int(one["data-step"]) for one in rows] == [step.number for step in found.steps]
    turns = [one for _, one in page.tags if one.get("class") == "turn"]
    assert [(int(one["data-step"]), int(one["data-cpu"])) for one in turns] == [
        (step.number, step.cpu) for step in found.steps
    ]
    held = {
        (int(one["data-step"]), one["data-held"], int(one["data-cpu"]))
        for _, one in page.tags
        if (one.get("class") or "").startswith("held ")
    }
    assert held == {
        (step.number, name, cpu) for step in found.steps for name, cpu in step.holds.items()
    }


def test_without_a_counterexample_there_is_none():
    assert 'id="explored"' not in html(record("lab4"))
    assert 'id="explored"' in html(explored()[0])


def test_the_course_is_the_clones():
    assert (COURSE.labs_dir / "lab3" / "right-runs.json").is_file()


def test_the_right_run_is_beside_it_only_if_it_may_be():
    made = record("lab3.jump.near")
    hidden, shown = (html_of(made, COURSE, Reader(), beside=beside) for beside in (False, True))
    assert "right run" in shown
    assert "right run" not in hidden

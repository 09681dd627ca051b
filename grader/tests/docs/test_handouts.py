"""Handouts against course.yml, against their Japanese twins, and their pictures."""

import re
import xml.etree.ElementTree as ET

import pytest
from book_pages import (
    ROOT,
    SAMPLE,
    commands,
    handouts,
    in_english,
    shown,
    tables,
    twin,
)

from vmmlab.base.markdown import headings
from vmmlab.course.load import load_course

PAGES = handouts()
TWINS = [page for page in PAGES if twin(page).is_file()]
PICTURES = sorted(ROOT.glob("labs/lab*/pictures/*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
PHONE_PX = 360
SMALLEST_PX = 9  # of text, on a phone
WIDE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def graded(text):
    """What the table of checks says: id and points."""
    rows = [row for table in tables(text) for row in table[1:]]
    return {
        row[0].strip("`"): row[1] for row in rows if re.fullmatch(r"`lab\d+\.\w+\.\w+`", row[0])
    }


def test_the_readme_of_the_kit_is_the_same_in_japanese():
    ours, theirs = (read(ROOT / name) for name in ("README.md", "README.ja.md"))
    assert [level for level, _ in headings(ours)] == [level for level, _ in headings(theirs)]
    assert [len(table) for table in tables(ours)] == [len(table) for table in tables(theirs)]
    code = [
        [line.split("#")[0].rstrip() for line in text.splitlines() if line.startswith("    ")]
        for text in (SAMPLE.sub("", ours), SAMPLE.sub("", theirs))  # those: test_readme.py
    ]
    assert code[0] == [in_english(line) for line in code[1]]


def pictures(text):
    """The pictures of a page: alternative text and address."""
    return re.findall(r"!\[(.*?)\]\((\S+?)\)", text, re.DOTALL)


def read(page):
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [*PAGES, *map(twin, TWINS)], ids=shown)
def test_the_table_of_checks_is_that_of_the_course(page):
    lab = load_course(ROOT).labs[page.parent.name]
    found = graded(read(page))
    others = {id_: points for id_, points in found.items() if ".i386." in id_}
    assert {id_: found[id_] for id_ in found if id_ not in others} == points(lab, "x86_64")
    assert others in ({}, points(lab, "i386"))


def points(lab, arch):
    """Id and points of the checks of a lab."""
    return {id_: str(check.points) for id_, check in lab.checks_of(arch).items()}


def test_a_wrong_table_of_checks_is_noticed():
    page = ROOT / "labs/lab1/README.md"
    text = read(page)
    assert graded(text.replace("| `lab1.mi.uefi` | 2 |", "| `lab1.mi.uefi` | 3 |")) != graded(text)
    assert graded(text.replace("`lab1.mi.uefi`", "`lab1.mi.efi`")) != graded(text)


@pytest.mark.parametrize("page", TWINS, ids=shown)
def test_both_languages_have_the_same_tables_commands_and_outputs(page):
    ours, theirs = read(page), read(twin(page))
    assert [len(table) for table in tables(ours)] == [len(table) for table in tables(theirs)]
    shapes = [
        [(in_english(c.text), len(c.output), c.run) for c in commands(one)]
        for one in (page, twin(page))
    ]
    assert shapes[0] == shapes[1]
    assert re.findall(r"<!-- .+ -->", ours) == re.findall(r"<!-- .+ -->", theirs)


@pytest.mark.parametrize("page", TWINS, ids=shown)
def test_both_languages_ask_the_same_number_of_questions(page):
    counts = [len(re.findall(r"^\d+\. ", read(one), re.MULTILINE)) for one in (page, twin(page))]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("page", [*PAGES, *map(twin, TWINS)], ids=shown)
def test_every_picture_is_there_and_is_described(page):
    japanese = page.name.endswith(".ja.md")
    found = pictures(read(page))
    assert found, "a handout without a picture"
    for alt, address in found:
        assert (page.parent / address).is_file(), address
        assert address.endswith(".ja.svg") == japanese, address
        assert len(alt) > 20
        assert bool(WIDE.search(alt)) == japanese


def test_every_picture_is_used():
    used = {
        (page.parent / address).resolve()
        for page in [*PAGES, *map(twin, TWINS)]
        for _, address in pictures(read(page))
    }
    labs = {page.parent.name for page in TWINS}
    assert [str(one) for one in PICTURES if one.parts[-3] in labs and one not in used] == []


def faults(text):
    """What is wrong with a picture."""
    svg = ET.fromstring(text)
    found = []
    if svg.get("role") != "img":
        found.append("no role")
    found += [f"no {name}" for name in ("title", "desc") if not (svg.findtext(SVG + name) or "")]
    _, _, width, height = map(float, svg.get("viewBox", "0 0 0 0").split())
    sizes = [float(at.get("font-size")) for at in svg.iter() if at.get("font-size")]
    if not sizes or min(sizes) * min(1, PHONE_PX / width) < SMALLEST_PX:
        found.append("text too small on a phone")
    first = next(one for one in svg if one.tag == SVG + "rect")
    whole = float(first.get("width", 0)) >= width and float(first.get("height", 0)) >= height
    if not whole or first.get("fill") not in ("#fff", "#ffffff", "white"):
        found.append("no background of its own")
    if re.search(r"href=\"http|@import|url\(http|<script|<image", text):
        found.append("needs something from elsewhere")
    return found


@pytest.mark.parametrize("picture", PICTURES, ids=shown)
def test_a_picture_is_legible_everywhere(picture):
    text = read(picture)
    assert faults(text) == []
    assert bool(WIDE.search(text)) == picture.name.endswith(".ja.svg")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('role="img"', "", "no role"),
        ("<desc", "<metadata", "no desc"),
        ('font-size="13"', 'font-size="11"', "text too small on a phone"),
        ('fill="#ffffff"', 'fill="none"', "no background of its own"),
    ],
)
def test_a_picture_that_is_not_is_noticed(old, new, fault):
    text = read(ROOT / "labs/lab1/pictures/initfunc.svg")
    assert old in text
    if "<desc" in old:
        text = text.replace("</desc>", "</metadata>")
    assert fault in faults(text.replace(old, new))


QUESTIONS = re.compile(
    r"^## (?:Questions to think about|考えてみよう|考える問題|考えること)\n(.*?)(?=^## )",
    re.M | re.S,
)
NUMBERED = re.compile(r"^\d+\. ", re.MULTILINE)


@pytest.mark.parametrize("page", [*PAGES, *map(twin, TWINS)], ids=shown)
def test_each_question_has_an_answer_for_those_who_study_alone(page):
    japanese = page.name.endswith(".ja.md")
    text = read(ROOT / "reference" / ("answers.ja.md" if japanese else "answers.md"))
    number = page.parent.name.removeprefix("lab")
    head = f"## 課題 {number}\n" if japanese else f"## Lab {number}\n"
    answers = text.partition(head)[2].partition("\n## ")[0]
    asked = QUESTIONS.search(read(page))
    assert asked is not None
    assert len(NUMBERED.findall(asked[1])) == len(NUMBERED.findall(answers)) > 0


@pytest.mark.parametrize("page", [*PAGES, *map(twin, TWINS)], ids=shown)
def test_a_handout_points_to_its_worksheet(page):
    number = page.parent.name.removeprefix("lab")
    there = (page.parent / "worksheet.ipynb").is_file()
    assert (f"`make worksheet LAB={number}`" in read(page)) == there


def test_the_last_handout_says_what_comes_next():
    last = [name for name, lab in load_course(ROOT).labs.items() if lab.files][-1]
    for end in ("", ".ja"):
        text = read(ROOT / "labs" / last / f"README{end}.md").rstrip()
        assert f"](../../docs/what-comes-next{end}.md)" in text.splitlines()[-1]

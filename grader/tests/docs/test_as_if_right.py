"""The list of wrong solutions whose boots end as if they were right."""

import re
from pathlib import Path

import pytest

from vmmlab.author.mutants import load
from vmmlab.course.load import load_course

ROOT = Path(__file__).parents[3]
HEADINGS = {
    "kill-matrix.md": "## Wrong, and the boot ends as if it were right",
    "kill-matrix.ja.md": "## 間違っているのに、正しく起動したように終わるもの",
}
ROW = re.compile(r"^\| (\d+) \|.*\| (\d+) \|.*\| ((?:`[a-z0-9.-]+`(?:, )?)+) \|$", re.MULTILINE)


def rows(page):
    text = (ROOT / "docs" / page).read_text("utf-8").partition(HEADINGS[page])[2]
    found = ROW.findall(text.partition("\n## ")[0])
    return [(int(number), f"lab{lab}", re.findall("`(.*?)`", ids)) for number, lab, ids in found]


@pytest.mark.parametrize("page", HEADINGS)
def test_each_kind_has_a_number_and_mutants_of_its_lab(page):
    course = load_course(ROOT)
    known = {one.id: one.lab for one in load(course)}
    listed = rows(page)
    assert [number for number, _, _ in listed] == list(range(1, 18))
    for _, lab, ids in listed:
        assert all(one.startswith(f"{lab}.") for one in ids)
        if lab in known.values():  # a lab that is being written has none yet
            assert {known.get(one) for one in ids} == {lab}, ids


def test_both_languages_list_the_same():
    english, japanese = (rows(page) for page in HEADINGS)
    assert english == japanese

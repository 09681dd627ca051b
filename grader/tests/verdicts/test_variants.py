"""Right solutions that are written in another way earn all points, in every cohort."""

import dataclasses
from pathlib import Path

import pytest

from vmmlab.author.mutants import load_variants, run_variant, variant_files
from vmmlab.course.load import load_course
from vmmlab.grading import boots
from vmmlab.observe.session import Session

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
VARIANTS = load_variants(load_course(ROOT))
full = pytest.mark.full
SAMPLED = [pytest.param(one, marks=full if at % 8 else ()) for at, one in enumerate(VARIANTS)]
"""Every eighth one is run each time."""
WAYS = [
    pytest.param({"cohort": "dev"}, id="dev"),
    pytest.param({"cohort": "autumn"}, id="autumn", marks=full),
    pytest.param({"cohort": "dev", "compiler": "clang"}, id="clang", marks=full),
    pytest.param({"cohort": "dev", "opt": "-O0"}, id="O0", marks=full),
]


DEEP = "heap-sort-odd-looks"
"""Calls itself for each record: a jump at -O2, and too much for the boot's stack at -O0."""


def test_every_lab_has_some(course):
    per_lab = [variant.lab for variant in VARIANTS]
    assert len(VARIANTS) >= 10
    assert all(per_lab.count(lab.name) >= 2 for lab in course.labs.values() if lab.files)


@pytest.mark.parametrize("variant", SAMPLED, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_nobody_is_accused(course, way, variant):
    if variant.name == DEEP and way.get("opt") == "-O0":
        pytest.skip("its recursion needs the optimizer")
    result = run_variant(course, variant, **way)
    assert result.accused == ()


def test_a_variant_that_is_wrong_would_be_noticed(course, tmp_path):
    good = next(v for v in VARIANTS if v.lab == "lab1")
    for path, text in variant_files(course, good).items():
        wrong = text.replace(b'"global"', b'"globa"')
        (tmp_path / Path(path).name).write_bytes(wrong)
    result = run_variant(course, dataclasses.replace(good, folder=tmp_path))
    assert result.accused


class Hasty(Session):
    """Looks every few milliseconds whether the machine stands still for ever."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.limits = dataclasses.replace(self.limits, look_s=0.003)


SOON = ("bsp-leads-the-barrier/lab4", "one-cpu-at-a-time/lab3", "waits-without-pause/lab4")


@pytest.mark.parametrize(
    "variant",
    [pytest.param(v, id=str(v), marks=[] if str(v) in SOON else full) for v in VARIANTS],
)
def test_nobody_is_taken_for_stuck_on_the_way(course, monkeypatch, variant):
    """However often it is looked: whoever will still get on is left to it."""
    monkeypatch.setattr(boots, "Session", Hasty)
    result = run_variant(course, variant)
    assert result.accused == ()

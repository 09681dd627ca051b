"""Boots by UEFI firmware: a restored template and a cold boot lead to the same verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from ovmf import needs_ovmf

from vmmlab.author import mutants
from vmmlab.base.notices import listening
from vmmlab.course.model import Course
from vmmlab.course.reference import reference
from vmmlab.machine.templates import COLD_VARIABLE
from vmmlab.report.model import Report

Grade = Callable[..., Report]


pytestmark = needs_ovmf
WRONG = ("lab6.call.own-idt", "lab6.return.no-cli")


def submissions(course: Course) -> dict[str, Mapping[str, bytes]]:
    wrong = {one.id: one for one in mutants.load(course, ["lab6"]) if one.id in WRONG}
    return {
        "reference": reference(course, ["lab6"]).files,
        "starter": reference(course, ["lab6"], ()).files,
        **{name: mutants.apply(course, wrong[name]) for name in WRONG},
    }


def verdict(report: Report) -> list[tuple[Any, ...]]:
    return [(one.id, one.outcome, one.points, one.cause, one.step) for one in report.checks]


@pytest.mark.slow
@pytest.mark.parametrize(
    "who", ["reference", *(pytest.param(n, marks=pytest.mark.full) for n in ("starter", *WRONG))]
)
def test_a_cold_boot_has_the_same_verdict(
    course: Course, grade: Grade, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    files = submissions(course)[who]
    restored = verdict(grade("lab6", files))
    monkeypatch.setenv(COLD_VARIABLE, "1")
    said: list[str] = []
    with listening(lambda text: said.append(str(text))):
        cold = verdict(grade("lab6", files))
    assert said == []
    assert cold == restored
    assert (sum(points for _, _, points, *_ in cold) == course.labs["lab6"].points) == (
        who == "reference"
    )

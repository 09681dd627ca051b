"""Checks of a lab: those that its tests define, against those that course.yml lists."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from vmmlab.author.check_course.declared import declared_checks
from vmmlab.author.check_course.finding import Forgotten
from vmmlab.base.message import msg
from vmmlab.course.find import COURSE_FILE
from vmmlab.course.model import ARCHES, Course, Lab


def in_checks(course: Course, lab: Lab) -> Iterator[Forgotten]:
    """Yield the checks that course.yml or the tests lack, and steps that earn nothing."""
    file = f"labs/{lab.name}/test_{lab.name}.py"
    path = course.root / file
    if not path.is_file():
        yield Forgotten(file, 0, msg("the tests are missing"), msg("write the checks of this lab"))
        return
    try:
        declared = declared_checks(path)
    except SyntaxError as error:
        yield Forgotten(
            file, error.lineno or 0, msg("invalid Python: {error}", error=error.msg), msg("fix it")
        )
        return
    hidden: dict[str, tuple[str, int]] = {}
    for one in sorted((path.parent / "hidden").glob("test_*.py")):
        place = f"labs/{lab.name}/hidden/{one.name}"
        hidden |= {check_id: (place, line) for check_id, line in declared_checks(one).items()}
    yield from _not_listed(lab, file, declared, hidden)
    yield from _not_defined(lab, file, declared.keys() | hidden.keys())
    yield from _steps_without_points(lab)


def _not_listed(
    lab: Lab, file: str, declared: Mapping[str, int], hidden: Mapping[str, tuple[str, int]]
) -> Iterator[Forgotten]:
    below_hidden = msg("give it points and a step there, below `hidden`")
    there = msg("give it points and a step there")
    open_ones = {check_id: (file, line) for check_id, line in declared.items()}
    for known, places, do in (
        (lab.hidden, hidden, below_hidden),
        (lab.all_checks, open_ones, there),
    ):
        for check_id, (place, line) in places.items():
            if check_id not in known:
                what = msg("{check_id} is not in course.yml", check_id=check_id)
                yield Forgotten(place, line, what, do)


def _not_defined(lab: Lab, file: str, defined: Collection[str]) -> Iterator[Forgotten]:
    for check_id in [*lab.all_checks, *lab.hidden]:
        if check_id not in defined:
            place = file if check_id in lab.all_checks else f"labs/{lab.name}/hidden/"
            yield Forgotten(
                COURSE_FILE,
                lab.check_lines[check_id],
                msg("no test defines {check_id}", check_id=check_id),
                msg("write it in {place}, or remove this line", place=place),
            )


def _steps_without_points(lab: Lab) -> Iterator[Forgotten]:
    for arch in lab.arches:
        earned = {check.step for check in lab.checks_of(arch).values() if check.points}
        for step in lab.steps:
            if step.id not in earned:
                yield Forgotten(
                    COURSE_FILE,
                    lab.line,
                    msg("no check gives points for the step {step}", step=step.id)
                    if arch == ARCHES[0]
                    else msg(
                        "no {arch} check gives points for the step {step}",
                        arch=arch,
                        step=step.id,
                    ),
                    msg("add one"),
                )

"""Mutants of a lab and its causes.yml: checks without a mutant, causes without a hint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vmmlab.author import mutants
from vmmlab.author.check_course.declared import named_causes
from vmmlab.author.check_course.finding import Forgotten, of_error
from vmmlab.base.errors import VmmlabError
from vmmlab.base.message import Text, listed, msg
from vmmlab.checks.causes import Causes
from vmmlab.course.model import Course, Lab


def in_mutants_and_hints(course: Course, lab: Lab) -> Iterator[Forgotten]:
    """Yield checks without a mutant, mutants that do not apply, and causes without hints."""
    file = f"grader/mutants/{lab.name}.yml"
    wanted: dict[str, Text] = {}
    tests = course.root / f"labs/{lab.name}/test_{lab.name}.py"
    if tests.is_file():
        try:
            wanted |= dict.fromkeys(named_causes(tests), f"labs/{lab.name}/{tests.name}")
        except SyntaxError:
            return  # `in_checks` reports it
    if lab.steps:
        wanted["not-written-yet"] = msg("every starter")
    try:
        known = mutants.load(course, [lab.name]) if (course.root / file).is_file() else ()
    except VmmlabError as error:
        yield of_error(error, file)
        return
    for check_id, check in lab.all_checks.items():
        if check.points and not any(one.check == check_id for one in known):
            yield Forgotten(
                file,
                0,
                msg("no mutant must be caught by {check_id}", check_id=check_id),
                msg("add a known-wrong solution that this check must catch"),
            )
    for one in known:
        wanted.setdefault(one.cause, one.source)
        try:
            mutants.apply(course, one)
        except VmmlabError as error:
            yield of_error(error, file)
    yield from _hints(course, lab, wanted)


def _hints(course: Course, lab: Lab, wanted: Mapping[str, Text]) -> Iterator[Forgotten]:
    file = f"labs/{lab.name}/causes.yml"
    try:
        causes = Causes(course.root / file).load()
    except VmmlabError as error:
        yield of_error(error, file)
        return
    steps = [step.id for step in lab.steps]
    for cause, said in causes.items():
        if said.step and said.step not in steps:
            yield Forgotten(
                file,
                0,
                msg("{cause}: this lab has no step {step}", cause=cause, step=said.step),
                msg("one of {steps}", steps=listed(steps)),
            )
    for cause, by in wanted.items():
        if (cause not in causes or not causes[cause].hints) and lab.steps:
            yield Forgotten(
                file,
                0,
                msg("no hints for the cause {cause} (used by {by})", cause=cause, by=by),
                msg("add a list of hints"),
            )

"""Compares the checks that course.yml lists with those that a lab's tests define."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from vmmlab.base.errors import CourseError
from vmmlab.base.message import msg
from vmmlab.base.nearest import nearest
from vmmlab.base.yamlfile import shown
from vmmlab.course.ids import HIDDEN_TOPIC, is_hidden
from vmmlab.course.model import ARCHES, Lab


def check_defined(
    lab: Lab, defined: Mapping[str, str] | Collection[str], *, hidden: bool = False
) -> None:
    """Compare the checks that course.yml lists for `lab` with those that its tests define.

    Args:
        lab: the lab.
        defined: the ids that the test files define; a mapping also says where each one is
            (as `labs/lab3/test_lab3.py:12`).
        hidden: whether the files of the hidden checks are among them.

    Raises:
        CourseError: a check of course.yml is defined nowhere, or a defined one has no points.
    """
    tests = f"labs/{lab.name}/test_{lab.name}.py"
    source = shown(lab.source)
    listed = {check_id: "checks" for arch in ARCHES for check_id in lab.checks_of(arch)}
    listed |= dict.fromkeys(lab.later, "checks")
    if hidden:
        listed |= dict.fromkeys(lab.hidden, HIDDEN_TOPIC)
    for check_id, key in listed.items():
        if check_id not in defined:
            place = f"labs/{lab.name}/hidden/" if key == HIDDEN_TOPIC else tests
            near = nearest(check_id, set(defined) - set(listed))
            raise CourseError(
                msg(
                    "{source}:{check_lines}: labs > {lab} > {key} > {check_id}: no test "
                    "defines this check.",
                    source=source,
                    check_lines=lab.check_lines[check_id],
                    lab=lab.name,
                    key=key,
                    check_id=check_id,
                ),
                expected=msg('@check("{check_id}") in {place}', check_id=check_id, place=place),
                found=msg('the most similar one there is @check("{near}")', near=near)
                if near
                else "",
                next_step=msg("write the check, or remove the line from course.yml"),
            )
    for check_id in defined:
        if check_id not in listed:
            where = defined[check_id] if isinstance(defined, Mapping) else tests
            near = nearest(check_id, listed)
            key = HIDDEN_TOPIC if is_hidden(check_id) else "checks"
            raise CourseError(
                msg(
                    "{where}: the check {check_id} is not in course.yml.",
                    where=where,
                    check_id=check_id,
                ),
                expected=f"{source}:{lab.line}: labs > {lab.name} > {key} > {check_id}",
                found=msg("the most similar id there is {near}", near=near) if near else "",
                next_step=msg("add it there with its points and its step, or remove the check"),
            )

"""Writes the report on what was not graded: 0 points with a reason, or a case for a person.

A student always has a report. It has no points only if the reason may lie with the grader.
"""

from __future__ import annotations

import platform

from vmmlab import __version__
from vmmlab.base.message import Message, Text, msg
from vmmlab.course.model import CheckSpec, Course
from vmmlab.report.audit import audit_of
from vmmlab.report.model import SCHEMA, Report

_NEXT = msg("Hand in the files that the handout lists, each in its lab's folder.")


def report(
    course: Course,
    lab: str,
    arch: str,
    cohort: str,
    reason: Text,
    *,
    attention: bool,
    hidden: bool,
    handed_in: bool = True,
    files: str = "",
) -> Report:
    """Return the report on a lab that was not graded.

    Args:
        course: the course.
        lab: the lab.
        arch: the architecture.
        cohort: name of the submission's cohort.
        reason: why.
        attention: a person has to look at it, so it is no grade.
        hidden: the hidden checks would have been run, too.
        handed_in: something was handed in for the lab.
        files: the hash of the files that were handed in; empty if there are none.
    """
    found = course.lab(lab)
    points = None if attention else 0
    secret = found.hidden_of(arch) if hidden else {}
    judged = {**found.checks_of(arch), **secret}
    checks = [
        _check(name, spec, reason, attention=attention, hidden=name in secret)
        for name, spec in judged.items()
    ]
    told = [] if attention else [{"severity": "error", "message": reason}]
    return Report.model_validate(
        {
            "schema": SCHEMA,
            "mode": "standalone",
            "lab": lab,
            "cohort": cohort,
            "seed": None,
            "arch": arch,
            "versions": {"vmmlab": __version__, "python": platform.python_version()},
            "build": {"ok": attention, "diagnostics": told},
            "checks": checks,
            "points": points,
            "max": found.points_of(arch),
            "hidden_points": points if secret else None,
            "hidden_judged": bool(secret),
            "hidden_max": found.hidden_points_of(arch),
            "hidden_elsewhere": not found.hidden,
            "needs_attention": attention,
            "handed_in": handed_in,
            "notes": [reason],
            "audit": audit_of(course, lab, files),
            "duration_s": 0.0,
        }
    )


def _check(
    name: str, spec: CheckSpec, reason: Text, *, attention: bool, hidden: bool
) -> dict[str, object]:
    """Return the entry of a check that was not judged."""
    return {
        "id": name,
        "title": Message(spec.title or name),
        "points": None if attention else 0,
        "max": spec.points,
        "outcome": "infra-error" if attention else "build-error",
        "reason": reason,
        "next": "" if attention else _NEXT,
        "scenario": "",
        "again": "",
        "step": spec.step,
        "visibility": "hidden" if hidden else "visible",
    }

"""The worksheets of a release: without solutions, by nbgrader's own steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vmmlab.base.message import Text, msg
from vmmlab.course.model import Course
from vmmlab.worksheet.assignment import stripper, without_nbgrader


def worksheets(course: Course, made: Path, cohorts: Sequence[str]) -> Iterator[Text]:
    """Write the students' worksheets into a release, and yield notes.

    Args:
        course: the instructor's course.
        made: the release.
        cohorts: those that the release is for.
    """
    everything = sorted(course.labs_dir.glob("lab*/worksheet*.ipynb"))
    sources = [one for one in everything if (made / "labs" / one.parent.name).is_dir()]
    if not sources:
        return
    if len(cohorts) > 1:
        yield msg(
            "no worksheets: their numbers depend on the cohort, and this release is for several"
        )
        return
    try:
        strip = stripper(cohorts[0])
    except ImportError:
        yield without_nbgrader()
        return
    for source in sources:
        target = made / "labs" / source.parent.name / source.name
        target.write_text(strip(source), encoding="utf-8")

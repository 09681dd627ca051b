"""Write observation.sample.json anew, from a boot of lab 4's reference.

Run it as `python grader/tests/observe/sample.py`, after the schema has changed.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.reference import reference
from vmmlab.grading.boots import LabRunner
from vmmlab.grading.grade import RunRequest
from vmmlab.observe.schema import to_json
from vmmlab.probes import bringup

SAMPLE = Path(__file__).with_name("observation.sample.json")
BOOT = bringup(name="sample", cpus=2)


def main() -> None:
    """Boot once and write what was seen."""
    course = load_course(Path(__file__).parents[3])
    request = RunRequest(
        course=course,
        lab="lab4",
        files=reference(course, ["lab4"]).of("lab4"),
        mode="standalone",
        cohort=Cohort.derive("dev"),
        seed=1,
        arch="x86_64",
        sandbox_required=False,
    )
    with closing(LabRunner(request)) as runner:
        seen = runner.observe(BOOT)
    SAMPLE.write_text(to_json(replace(seen, wall_s=0.2), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

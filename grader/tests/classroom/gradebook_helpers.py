"""Reports on a small course, and what the gradebook holds of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
import nbformat.v4 as v4

from vmmlab.classroom.gradebook import Result
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.report.model import Build, CheckReport, Report

COURSE = """\
schema: 1
title: A small course
cohort: spring
labs:
  lab3:
    title: Three checks and a hidden one
    files:
      lab3/ap_start.c: [ap_start]
    steps:
      - {id: lab3.1, title: write it, file: lab3/ap_start.c, function: ap_start}
    points: 14
    checks:
      lab3.jump.present: {points: 2, step: lab3.1}
      lab3.jump.target: {points: 3, step: lab3.1}
      lab3.ladder.long: {points: 5, step: lab3.1}
      lab3.secret.trick: {points: 4, step: lab3.1}
"""
Put = Callable[..., Path]
Sync = Callable[..., Result]
JUMP = "lab3-jump-target"
"""The grade cell that most tests look at."""


def write_course(root: Path, text: str) -> Course:
    (root / "labs").mkdir(parents=True, exist_ok=True)
    (root / "course.yml").write_text(text)
    return load_course(root)


def check(course: Course, check_id: str, arch: str = "x86_64", **more: Any) -> CheckReport:
    lab = course.lab(check_id.split(".")[0])
    spec = {**lab.checks_of(arch), **lab.hidden}[check_id]
    fields: dict[str, Any] = {
        "id": check_id,
        "title": f"About {check_id}.",
        "points": spec.points,
        "max": spec.points,
        "outcome": "pass",
        "visibility": "hidden" if ".secret." in check_id or check_id in lab.hidden else "visible",
        "scenario": "ladder(cpus=4)",
        "again": "vmmlab grade lab3 --submission /home/prof/submissions/alice",
        "step": spec.step,
    }
    return CheckReport.model_validate({**fields, **more})


FAIL: dict[str, Any] = {
    "points": 0,
    "outcome": "fail",
    "cause": "far-jump-wrong-target",
    "cpu": 0,
    "place": "physical address 0",
    "expected": "a far jump to 0xf000",
    "observed": "a far jump to 0xf0000",
    "next": "The segment is an address divided by 16.",
    "hints": ("Work it out by hand: segment * 16 + offset.", "A second level."),
}
INFRA: dict[str, Any] = {
    "points": None,
    "outcome": "infra-error",
    "reason": "the grader failed",
    "infra": "QEMU did not start",
}


def make_report(
    course: Course, lab: str = "lab3", *, changes: dict[str, Any] | None = None, **checks: Any
) -> Report:
    """Make a report in which all checks pass but those given: `jump_target=FAIL`."""
    made = []
    arch = (changes or {}).get("arch", "x86_64")
    hidden = course.lab(lab).hidden if arch == "x86_64" else {}
    for check_id in [*course.lab(lab).checks_of(arch), *hidden]:
        more = checks.pop(check_id.split(".", 1)[1].replace(".", "_"), {})
        made.append(check(course, check_id, arch, **more))
    assert not checks, checks
    points = [one.points for one in made]
    known = None if None in points else sum(one or 0 for one in points)
    fields: dict[str, Any] = {
        "mode": "standalone",
        "lab": lab,
        "cohort": course.cohort,
        "seed": 7,
        "arch": arch,
        "versions": {"vmmlab": "0.1.0", "qemu": "7.2.15"},
        "build": Build(ok=True),
        "checks": tuple(made),
        "points": known,
        "max": sum(one.max for one in made),
        "needs_attention": known is None,
        "duration_s": 1.0,
    }
    return Report.model_validate({**fields, **(changes or {})})


def refused(result: Result) -> str:
    """Return why the only report was refused."""
    assert not result.synced, result.synced
    assert result.exit_code == 2
    (one,) = result.refused
    return one.reason


def rows(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of the gradebook."""
    with closing(sqlite3.connect(folder / "gradebook.db")) as database:
        tables = [
            name
            for (name,) in database.execute("select name from sqlite_master where type='table'")
        ]
        return {
            name: sorted(database.execute(f"select * from {name}"), key=repr) for name in tables
        }


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return all files but the gradebook, with the time of their last change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path.name != "gradebook.db"
    }


def grades(folder: Path, student: str = "alice", lab: str = "lab3") -> dict[str, dict[str, Any]]:
    """Return a student's grades and comments by cell, as nbgrader sees them."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "vmm") as book:
        notebook = book.find_submission_notebook(lab, f"{lab}-checks", student)
        comments = {one.name: one.comment for one in notebook.comments}
        return {
            one.name: {**one.to_dict(), "score": one.score, "comment": comments[one.name]}
            for one in notebook.grades
        }


def by_hand(folder: Path, cell: str, student: str = "alice", **values: Any) -> None:
    """Enter a score or a comment as the formgrader does."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "vmm") as book:
        grade = book.find_grade(cell, "lab3", "lab3-checks", student)
        comment = book.find_comment(cell, "lab3", "lab3-checks", student)
        if "comment" in values:
            comment.manual_comment = values["comment"]
        if "score" in values:
            grade.manual_score = values["score"]
            grade.extra_credit = values.get("extra")
            grade.needs_manual_grade = grade.manual_score is None and grade.auto_score is None
        book.db.commit()


# --- nbgrader itself ---------------------------------------------------------------------------


def app(name: str, folder: Path, *words: str) -> Any:
    """Run one of nbgrader's commands in this process."""
    from nbgrader import apps

    made = getattr(apps, name)()
    made.load_cwd_config = False
    made.log_level = "ERROR"
    made.initialize([f"--CourseDirectory.root={folder}", *words])
    try:
        return made.start()
    finally:
        made.reset()


def cell_of(kind: str, source: str, grade_id: str, **more: Any) -> Any:
    meta = {"schema_version": 3, "task": False, "locked": False, "grade_id": grade_id, **more}
    make = v4.new_code_cell if kind == "code" else v4.new_markdown_cell
    return make(source, metadata={"nbgrader": meta})


def worksheet(folder: Path) -> None:
    """Make the assignment lab3 with a tested and a written answer, handed in by alice."""
    solution = "### BEGIN SOLUTION\nx = 1\n### END SOLUTION"
    book = v4.new_notebook(
        cells=[
            cell_of("code", solution, "x", grade=False, solution=True),
            cell_of("code", "assert x == 1", "x-test", grade=True, solution=False, points=3),
            cell_of("markdown", "Why?", "why", grade=True, solution=True, points=2),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}},
    )
    source = folder / "source" / "lab3" / "worksheet.ipynb"
    source.parent.mkdir(parents=True)
    nbformat.write(book, source)
    app("GenerateAssignmentApp", folder, "--course=vmm", "--assignment=lab3")
    book.cells[0].source = "x = 1"
    book.cells[2].source = "Because."
    handed_in = folder / "submitted" / "alice" / "lab3" / "worksheet.ipynb"
    handed_in.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, handed_in)


def autograde(folder: Path, *words: str) -> None:
    app("AutogradeApp", folder, "--course=vmm", "--assignment=lab3", "--student=alice", *words)

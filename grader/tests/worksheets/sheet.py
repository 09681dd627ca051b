"""Runs a worksheet without Jupyter: each code cell in turn, in one namespace."""

from __future__ import annotations

import ast
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat

KIT = Path(__file__).resolve().parents[3]
LABS = tuple(f"lab{number}" for number in range(11))
SOLUTION = re.compile(r"### BEGIN SOLUTION\n.*?### END SOLUTION\n?", re.DOTALL)
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS\n?", re.DOTALL)


@dataclass
class Played:
    points: dict[str, float]
    maximum: dict[str, float]
    names: dict[str, Any]


def source(lab: str) -> Path:
    return KIT / "labs" / lab / "worksheet.py"


@cache
def notebook(lab: str) -> Any:
    return nbformat.read(source(lab).with_suffix(".ipynb"), as_version=4)


def cells(lab: str, role: str) -> dict[str, Any]:
    """question → cell."""
    found = {}
    for cell in notebook(lab).cells:
        meta = cell.metadata.get("nbgrader")
        if meta and role_of(cell) == role:
            found[meta.grade_id.removesuffix(f"-{role}")] = cell
    return found


def role_of(cell: Any) -> str:
    meta = cell.metadata.nbgrader
    if meta.solution:
        return "manual" if meta.grade else "answer"
    return "test" if meta.grade else "given"


def play(
    lab: str,
    student: str = "alice",
    answers: dict[str, str] | None = None,
    *,
    solved: bool = True,
    hidden: bool = True,
    only: str = "",
    cohort: str = "dev",
) -> Played:
    """Run a worksheet for a student.

    Args:
        answers: question → lines that replace the solution.
        solved: whether the other questions have the solution as their answer.
        hidden: whether the hidden tests are run.
        cohort: the name of the class.
        only: the one question to run; the others are left out.
    """
    names: dict[str, Any] = {}
    played = Played({}, {}, names)
    with mock.patch.dict(os.environ, {"VMMLAB_STUDENT": student}):
        for cell in notebook(lab).cells:
            meta = cell.metadata.get("nbgrader")
            if cell.cell_type != "code" or not meta:
                continue
            role, text = role_of(cell), cell.source
            question = meta.grade_id.removesuffix(f"-{role}")
            if only and question not in (only, f"{lab}-start"):
                continue
            if role == "answer" and question in (answers or {}):
                text = SOLUTION.sub("", text + "\n") + answers[question] + "\n"
            elif role == "answer" and not solved:
                text = SOLUTION.sub("", text + "\n")
            if role == "test" and not hidden:
                text = HIDDEN.sub("", text + "\n")
            text = text.replace("os.environ)", f"os.environ, {cohort!r})")
            value = run_cell(text, names)
            if role == "test":
                assert type(value) is float, (question, value)
                played.points[question] = value
                played.maximum[question] = meta.points
    return played


def run_cell(text: str, names: dict[str, Any]) -> Any:
    tree = ast.parse(text)
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(tree, "cell", "exec"), names)
        return None
    exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)

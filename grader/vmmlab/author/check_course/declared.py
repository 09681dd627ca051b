"""What the test file of a lab declares, read from its syntax: nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=path.name)


def declared_checks(path: Path) -> dict[str, int]:
    """Return the checks that a test file declares, with their lines.

    Raises:
        SyntaxError: it is not Python.
    """
    found: dict[str, int] = {}
    for node in _tree(path).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and _called(mark) == "check" and mark.args:
                first = mark.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found[first.value] = node.lineno
    return found


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def named_causes(path: Path) -> dict[str, int]:
    """Return the causes that a test file names as text, with the first line of each.

    These are the first argument of `fail`, `missing` and `expect`, the argument `cause` of a
    function of the file, and the values of a variable called `cause`.

    Raises:
        SyntaxError: it is not Python.
    """
    tree = _tree(path)
    takes = {"fail": 0, "missing": 0, "expect": 0}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = [one.arg for one in node.args.args]
            if "cause" in names:
                takes[node.name] = names.index("cause")
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call) and (at := takes.get(_called(node))) is not None:
            values += node.args[at : at + 1]
            values += [word.value for word in node.keywords if word.arg == "cause"]
        elif isinstance(node, ast.Assign) and any(
            isinstance(name, ast.Name) and name.id == "cause" for name in node.targets
        ):
            values.append(node.value)
        for value in values:
            for text in _texts(value):
                found.setdefault(text, value.lineno)
    return found


def _texts(value: ast.expr) -> Iterator[str]:
    """Yield a constant text, or both texts of `a if x else b`."""
    if isinstance(value, ast.IfExp):
        yield from _texts(value.body)
        yield from _texts(value.orelse)
    elif isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
        yield value.value

"""The texts of a Python file as templates: what a reader may be shown, found in its syntax tree.

An f-string becomes a template with {} for each value. `a if x else b` stands for both texts,
`a + b` for every combination. Left out is what nobody reads: docstrings, keys, names, and what is
compared.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

_MANY = 64
_NOT_READ = frozenset(
    {
        *("scenario", "check", "first", "at", "trials_at", "sent", "get", "getattr", "compile"),
        *("startswith", "endswith", "removeprefix", "removesuffix", "partition", "split", "join"),
        *("replace", "TypeVar", "import_module", "getoption", "register", "setdefault", "encode"),
        *("decode", "strip", "sub", "search", "fullmatch", "match", "write_text", "read_text"),
    }
)
"""Calls whose plain texts are names and patterns, not messages."""


def texts(path: Path, *, only: frozenset[str] | None = None) -> dict[str, int]:
    """The templates in `path`, each with its line.

    Args:
        path: a Python file.
        only: names of functions and classes to look into; None for the whole file.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: dict[str, int] = {}
    for node in _wanted(tree, only):
        for line, text in _maximal(node):
            if worth_translating(text):
                found.setdefault(text, line)
    return found


def titles(path: Path) -> dict[str, int]:
    """The first docstring lines of the checks in `path`: what a report calls them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any(map(_is_check, node.decorator_list)):
            found[" ".join((ast.get_docstring(node) or "").split())] = node.lineno
    return found


def worth_translating(template: str) -> bool:
    """Whether there is an English word in it, not only names, numbers and signs."""
    if " " not in template.strip():
        return False  # a name, or a word that is no sentence
    bare = re.sub(r"`[^`]*`|\"[^\"]*\"", " ", template.replace("{}", " "))
    return re.search(r"(?<![\w.*&%\-/<(])[A-Za-z]?[a-z]{2,}(?![\w(/*]|\.\w| \()", bare) is not None


def _is_check(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check"


def _wanted(tree: ast.Module, only: frozenset[str] | None) -> Iterator[ast.AST]:
    if only is None:
        yield tree
        return
    for node in tree.body:
        if getattr(node, "name", None) in only:
            yield node


def _maximal(node: ast.AST) -> Iterator[tuple[int, str]]:
    """The string expressions in `node` that are no part of a larger one, expanded."""
    if isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp, ast.IfExp)):
        if isinstance(node, ast.Constant) and not isinstance(node.value, str):
            return
        if _is_text(node):
            yield from ((node.lineno, text) for text in expand(node))
            for inner in _values(node):
                yield from _maximal(inner)
            return
    for child in _read(node):
        yield from _maximal(child)


def _read(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a node in which there may be texts for a reader."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, (ast.Compare, ast.Subscript, ast.AnnAssign, ast.arguments)):
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            yield node.value
        if isinstance(node, ast.arguments):
            return
        if not isinstance(node, ast.Compare):
            return
        return
    if isinstance(node, ast.Dict):
        yield from node.values
        return
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in _NOT_READ:
            plain = [a for a in node.args if not isinstance(a, (ast.Constant, ast.JoinedStr))]
            yield from plain
            if isinstance(node.func, ast.Attribute):
                yield node.func.value
            return
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield from node.body
        return
    yield from ast.iter_child_nodes(node)


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add) and (_is_text(node.left) or _is_text(node.right))
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) or _is_text(node.orelse)
    return False


def expand(node: ast.expr) -> list[str]:
    """All templates that an expression stands for."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return _combined([expand(part) for part in node.values])
    if isinstance(node, ast.FormattedValue):
        return expand(node.value) if node.format_spec is None else ["{}"]
    if isinstance(node, ast.BinOp) and _is_text(node):
        return _combined([expand(node.left), expand(node.right)])
    if isinstance(node, ast.IfExp):
        return list(dict.fromkeys(expand(node.body) + expand(node.orelse)))
    return ["{}"]


def _combined(parts: list[list[str]]) -> list[str]:
    made = ["".join(choice) for choice in product(*parts)]
    assert len(made) <= _MANY, made[0]
    return made


def _values(node: ast.AST) -> Iterator[ast.AST]:
    """The values put into a text that are no texts themselves; there may be texts in them."""
    if isinstance(node, ast.JoinedStr):
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _values(part.value)
    elif isinstance(node, ast.BinOp):
        yield from _values(node.left)
        yield from _values(node.right)
    elif isinstance(node, ast.IfExp):
        yield from _values(node.body)
        yield from _values(node.orelse)
    elif not isinstance(node, ast.Constant):
        yield node

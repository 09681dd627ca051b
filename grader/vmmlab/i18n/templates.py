"""The texts of a Python file as templates: what a reader may be shown, found in its syntax tree.

An f-string or a text with named fields becomes a template with {} for each value. `a if x else b`
stands for both texts, `a + b` for every combination, and a local variable for what is assigned to
it if that is the tail of a sentence, such as ", called by it". Left out is what nobody reads:
docstrings, keys, names, and what is compared.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import islice, product
from pathlib import Path
from typing import Final

_MANY: Final = 64
_FIELD: Final = re.compile(r"\{[a-z][a-z0-9_]*(![rsa])?(:[^{}]*)?\}")
_QUOTED: Final = re.compile(r"`[^`]*`|\"[^\"]*\"")
_WORD: Final = re.compile(r"(?<![\w.*&%\-/<>(])[A-Za-z]?[a-z]{2,}(?![\w(/*]|\.\w|->| \()")
_TAIL = (",", ";", ":", " ")
_NAMES_ONLY = frozenset(
    {
        *("scenario", "check", "first", "at", "while_at", "sent", "get", "getattr", "compile"),
        *("startswith", "endswith", "removeprefix", "removesuffix", "partition", "split", "join"),
        *("replace", "TypeVar", "import_module", "getoption", "register", "setdefault", "encode"),
        *("decode", "strip", "sub", "search", "fullmatch", "match", "write_text", "read_text"),
        *("label", "getgroup", "addoption"),
    }
)
"""Calls whose plain texts are names and patterns, not messages."""

Locals = Mapping[str, list[str]]


def texts(path: Path, *, only: Collection[str] | None = None) -> dict[str, int]:
    """The templates in `path`, each with its line.

    Args:
        path: a Python file.
        only: names of the functions and classes at its top to look into; None for all of it.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: dict[str, int] = {}
    for node in tree.body:
        if only is None or getattr(node, "name", None) in only:
            for line, text in _Texts().of(node):
                found.setdefault(text, line)
    return found


def arguments(path: Path, keywords: Collection[str]) -> dict[str, int]:
    """The templates that some functions in `path` hand on as arguments, each with its line.

    Args:
        path: a Python file.
        keywords: names of the arguments, whatever is called.
    """
    found: dict[str, int] = {}
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef):
            inner = _Texts(_tails(function))
            for call in ast.walk(function):
                for word in call.keywords if isinstance(call, ast.Call) else ():
                    if word.arg in keywords and inner.is_text(word.value):
                        for text in inner.expand(word.value):
                            found.setdefault(text, word.value.lineno)
    return found


def titles(path: Path) -> dict[str, int]:
    """The docstrings of the checks in `path`: what a report calls them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any(map(_is_check, node.decorator_list)):
            found[" ".join((ast.get_docstring(node) or "").split())] = node.lineno
    return found


def worth_translating(template: str) -> bool:
    """Whether there is an English word in it, not only names, numbers and signs."""
    return "\n#" not in template and has_words(template)  # else it is a file


def has_words(text: str) -> bool:
    """Whether there is an English word in a text, not only names, numbers and signs.

    Args:
        text: what a reader is shown; {} stands for a value.
    """
    if " " not in text.strip():
        return False  # a name, or a word that is no sentence
    return _WORD.search(_QUOTED.sub(" ", text.replace("{}", " "))) is not None


def _is_check(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check"


def _is_message(node: ast.AST) -> bool:
    """Whether it is a call of `msg` with its text."""
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "msg" and bool(node.args)


class _Texts:
    """Walks one function, knowing what its local variables may hold."""

    def __init__(self, local: Locals | None = None) -> None:
        self.local = {} if local is None else dict(local)

    def of(self, node: ast.AST) -> Iterator[tuple[int, str]]:
        """The largest string expressions in `node`, as templates with their lines."""
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inner = _Texts(_tails(node))
            for statement in node.body:
                yield from inner.of(statement)
        elif isinstance(node, ast.expr) and self.is_text(node):
            yield from ((node.lineno, text) for text in self.expand(node))
            for value in _values(node):
                yield from self.of(value)
        elif isinstance(node, ast.AugAssign) and self.is_text(node.value):
            name = getattr(node.target, "id", "")
            ends = self.expand(node.value)
            for start in self.local.get(f"{name} now", [""]):
                yield from ((node.lineno, start + end) for end in ends if start)
        else:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if name in self.local:  # tails: they are shown as parts of other texts only
                    return
                if self.is_text(node.value):
                    self.local[f"{name} now"] = self.expand(node.value)
            for child in _read(node):
                yield from self.of(child)

    def expand(self, node: ast.expr) -> list[str]:
        """All templates that an expression stands for."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return [_FIELD.sub("{}", node.value)]
        if _is_message(node):
            return self.expand(node.args[0])  # type: ignore[attr-defined]
        if isinstance(node, ast.JoinedStr):
            return _combined([self.expand(part) for part in node.values])
        if isinstance(node, ast.FormattedValue):
            return self.expand(node.value) if node.format_spec is None else ["{}"]
        if isinstance(node, ast.BinOp) and self.is_text(node):
            return _combined([self.expand(node.left), self.expand(node.right)])
        if isinstance(node, ast.IfExp):
            return list(dict.fromkeys(self.expand(node.body) + self.expand(node.orelse)))
        if isinstance(node, ast.Name):
            return self.local.get(node.id, ["{}"])
        return ["{}"]

    def is_text(self, node: ast.expr) -> bool:
        """Whether an expression is a text for certain."""
        if isinstance(node, ast.Constant):
            return isinstance(node.value, str)
        if isinstance(node, ast.BinOp):
            sides = self.is_text(node.left) or self.is_text(node.right)
            return isinstance(node.op, ast.Add) and sides
        if isinstance(node, ast.IfExp):
            return self.is_text(node.body) or self.is_text(node.orelse)
        return isinstance(node, ast.JoinedStr) or _is_message(node)


def _tails(function: ast.AST) -> dict[str, list[str]]:
    """The local variables that hold tails of sentences, with all that they may hold."""
    found: dict[str, list[str]] = {}
    plain = _Texts()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            held = plain.expand(node.value)
            if any(text.startswith(_TAIL) for text in held):
                found.setdefault(node.targets[0].id, []).extend(held)
    return found


def _read(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a node in which there may be texts for a reader."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, (ast.Compare, ast.Subscript, ast.arguments)):
        return
    if isinstance(node, ast.AnnAssign):
        if node.value is not None and not _is_literal_type(node.annotation):
            yield node.value
        return
    if isinstance(node, ast.Dict):
        yield from node.values
        return
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in _NAMES_ONLY:
            yield from (a for a in node.args if not isinstance(a, (ast.Constant, ast.JoinedStr)))
            if isinstance(node.func, ast.Attribute):
                yield node.func.value
            return
    yield from ast.iter_child_nodes(node)


def _is_literal_type(annotation: ast.expr) -> bool:
    return (
        isinstance(annotation, ast.Subscript) and getattr(annotation.value, "id", "") == "Literal"
    )


def _combined(parts: list[list[str]]) -> list[str]:
    return ["".join(choice) for choice in islice(product(*parts), _MANY)]


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
    elif _is_message(node):
        for word in node.keywords:  # type: ignore[attr-defined]
            yield from _values(word.value)
    elif not isinstance(node, ast.Constant):
        yield node

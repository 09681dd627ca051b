"""Which causes a file can name, read from its source."""

import ast
import re
from collections.abc import Iterable, Iterator

MODES = ("real", "protected", "long")
MADE = {
    "ap-died-in-{}-mode": [f"ap-died-in-{mode}-mode" for mode in MODES],
    "{}-passed-by": [
        f"{place}-passed-by"
        for place in ("ap-entry", "apinitproc0", "apinitproc1", "segment-init-ap")
    ],
}
"""Where a cause is put together of two parts: the names that can come out."""


def _constants(node: ast.AST) -> Iterator[str]:
    """The strings that an expression can have as its value."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp():
            yield from _constants(node.body)
            yield from _constants(node.orelse)
        case ast.JoinedStr():
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield "".join(parts)
        case ast.Tuple(elts=[first, *_]):
            yield from _constants(first)


def causes(source: str) -> set[str]:
    """The causes that a file can name.

    They are the first arguments of fail, missing, expect, Failure, Death and _counted, those of
    report that have a hyphen, arguments called cause, and what is assigned to a variable called
    cause, returned by a function that finds one, or listed.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id="fail" | "missing" | "expect"), args=[first, *_]):
                found |= set(_constants(first))
            case ast.Call(func=ast.Name(id="Failure" | "Death" | "_counted"), args=[first, *_]):
                found |= set(_constants(first))
            case ast.Call(func=ast.Name(id="report"), args=arguments):
                found |= {text for one in arguments for text in _constants(one) if "-" in text}
            case ast.keyword(arg="cause", value=value):
                found |= set(_constants(value))
            case ast.Assign(targets=[ast.Name(id="cause")], value=value):
                found |= set(_constants(value))
            case ast.Assign(targets=[ast.Tuple(elts=[ast.Name(id="cause"), *_])], value=value):
                found |= set(_constants(value))
            case ast.AnnAssign(target=ast.Name(id="_STUCK"), value=ast.Dict(values=values)):
                found |= {text for value in values for text in _constants(value)}
            case ast.Constant(value=str(text)) if text.endswith("-in-some-order"):
                found.add(text)  # labs/labN/orders.py
            case ast.Return(value=ast.Tuple(elts=[ast.Constant(value=str(text)), _])):
                found.add(text)
    made = {name for text in found for name in MADE.get(text, [text])}
    return {name for name in made if name and "{" not in name}


def among(told: Iterable[str], source: str) -> set[str]:
    """Those of the causes in `told` that are strings of a file, or can be made by its f-strings.

    A lab's own functions may take a cause as an argument.
    """
    plain, made = set(), []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            plain.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
            if any(part and "-" in part for part in parts):
                made.append("".join(".+" if part is None else re.escape(part) for part in parts))
    return {cause for cause in told if cause in plain or any(re.fullmatch(m, cause) for m in made)}

"""Babel extraction methods: the source texts in Python files, course.yml and causes.yml.

Each is a generator of (line, gettext function, texts, comments) as Babel asks for
(`babel.messages.extract.extract`), so `pybabel extract` can use them as well. A text that could not
be found again at run time is an error: an f-string in `msg`, a field without a value.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from string import Formatter
from typing import IO, Any, Final

from vmmlab.base import yamlfile
from vmmlab.base.errors import CourseError
from vmmlab.base.message import msg

Found = tuple[int, str, tuple[str, ...], list[str]]

FIELD: Final = re.compile(r"[a-z_][a-z0-9_]*")
_NOT_FIELDS: Final = frozenset({"count"})
_COMMANDS: Final = frozenset({"command", "callback"})


def python(
    file: IO[bytes], keywords: Collection[str], tags: Collection[str], options: Mapping[str, Any]
) -> Iterator[Found]:
    """Extract the texts of a Python file.

    These are the arguments of `msg`, `template`, `nmsg` and `label`, the separators of `listed`,
    the titles of checks (their docstrings), and the help of commands and options.

    Raises:
        CourseError: a text is no literal, or its fields are not the values that it gets.
    """
    name = yamlfile.shown(Path(getattr(file, "name", "?")))
    found: list[Found] = []
    for node in ast.walk(ast.parse(file.read(), filename=name)):
        if isinstance(node, ast.Call):
            found += _of_call(node, name)
        elif isinstance(node, ast.FunctionDef):
            found += _of_function(node)
    yield from sorted(found, key=lambda one: one[0])


def _of_call(call: ast.Call, file: str) -> Iterator[Found]:
    name, plain = _called(call), isinstance(call.func, ast.Name)
    where = f"{file}:{call.lineno}"
    if name == "msg" and plain:
        text = _literal(call.args[0] if call.args else None, where)
        _must_have_fields(where, call, text)
        yield call.lineno, "gettext", (text,), []
    elif name == "template" and plain:
        yield call.lineno, "gettext", (_literal(call.args[0] if call.args else None, where),), []
    elif name == "nmsg" and plain:
        one, many = (_literal(arg, where) for arg in call.args[:2])
        _must_have_fields(where, call, one, many)
        yield call.lineno, "ngettext", (one, many), []
    elif name == "listed" and plain:
        given = call.args[1:2] + [word.value for word in call.keywords if word.arg == "separator"]
        text = _literal(given[0], where) if given else ", "
        if text.strip():
            yield call.lineno, "gettext", (text,), []
    elif name == "label" and (plain or _is_reader(call.func)):
        for text in _words(call.args[0] if call.args else None):
            yield call.lineno, "pgettext", ("label", text), []
    for word in call.keywords:
        if word.arg == "help" and name in _OF_TYPER:
            for text in _words(word.value):
                yield word.value.lineno, "gettext", (_joined(text),), ["help"]


_OF_TYPER: Final = frozenset({"Typer", "Option", "Argument"})


def _of_function(function: ast.FunctionDef) -> Iterator[Found]:
    """The docstring of a check or a command."""
    text = ast.get_docstring(function) or ""
    if text and any(_is_context(one.annotation) for one in function.args.args):
        yield function.lineno, "gettext", (_joined(text),), ["help"]
        return
    for mark in function.decorator_list:
        if not text or not isinstance(mark, ast.Call):
            continue
        if _called(mark) == "check":
            title = _joined(text.split("\n\n")[0])
            comments = [f"title of {name}" for name in _words(mark.args[0] if mark.args else None)]
            yield function.lineno, "gettext", (title,), comments
        elif isinstance(mark.func, ast.Attribute) and mark.func.attr in _COMMANDS:
            yield function.lineno, "gettext", (_joined(text),), ["help"]


def _is_context(annotation: ast.expr | None) -> bool:
    """Whether a parameter is what typer gives to a command, wherever that is registered."""
    return annotation is not None and ast.unparse(annotation) == "typer.Context"


def _is_reader(method: ast.expr) -> bool:
    """Whether a method is one of a Reader: of `say`, `_say` or `self.say`."""
    owner = getattr(method, "value", None)
    name = getattr(owner, "attr", "") or getattr(owner, "id", "")
    return str(name).lstrip("_") == "say"


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", "") or getattr(call.func, "id", "")


def _joined(text: str) -> str:
    return " ".join(text.split())


def _literal(node: ast.expr | None, where: str) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise CourseError(
        msg("{where}: this source text is not a literal.", where=where),
        next_step=msg("write {example}", example='msg("CPU {cpu} …", cpu=…)'),
    )


def _words(node: ast.expr | None) -> Iterator[str]:
    """A literal, or those that `a if x else b` chooses from; nothing for a variable."""
    if isinstance(node, ast.IfExp):
        yield from _words(node.body)
        yield from _words(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value


def _must_have_fields(where: str, call: ast.Call, *texts: str) -> None:
    given = {word.arg for word in call.keywords if word.arg is not None}
    if len(given) < len(call.keywords):
        return  # msg("…", **values)
    try:
        wanted = {name for text in texts for name, _, _ in fields(text)}
    except ValueError as error:
        raise CourseError(
            msg("{where}: the fields of this text cannot be read.", where=where),
            found=str(error),
            next_step=msg("pass the text with the brace as a value"),
        ) from None
    if wanted | _NOT_FIELDS & given != given:
        raise CourseError(
            msg("{where}: the fields of this text differ from its values.", where=where),
            expected=", ".join(sorted(wanted)) or msg("no fields"),
            found=", ".join(sorted(given)) or msg("no values"),
        )


def fields(text: str) -> list[tuple[str, str, str]]:
    """Return the fields of a source text or a translation: name, conversion, format.

    Raises:
        ValueError: braces that do not match, or a field that is no name.
    """
    found = []
    for _, name, spec, conversion in Formatter().parse(text):
        if name is not None:
            if not FIELD.fullmatch(name):
                raise ValueError(f"{{{name}}}")
            found.append((name, conversion or "", spec or ""))
    return found


def course(
    file: IO[bytes], keywords: Collection[str], tags: Collection[str], options: Mapping[str, Any]
) -> Iterator[Found]:
    """Extract the titles in course.yml of one lab, of its steps and its checks.

    Options:
        lab: the name of the lab.
        hidden: if given, only what belongs to the hidden checks, else only what does not.
    """
    lab, group = options["lab"], "hidden" if options.get("hidden") else "checks"
    yaml = _yaml(file)
    entry = _mapping(_mapping(_mapping(yaml.data).get("labs")).get(lab))
    places: list[tuple[tuple[str | int, ...], object, str]] = []
    if group == "checks":
        places.append((("title",), entry, f"title of {lab}"))
        steps = entry.get("steps")
        for number, step in enumerate(steps if isinstance(steps, list) else []):
            places.append((("steps", number, "title"), step, f"step {_mapping(step).get('id')}"))
    for name, check in _mapping(entry.get(group)).items():
        places.append(((group, name, "title"), check, f"title of {name}"))
    for loc, parent, comment in places:
        text = _mapping(parent).get("title")
        if isinstance(text, str):
            yield yaml.line(("labs", lab, *loc)), "gettext", (text,), [comment]


def causes(
    file: IO[bytes], keywords: Collection[str], tags: Collection[str], options: Mapping[str, Any]
) -> Iterator[Found]:
    """Extract the next steps and the hint levels in causes.yml."""
    yaml = _yaml(file)
    for cause, entry in _mapping(yaml.data).items():
        text, hints = _mapping(entry).get("next"), _mapping(entry).get("hints")
        if isinstance(text, str):
            yield yaml.line((cause, "next")), "gettext", (text.strip(),), [f"{cause}: next"]
        for number, hint in enumerate(hints if isinstance(hints, list) else []):
            if isinstance(hint, str):
                line = yaml.line((cause, "hints", number))
                yield line, "gettext", (hint.strip(),), [f"{cause}: hint {number + 1}"]


def _yaml(file: IO[bytes]) -> yamlfile.YamlFile:
    return yamlfile.read(Path(file.name))


def _mapping(data: object) -> Mapping[Any, Any]:
    return data if isinstance(data, dict) else {}

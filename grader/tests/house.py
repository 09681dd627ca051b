"""Reads the layout of a package from its sources: imports, docstrings, sizes.

`python grader/tests/house.py` writes the table of packages into CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "grader" / "vmmlab"
PAGE: Final = ROOT / "CONTRIBUTING.md"

ORDER: Final = (
    *("base", "x86", "i18n", "host", "course", "workspace", "images", "machine", "observe"),
    *("failure", "explore", "probes", "diagnosis", "checks", "grading", "report", "worksheet"),
    *("student", "classroom", "author", "cli"),
)
"""The packages from the ground up: each one imports only those before it."""

MODULE_MAX: Final = 500
CLASS_MAX: Final = 300
FUNCTION_MAX: Final = 60

Rule = Literal["circle", "arrow", "docstring", "module", "class", "function"]
Graph = Mapping[str, Mapping[str, int]]
"""Module to the modules that it imports, each with the line of the import."""


@dataclass(frozen=True, order=True)
class Finding:
    """One place that breaks a rule.

    Attributes:
        rule: the rule.
        where: names the place without line numbers, so that it stays the same when code moves.
        detail: lines and sizes, for the reader.
    """

    rule: Rule
    where: str
    detail: str = field(default="", compare=False)


def findings(package: Path, order: Sequence[str] = ORDER) -> list[Finding]:
    """Return every place in a package that breaks a rule.

    Args:
        package: the folder of the package; its modules import each other by its name.
        order: its subpackages from the ground up.
    """
    files = sources(package)
    texts = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    graph = {name: imports(tree, name, files) for name, tree in trees.items()}
    found = [*_circles(graph), *_arrows(graph, order)]
    found += _docstrings(files, trees, sorted(one for one in package.rglob("*") if one.is_dir()))
    for name, tree in trees.items():
        found += _sizes(_short(name), tree, len(texts[name].splitlines()))
    return sorted(found)


def sources(package: Path) -> dict[str, Path]:
    """Return the modules of a package by dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.Module, module: str, files: Mapping[str, Path]) -> dict[str, int]:
    """Return the modules of the package that a module imports, with the line of the import.

    Imports inside functions and for type checking count; so does `import_module("name")`.

    Args:
        tree: the module's source.
        module: its dotted name.
        files: the modules of the package.
    """
    is_package = files[module].name == "__init__.py"
    package = module if is_package else module.rpartition(".")[0]
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
            for name in _names(node, package, files):
                if name in files and name != module:
                    found.setdefault(name, node.lineno)
    return found


def _names(
    node: ast.Import | ast.ImportFrom | ast.Call, package: str, files: Mapping[str, Path]
) -> Iterator[str]:
    """Yield the modules that one statement or call imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
        for alias in node.names:
            whole = f"{base}.{alias.name}"
            yield whole if whole in files else base
    elif node.args and isinstance(node.args[0], ast.Constant):
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name == "import_module":
            yield str(node.args[0].value)


def _short(module: str) -> str:
    """Return a module's name without that of the whole package."""
    return module.partition(".")[2] or module


def _circles(graph: Graph) -> Iterator[Finding]:
    reached = {module: _reached(module, graph) for module in graph}
    seen: set[str] = set()
    for module in sorted(graph):
        if module in reached[module] and module not in seen:
            circle = sorted(one for one in reached[module] if module in reached[one])
            seen.update(circle)
            yield Finding("circle", " <-> ".join(map(_short, circle)))


def _reached(start: str, graph: Graph) -> set[str]:
    """Return the modules that `start` imports, directly or not."""
    found: set[str] = set()
    todo = list(graph[start])
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += graph[one]
    return found


def _arrows(graph: Graph, order: Sequence[str]) -> Iterator[Finding]:
    for module, targets in graph.items():
        package = _package(module)
        if package and package not in order:
            yield Finding("arrow", _short(module), f"{package} is not a package of the order")
            continue
        for target, line in targets.items():
            other = _package(target)
            if package and other in order and order.index(other) > order.index(package):
                where = f"{_short(module)} -> {_short(target)}"
                yield Finding("arrow", where, f"line {line}: {other} is above {package}")


def _package(module: str) -> str:
    """Return the name of the subpackage that a module is in; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def _docstrings(
    files: Mapping[str, Path], trees: Mapping[str, ast.Module], folders: Sequence[Path]
) -> Iterator[Finding]:
    top = min(files, key=len)
    root = files[top].parent
    for folder in (root, *folders):
        if folder.name == "__pycache__" or not any(folder.glob("*.py")):
            continue
        name = ".".join((top, *folder.relative_to(root).parts))
        if files.get(name) is None or not ast.get_docstring(trees[name]):
            yield Finding("docstring", _short(name), "no __init__.py with a docstring")


def _sizes(module: str, tree: ast.Module, lines: int) -> Iterator[Finding]:
    if lines > MODULE_MAX:
        yield Finding("module", module, f"{lines} lines, at most {MODULE_MAX}")
    for name, node in _definitions(tree, ""):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if isinstance(node, ast.ClassDef):
            if lines > CLASS_MAX:
                yield Finding("class", f"{module}:{name}", f"{lines} lines, at most {CLASS_MAX}")
        elif lines > FUNCTION_MAX:
            yield Finding("function", f"{module}:{name}", f"{lines} lines, at most {FUNCTION_MAX}")


_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, _Definition]]:
    """Yield all classes and functions below a node with their qualified names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Definition):
            name = f"{prefix}{child.name}"
            yield name, child
            yield from _definitions(child, f"{name}.")
        else:
            yield from _definitions(child, prefix)


# --- the table of packages ------------------------------------------------------------------------

_BEGIN: Final = "<!-- packages: written by `python grader/tests/house.py` -->"
_END: Final = "<!-- end of packages -->"


def table(package: Path = PACKAGE, order: Sequence[str] = ORDER) -> list[str]:
    """Return the packages with the first line of their docstrings as lines of a Markdown table."""
    rows = ["| package | holds |", "|---|---|"]
    for name in order:
        path = package / name / "__init__.py"
        if path.is_file():
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            rows.append(f"| `{name}/` | {text.partition(chr(10))[0]} |")
    return rows


def page(text: str) -> str:
    """Return CONTRIBUTING.md with the table of packages between its marks."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    body = "\n".join(table())
    return f"{before}{_BEGIN}\n\n{body}\n\n{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

"""Comments and docstrings name only files that exist."""

import ast
import io
import os
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = ("grader", "labs", "reference", "vmm-skeleton", "docker", "docs", ".ci")
SINGLE = ("Makefile", "course.yml", "pyproject.toml", "README.md", "README.ja.md")

REFERENCE = re.compile(
    r"(?<![\w/.{}*<>$~:@%+-])"
    r"((?:[\w{}.+-]+/)*[\w.+-]*\w\.(?:py|md|yml|toml|c|h|S|ld|sh))"
    r"(?![\w/*{(-]|\.\w)"
)
"""A path or a file name as a comment spells it: `core/panic.c`, `labs/labN/causes.yml`."""

PLACEHOLDER = re.compile(r"[A-Z]{2,}|labN")
"""Stands for one word in a path: `labs/labN/worksheet.py`, `NAME.md`."""

ELSEWHERE = frozenset(
    {
        "hw/i386/multiboot.c",  # QEMU
        "linux/sched.h",
        "drivers/firmware/efi/libstub/efi-stub-helper.c",  # Linux
        "submission_metadata.yml",  # in an export of Gradescope
        # what Moodle and Canvas call the files of a download
        "name_123_assignsubmission_file_ap_start.c",
        "familygiven_LATE_501_9001_ap_start.c",
        "anon_aB3dE_9001_ap_start.c",
        "build.sh",  # what Artemis runs
        "file.py",  # an example
        "stdint.h",
        "nbgrader_config.py",  # in an instructor's course folder
        "starters/LANGUAGE/lab3/ap_start.c",  # in a release
        *("probes.py", "labs/labN/probes.py"),  # of a lab that needs probes of its own
    }
)
"""Files that are not part of the kit."""

PYTHON = frozenset({"docker/images-test", "docker/make-constraints"})
C_LIKE = frozenset({".c", ".h", ".S", ".ld"})
HASH = frozenset({"", ".yml", ".toml", ".sh", ".ini", ".Dockerfile"})


def files_of_the_kit() -> list[str]:
    """All files, relative to the root, without what is built."""
    found = [name for name in SINGLE if (ROOT / name).is_file()]
    for place in PLACES:
        for folder, inner, names in os.walk(ROOT / place):
            inner[:] = [name for name in inner if name != "__pycache__"]
            found += [(Path(folder) / name).relative_to(ROOT).as_posix() for name in names]
    return found


class Known:
    """The files that a reference can mean: each by its path or by the end of its path."""

    def __init__(self, names: list[str]) -> None:
        self._ends = {
            name[at:] for name in names for at in (0, *(m.end() for m in re.finditer("/", name)))
        }
        self._all = "\n".join(f"/{name}" for name in names)
        self._seen: dict[str, bool] = {}

    def __contains__(self, reference: str) -> bool:
        if reference not in self._seen:
            self._seen[reference] = self._look(reference.removeprefix("./"))
        return self._seen[reference]

    def _look(self, reference: str) -> bool:
        if reference in self._ends or reference in ELSEWHERE:
            return True
        words = PLACEHOLDER.split(reference)
        pattern = "/" + "[^/\n]+".join(map(re.escape, words)) + "$"
        return len(words) > 1 and re.search(pattern, self._all, re.MULTILINE) is not None


def texts(name: str, text: str) -> Iterator[tuple[int, str]]:
    """The comments and docstrings of a file, each with the line in which it begins."""
    suffix = Path(name).suffix
    if suffix == ".py" or name in PYTHON:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                yield node.lineno, str(node.value.value)
    elif suffix in C_LIKE:
        for found in re.finditer(r"/\*.*?\*/|//[^\n]*|^\s*#\s[^\n]*", text, re.DOTALL | re.M):
            yield text.count("\n", 0, found.start()) + 1, found.group()
    else:
        for number, line in enumerate(text.splitlines(), 1):
            if found := re.search(r"(?:^|\s)#(?!!).*", line):
                yield number, found.group()


def broken(name: str, text: str, known: Known) -> Iterator[str]:
    """The references of a file that lead nowhere, as `file:line: reference`."""
    if all(reference in known for reference in REFERENCE.findall(text)):
        return  # so for most files; to find the comments of one takes much longer
    for line, part in texts(name, text):
        for found in REFERENCE.finditer(part):
            if found[1] not in known:
                yield f"{name}:{line + part.count(chr(10), 0, found.start())}: {found[1]}"


def test_every_file_that_a_comment_names_is_there():
    names = files_of_the_kit()
    known = Known(names)
    wrong = []
    for name in names:
        kind = name.removesuffix(".txt")  # a template for a file of this kind
        if Path(kind).suffix in {".py", *C_LIKE, *HASH}:
            wrong += broken(kind, (ROOT / name).read_text(encoding="utf-8"), known)
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("a.py", '"""A.\n\nSee core/gone.c:12."""\nx = "core/other.c"\n', ["a.py:3: core/gone.c"]),
        ("a.py", "x = 1  # what gone.py does\n", ["a.py:1: gone.py"]),
        ("a.c", "/* As in\n * include/gone.h. */\n", ["a.c:2: include/gone.h"]),
        ("a.S", "\tnop\t// gone.S\n", ["a.S:1: gone.S"]),
        ("a.yml", "key: gone.md  # gone.yml\n", ["a.yml:1: gone.yml"]),
        ("Makefile", "# labs/labN/gone.yml\n", ["Makefile:1: labs/labN/gone.yml"]),
        ("a.py", "# core/here.c, here.c, labs/labN/causes.yml, X/core/here.c stdint.h\n", None),
        (
            "a.py",
            "# *.c, gone.c.in, https://example.org/gone.c, a.b.c(), causes.LANGUAGE.yml\n",
            [],
        ),
    ],
)
def test_a_reference_that_leads_nowhere_is_found(name, text, wrong):
    known = Known(["tree/core/here.c", "labs/lab1/causes.yml", "labs/lab1/causes.ja.yml"])
    expected = ["a.py:1: X/core/here.c"] if wrong is None else wrong
    assert list(broken(name, text, known)) == expected

"""The layout of grader/vmmlab: imports run down only, and everything has a readable size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from house import PACKAGE, PAGE, Finding, Rule, findings, page

KNOWN: Mapping[tuple[Rule, str], str] = {
    ("arrow", "i18n.prose -> checks.causes"): "prose goes when all texts are messages",
}
"""What still breaks a rule, and why. Nothing may be added."""


@pytest.fixture(scope="module")
def ours() -> list[Finding]:
    return findings(PACKAGE)


def test_nothing_breaks_a_rule(ours: list[Finding]) -> None:
    new = [one for one in ours if (one.rule, one.where) not in KNOWN]
    assert not new, "\n".join(f"{one.rule}: {one.where}: {one.detail}" for one in new)


def test_no_exception_outlives_its_reason(ours: list[Finding]) -> None:
    found = {(one.rule, one.where) for one in ours}
    assert not KNOWN.keys() - found, "take these out of KNOWN: they break no rule any more"


def test_contributing_lists_the_packages() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "run python grader/tests/house.py"


# --- known-wrong packages -------------------------------------------------------------------------

ORDER = ("low", "high")
RIGHT = {
    "__init__.py": '"""A package."""\n',
    "low/__init__.py": '"""Below."""\n',
    "low/one.py": "VALUE = 1\n",
    "high/__init__.py": '"""Above."""\n',
    "high/two.py": "from kit.low import one\nfrom kit.low.one import VALUE\n",
}
WRONG: Mapping[str, tuple[dict[str, str], list[tuple[Rule, str]]]] = {
    "a circle": (
        {"low/other.py": "import kit.low.one\n", "low/one.py": "from kit.low import other\n"},
        [("circle", "low.one <-> low.other")],
    ),
    "a circle of three": (
        {
            "low/one.py": "import kit.low.b\n",
            "low/b.py": "import kit.low.c\n",
            "low/c.py": "def f():\n    from kit.low.one import VALUE\n",
        },
        [("circle", "low.b <-> low.c <-> low.one")],
    ),
    "a package that its own module imports": (
        {
            "low/__init__.py": '"""Below."""\nfrom kit.low.one import VALUE\n',
            "low/one.py": "import kit.low\n",
        },
        [("circle", "low <-> low.one")],
    ),
    "an arrow up": (
        {"low/one.py": "from kit.high.two import VALUE\n", "high/two.py": "VALUE = 1\n"},
        [("arrow", "low.one -> high.two")],
    ),
    "an arrow up in a function": (
        {"low/one.py": "def f():\n    import kit.high.two\n", "high/two.py": ""},
        [("arrow", "low.one -> high.two")],
    ),
    "an arrow up for types only": (
        {
            "low/one.py": "from typing import TYPE_CHECKING\n\n"
            "if TYPE_CHECKING:\n    from kit.high import two\n",
            "high/two.py": "",
        },
        [("arrow", "low.one -> high.two")],
    ),
    "an arrow up by name": (
        {
            "low/one.py": "import importlib\n\nimportlib.import_module('kit.high.two')\n",
            "high/two.py": "",
        },
        [("arrow", "low.one -> high.two")],
    ),
    "a relative arrow up": (
        {"low/one.py": "from ..high import two\n", "high/two.py": ""},
        [("arrow", "low.one -> high.two")],
    ),
    "a package that nobody knows": (
        {"new/__init__.py": '"""New."""\n'},
        [("arrow", "new")],
    ),
    "a module beside the packages": ({"loose.py": ""}, [("arrow", "loose")]),
    "no docstring": ({"low/__init__.py": "import os\n"}, [("docstring", "low")]),
    "no __init__.py": ({"low/inner/deep.py": ""}, [("docstring", "low.inner")]),
    "a long module": ({"low/one.py": "\n" * 501}, [("module", "low.one")]),
    "a long class": (
        {"low/one.py": "class A:\n" + "    x = 1\n" * 300},
        [("class", "low.one:A")],
    ),
    "a long method": (
        {"low/one.py": "class A:\n    async def f(self):\n" + "        pass\n" * 60},
        [("function", "low.one:A.f")],
    ),
    "a long function in another": (
        {"low/one.py": "if True:\n    def f():\n        def g():\n" + "            pass\n" * 60},
        [("function", "low.one:f"), ("function", "low.one:f.g")],
    ),
}


def kit(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in {**RIGHT, **files}.items():
        path = folder / "kit" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "kit"


@pytest.mark.parametrize("name", WRONG)
def test_each_rule_is_noticed(tmp_path: Path, name: str) -> None:
    files, expected = WRONG[name]
    found = findings(kit(tmp_path, files), ORDER)
    assert [(one.rule, one.where) for one in found] == expected


def test_a_right_package_breaks_none(tmp_path: Path) -> None:
    most = {
        "low/one.py": "VALUE = 1\n" + "\n" * 499,
        "low/two.py": "class A:\n" + "    x = 1\n" * 299,
        "low/three.py": "def f():\n" + "    pass\n" * 59,
    }
    assert findings(kit(tmp_path, most), ORDER) == []

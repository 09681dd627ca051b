"""A copy of the parts of the clone that a lab author changes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from book_pages import ROOT

_COPIED = ("labs", "reference", "grader/mutants")
_NOT = shutil.ignore_patterns("__pycache__", ".pytest_cache", "pictures", "worksheet*", "correct")


def copy_of_the_clone(root: Path) -> Path:
    """Make the copy in `root`, which does not exist yet, and return it."""
    for folder in _COPIED:
        shutil.copytree(ROOT / folder, root / folder, ignore=_NOT, symlinks=True)
    (root / "vmm-skeleton").symlink_to(ROOT / "vmm-skeleton")
    (root / "docs").mkdir()
    for file in ("course.yml", "docs/index.md", "docs/index.ja.md"):
        shutil.copyfile(ROOT / file, root / file)
    return root


def finish(root: Path, lab: str, names: Sequence[str] = ("README.md", "README.ja.md")) -> None:
    """What an author still does after `vmmlab new-lab`: the handouts, and the rows in the book."""
    for name in names:
        page = root / "labs" / lab / name
        lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
        page.write_text("".join("Text.\n" if "<!-- new-lab:" in one else one for one in lines))
        index = root / "docs" / name.replace("README", "index")
        text = index.read_text(encoding="utf-8")
        row = f"| [9](../labs/{lab}/{name}) | x | 10 |\n"
        last = text.rindex("\n", 0, text.index("](../labs/lab4/")) + 1
        index.write_text(text[:last] + row + text[last:], encoding="utf-8")

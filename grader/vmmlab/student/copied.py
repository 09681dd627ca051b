"""Whether pytest can run in a copied workspace: only the course's own Python may be in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.base.files import cache_dir
from vmmlab.base.message import msg
from vmmlab.course.find import find_course
from vmmlab.course.labpackage import check_files
from vmmlab.course.load import load_course
from vmmlab.workspace.model import Workspace, not_own

_CONFIGURATION: Final = (
    "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "pyproject.toml", "tox.ini",
    "setup.cfg", "setup.py",
)  # fmt: skip
_CODE: Final = (".py", ".pth", ".so", ".pyc", ".egg-link")
_PASSED_OVER: Final = frozenset({".git", ".venv", "build"})
_MOST: Final = 20_000  # entries


def check_python(here: Workspace) -> None:
    """Check that a copied workspace has no Python and no configuration but the course's own.

    Bytecode in it is not read from now on: it could differ from its source.

    Args:
        here: the workspace.

    Raises:
        UsageError: it has, or has very many files.
        CourseError: the course cannot be read.
    """
    course = load_course(find_course(here.root, made_from=here.course))
    given = {
        f"{lab}/{path.name}": path
        for lab in course.labs
        for path in check_files(course.labs_dir / lab)
    }
    if course.self_study:
        hidden = course.labs_dir.glob("*/hidden/*.py")
        given |= {path.relative_to(course.labs_dir).as_posix(): path for path in hidden}
    given["pytest.ini"] = course.tree / "pytest.ini"
    sys.pycache_prefix = str(cache_dir() / "bytecode")
    seen = 0
    for folder, folders, names in os.walk(here.root):
        folders[:] = [name for name in folders if name not in _PASSED_OVER]
        for name in (*folders, *names):
            path = Path(folder, name)
            seen += 1
            if seen > _MOST or (_is_pythons(path) and not _same(path, given, here.root)):
                raise _strange(here.root, path)


def _is_pythons(path: Path) -> bool:
    if path.parent.name == "__pycache__" and path.suffix == ".pyc":
        return False
    return path.name in _CONFIGURATION or path.name.endswith(_CODE) or path.is_symlink()


def _same(path: Path, given: dict[str, Path], root: Path) -> bool:
    source = given.get(path.relative_to(root).as_posix())
    if source is None or path.is_symlink():
        return False
    try:
        return path.read_bytes() == source.read_bytes()
    except OSError:
        return False


def _strange(root: Path, path: Path) -> UsageError:
    error = not_own(root)
    return UsageError(
        error.message,
        expected=msg("a copy of your own with the given checks and no other Python"),
        found=str(path.relative_to(root)),
        next_step=error.next_step,
    )

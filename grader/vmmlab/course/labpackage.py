"""Loads the Python of a lab: its test files, and the modules that they import from their folder.

The files of a lab are the submodules of a package that exists only while they are in use. So
`from .probes import …` works in labs/labN/test_labN.py, and `from .. import test_labN` in
labs/labN/hidden/; nothing has to be on sys.path, and no other module of the same name can come in
between. Nothing here knows checks or pytest.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import itertools
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Final

from vmmlab.base.errors import CourseError, VmmlabError
from vmmlab.base.message import msg
from vmmlab.base.registry import Scope

_COUNT: Final = itertools.count(1)
_OTHERS: Final = ("exploration", "orders.py", "worksheet")
"""The beginnings of the names of a lab's Python files that its checks do not need."""


def check_files(folder: Path) -> list[Path]:
    """Return the files with the checks of a lab: the test file and the modules that it imports.

    Args:
        folder: the lab's.
    """
    return [path for path in sorted(folder.glob("*.py")) if not path.name.startswith(_OTHERS)]


class LabPackage:
    """The Python files of one lab as a package.

    Args:
        lab: for example `lab3`.
        folder: holds test_labN.py, and probes.py, exploration.py and hidden/ if the lab has them.

    Attributes:
        scope: what these files have registered.
    """

    def __init__(self, lab: str, folder: Path) -> None:
        self._name = f"vmmlab_{lab}_{next(_COUNT)}"
        self._folder = folder.resolve()
        self.scope = Scope()

    def load(self, path: Path) -> ModuleType:
        """Return a file of the lab as a module; the same one every time until `unload`.

        Args:
            path: a Python file in the lab's folder, or in a folder of that.

        Raises:
            CourseError: it cannot be loaded; the message names the line.
            VmmlabError: as the file itself raised it.
        """
        path = path.resolve()
        parent = self._name
        _package(parent, self._folder)
        for folder in reversed(path.relative_to(self._folder).parents[:-1]):
            parent = f"{parent}.{folder.name}"
            _package(parent, self._folder / folder)
        name = f"{parent}.{path.stem}"
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        importlib.invalidate_caches()  # files of a lab may be younger than the last look for them
        try:
            with self.scope.in_use():
                spec.loader.exec_module(module)
        except BaseException as error:  # sys.exit and pytest.skip, too
            del sys.modules[name]
            if isinstance(error, (VmmlabError, KeyboardInterrupt)):
                raise
            raise self._unloadable(path, error) from error
        return module

    def unload(self) -> None:
        """Forget all that was loaded and registered. Safe to call again."""
        self.scope = Scope()
        for name in [*sys.modules]:
            if name == self._name or name.startswith(f"{self._name}."):
                del sys.modules[name]

    def _unloadable(self, path: Path, error: BaseException) -> CourseError:
        line = 0
        text: object = error
        for frame in traceback.extract_tb(error.__traceback__):
            if Path(frame.filename).is_relative_to(self._folder):
                path, line = Path(frame.filename), frame.lineno or 0
        if isinstance(error, SyntaxError):
            text = error.msg
            if error.filename and Path(error.filename).is_relative_to(self._folder):
                path, line = Path(error.filename), error.lineno or 0
        return CourseError(
            msg("{path}:{line}: this test file cannot be loaded.", path=path, line=line),
            found=f"{type(error).__name__}: {text}",
        )


def _package(name: str, folder: Path) -> None:
    """Make a package of a folder, unless there is one of this name already."""
    if name not in sys.modules:
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[name] = importlib.util.module_from_spec(spec)

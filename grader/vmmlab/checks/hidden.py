"""For hidden checks: the open checks of the same lab, to use their functions."""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType

from vmmlab.base.errors import CourseError
from vmmlab.base.message import msg


def open_checks(file: str) -> ModuleType:
    """The open test file of a lab, loaded for the sake of its functions; none of it is run.

    The name it is bound to must not begin with `test_`: pytest would look into it.

    Args:
        file: `__file__` of labs/labN/hidden/test_*.py.

    Raises:
        CourseError: there is no labs/labN/test_labN.py.
    """
    folder = Path(file).resolve().parents[1]
    path = folder / f"test_{folder.name}.py"
    spec = importlib.util.spec_from_file_location(f"vmmlab._open.{folder.name}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise CourseError(
            msg("{file}: there are no open checks beside it.", file=file), expected=str(path)
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class NoCases:
    """In place of `score` where one case asks several things: the first that fails ends it."""

    def case(self, name: str) -> AbstractContextManager[None]:
        """Open no case.

        Args:
            name: what the case would be called.
        """
        return nullcontext()

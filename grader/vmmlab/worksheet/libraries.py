"""Optional libraries of the worksheets, imported when they are first needed."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from vmmlab.base.message import msg
from vmmlab.worksheet.language import WorksheetError


def imported(module: str, package: str) -> Any:
    """Import a module without its warnings: nbgrader gives 0 points for anything on stderr.

    Args:
        module: the module, such as `unicorn.x86_const`.
        package: the package that brings it, for the error.

    Raises:
        WorksheetError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError:
        raise WorksheetError(
            msg(
                "{package} is not installed, or is not available for this kind of machine.",
                package=package,
            ),
            next_step="python -m pip install 'vmmlab[worksheets]'",
        ) from None

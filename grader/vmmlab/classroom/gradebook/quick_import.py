"""Imports jsonschema, which nbgrader needs, without what takes more than a second of its import.

jsonschema compiles grammars of the package rfc3987_syntax to check formats that no notebook has.
It does without if the package is missing; to other importers the package stays as it is.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Final, cast

_LEFT_OUT: Final = "rfc3987_syntax"

if _LEFT_OUT not in sys.modules and "jsonschema" not in sys.modules:
    sys.modules[_LEFT_OUT] = cast(ModuleType, None)  # as Python's manual says: not to be found
    try:
        importlib.import_module("jsonschema")
    except ImportError:
        pass  # then nbgrader is missing as well, and its import says so
    finally:
        del sys.modules[_LEFT_OUT]

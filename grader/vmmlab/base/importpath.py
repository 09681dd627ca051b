"""Prevents imports of Python modules from the working directory.

The working directory may be a submission. Python looks for modules there when it is started with
`-m` or `-c`, or when PYTHONPATH has an empty or relative entry.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

_PATH: Final = "PYTHONPATH"
_SAFE: Final = "PYTHONSAFEPATH"


def no_modules_from_here(places: list[str], environment: MutableMapping[str, str]) -> None:
    """Take the working directory off the import path of this process and of those it starts.

    It stays if vmmlab itself is imported from there.

    Args:
        places: sys.path; changed.
        environment: the variables; changed.
    """
    environment[_SAFE] = "1"
    if said := environment.get(_PATH):
        absolute = [one for one in said.split(os.pathsep) if os.path.isabs(one)]  # noqa: PTH117
        environment[_PATH] = os.pathsep.join(absolute)
    try:
        here = os.path.realpath(Path.cwd())
    except OSError:  # it has been deleted
        here = ""
    home = os.path.realpath(Path(__file__).parents[2])
    places[:] = [one for one in places if one and (os.path.realpath(one) != here or home == here)]

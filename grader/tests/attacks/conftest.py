"""Lets the attacks use what the tests of each part have made for themselves."""

import sys
from pathlib import Path

_TESTS = Path(__file__).parents[1]
sys.path += [
    str(_TESTS / name)
    for name in ("images", "exports", "classroom", "classroom/batch", "verdicts", "worksheets")
]

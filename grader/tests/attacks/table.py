"""The table of all attacks: `python grader/tests/attacks/table.py` writes attacks.md.

With `--try` it makes every attempt as well, and writes what it has seen.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

if __name__ == "__main__":
    import conftest  # noqa: F401

import against_batch
import against_build
import against_exports
import against_intake
import against_linker
import against_notebooks
import against_platforms
import against_readers
import pytest
from corpus import Attack, Defence
from elsewhere import ELSEWHERE

MODULES = (
    against_build,
    against_linker,
    against_intake,
    against_platforms,
    against_readers,
    against_notebooks,
    against_batch,
    against_exports,
)
PAGE = Path(__file__).with_name("attacks.md")
ATTACKS: tuple[Attack, ...] = tuple(one for module in MODULES for one in module.ATTACKS)
DEFENCES: tuple[Defence, ...] = tuple(one for module in MODULES for one in module.DEFENCES)

__all__ = ["ATTACKS", "DEFENCES", "ELSEWHERE", "PAGE", "text"]

_HEAD = """\
# Attacks and defences

`table.py` writes this page. `test_corpus.py` makes each attempt of the first table and sees that
it gains nothing. Where the last column says so, it makes it again with the defence switched off,
and sees that it gains something.
"""
_TABLE = "| where | attack | must end | defence | without it |\n|---|---|---|---|---|"
_OTHERS = """\
## Attacks that other tests make

| where | attack | must end | test | test without the defence |
|---|---|---|---|---|"""


def text(without: Callable[[Attack], str] = lambda one: "tried" if one.shown else "") -> str:
    """Return the page.

    Args:
        without: what an attack does when its defence is off, in words.
    """
    rows = [_row(one.kind, one.name, one.expected, one.defence, without(one)) for one in ATTACKS]
    others = [
        _row(one.kind, one.name, one.expected, _test(one.test), _test(one.off)) for one in ELSEWHERE
    ]
    count = f"{len(ATTACKS)} attempts, {len(DEFENCES)} defences, {len(ELSEWHERE)} other attacks.\n"
    return "\n".join([_HEAD, count, _TABLE, *rows, "", _OTHERS, *others]) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _test(name: str) -> str:
    return f"`{name.rpartition('/')[2]}`" if name else ""


def seen(attacks: Iterable[Attack]) -> dict[str, str]:
    """Try attacks; return for each what it gained with and without its defence."""
    found = {}
    off = {one.name: one.off for one in DEFENCES}
    for one in attacks:
        held = _tried(one) or "nothing"
        told = f"gains {held}"
        if one.shown:
            with pytest.MonkeyPatch.context() as patch:
                off[one.defence](patch)
                told += f"; without: {_tried(one) or 'nothing'}"
        found[one.id] = told
    return found


def _tried(one: Attack) -> str:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return one.attempt(Path(folder))


if __name__ == "__main__":
    if "--try" in sys.argv:
        found = seen(ATTACKS)
        sys.stdout.write(text(lambda one: found[one.id]))
    else:
        PAGE.write_text(text(), encoding="utf-8")

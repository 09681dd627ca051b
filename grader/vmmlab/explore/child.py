"""The process inside the sandbox: reads one request and prints one exploration, as JSON.

`isolated` writes the request and starts this process. It does not trust the answer, which untrusted
code may have influenced.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vmmlab.base.errors import VmmlabError
from vmmlab.base.messagedata import to_json
from vmmlab.explore.beside import Beside
from vmmlab.explore.declaration import Declaration, load
from vmmlab.explore.exploration import Bounds, Exploration
from vmmlab.explore.harness import Harness
from vmmlab.explore.runner import explore
from vmmlab.images.symbols import Symbols


@dataclass(frozen=True)
class _Options:
    arch: str
    compiler: str
    opt: str


@dataclass(frozen=True)
class _Image:
    elf: Path
    symbols: Symbols
    options: _Options
    key: str


@dataclass(frozen=True)
class _Cohort:
    apinit_addr: int
    pcpu_pad: int


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the exploration as data, or {"error": …} if the image cannot be explored.

    Args:
        asked: the request, as `isolated` writes it.
    """
    try:
        declaration = load(asked["lab"], Path(asked["folder"]))
        scenarios = declaration.named(asked["scenarios"])
        return _in_two(partial(_searched, asked, declaration), scenarios).data()
    except VmmlabError as error:
        texts = (error.message, error.expected, error.found, error.next_step)
        return {"error": [to_json(text) for text in texts]}


def _in_two(
    search: Callable[[Sequence[str]], Exploration], scenarios: Sequence[type[Harness]]
) -> Exploration:
    """Search the scenarios, and follow those of one order in a second process meanwhile.

    The two kinds share neither a model of the code nor a budget, so the result is that of one
    process.
    """
    names = [one.name for one in scenarios if not one.one_order]
    single = [one.name for one in scenarios if one.one_order]
    if not names or not single:
        return search(names or single)
    other = Beside(partial(search, single))
    found = search(names)
    if found.verdict == "wrong":
        other.drop()
        return found
    return replace(found, parts=(*found.parts, *other.result().parts))


def _searched(
    asked: Mapping[str, Any], declaration: Declaration, scenarios: Sequence[str]
) -> Exploration:
    """Return the exploration of some scenarios."""
    symbols = Symbols(Path(asked["lines"]), asked["symbols"])
    return explore(
        _Image(Path(asked["elf"]), symbols, _Options(*asked["options"]), asked["key"]),
        _Cohort(*asked["cohort"]),
        declaration,
        sources={path: text.encode() for path, text in asked["sources"].items()},
        bounds=Bounds(**asked["bounds"]),
        scenarios=scenarios,
    )


def main(request: str) -> None:
    """Print the answer to the request in a file.

    Args:
        request: path of the file.
    """
    gc.disable()  # a search creates no reference cycles, and the process is short-lived
    json.dump(answer(json.loads(Path(request).read_bytes())), sys.stdout)

"""The inside of the sandbox: one request in, one exploration out, as JSON.

`isolated` writes the request, starts this, and reads the answer as it reads anything that a student
may have had a hand in.
"""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmmlab.base.errors import VmmlabError
from vmmlab.explore.exploration import Bounds
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
    """The exploration as data, or {"error": …} if it is the image that is at fault."""
    symbols = Symbols(Path(asked["lines"]), asked["symbols"])
    image = _Image(Path(asked["elf"]), symbols, _Options(*asked["options"]), asked["key"])
    try:
        found = explore(
            image,
            _Cohort(*asked["cohort"]),
            sources={path: text.encode() for path, text in asked["sources"].items()},
            bounds=Bounds(**asked["bounds"]),
            scenarios=asked["scenarios"],
        )
    except VmmlabError as error:
        return {"error": [error.message, error.expected, error.found, error.next_step]}
    return found.data()


def main(request: str) -> None:
    """Answer the request in a file on stdout."""
    gc.disable()  # a search makes no circles, and ends
    json.dump(answer(json.loads(Path(request).read_bytes())), sys.stdout)

"""The process inside the sandbox: reads one request and prints one exploration, as JSON.

`isolated` writes the request and starts this process. It does not trust the answer, which untrusted
code may have influenced.
"""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmmlab.base.errors import VmmlabError
from vmmlab.base.messagedata import to_json
from vmmlab.explore.declaration import load
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
    """Return the exploration as data, or {"error": …} if the image cannot be explored.

    Args:
        asked: the request, as `isolated` writes it.
    """
    symbols = Symbols(Path(asked["lines"]), asked["symbols"])
    image = _Image(Path(asked["elf"]), symbols, _Options(*asked["options"]), asked["key"])
    try:
        found = explore(
            image,
            _Cohort(*asked["cohort"]),
            load(asked["lab"], Path(asked["folder"])),
            sources={path: text.encode() for path, text in asked["sources"].items()},
            bounds=Bounds(**asked["bounds"]),
            scenarios=asked["scenarios"],
        )
    except VmmlabError as error:
        texts = (error.message, error.expected, error.found, error.next_step)
        return {"error": [to_json(text) for text in texts]}
    return found.data()


def main(request: str) -> None:
    """Print the answer to the request in a file.

    Args:
        request: path of the file.
    """
    gc.disable()  # a search creates no reference cycles, and the process is short-lived
    json.dump(answer(json.loads(Path(request).read_bytes())), sys.stdout)

"""`python -m vmmlab.classroom.batch.zygote FD`: starts the process that forks a child a job.

Its first message is the settings of the batch and its labs; it answers with what the host enforces,
or with the reason why nothing can be graded here. See `forking` for the rest.
"""

from __future__ import annotations

import gc
import importlib
import json
import pickle
import runpy
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

from vmmlab.base.errors import VmmlabError
from vmmlab.base.messagedata import to_json
from vmmlab.classroom.batch.forking import Grader, serve
from vmmlab.classroom.batch.job import Settings


def main(descriptor: int) -> None:
    """Load everything, then serve.

    Args:
        descriptor: of the connection to the worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the batch's
    connection = Connection(descriptor)
    try:
        order = pickle.loads(connection.recv_bytes())
    except EOFError:
        return
    settings: Settings = order["settings"]
    rehearse = _named(order["rehearse"])
    grader: Grader = _named(order["grade"])
    try:
        host = rehearse(settings, order["labs"])
        answer = {"host": host.to_json()}
    except VmmlabError as error:
        answer = {"error": {name: to_json(getattr(error, name)) for name in ERROR}}
    connection.send_bytes(json.dumps(answer).encode())
    gc.collect()
    gc.freeze()  # a child's garbage collection must not touch, and so copy, what is shared
    serve(connection, grader)


ERROR: Final = ("message", "expected", "found", "next_step")
"""What is told of an error."""


def _named(name: str) -> Callable[..., Any]:
    """Return a function by `module:name` or `file.py:name`; only the batch says which."""
    module, _, function = name.rpartition(":")
    if not module.endswith(".py"):
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return found
    loaded = runpy.run_path(module)
    found = loaded[function]
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]))

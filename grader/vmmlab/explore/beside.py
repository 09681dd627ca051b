"""A result that a forked process works out beside this one, inside the same sandbox.

Both processes are equally untrusted, so the result may come back as it is, by pickle.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

from vmmlab.base.errors import VmmlabError

Found = TypeVar("Found")


class Beside(Generic[Found]):
    """A function without arguments, called in a forked process as soon as this is made.

    Args:
        work: the function.
    """

    def __init__(self, work: Callable[[], Found]) -> None:
        forks = multiprocessing.get_context("fork")
        self._answer, answer = forks.Pipe(duplex=False)
        self._process = forks.Process(target=_send, args=(work, answer), daemon=True)
        self._process.start()
        answer.close()

    def result(self) -> Found:
        """Wait for the function, and return what it returns.

        Raises:
            VmmlabError: the function raised it.
            SystemExit: the process died, and has said on stderr what of. The status is that of a
                shell: 128 and the number of the signal that ended it.
        """
        try:
            found: Found | VmmlabError = self._answer.recv()
        except EOFError:
            self._process.join()
            status = self._process.exitcode or 1
            raise SystemExit(status if status > 0 else 128 - status) from None
        self._process.join()
        if isinstance(found, VmmlabError):
            raise found
        return found

    def drop(self) -> None:
        """End the process, whose result is no longer needed."""
        self._process.kill()
        self._process.join()


def _send(work: Callable[[], Found], answer: Connection) -> None:
    try:
        answer.send(work())
    except VmmlabError as error:
        answer.send(error)

"""For hidden checks that call functions of the open ones."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext


class NoCases:
    """In place of `score` where one case asks several things: the first that fails ends it."""

    def case(self, name: str) -> AbstractContextManager[None]:
        """Open no case.

        Args:
            name: what the case would be called.
        """
        return nullcontext()

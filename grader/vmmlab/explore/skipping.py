"""Skips the passes of long loops, such as delays, and computes the state after them.

The passes are run by a caller; the last ones are really run. A pass of an outer loop is what lies
between two skips of the inner one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmmlab.explore.acceleration import RunPass, first_exit, pace_of
from vmmlab.explore.context import Context

# At most this many loops are skipped between two accesses to shared memory.
_MOST_SKIPPED: Final = 40

RunOn = Callable[[Context], Context | None]
"""Run from a context until the CPU has been in a loop for long; None if it is in none."""


class LoopSkipper:
    """Skips the loops of one run without accesses to shared memory.

    Args:
        run_pass: runs one pass of a loop.
        run_on: runs on to the next long loop.
        constants: returns values that a loop at a context may compare a counter with.

    Attributes:
        passes: how many passes of the inner loop have been skipped, about.
    """

    def __init__(
        self,
        run_pass: RunPass,
        run_on: RunOn,
        constants: Callable[[Context], frozenset[int]],
    ) -> None:
        self._run_pass = run_pass
        self._run_on = run_on
        self._constants = constants
        self._left = _MOST_SKIPPED
        self.passes = 0
        # The contexts after the latest skips, and how many passes each loop had left.
        self._skips: list[Context] = []
        self._hints: dict[int, int] = {}

    def skip(self, context: Context) -> Context | None:
        """Return the context of a later pass of the loop that a CPU is in, the last one but few.

        Args:
            context: the CPU somewhere in the loop.

        Returns:
            None if this is no loop that counts by constant steps to its end.
        """
        self._left -= 1
        found = self._skip(context) if self._left >= 0 else None
        if found is None:
            return None
        self.passes += self._hints[context.rip]
        self._skips = [*self._skips[-2:], found]
        if len(self._skips) < 3:
            return found
        pace = pace_of(*self._skips)
        if pace is None or not (pace.regs or pace.words):
            return found
        self._skips = []
        passes = first_exit(pace, self._outer_pass, self._constants(found))
        if passes is None:
            return found
        self.passes += passes * self._hints.get(found.rip, 1)
        return pace.after(passes)

    def _outer_pass(self, context: Context) -> Context | None:
        """Run to the end of the next long loop."""
        following = self._run_on(context)
        return None if following is None else self._skip(following)

    def _skip(self, context: Context) -> Context | None:
        passes = [context]
        for _ in range(2):
            following = self._run_pass(passes[-1])
            if following is None:
                return None
            passes.append(following)
        pace = pace_of(*passes)
        if pace is None:
            return None
        pace = pace.without_dead(self._run_pass)
        hint = self._hints.get(context.rip)
        last = first_exit(pace, self._run_pass, self._constants(context), hint=hint)
        if last is None:
            return None
        self._hints[context.rip] = last
        return pace.after(last)

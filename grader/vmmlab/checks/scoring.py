"""The cases of a check: each is a named part with its share of the points."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from vmmlab.base.message import Text
from vmmlab.checks.failing import CheckFailed, CheckMistake
from vmmlab.failure import Failure

CaseOutcome = Literal["pass", "fail", "timeout"]
"""How one case of a check can end."""


class CasesFailed(Exception):
    """Some cases of a check did not pass. Raised by the engine after the check's last line."""


@dataclass(frozen=True, slots=True)
class Case:
    """One named part of a check, and the failure if it has one."""

    name: Text
    failure: Failure | None = None

    @property
    def outcome(self) -> CaseOutcome:
        """How it ended."""
        if self.failure is None:
            return "pass"
        return "timeout" if self.failure.timeout else "fail"


class Score:
    """Collects the cases of one check: its points are maximum × passed / all."""

    def __init__(self) -> None:
        self._cases: list[Case] = []
        self._open = False

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases so far, in their order."""
        return tuple(self._cases)

    @property
    def fraction(self) -> Fraction:
        """Passed cases over all cases.

        Raises:
            CheckMistake: there was no case at all, so that nothing was judged.
        """
        if not self._cases:
            raise CheckMistake(
                "the check has cases but none was judged; "
                "count what must be there, not what happens to be"
            )
        return Fraction(sum(case.failure is None for case in self._cases), len(self._cases))

    @contextmanager
    def case(self, name: Text) -> Iterator[None]:
        """Judge one case: a failure inside ends this case, and the check goes on after it.

        Args:
            name: what the student reads, for example `CPU 2`.

        Raises:
            CheckMistake: a case inside a case.
        """
        __tracebackhide__ = True
        if self._open:
            raise CheckMistake(f"case {str(name)!r} stands inside another case")
        self._open = True
        try:
            yield
        except CheckFailed as failed:
            self._cases.append(Case(name, failed.failure))
        else:
            self._cases.append(Case(name))
        finally:
            self._open = False

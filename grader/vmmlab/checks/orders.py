"""Which check fails, and why, when a lab's functions run in a wrong order: labs/labN/orders.py.

@judges_orders("lab9.kick.lost", "lab9.flag.alone")
def judge(scenario, found):
    return WrongOrder("lab9.kick.lost", "kick-lost-in-some-order")

The exploration itself is declared in labs/labN/exploration.py, which only the search loads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Final

from vmmlab.base.message import Text
from vmmlab.explore.exploration import Counterexample

FILE: Final = "orders.py"
"""Name of the file in the lab's folder."""

Judge = Callable[[str, Counterexample], "WrongOrder | None"]
"""Returns what the counterexample of a scenario costs; None: nothing."""


@dataclass(frozen=True)
class WrongOrder:
    """The check that a wrong order fails.

    Args:
        check: id of the check.
        cause: why it fails; causes.yml is keyed by it.
        step: the step that contains the mistake; "": that of the check.
        note: what is to be said before the steps; "": nothing.
    """

    check: str
    cause: str
    step: str = ""
    note: Text = ""


@dataclass(frozen=True)
class OrderJudge:
    """What a lab says about wrong orders.

    Args:
        checks: ids of the checks that a wrong order may fail.
        judge: says which of them a counterexample fails.
    """

    checks: tuple[str, ...]
    judge: Judge


def judges_orders(*checks: str) -> Callable[[Judge], Judge]:
    """Mark the function that says which check a wrong order fails.

    Args:
        checks: ids of all checks that it may name.
    """

    def mark(judge: Judge) -> Judge:
        judge.__dict__["order_judge"] = OrderJudge(checks, judge)
        return judge

    return mark


def judge_in(module: ModuleType) -> OrderJudge | None:
    """Return what a module of a lab says about wrong orders, or None."""
    found = (getattr(one, "order_judge", None) for one in vars(module).values())
    return next((one for one in found if isinstance(one, OrderJudge)), None)

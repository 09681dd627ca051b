"""All orders of a lab's steps, searched while its scenarios boot, and what a wrong one costs.

A wrong order fails one check, which the lab names. Without an answer, the Observations alone
decide, and a person is asked to look at the report.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Collection
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from vmmlab.base.errors import VmmlabError
from vmmlab.base.message import Text, listed, msg
from vmmlab.checks.failing import CheckFailed
from vmmlab.checks.orders import FILE, OrderJudge, WrongOrder, judge_in
from vmmlab.course.labpackage import LabPackage
from vmmlab.explore import Counterexample, Exploration, ScheduleStep
from vmmlab.explore.text import access, cpu_name
from vmmlab.failure import Failure
from vmmlab.images.model import BuildFailed

# So many of the last steps of an order are shown.
_SHOWN: Final = 7


@runtime_checkable
class ExploringRunner(Protocol):
    """A runner that can search all orders of the lab that it builds."""

    def explore(self, folder: Path) -> concurrent.futures.Future[Exploration]:
        """Begin the search.

        Args:
            folder: of the lab, with its declaration.
        """


class Orders:
    """The search for wrong orders in one grading.

    Args:
        lab: the lab.
        folder: its folder.
        package: loads its files.
    """

    def __init__(self, lab: str, folder: Path, package: LabPackage) -> None:
        self._lab = lab
        self._folder = folder
        self._package = package
        self._judge: OrderJudge | None = None
        self._search: concurrent.futures.Future[Exploration] | None = None
        self._wrong: WrongOrder | None = None
        self._found: Exploration | None = None
        self._asked = False
        self.review: Text = ""

    @property
    def found(self) -> Exploration | None:
        """What the search found, if a check has asked for it."""
        return self._found

    def start(self, runner: object, checks: Collection[str]) -> None:
        """Begin the search, if one of these checks depends on it.

        Args:
            runner: builds the lab.
            checks: ids of the checks that will be run.
        """
        path = self._folder / FILE
        if not isinstance(runner, ExploringRunner) or not path.is_file():
            return
        judge = judge_in(self._package.load(path))
        if judge is None or not {*judge.checks} & {*checks}:
            return
        self._judge = judge
        self._search = runner.explore(self._folder)

    def judge(self, check: str, *failed: Failure) -> None:
        """Fail a check that has passed, or has failed with less to say, if a wrong order says so.

        Args:
            check: its id.
            failed: why it has failed, if it has.

        Raises:
            CheckFailed: some order of the steps goes wrong, and it is this check's concern.
        """
        __tracebackhide__ = True
        better = all(one.better for one in failed)
        if self._judge is None or check not in self._judge.checks or not better:
            return
        self._ask()
        if self._wrong is not None and self._wrong.check == check:
            if not all(self._wrong.cause in one.better for one in failed):
                return
            assert self._found is not None
            assert self._found.counterexample is not None
            raise CheckFailed(_failure(self._wrong, self._found.counterexample))

    def _ask(self) -> None:
        """Wait for the end of the search, once."""
        if self._asked or self._search is None or self._judge is None:
            return
        self._asked = True
        try:
            self._found = self._search.result()
        except BuildFailed:
            return  # the checks say so
        except VmmlabError as error:
            self.review = msg(
                "not all orders of the steps could be tried: {reason}", reason=error.message
            )
            return
        for part in self._found.parts:
            if part.counterexample is not None:
                self._wrong = self._judge.judge(part.scenario, part.counterexample)
                return
        self.review = _not_tried(self._found)


def _not_tried(found: Exploration) -> Text:
    """Return what was not tried, if a person should know of it."""
    for part in found.parts:
        if part.verdict == "unsupported":
            limit = part.limits[0]
            return msg(
                "not all orders of the steps could be tried: {what} ({place})",
                what=limit.what,
                place=limit.place,
            )
        if part.verdict == "no error found":
            return msg(
                "not all orders of the steps could be tried: {what} ({place})",
                what=part.bound,
                place=part.title,
            )
    return ""


def _failure(wrong: WrongOrder, found: Counterexample) -> Failure:
    """Return the failure that a counterexample is reported as."""
    order = msg(
        "there is an order of the steps in which {what}: {steps}",
        what=found.what,
        steps=listed(_steps(found), "; "),
    )
    return Failure(
        wrong.cause,
        step=wrong.step,
        cpu=found.cpu,
        place=_place(found),
        expected=found.expected,
        observed=listed([wrong.note, order], ": ") if wrong.note else order,
    )


def _place(found: Counterexample) -> Text:
    """Return where the CPU that goes wrong is, or where it was last seen in code."""
    at = [(one.place, one.function) for one in found.cpus if one.cpu == found.cpu]
    at += [(one.place, one.function) for one in reversed(found.steps) if one.cpu == found.cpu]
    place = next((place for place in at if place[0]), ("", ""))
    return listed(filter(None, place)) if place[0] else ""


def _steps(found: Counterexample) -> list[Text]:
    """Return the last steps of an order, in words; equal ones in a row only once."""
    told: list[Text] = []
    for step in found.steps:
        one = msg("{cpu} {action}", cpu=cpu_name(step.cpu), action=_action(step))
        if not told or told[-1] != one:
            told.append(one)
    return told[-_SHOWN:]


def _action(step: ScheduleStep) -> Text:
    action = access(step)
    if step.details:
        action = listed((action, *step.details))
    place = step.place.rpartition("/")[2]
    return msg("{action} ({place})", action=action, place=place) if place else action

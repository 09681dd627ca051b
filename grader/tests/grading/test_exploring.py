"""What a wrong order costs: one check, once, and nothing without an answer."""

import json
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.checks.failing import CheckFailed
from vmmlab.course.labpackage import LabPackage
from vmmlab.explore.schema import SAMPLE_FILES, from_data
from vmmlab.grading.exploring import Orders

RIGHT, WRONG = (from_data(json.loads(file.read_text(encoding="utf-8"))) for file in SAMPLE_FILES)
ORDERS = """
from vmmlab.checks.orders import WrongOrder, judges_orders

@judges_orders("lab9.lock", "lab9.barrier")
def judge(scenario, found):
    return WrongOrder("lab9.lock", "broken-in-some-order")
"""


class Runner:
    """A runner whose search has ended already."""

    def __init__(self, found) -> None:
        self.found = found
        self.asked: list[Path] = []

    def explore(self, folder: Path) -> Future:
        self.asked.append(folder)
        future: Future = Future()
        if isinstance(self.found, Exception):
            future.set_exception(self.found)
        else:
            future.set_result(self.found)
        return future


@pytest.fixture
def orders(tmp_path):
    (tmp_path / "orders.py").write_text(ORDERS)
    package = LabPackage("lab9", tmp_path)
    yield Orders("lab9", tmp_path, package)
    package.unload()


def test_a_wrong_order_fails_its_check_and_no_other(orders):
    orders.start(Runner(WRONG), ["lab9.lock", "lab9.barrier", "lab9.end"])
    for check in ("lab9.end", "lab9.barrier"):
        orders.judge(check)
    with pytest.raises(CheckFailed) as caught:
        orders.judge("lab9.lock")
    failure = caught.value.failure
    assert failure.cause == "broken-in-some-order"
    assert failure.cpu == WRONG.counterexample.cpu
    observed = str(failure.observed)
    assert str(WRONG.counterexample.what) in observed
    assert "CPU 1 " in observed
    assert orders.review == ""


def test_a_right_exploration_changes_nothing(orders):
    orders.start(Runner(RIGHT), ["lab9.lock"])
    orders.judge("lab9.lock")
    assert orders.review == ""


def test_without_an_answer_a_person_is_asked(orders):
    orders.start(Runner(InfraError("it died")), ["lab9.lock"])
    orders.judge("lab9.lock")
    assert "it died" in str(orders.review)


def test_nothing_is_searched_for_checks_that_do_not_depend_on_it(orders):
    runner = Runner(WRONG)
    orders.start(runner, ["lab9.end"])
    orders.judge("lab9.lock")
    assert runner.asked == []


def test_a_runner_that_cannot_search_is_left_alone(orders):
    orders.start(object(), ["lab9.lock"])
    orders.judge("lab9.lock")
    assert orders.review == ""


def one_order_not_finished(found):
    """The same exploration with a part that ran in one order and out of its time."""
    part = replace(found.parts[-1], scenario="many", one_order=True, memory="in order")
    part = replace(part, verdict="no error found", bound="not followed to its end")
    return replace(found, parts=(*found.parts, part))


def test_a_part_with_store_buffers_that_ran_out_of_states_is_for_a_person(orders):
    part = replace(RIGHT.parts[-1], memory="store buffers", verdict="no error found")
    part = replace(part, bound="only the shortest orders")
    orders.start(Runner(replace(RIGHT, parts=(*RIGHT.parts, part))), ["lab9.lock"])
    orders.judge("lab9.lock")
    assert "only the shortest orders" in str(orders.review)


def test_a_part_in_one_order_that_ran_out_of_time_is_for_a_person(orders):
    orders.start(Runner(one_order_not_finished(RIGHT)), ["lab9.lock"])
    orders.judge("lab9.lock")
    assert "not followed to its end" in str(orders.review)

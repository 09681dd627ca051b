"""The registries of milestones and of the places at which a CPU comes to rest."""

import pytest

from vmmlab.base.errors import CourseError
from vmmlab.base.message import msg, template
from vmmlab.base.registry import Scope
from vmmlab.observe.milestones import (
    AP_ENTRY,
    PARKED,
    WAITING,
    milestone,
    milestone_at,
    milestone_named,
    milestones,
    rest_place,
    rest_places,
)


@pytest.fixture(autouse=True)
def _own_scope():
    with Scope().in_use():
        yield


def test_they_are_in_the_order_of_the_way():
    asleep = milestone(75, "asleep", msg("asleep"), template("{cpu} falls asleep"), "sleep")
    names = [one.name for one in milestones()]
    assert names == [
        "waiting", "physical-0", "real-mode", "protected-mode", "long-mode", "ap-entry",
        "boot-stack", "own-stack", "asleep", "numbered", "parked",
    ]  # fmt: skip
    assert WAITING < AP_ENTRY < asleep < PARKED
    assert milestone_named("asleep") is milestone_at("sleep") is asleep
    assert str(asleep) == "asleep"


def test_the_given_ones_leave_room():
    assert [one.order for one in milestones()] == [10 * at for at in range(len(milestones()))]


def test_every_goal_names_the_cpu():
    goals = [str(one.goal_of("CPU 1")) for one in milestones()]
    assert all(goal.startswith("CPU 1 ") for goal in goals)


@pytest.mark.parametrize(
    ("order", "name", "place"),
    [(50, "asleep", ""), (75, "ap-entry", "ap_entry"), (50, "ap-entry", "elsewhere")],
)
def test_an_order_or_a_name_that_is_taken(order, name, place):
    with pytest.raises(CourseError) as caught:
        milestone(order, name, msg("asleep"), template("{cpu} falls asleep"), place)
    assert str(caught.value.message) == f"milestone {name!r} cannot be registered."
    assert str(caught.value.found) == "'ap-entry' at 50"
    assert milestone_at("ap_entry") is AP_ENTRY


def test_two_labs_do_not_see_each_others_milestones():
    first = milestone(75, "asleep", msg("asleep"), template("{cpu} falls asleep"))
    with Scope().in_use():
        assert first not in milestones()
        other = milestone(75, "asleep", msg("dozing"), template("{cpu} dozes"))
        assert milestone_named("asleep") is other
    assert milestone_named("asleep") is first


def test_no_place_is_no_milestone():
    assert milestone_at("") is None
    assert milestone_at("elsewhere") is None
    with pytest.raises(KeyError):
        milestone_named("elsewhere")


def test_places_at_which_a_cpu_comes_to_rest():
    rest_place("sleep", "asleep", msg("asleep"))
    assert rest_places() == {
        "vmm_parked": "parked",
        "vmm_todo": "todo",
        "exception_panic": "exception",
        "panic": "panic",
        "vmm_ap_missing": "missing",
        "sleep": "asleep",
    }
    rest_places().clear()
    assert "sleep" in rest_places()

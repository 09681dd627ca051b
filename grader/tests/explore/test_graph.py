"""Reachability: the first doomed state, and terminal states."""

from array import array

import pytest

from vmmlab.explore import graph


def edges(total, *pairs):
    start, to = (array("l", ends) for ends in zip(*pairs, strict=True))
    return graph.Edges(total, start, to), graph.Edges(total, to, start)


# 0 -> 1 -> 2 (good); 1 -> 3 -> 4 <-> 5, 3 -> 6 alone
PAIRS = ((0, 1), (1, 2), (1, 3), (3, 4), (4, 5), (5, 4), (3, 6))


def test_the_first_doomed_state():
    _, before = edges(7, *PAIRS)
    assert graph.first_doomed(before, [2]) == 3
    assert graph.first_doomed(before, [2, 4, 6]) is None


def test_whether_all_reach_the_end_without_being_late():
    starts, ends = array("l", [0, 1, 3, 3, 4, 5]), array("l", [1, 2, 3, 4, ~2])
    # 0 -> 1 -> 2 (good); 1 -> 3 -> 4 -> 2, the last one late
    assert not graph.all_reach([2], starts, ends)
    assert graph.all_reach([2, 4], starts, ends)
    ends[-1] = 2
    assert graph.all_reach([2], starts, ends)
    assert not graph.all_reach([3], starts, ends), "nothing leads on from 2"


@pytest.mark.parametrize(("total", "seen"), [(10, True), (100, False)])
def test_a_long_path_back_is_left_to_the_exact_answer(total, seen):
    """Each pass gets one step further when every edge leads back by one."""
    starts, ends = array("l", [0, 0, *range(1, total)]), array("l", range(total - 1))
    assert graph.all_reach([0], starts, ends) is seen
    before = graph.Edges(total, ends, array("l", range(1, total)))
    assert graph.first_doomed(before, [0]) is None


def test_a_terminal_state_has_no_way_out():
    after, _ = edges(7, *PAIRS)
    assert graph.terminal(3, after) in (4, 6)
    assert graph.terminal(4, after) == 4


def test_among_very_many_states_there_is_a_terminal_one_too(monkeypatch):
    monkeypatch.setattr(graph, "_NEAR", 2)
    after, _ = edges(7, *PAIRS)
    assert graph.terminal(0, after) in (2, 4, 5, 6)
    assert graph.terminal(4, after) in (4, 5)


def test_the_path_is_a_shortest_one():
    after, _ = edges(7, *PAIRS, (0, 3))
    assert graph.shortest_path(0, 5, after) == [0, 3, 4, 5]
    assert graph.shortest_path(3, 3, after) == [3]

"""Numbers and packing of states, interned memory, and the set of shared bytes."""

from types import SimpleNamespace

import pytest

from vmmlab.explore.localstate import before_first_step
from vmmlab.explore.memory import SharedMemory
from vmmlab.explore.sharing import SharedBytes, SharingGrew
from vmmlab.explore.states import Packing, StateNumbers


def test_a_packed_state_is_unpacked_without_the_spare_fields():
    packing = Packing(3)
    packed = packing.pack((1, 2, 3, 4))
    tagged = packed | 5 << packing.shifts[4] | 6 << packing.shifts[5]
    assert packing.unpack(tagged) == (1, 2, 3, 4)
    assert tagged & packing.whole == packed


def test_a_process_has_finished_only_when_its_stores_are_visible():
    local = before_first_step(1)._replace(phase="done")
    numbers = StateNumbers([before_first_step(1), local])
    states = [(0, ()), (1, ((8, 4, 1),)), (1, ())]
    assert [numbers.of_process(*one) for one in (*states, states[1])] == [0, 1, 2, 1]
    assert numbers.finished == [False, False, True]
    assert numbers.process(1) == states[1]


def test_memory_that_is_restored_has_its_old_number():
    memory = SharedMemory(lambda address: 0xA5, [(0x10, 4, 7)])
    changed = memory.write(0, 0x12, 2, 0x1234)
    assert (memory.read(0, 0x10, 4), memory.read(changed, 0x10, 4)) == (7, 0x1234_0007)
    assert memory.read(changed, 0x14, 1) == 0xA5
    assert memory.write(changed, 0x12, 2, 0) == 0


@pytest.fixture
def shared():
    return SharedBytes(SimpleNamespace(variables={"lock": (0x80, 1), "count": (0x90, 4)}), 3)


def test_a_byte_that_two_cpus_use_and_one_writes_is_shared(shared):
    assert shared.includes(0x80, 8)
    shared.record(0x100, 4, 1, write=False)
    shared.record(0x102, 4, 2, write=False)
    assert not shared.includes(0x100, 8)
    shared.require_unchanged()
    shared.record(0x103, 1, 1, write=True)
    assert shared.includes(0x100, 8)
    assert not shared.includes(0x104, 4)
    with pytest.raises(SharingGrew):
        shared.require_unchanged()


def test_a_young_search_is_not_restarted_at_once(shared):
    for cpu in (0, 1):
        shared.record(0x100, 1, cpu, write=True)
    shared.restart_if_late(10)
    with pytest.raises(SharingGrew):
        shared.restart_if_late(100_000)
    shared.begin()
    shared.restart_if_late(100_000)

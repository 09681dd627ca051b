"""A CPU to which a busy host has given no time yet costs no points."""

import pytest

from vmmlab.course.reference import reference
from vmmlab.probes.panicking import PanicProbe

LATE = 5
SCENARIO = "locks"  # without ACPI tables


@pytest.fixture
def late_cpu(monkeypatch):
    """Let the last AP start only when all others have come and the BSP waits, or has gone on.

    Returns:
        A list to which the index of each CPU that takes an NMI is added.
    """
    start, hit = PanicProbe.start, PanicProbe.hit
    seen, come = [], set()

    async def begin(self, session):
        await start(self, session)
        if session.inputs.scenario == SCENARIO:
            session.held.add(LATE)

    async def then(self, session, place):
        await hit(self, session, place)
        if session.inputs.scenario != SCENARIO:
            return
        come.add((place.place, place.cpu))
        others = all(("segment_init_ap", cpu) in come for cpu in range(1, LATE))
        let_go = place.place == "bsp_proc" or (others and 0 in session.held)
        if let_go and not any(cpu == LATE for _, cpu in come):  # the probe may hold it later
            session.held.discard(LATE)
        seen.extend(one.cpu for one in self.panic.taken)

    monkeypatch.setattr(PanicProbe, "start", begin)
    monkeypatch.setattr(PanicProbe, "hit", then)
    return seen


def test_an_ap_that_comes_late_is_not_left_behind(course, grade, late_cpu):
    report = grade("lab5", reference(course, ["lab5"]).files)
    assert report.points == report.max
    assert LATE in late_cpu

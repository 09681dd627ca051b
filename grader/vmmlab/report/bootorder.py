"""The order in which a reader wants the boots of a grading: first those that show what is wrong."""

from __future__ import annotations

from collections.abc import Collection

from vmmlab.observe.observation import Observation
from vmmlab.report import stops
from vmmlab.report.groups import grouped
from vmmlab.report.runrecord import RecordedBoot, RunRecord
from vmmlab.report.timeline import timeline


def failing(record: RunRecord) -> set[str]:
    """Return the ids of the checks that fail and wait for no other one."""
    groups = grouped(record.report.checks)
    return {check.id for group in groups for check in (group.first, *group.same)}


def in_order(record: RunRecord, failed: Collection[str]) -> list[RecordedBoot]:
    """Return the boots; those in which a check fails first, and first those whose picture shows it.

    Args:
        record: what the grading has seen.
        failed: ids of checks that fail.
    """
    wrong = [boot for boot in record.boots if {*failed} & {*boot.checks}]
    wrong.sort(key=lambda boot: not _shows_it(boot.seen))
    return [*wrong, *(boot for boot in record.boots if boot not in wrong)]


def _shows_it(seen: Observation) -> bool:
    """Whether a picture of this boot shows that something is wrong."""
    early = any(lane.early for lane in timeline(seen).lanes)
    return early or bool(stops.shared(stops.holds(seen.hits)))

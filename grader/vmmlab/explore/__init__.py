"""Exhaustive schedules of a student's compiled lock, registration and barrier.

found = explore(image, cohort, sources=files)
found.verdict, found.counterexample, found.to_json()

The package knows nothing of QEMU, of points, or of reports. Only `explore` loads the emulator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vmmlab.explore.exploration import (
    Bounds,
    Counterexample,
    CpuPosition,
    Exploration,
    Limit,
    Part,
    ScheduleStep,
    Verdict,
    write_json,
)

if TYPE_CHECKING:
    from vmmlab.explore.program import CohortLike, ImageLike

__all__ = [
    "Bounds",
    "Counterexample",
    "CpuPosition",
    "Exploration",
    "Limit",
    "Part",
    "ScheduleStep",
    "Verdict",
    "explore",
    "write_json",
]


def explore(
    image: ImageLike,
    cohort: CohortLike,
    *,
    sources: Mapping[str, bytes] | None = None,
    bounds: Bounds | None = None,
    scenarios: Sequence[str] | None = None,
) -> Exploration:
    """Search all interleavings of the lab-4 code in an image, with the BSP and two APs.

    Args:
        image: x86_64, with lab 4 in it.
        cohort: the cohort that it was built for.
        sources: the student's files by path, for the text of source lines.
        bounds: when to stop.
        scenarios: names of harnesses, "registration" and "barrier"; None: both.

    Raises:
        InfraError: the image was not built from this kit, or unicorn is not installed.
        UsageError: the image is for another architecture.
    """
    try:
        from vmmlab.explore.runner import explore as run
    except ImportError as error:
        from vmmlab.base.errors import InfraError

        if error.name != "unicorn":
            raise
        raise InfraError(
            f"Exploring schedules needs {error.name}, which is not installed.",
            next_step="pip install 'vmmlab[explore]'",
        ) from error
    return run(image, cohort, sources=sources, bounds=bounds, scenarios=scenarios)

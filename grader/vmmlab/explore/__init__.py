"""Explores all interleavings of a student's compiled code on several CPUs.

found = explore(image, cohort, load("lab4", folder), sources=files)
found.verdict, found.counterexample, found.to_json()

A lab declares what is explored in labs/labN/exploration.py: see `declaration`. The package knows no
lab, and nothing of QEMU, points, or reports. Only `explore` loads the emulator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vmmlab.base.message import msg
from vmmlab.explore.declaration import Declaration, labs_with_exploration, load
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
    "Declaration",
    "Exploration",
    "Limit",
    "Part",
    "ScheduleStep",
    "Verdict",
    "explore",
    "labs_with_exploration",
    "load",
    "write_json",
]


def explore(
    image: ImageLike,
    cohort: CohortLike,
    declaration: Declaration,
    *,
    sources: Mapping[str, bytes] | None = None,
    bounds: Bounds | None = None,
    scenarios: Sequence[str] | None = None,
) -> Exploration:
    """Search all interleavings of a lab's code in an image.

    Args:
        image: x86_64, with the lab in it.
        cohort: the cohort that it was built for.
        declaration: what the lab declares.
        sources: the student's files by path, for the text of source lines.
        bounds: when to stop.
        scenarios: names of the scenarios to search; None: all.

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
            msg("Exploring schedules needs {error}, which is not installed.", error=error.name),
            next_step="pip install 'vmmlab[explore]'",
        ) from error
    return run(image, cohort, declaration, sources=sources, bounds=bounds, scenarios=scenarios)

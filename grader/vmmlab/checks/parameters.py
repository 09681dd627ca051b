"""The parameters of a scenario: which there are, and which probe takes which.

What a parameter does is for the evidence layer to know.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from vmmlab.base.errors import CourseError

EVERYWHERE: Final = frozenset(
    {
        *("probe", "cpus", "firmware", "memory", "cmdline", "modules"),  # the machine
        *("opt", "compiler", "delays", "shuffle"),  # the build
    }
)
"""The parameters that every scenario takes."""

DELAYS: Final = frozenset({"init_us", "sipi_us", "poll_us", "wait_us"})
"""Fields of `struct ap_delays` (include/ap.h), in microseconds."""

DEFAULT_PROBE: Final = "end"

OF_PROBE: Final[Mapping[str, frozenset[str]]] = {
    "end": DELAYS,
    "rungs": DELAYS,
    "ladder": DELAYS,
    "delay": frozenset(),
    "initfuncs": frozenset({"functions"}),
    "uefi": frozenset(),
    "switch": DELAYS | {"swap", "elsewhere"},
    "calls": frozenset(),
    "late-ap": DELAYS | {"cpu"},
    "missing-ap": DELAYS | {"cpu"},
    "exclusion": frozenset(),
    "barrier": frozenset(),
}
"""The parameters that a scenario with this probe takes besides those of every scenario."""


def check_known(where: str, name: str, params: Mapping[str, Any]) -> None:
    """Check that each parameter of a scenario means something.

    Args:
        where: file and line of the scenario, for the message.
        name: of the scenario.
        params: all of its parameters.

    Raises:
        CourseError: there is no such parameter or probe, or the probe does not take it.
    """
    anywhere = EVERYWHERE.union(*OF_PROBE.values())
    for key in params:
        if key not in anywhere:
            raise CourseError(
                f"{where}: scenario {name}: there is no parameter {key}.",
                expected=f"one of {', '.join(sorted(anywhere))}",
                found=f"{key}={params[key]!r}",
                next_step=_suggestion(key, anywhere),
            )
    probe = params.get("probe", DEFAULT_PROBE)
    if probe not in OF_PROBE:
        raise CourseError(
            f"{where}: scenario {name}: there is no probe {probe}.",
            expected=f"one of {', '.join(sorted(OF_PROBE))}",
            found=f"probe={probe!r}",
            next_step=_suggestion(str(probe), OF_PROBE),
        )
    known = EVERYWHERE | OF_PROBE[probe]
    for key in params:
        if key not in known:
            takers = sorted(other for other, taken in OF_PROBE.items() if key in taken)
            raise CourseError(
                f"{where}: scenario {name}: the probe {probe} takes no parameter {key}.",
                expected=f"one of {', '.join(sorted(known))}",
                found=f"{key}={params[key]!r}",
                next_step=f"remove {key}, or choose a probe that takes it: {', '.join(takers)}",
            )


def _suggestion(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"did you mean {near[0]}?" if near else ""

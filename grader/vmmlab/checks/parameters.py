"""The parameters of a scenario: those of every boot, and those of its probe."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from vmmlab.base.errors import CourseError
from vmmlab.probes import probe_kind, probe_names

EVERYWHERE: Final = frozenset(
    {
        *("probe", "cpus", "firmware", "memory", "cmdline", "modules"),  # the machine
        *("opt", "compiler", "delays", "shuffle"),  # the build
    }
)
"""The parameters that every scenario takes."""

DEFAULT_PROBE: Final = "end"


def check_known(where: str, name: str, params: Mapping[str, Any]) -> None:
    """Check that each parameter of a scenario means something.

    Args:
        where: file and line of the scenario, for the message.
        name: of the scenario.
        params: all of its parameters.

    Raises:
        CourseError: there is no such parameter or probe, or the probe does not take it.
    """
    of_probe = {kind: probe_kind(kind).parameters for kind in probe_names()}
    anywhere = EVERYWHERE.union(*of_probe.values())
    for key in params:
        if key not in anywhere:
            raise CourseError(
                f"{where}: scenario {name}: there is no parameter {key}.",
                expected=f"one of {', '.join(sorted(anywhere))}",
                found=f"{key}={params[key]!r}",
                next_step=_suggestion(key, anywhere),
            )
    probe = params.get("probe", DEFAULT_PROBE)
    if probe not in of_probe:
        raise CourseError(
            f"{where}: scenario {name}: there is no probe {probe}.",
            expected=f"one of {', '.join(sorted(of_probe))}",
            found=f"probe={probe!r}",
            next_step=_suggestion(str(probe), of_probe),
        )
    known = EVERYWHERE | of_probe[probe]
    for key in params:
        if key not in known:
            takers = sorted(other for other, taken in of_probe.items() if key in taken)
            raise CourseError(
                f"{where}: scenario {name}: the probe {probe} takes no parameter {key}.",
                expected=f"one of {', '.join(sorted(known))}",
                found=f"{key}={params[key]!r}",
                next_step=f"remove {key}, or choose a probe that takes it: {', '.join(takers)}",
            )


def _suggestion(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"did you mean {near[0]}?" if near else ""

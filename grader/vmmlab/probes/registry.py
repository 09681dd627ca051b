"""The registry of probes: by name, with the parameters that a scenario may pass to each.

The probes of a lab's own belong to the scope of that lab (`vmmlab.base.registry`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, TypeVar, cast

from vmmlab.base.errors import CourseError
from vmmlab.base.message import msg
from vmmlab.base.registry import Registry
from vmmlab.probes.base import DELAY_FIELDS, Probe

P = TypeVar("P", bound=type[Probe])


@dataclass(frozen=True)
class ProbeKind:
    """A registered probe.

    Args:
        name: what scenarios call it.
        make: its class, a dataclass; the fields that its constructor takes are its parameters.
        cost: about how many times longer than the cheapest probe a boot with it takes; it decides
            only which boot begins first.
    """

    name: str
    make: type[Probe]
    cost: int = 1

    @property
    def parameters(self) -> frozenset[str]:
        """The parameters that a scenario may pass to it."""
        named = {one.name for one in dataclasses.fields(cast(Any, self.make)) if one.init}
        delays = set(DELAY_FIELDS) if "delays" in named else set()
        return frozenset(named - {"places", "delays"} | delays)


_KINDS: Final[Registry[ProbeKind]] = Registry()


def probe(name: str, *, cost: int = 1) -> Callable[[P], P]:
    """Register a class as the probe of this name.

    Args:
        name: what scenarios call it.
        cost: see `ProbeKind`.

    Raises:
        CourseError: another probe has this name.
    """

    def register(made: P) -> P:
        if known := _KINDS.get(name):
            raise CourseError(
                msg("probe {name} is registered twice.", name=repr(name)),
                found=f"{known.make.__module__}.{known.make.__qualname__}",
                next_step=msg("give one of the two another name"),
            )
        _KINDS[name] = ProbeKind(name, made, cost)
        return made

    return register


def probe_names() -> tuple[str, ...]:
    """Return the names of all registered probes, sorted."""
    return tuple(sorted(_KINDS))


def probe_kind(name: str) -> ProbeKind:
    """Return a registered probe.

    Raises:
        CourseError: none has this name.
    """
    if name not in _KINDS:
        near = get_close_matches(name, _KINDS, 1)
        raise CourseError(
            msg("there is no probe {name}.", name=repr(name)),
            expected=msg("one of {probe_names}", probe_names=", ".join(probe_names())),
            next_step=msg("did you mean {near!r}?", near=near[0]) if near else "",
        )
    return _KINDS[name]


def make_probe(name: str, params: Mapping[str, Any]) -> Probe:
    """Return a new probe for one boot.

    Args:
        name: of a registered probe.
        params: parameters of the scenario; those that this probe does not have are the machine's.

    Raises:
        CourseError: none has this name.
    """
    kind = probe_kind(name)
    own = {key: params[key] for key in kind.parameters & params.keys()}
    delays = {key: int(own.pop(key)) for key in DELAY_FIELDS if key in own}
    return kind.make(**own, **({"delays": delays} if delays else {}))

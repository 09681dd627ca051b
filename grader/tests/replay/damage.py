"""Damages Observations: evidence that is missing, extreme, in another order or of another boot.

Every damaged record still has the types of its fields, as anything that is recorded has.
"""

from __future__ import annotations

import random
import types
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, Final, Literal, get_args, get_origin

from vmmlab.observe.evidence import Lost
from vmmlab.observe.log import CpuLog
from vmmlab.observe.observation import Observation
from vmmlab.observe.record import written_down

_NUMBERS: Final = (0, 1, 2, 0xFFF, 0xFFFF, 0x100000, 0x4000_0000, (1 << 32) - 1, (1 << 64) - 1)
_KINDS: Final = (
    "parked", "todo", "exception", "panic", "missing", "waiting-for-sipi", "halted", "shutdown",
    "running", "held", "shown", "lost",
)  # fmt: skip
_TEXTS: Final = ("", "x", "lab9.9", "global", "\x1b[2J", "hlt", "(no instruction)", "a" * 300)
_FIXED: Final = {
    "symbols", "cpus", "index", "scenario", "cohort", "arch", "seed", "later", "apinit_addr",
    "apinit_offset", "stack_size", "apic_ids",
}  # fmt: skip
"""Fields that the grader itself decides, of every boot."""


def damaged(seen: Observation, seed: str) -> Observation:
    """Return an Observation with some of its evidence damaged.

    Args:
        seen: the Observation.
        seed: decides what is damaged, and how.
    """
    chance = random.Random(seed)
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        seen = chance.choice(_WHOLE)(seen, chance)
    return seen


def _any_field(seen: Observation, chance: random.Random) -> Observation:
    return _inside(seen, chance)


def _one_cpu(seen: Observation, chance: random.Random) -> Observation:
    cpus = list(seen.cpus)
    at = chance.randrange(len(cpus))
    cpus[at] = _inside(cpus[at], chance)
    return replace(seen, cpus=tuple(cpus))


def _milestones(seen: Observation, chance: random.Random) -> Observation:
    """Some are missing, some have another's registers."""
    cpus = list(seen.cpus)
    at = chance.randrange(len(cpus))
    names = list(cpus[at].milestones)
    states = list(cpus[at].milestones.values())
    chance.shuffle(states)
    kept = {name: state for name, state in zip(names, states, strict=True) if chance.random() < 0.6}
    cpus[at] = replace(cpus[at], milestones=kept)
    return replace(seen, cpus=tuple(cpus))


def _unseen_cpu(seen: Observation, chance: random.Random) -> Observation:
    """Nothing was recorded of a CPU but that it exists."""
    at = chance.randrange(len(seen.cpus))
    cpus = list(seen.cpus)
    reset = replace(cpus[at].end, pc=0xFFFFFFF0, bits=16, cs=0xF000, rip=0xFFF0, cr0=0, efer=0)
    cpus[at] = written_down(at, CpuLog(), reset)
    return replace(
        seen,
        cpus=tuple(cpus),
        hits=tuple(hit for hit in seen.hits if hit.cpu != at),
        interleavings=tuple(one for one in seen.interleavings if one.cpu != at),
    )


def with_cpus(seen: Observation, count: int) -> Observation:
    """Return an Observation with so many CPUs, as each boot of a scenario has.

    Args:
        seen: the Observation.
        count: how many; nothing is known of those that are added.
    """
    added = [written_down(cpu, CpuLog(), seen.bsp.end) for cpu in range(len(seen.cpus), count)]
    return replace(
        seen,
        cpus=(*seen.cpus[:count], *added),
        hits=tuple(hit for hit in seen.hits if hit.cpu < count),
        interleavings=tuple(one for one in seen.interleavings if one.cpu < count),
    )


def _end(seen: Observation, chance: random.Random) -> Observation:
    how = chance.choice(("complete", "shutdown", "quiet", "shown", "timeout", "lost"))
    lost = Lost(chance.choice(("ended", "no-answer", "refused"))) if how == "lost" else None
    return replace(seen, how_ended=how, lost=lost)


def _hits(seen: Observation, chance: random.Random) -> Observation:
    hits = list(seen.hits)
    match chance.randrange(4):
        case 0:
            hits = hits[:1]
        case 1:
            hits = [hit for hit in hits if chance.random() < 0.7]
        case 2:
            chance.shuffle(hits)
        case _:
            places = {hit.place for hit in hits}
            gone = chance.choice(sorted(places)) if places else ""
            hits = [hit for hit in hits if hit.place != gone]
    return replace(seen, hits=tuple(hits))


def _nothing_of(seen: Observation, chance: random.Random) -> Observation:
    """A whole subject was not recorded."""
    kinds = typing.get_type_hints(Observation)
    optional = [name for name in kinds if _may_be_none(kinds[name])]
    return replace(seen, **{chance.choice(optional): None})


_WHOLE: Final[tuple[Callable[[Observation, random.Random], Observation], ...]] = (
    _any_field, _any_field, _one_cpu, _one_cpu, _milestones, _unseen_cpu, _end, _hits, _nothing_of,
)  # fmt: skip


# --- one field somewhere inside ------------------------------------------------------------------


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _inside(record: Any, chance: random.Random) -> Any:
    """Return a record with one of its fields damaged, or a field of one of its parts."""
    names = [one.name for one in fields(record) if one.name not in _FIXED]
    if not names:  # it has nothing but one record for each CPU, by index
        (only,) = fields(record)
        items = list(getattr(record, only.name))
        number = chance.randrange(len(items))
        items[number] = _inside(items[number], chance)
        return replace(record, **{only.name: tuple(items)})
    name = chance.choice(names)
    value, kind = getattr(record, name), _hints(type(record))[name]
    if name == "end_kind":
        return replace(record, end_kind=chance.choice(_KINDS))
    return replace(record, **{name: _other(value, kind, chance)})


def _other(value: Any, kind: Any, chance: random.Random) -> Any:
    if _may_be_none(kind) and (value is None or chance.random() < 0.4):
        return None
    if get_origin(kind) is Literal:
        return chance.choice(get_args(kind))
    if is_dataclass(value):
        return _inside(value, chance)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return chance.choice((*_NUMBERS, value + 1, max(value - 1, 0)))
    if isinstance(value, bytes):
        return chance.choice((b"", value[:1], value[:-1], bytes(len(value)), b"\xff" * len(value)))
    if isinstance(value, str):
        return chance.choice((*_TEXTS, value[:3]))
    if isinstance(value, tuple):
        return _other_tuple(value, chance)
    if isinstance(value, dict):
        return _other_dict(value, kind, chance)
    return value


def _other_dict(value: dict[Any, Any], kind: Any, chance: random.Random) -> dict[Any, Any]:
    """Return a dict with one entry damaged, or without some CPUs; names are always recorded."""
    by_name = any(isinstance(key, str) for key in value)
    if not value or (not by_name and chance.random() < 0.5):
        return {key: value[key] for key in value if chance.random() < 0.6}
    key, inner = chance.choice([*value]), (*get_args(kind), Any, Any)[1]
    return {**value, key: _other(value[key], inner, chance)}


def _other_tuple(value: tuple[Any, ...], chance: random.Random) -> tuple[Any, ...]:
    items = list(value)
    match chance.randrange(5):
        case 0:
            items = []
        case 1:
            chance.shuffle(items)
        case 2:
            items = items[: chance.randrange(len(items) + 1)]
        case 3:
            items += items[:1]
        case _ if items and is_dataclass(items[0]):
            at = chance.randrange(len(items))
            items[at] = _inside(items[at], chance)
    return tuple(items)


def _may_be_none(kind: Any) -> bool:
    return get_origin(kind) in (typing.Union, types.UnionType) and type(None) in get_args(kind)

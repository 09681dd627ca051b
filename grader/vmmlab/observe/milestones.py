"""Milestones, which tell how far a CPU has got, and the places where a CPU comes to rest.

Both are registries, so that a new stage of the VMM brings its own. Each milestone needs the ones
with a lower order; the numbers leave room between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from vmmlab.base.errors import CourseError
from vmmlab.base.message import Message, filled, label, msg, template
from vmmlab.base.registry import Registry


@dataclass(frozen=True, slots=True, order=True)
class Milestone:
    """A point on the path of a CPU.

    Args:
        order: its place on the path.
        name: identifier, in records and schemas.
        title: text about a CPU that is there.
        goal: text about a CPU that should get there, with the field {cpu}.
        place: the watched place at which the CPU reaches it, "" if a mode or a state does.
    """

    order: int
    name: str = field(compare=False)
    title: Message = field(compare=False)
    goal: Message = field(compare=False)
    place: str = field(default="", compare=False)

    def goal_of(self, cpu: str) -> Message:
        """Return the text about a CPU that should get here.

        Args:
            cpu: its name.
        """
        return filled(self.goal, cpu=cpu)

    def __str__(self) -> str:
        """The title in English."""
        return str(self.title)


_MILESTONES: Final[Registry[Milestone]] = Registry()
_REST: Final[Registry[str]] = Registry()
_ENDINGS: Final[Registry[Message]] = Registry(
    {
        label("waiting-for-sipi"): msg("while it waited for a SIPI"),
        label("halted"): msg("at hlt"),
        label("shutdown"): msg("with a reset"),
        label("running"): msg("while running"),
        label("held"): msg("while held"),
        label("shown"): msg("while running"),
        label("lost"): msg("lost with QEMU"),
    }
)


def milestone(order: int, name: str, title: Message, goal: Message, place: str = "") -> Milestone:
    """Register a milestone.

    Args:
        order: its place on the path; the given ones are at 0, 10, 20 and so on.
        name: identifier, unique.
        title: text about a CPU that is there.
        goal: text about a CPU that should get there, with the field {cpu}.
        place: the watched place at which a CPU reaches it.

    Raises:
        CourseError: another milestone has this name or this order.
    """
    made = Milestone(order, name, title, goal, place)
    for one in _MILESTONES.values():
        if one.name == name or one == made:
            raise CourseError(
                msg("milestone {name} cannot be registered.", name=repr(name)),
                expected=msg("a name and an order that no other milestone has"),
                found=msg("{one} at {order}", one=repr(one.name), order=one.order),
            )
    _MILESTONES[name] = made
    return made


def milestones() -> tuple[Milestone, ...]:
    """Return all registered milestones in the order of the path."""
    return tuple(sorted(_MILESTONES.values()))


def milestone_named(name: str) -> Milestone:
    """Return the milestone with a name.

    Raises:
        KeyError: none has it.
    """
    return _MILESTONES[name]


def milestone_at(place: str) -> Milestone | None:
    """Return the milestone that a CPU reaches at a watched place."""
    return next((one for one in _MILESTONES.values() if place and one.place == place), None)


def rest_place(symbol: str, kind: str, shown: Message) -> str:
    """Register a place at which a CPU comes to rest.

    Args:
        symbol: a provided function.
        kind: the name of this end in records.
        shown: the same for a reader.
    """
    _ENDINGS[kind] = shown
    _REST[symbol] = kind
    return kind


PARKED_BY_ITSELF: Final = "parked-by-itself"
"""The end of a CPU that the student's own code has sent to `vmm_parked`."""


def ending(kind: str) -> Message | str:
    """Return the word for the end of a CPU: "parked", "running" and so on."""
    return _ENDINGS.get(kind, kind)


def rest_places() -> dict[str, str]:
    """Return the symbols at which a CPU comes to rest, with the kind of end."""
    return dict(_REST)


WAITING: Final = milestone(
    0, "waiting", msg("waiting for a SIPI"), template("{cpu} waits for a SIPI")
)
PHYSICAL_0: Final = milestone(
    10,
    "physical-0",
    msg("executed physical address 0"),
    template("{cpu} executes physical address 0"),
    "physical-0",
)
REAL_MODE: Final = milestone(
    20,
    "real-mode",
    msg("in the trampoline, real mode"),
    template("{cpu} reaches the trampoline, in real mode"),
    "trampoline",
)
PROTECTED_MODE: Final = milestone(
    30, "protected-mode", msg("in protected mode"), template("{cpu} reaches protected mode")
)
LONG_MODE: Final = milestone(
    40, "long-mode", msg("in long mode"), template("{cpu} reaches long mode")
)
AP_ENTRY: Final = milestone(
    50, "ap-entry", msg("arrived at ap_entry"), template("{cpu} reaches ap_entry"), "ap_entry"
)
BOOT_STACK: Final = milestone(
    60,
    "boot-stack",
    msg("in apinitproc0 on the boot stack"),
    template("{cpu} reaches apinitproc0, on the boot stack"),
    "apinitproc0",
)
OWN_STACK: Final = milestone(
    70,
    "own-stack",
    msg("on its own stack"),
    template("{cpu} reaches apinitproc1, on its own stack"),
    "apinitproc1",
)
NUMBERED: Final = milestone(
    80, "numbered", msg("has its number"), template("{cpu} gets its number"), "segment_init_ap"
)
PARKED: Final = milestone(
    90,
    "parked",
    msg("parked after the last barrier"),
    template("{cpu} parks after the last barrier"),
    "vmm_parked",
)

rest_place("vmm_parked", label("parked"), msg("parked"))
_ENDINGS[PARKED_BY_ITSELF] = msg("parked too early")
rest_place("vmm_todo", label("todo"), msg("at a TODO"))
rest_place("exception_panic", label("exception"), msg("with an exception"))
rest_place("panic", label("panic"), msg("with a panic"))
rest_place("vmm_ap_missing", label("missing"), msg("in vmm_ap_missing"))

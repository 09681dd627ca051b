"""Boots made by hand out of the sample: CPUs that came so far and no further."""

from dataclasses import replace
from pathlib import Path

from vmmlab.observe.icr import Icr
from vmmlab.observe.milestones import WAITING, milestones
from vmmlab.observe.place import Place
from vmmlab.observe.schema import from_json

SAMPLE = from_json((Path(__file__).parents[1] / "observe/observation.sample.json").read_text())
RESET_VECTOR = replace(
    SAMPLE.aps[0].end, pc=0xFFFFFFF0, bits=16, cs=0xF000, rip=0xFFF0, cr0=0x60000010, efer=0
)
"""Registers of an AP that INIT has put where it waits for a SIPI."""
INIT = Icr(0, 0xC4500, 0, 0.0)
SIPI = Icr(0, 0xC4600, 0, 0.01)
"""Both to all CPUs but the BSP; the vector is 0."""


def code(symbol, source="lab4/sync.c:9", owner="student", **more):
    """A place in the image, as a student finds it."""
    file, _, line = source.partition(":")
    return Place(0x40102000, symbol=symbol, file=file, line=int(line), owner=owner, **more)


def ap(highest=WAITING, index=1, **changes):
    """An AP that reached all milestones up to `highest`, and runs on without reaching another."""
    whole = SAMPLE.aps[0]
    names = [one.name for one in milestones() if WAITING < one <= highest]
    made = replace(
        whole,
        index=index,
        milestones={name: whole.milestones[name] for name in names if name in whole.milestones},
        steps=whole.steps if names else (),
        end=whole.milestones[names[-1]] if names else RESET_VECTOR,
        end_kind="running" if names else "waiting-for-sipi",
        end_place=code("sync_all_processors+0x12") if names else Place(0xFFFFFFF0, "elsewhere"),
        end_code="pause",
    )
    return replace(made, **changes)


def boot(*aps, bsp=None, **changes):
    """A boot with these APs that came to no end; the BSP has called them and waits."""
    waiting = replace(SAMPLE.bsp, end_kind="running", end_place=code("ap_wait+0x5"))
    made = replace(
        SAMPLE, cpus=(bsp or waiting, *aps), hits=(), icr=(INIT, SIPI), how_ended="quiet"
    )
    return replace(made, **changes)


def hit(place, cpu, text=""):
    """A stop of a CPU at a watched place."""
    return replace(SAMPLE.hits[0], place=place, cpu=cpu, text=text)


def step(text, **changes):
    """An instruction on the way through the trampoline: the one of the sample that begins so.

    Args:
        text: the beginning of the instruction as text.
        changes: registers that have other values.
    """
    found = next(one for one in SAMPLE.aps[0].steps if one.text.startswith(text))
    return replace(found, state=replace(found.state, **changes))

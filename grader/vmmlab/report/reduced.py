"""The reduced record of the reference: what a student may see of the right run. Version 1.

It has the milestones of each CPU with the mode, CR0, CR3, CR4 and EFER there, and the IPIs: nothing
else. Every field is checked when it is read, so that no instruction, byte, step or address inside
the reference's code can hide in it; a release does not take a file that holds more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from vmmlab.base.errors import CourseError
from vmmlab.base.message import msg
from vmmlab.observe.milestones import milestones
from vmmlab.observe.observation import Observation
from vmmlab.report.timeline import Lane, Point, Signal, grouped, signals_of, timeline
from vmmlab.x86.registers import mode_of

SCHEMA: Final = "vmmlab/right-runs/1"

_CR3_FLAGS: Final = 0x18  # PWT and PCD; the other low bits are reserved or a PCID
_MOST: Final = 1 << 20  # bytes of a file
_KINDS: Final = frozenset({"INIT", "INIT level de-assert", "SIPI", "NMI"})  # not those of a guest


def _milestone(name: str) -> str:
    if name not in {one.name for one in milestones()}:
        raise ValueError("no milestone has this name")
    return name


def _table(value: int) -> int:
    if value & 0xFFF & ~_CR3_FLAGS:
        raise ValueError("this is no address of a page table")
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RightPoint(_Strict):
    """A milestone, and the registers that select the mode there."""

    milestone: Annotated[str, AfterValidator(_milestone)]
    mode: Literal["real", "protected", "long"]
    cr0: int = Field(ge=0, lt=1 << 32)
    cr3: Annotated[int, AfterValidator(_table)] = Field(ge=0, lt=1 << 40)
    cr4: int = Field(ge=0, lt=1 << 32)
    efer: int = Field(ge=0, lt=1 << 16)


class RightIpi(_Strict):
    """IPIs in a row and alike."""

    sender: int | None = Field(ge=0, lt=512)
    kind: Literal["INIT", "INIT level de-assert", "SIPI", "NMI"]
    vector: int = Field(ge=0, lt=256)
    targets: list[Annotated[int, Field(ge=0, lt=512)]] = Field(max_length=512)


class RightRun(_Strict):
    """One boot of the reference."""

    cpus: list[list[RightPoint]] = Field(max_length=512, description="by index; the BSP first")
    ipis: list[RightIpi] = Field(max_length=64)

    def lanes(self) -> tuple[Lane, ...]:
        """Return its lanes; CPUs with equal paths share one."""
        parked = any(point.milestone == "parked" for points in self.cpus for point in points)
        every = [
            Lane(
                (index,),
                tuple(Point(p.milestone, p.mode, p.cr0, p.cr3, p.cr4, p.efer) for p in points),
                end="parked" if (points[-1].milestone == "parked" if points else parked) else "",
            )
            for index, points in enumerate(self.cpus)
        ]
        return tuple(grouped(every))

    def signals(self) -> tuple[Signal, ...]:
        """Return its IPIs."""
        return tuple(Signal(i.sender, i.kind, i.vector, tuple(i.targets)) for i in self.ipis)


_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*([._-][a-z0-9]+)*$", max_length=60)]


class RightRuns(_Strict):
    """The boots of the reference in the open scenarios of a lab."""

    schema_: Literal["vmmlab/right-runs/1"] = Field(SCHEMA, alias="schema")
    runs: dict[_Name, RightRun] = Field(description="by the name of the scenario")

    def to_json(self) -> str:
        """Return it as JSON text."""
        data = self.model_dump(mode="json", by_alias=True)
        return json.dumps(data, indent=None, separators=(",", ":")) + "\n"


NONE: Final = RightRuns(schema=SCHEMA, runs={})


def reduced(seen: Observation) -> RightRun:
    """Return what a student may see of a boot of the reference."""
    lanes = {cpu: lane for lane in timeline(seen).lanes for cpu in lane.cpus}
    signals, _ = signals_of(seen)
    return RightRun(
        cpus=[
            [
                RightPoint(
                    milestone=p.name, mode=mode_of(p.cr0, p.efer), cr0=p.cr0, cr3=p.cr3,
                    cr4=p.cr4, efer=p.efer,
                )
                for p in lanes[cpu].points
            ]
            for cpu in sorted(lanes)
        ],
        ipis=[
            RightIpi(
                sender=s.sender, kind=cast(Any, s.kind), vector=s.vector, targets=list(s.targets)
            )
            for s in signals
            if s.kind in _KINDS
        ],
    )  # fmt: skip


def reduced_runs(boots: Mapping[str, Observation]) -> RightRuns:
    """Return the reduced record of boots of the reference.

    Args:
        boots: name of the scenario → what was seen.
    """
    return RightRuns(
        schema=SCHEMA, runs={name: reduced(seen) for name, seen in sorted(boots.items())}
    )


def file_of(arch: str) -> str:
    """Return its name in the folder of a lab."""
    return "right-runs.json" if arch == "x86_64" else f"right-runs.{arch}.json"


def read(path: Path) -> RightRuns:
    """Read the reduced record of a lab; one without runs if there is no file.

    Raises:
        CourseError: it holds anything else than a reduced record does.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return NONE
    try:
        if len(text) > _MOST:
            raise ValueError(f"> {_MOST >> 20} MiB")
        return RightRuns.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        found = f"{place}: {first['msg']}"
    except ValueError as error:
        found = str(error)
    raise CourseError(
        msg("{path}: this is not a reduced record of the reference.", path=path),
        expected=msg("milestones with mode, CR0, CR3, CR4 and EFER, and IPIs: nothing else"),
        found=found[:300],
    )

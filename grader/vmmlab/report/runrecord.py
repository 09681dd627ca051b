"""The record of one grading: the report, the Observations, the Exploration. Version 1.

`vmmlab show` draws from it long after the machines are gone. A workspace keeps that of the last
grading in build/labN/run.json.gz, some 20 to 200 KB. Long traces are cut when it is written, and a
file is bounded when it is read: it may have been copied from anywhere.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vmmlab.base.errors import UsageError, os_reason
from vmmlab.base.files import read_regular, write_atomically
from vmmlab.base.jsondata import json_data
from vmmlab.base.message import Text, msg
from vmmlab.base.messagedata import to_json as text_to_json
from vmmlab.explore import Exploration
from vmmlab.observe.cpu import CpuRecord
from vmmlab.observe.observation import Observation
from vmmlab.report.hiding import without_places
from vmmlab.report.model import Plain, Report
from vmmlab.report.text import ReportText

SCHEMA: Final = "vmmlab/run/1"
FILE: Final = "run.json.gz"
"""Its name in the folder of a lab's build."""

STEPS_KEPT: Final = 400
"""How many steps of a CPU are kept: the first half and the last half of them."""
HITS_KEPT: Final = 1000
"""How many stops of a boot are kept."""
_STORED_MOST: Final = 16 << 20  # bytes of a file that is read
_TEXT_MOST: Final = 64 << 20  # bytes of JSON that it may hold
_GZIP: Final = 16 + zlib.MAX_WBITS
_LEVEL: Final = 1  # of compression: fast


class RecordedBoot(BaseModel):
    """One boot and the checks that looked at it."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    scenario: Plain = Field(description="the scenario as text; equal ones are one boot")
    name: Plain
    words: ReportText = Field("", description="what is special about it; empty: not recorded")
    checks: tuple[Plain, ...] = Field((), description="ids of the checks that looked at it")
    cut: bool = Field(False, description="it had more steps or stops than are kept")
    seen: Observation

    @property
    def title(self) -> Text:
        """What a reader calls it: what is special about it, and its name."""
        if not self.words:  # an older record
            return self.scenario
        return msg("{words} ({name})", words=self.words, name=self.name)


class RunRecord(BaseModel):
    """Everything that a renderer may draw from."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, defer_build=True)

    schema_: Literal["vmmlab/run/1"] = Field(SCHEMA, alias="schema")
    report: Report
    boots: tuple[RecordedBoot, ...] = ()
    exploration: Exploration | None = None
    hints: dict[str, tuple[ReportText, ...]] = Field(
        default_factory=dict, description="cause → its hint levels, the gentlest first"
    )
    lines: dict[str, dict[int, Plain]] = Field(
        default_factory=dict, description="file → line → the student's text there, where code ran"
    )
    files: dict[str, str] = Field(
        default_factory=dict, description="file → SHA-256 of what was graded"
    )

    def of_check(self, check: str) -> tuple[RecordedBoot, ...]:
        """Return the boots that a check looked at."""
        return tuple(boot for boot in self.boots if check in boot.checks)


def to_json(record: RunRecord) -> str:
    """Return a record as JSON text.

    It is written without pydantic, whose preparation for an Observation takes longer than all of
    this; a test compares the two.
    """
    return json.dumps(
        {
            "schema": SCHEMA,
            "report": record.report.model_dump(mode="json", by_alias=True),
            "boots": [
                {
                    "scenario": boot.scenario,
                    "name": boot.name,
                    "words": text_to_json(boot.words),
                    "checks": boot.checks,
                    "cut": boot.cut,
                    "seen": json_data(boot.seen),
                }
                for boot in record.boots
            ],
            "exploration": record.exploration and record.exploration.data(),
            "hints": {
                name: list(map(text_to_json, levels)) for name, levels in record.hints.items()
            },
            "lines": record.lines,
            "files": record.files,
        },
        ensure_ascii=False,
    )


def from_json(text: str | bytes) -> RunRecord:
    """Return the record that `to_json` wrote.

    Raises:
        ValueError: it is none of this version.
    """
    return RunRecord.model_validate_json(text)


def without_host(record: RunRecord, places: Mapping[str, str]) -> RunRecord:
    """Return a record without the places of this host.

    Args:
        record: the record.
        places: what they are called, from `vmmlab.report.hiding.places`.
    """
    return from_json(without_places(to_json(record), places)) if places else record


def write(record: RunRecord, path: Path) -> None:
    """Write a record; a reader sees the old file or the whole new one.

    Args:
        record: the record.
        path: where to; its folder is made.

    Raises:
        OSError: it cannot be written.
    """
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP)
    data = packer.compress(to_json(record).encode("utf-8", "backslashreplace")) + packer.flush()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)


def read(path: Path) -> RunRecord:
    """Read a record.

    Raises:
        UsageError: it cannot be read, is too large, or is no record of this version.
    """
    try:
        packed = read_regular(path, _STORED_MOST + 1)
        opener = zlib.decompressobj(_GZIP)
        text = opener.decompress(packed, _TEXT_MOST)
        if len(packed) > _STORED_MOST or opener.unconsumed_tail:
            raise _unreadable(path, f"> {_TEXT_MOST >> 20} MiB")
        if not opener.eof:
            raise _unreadable(path, msg("its end is missing"))
        return from_json(text)
    except OSError as error:
        raise _unreadable(path, os_reason(error)) from None
    except zlib.error:
        raise _unreadable(path, msg("a file that was not written by vmmlab")) from None
    except ValidationError as error:
        other = re.match(rb'\s*\{\s*"schema"\s*:\s*"(vmmlab/run/[0-9]{1,6})"', text)
        if other and (version := other[1].decode()) != SCHEMA:
            named = msg("{version}, of another vmmlab", version=version)
            raise _unreadable(path, named) from None
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"][:6])
        raise _unreadable(path, f"{place}: {first['msg']}".removeprefix(": ")[:300]) from None


def _unreadable(path: Path, found: Text) -> UsageError:
    return UsageError(
        msg("{path}: this is not the record of a grading.", path=path),
        expected=SCHEMA,
        found=found,
        next_step=msg("grade the lab again"),
    )


def shortened(seen: Observation) -> tuple[Observation, bool]:
    """Return an Observation with the steps and stops that are kept, and whether there were more.

    What a lab's own probe recorded is left out: only that lab's checks can read it.
    """
    cut = len(seen.hits) > HITS_KEPT or any(len(cpu.steps) > STEPS_KEPT for cpu in seen.cpus)
    cpus = tuple(map(_with_fewer_steps, seen.cpus)) if cut else seen.cpus
    return replace(seen, cpus=cpus, hits=seen.hits[:HITS_KEPT], lab=None), cut


def _with_fewer_steps(cpu: CpuRecord) -> CpuRecord:
    half = STEPS_KEPT // 2
    if len(cpu.steps) <= STEPS_KEPT:
        return cpu
    return replace(cpu, steps=(*cpu.steps[:half], *cpu.steps[-half:]))

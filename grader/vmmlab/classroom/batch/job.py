"""The job that is sent to a worker, and its result: plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal

from vmmlab.base.message import Text
from vmmlab.base.messagedata import from_json, to_json
from vmmlab.classroom.batch.share import Share

DEADLINE_S: Final = 900.0
"""Wall time of one grading. All boots of a lab have some 40 s on an idle host, scaled by load."""

End = Literal["graded", "died", "overdue", "exceeded", "failed", "stranger"]
"""How a job ended: it was graded; its process died; it took too long, or more than its share; the
grader raised an error; the worker has another grader, course or toolchain."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is the same for all jobs of a batch.

    Attributes:
        course: folder of the course, at the same path on every worker.
        identity: what the grader, the course and the tools must hash to (`identity.of`).
        sandbox_required: refuse to run submitted code outside a sandbox.
        hidden: run the hidden checks too.
        arch: what to build for.
        compiler: gcc or clang.
        opt: optimisation, such as -O2; None: each scenario's own.
        seed: seed of the boots; None: from the secret, else the public one.
        secret: the key of the course's secret; "": there is none.
        round: names the occasion.
        html: draw a page for each report.
        lang: language of the pages.
        share: what one grading may use at a time.
    """

    course: str
    identity: str
    sandbox_required: bool = True
    hidden: bool = True
    arch: str = "x86_64"
    compiler: str = "gcc"
    opt: str | None = None
    seed: int | None = None
    secret: str = field(default="", repr=False)
    round: str = ""
    html: bool = True
    lang: str = "en"
    share: Share = field(default_factory=Share)

    def digest(self) -> str:
        """Return a name for everything in here that a verdict depends on; no secret follows."""
        values = asdict(self)
        for name in ("course", "html", "lang", "share"):
            del values[name]
        values["secret"] = hashlib.sha256(f"vmmlab batch\0{self.secret}".encode()).hexdigest()
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Job:
    """One lab of one submission.

    Attributes:
        key: its name in the scheduler: a pseudonym.
        lab: for example `lab3`.
        files: the submitted files by path.
        cohort: name of the submission's cohort.
        settings: those of the batch.
        notes: remarks that belong into the report.
        seed: of this job alone; None: as the settings say.
        deadline_s: wall time after which it is ended.
    """

    key: str
    lab: str
    files: Mapping[str, bytes]
    cohort: str
    settings: Settings
    notes: tuple[Text, ...] = ()
    seed: int | None = None
    deadline_s: float = DEADLINE_S


@dataclass(frozen=True, slots=True)
class Host:
    """A worker, and what it enforces.

    Attributes:
        name: of the host.
        sandbox: such as "bwrap+cgroup".
        limits: the same in words.
        identity: what its grader, course and tools hash to.
        versions: of its tools.
    """

    name: str
    sandbox: str
    limits: Text
    identity: str
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**values, "limits": to_json(self.limits)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Host:
        """Return the host that `to_json` wrote."""
        return Host(**{**data, "limits": from_json(data["limits"])})


@dataclass(frozen=True, slots=True)
class Result:
    """How a job ended.

    Attributes:
        end: how.
        reason: why it was not graded; "" if it was.
        report: the instructor's report as JSON text, without places of the host.
        student: the student's report of an official grading, likewise.
        page: the report as HTML.
        wall_s: seconds from the fork to the end.
        own_s: processor seconds of the grading process.
        tools_s: those of the compilers, QEMUs and sandboxes that it started.
        peak_mib: largest resident size of the grading process.
        host: where it ran.
        worker: the address of the worker.
    """

    end: End
    reason: Text = ""
    report: str = ""
    student: str = ""
    page: str = ""
    wall_s: float = 0.0
    own_s: float = 0.0
    tools_s: float = 0.0
    peak_mib: int = 0
    host: Host | None = None
    worker: str = ""

    def to_json(self) -> bytes:
        """Return it as JSON."""
        values: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        values["reason"] = to_json(self.reason)
        values["host"] = self.host and self.host.to_json()
        return json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace")

    @staticmethod
    def from_json(data: bytes) -> Result:
        """Return the result that `to_json` wrote.

        Raises:
            ValueError: it is none.
        """
        try:
            values = json.loads(data)
            host = values["host"]
            values["reason"] = from_json(values["reason"])
            values["host"] = None if host is None else Host.from_json(host)
            return Result(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(str(error)) from None

"""Records of gradings, made from recorded boots: what the pictures are drawn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

from recordings import ReplayRunner, load, request

from vmmlab.author import mutants
from vmmlab.course.load import load_course
from vmmlab.course.reference import reference
from vmmlab.grading.grade import grade_lab
from vmmlab.i18n.translate import Reader
from vmmlab.observe.icr import Icr
from vmmlab.observe.observation import Observation
from vmmlab.report.html import page
from vmmlab.report.make import causes_for, report_of
from vmmlab.report.reduced import file_of, read
from vmmlab.report.runrecord import RecordedBoot, RunRecord
from vmmlab.report.seen import run_record

COURSE: Final = load_course(Path(__file__).parents[3])
MUTANTS: Final = {one.id: one for one in mutants.load(COURSE)}

INIT, SIPI = 0xC4500, 0xC4600  # to all CPUs except the sending one


@cache
def record(name: str) -> RunRecord:
    """The record of a grading of a recorded submission."""
    recorded = load(name)
    mutant = MUTANTS.get(name)
    lab = recorded.lab
    files = mutants.apply(COURSE, mutant) if mutant else dict(reference(COURSE, [lab]).files)
    asked = request(COURSE, lab, files, recorded.cohort, recorded.arch)
    grade = grade_lab(asked, runner_factory=ReplayRunner(recorded))
    causes = causes_for(asked)
    return run_record(grade, report_of(grade, causes=causes), causes)


def boot(name: str, scenario: str) -> Observation:
    """A recorded boot, by the name of its scenario."""
    return next(one.seen for one in record(name).boots if one.name == scenario)


def with_boot(made: RunRecord, change: Callable[[Observation], Observation]) -> RunRecord:
    """A record in which the first boot is another one."""
    first: RecordedBoot = made.boots[0]
    changed = first.model_copy(update={"seen": change(first.seen)})
    return made.model_copy(update={"boots": (changed, *made.boots[1:])})


def reader(lab: str, language: str = "en") -> Reader:
    """A reader of a lab's texts."""
    return Reader(language).of(COURSE.labs_dir / lab)


def html(made: RunRecord, language: str = "en") -> str:
    """The page of a record, the right run beside it."""
    lab = COURSE.labs_dir / made.report.lab
    return page(made, reader(made.report.lab, language), read(lab / file_of(made.report.arch)))


def many(seen: Observation, cpus: int) -> Observation:
    """A boot with that many CPUs: the first AP again and again, its steps on 15 of them."""
    ap = seen.cpus[1]
    aps = [replace(ap, index=n, steps=ap.steps if n <= 15 else ()) for n in range(1, cpus)]
    hits = [hit for hit in seen.hits if hit.cpu < 2]
    hits = [replace(hit, order=order) for order, hit in enumerate(hits)]
    writes = tuple(Icr(0, low, 0, 0.0) for low in (INIT, SIPI))
    return replace(seen, cpus=(seen.cpus[0], *aps), hits=tuple(hits), icr=writes, apic_ids=())

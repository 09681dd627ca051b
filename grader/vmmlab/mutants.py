"""The kill matrix: wrong solutions that checks must catch, right ones that they must not accuse.

A mutant is the reference with named parts replaced: a step's region, a C function, an assembly
label. So it does not rot when lines move, and when the part is gone that is an error and never a
kill. A variant is a right solution written in another way; it must earn all points. Nothing here
knows how a check works: mutants and variants go through the same grading as a student's files.

Files, below grader/mutants/ of the course::

    lab3.yml                  the mutants of lab 3
    correct/NAME/lab3/FILE    a variant; files that it does not have are the reference's
    correct/NAME/ARCHES       what it is right for, one architecture a line; x86_64 without it
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from vmmlab import course as courses
from vmmlab import yamlfile
from vmmlab.cohort import Cohort
from vmmlab.course import ARCHES, Course
from vmmlab.errors import CourseError, VmmlabError
from vmmlab.grading import grade_lab
from vmmlab.report import Report
from vmmlab.strip import regions
from vmmlab.submission import reference, reference_text
from vmmlab.yamlfile import YamlFile, shown

SEED: Final = 1
"""The seed of the boots if nobody gives one."""

_ID: Final = re.compile(r"lab[0-9]+(\.[a-z0-9][a-z0-9-]*){2}")
_CAUSE: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

Text = Annotated[str, StringConstraints(min_length=1)]
Verdict = Literal["killed", "survived", "wrong cause", "error"]


# --- mutants.yml -------------------------------------------------------------------------------


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _EditEntry(_Model):
    """One replacement; exactly one of `region`, `function` and `label` says of what."""

    file: Text | None = None
    region: Text | None = None
    nth: Annotated[int, Field(ge=1)] = 1
    function: Text | None = None
    label: Text | None = None
    code: str


class _MutantEntry(_EditEntry):
    file: Text
    id: Text
    title: Text
    check: Text
    cause: Text
    cohort: Text = "dev"
    arch: Text = ARCHES[0]
    also: list[_EditEntry] = []


class _FileEntry(_Model):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    mutants: Annotated[list[_MutantEntry], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Edit:
    """One named part of a reference file, and what stands there instead.

    Attributes:
        file: for example `lab3/ap_start.c`.
        kind: what `name` is: a step whose region is meant, a C function, an assembly label.
        name: for example `lab3.1`, `ap_start`, `apinit_enter`.
        nth: which of several regions of the step, from 1.
        code: the new text.
    """

    file: str
    kind: Literal["region", "function", "label"]
    name: str
    nth: int
    code: str

    def __str__(self) -> str:
        which = f" (number {self.nth})" if self.nth > 1 else ""
        return f"the {self.kind} {self.name}{which} of {self.file}"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One known-wrong solution.

    Attributes:
        id: `labN.topic.name`, unique.
        title: what is wrong in it, in words.
        lab: the lab that it belongs to.
        edits: how it is made of the reference.
        check: the check that must catch it.
        cause: the cause that this check must name.
        cohort: the cohort to grade it with, for what only some cohorts can see.
        source: file and line of its definition.
        arch: what it is graded for.
    """

    id: str
    title: str
    lab: str
    edits: tuple[Edit, ...]
    check: str
    cause: str
    cohort: str
    source: str
    arch: str = ARCHES[0]


class DoesNotApply(CourseError):
    """A mutant names a part of the reference that is not there, or changes nothing."""


def mutants_dir(course: Course) -> Path:
    """Where the mutants of a course are."""
    return course.root / "grader" / "mutants"


def load(course: Course, labs: Iterable[str] | None = None) -> tuple[Mutant, ...]:
    """Read the mutants of some labs, or of all that have any.

    Args:
        course: the course; a release has no mutants.
        labs: names of labs.

    Raises:
        CourseError: a file is missing or wrong; the message names file, line and key.
        UsageError: there is no such lab.
    """
    named = labs is not None
    found: list[Mutant] = []
    for lab in course.labs if labs is None else labs:
        course.lab(lab)
        path = mutants_dir(course) / f"{lab}.yml"
        if named or path.is_file():
            found += _read(course, lab, path)
    return tuple(found)


def _read(course: Course, lab: str, path: Path) -> Iterator[Mutant]:
    file = yamlfile.read(path)
    try:
        entries = _FileEntry.model_validate_json(json.dumps(file.data)).mutants
    except ValidationError as error:
        details = error.errors(include_url=False)
        # A misspelt key is one mistake, not also a missing one.
        detail = min(details, key=lambda one: one["type"] != "extra_forbidden")
        loc = tuple(part for part in detail["loc"] if part != "[key]")
        raise _wrong(file, loc, str(detail["msg"])) from None
    taken: set[str] = set()
    for index, entry in enumerate(entries):
        at = ("mutants", index)
        if not _ID.fullmatch(entry.id) or not entry.id.startswith(f"{lab}."):
            raise _wrong(file, (*at, "id"), f"an id is {lab}.topic.name, not {entry.id}")
        if entry.id in taken:
            raise _wrong(file, (*at, "id"), f"{entry.id} is there twice")
        taken.add(entry.id)
        if entry.arch not in ARCHES:
            raise _wrong(file, (*at, "arch"), f"an architecture is one of {', '.join(ARCHES)}")
        if entry.check not in course.labs[lab].checks_of(entry.arch):
            which = "" if entry.arch == ARCHES[0] else f" for {entry.arch}"
            raise _wrong(file, (*at, "check"), f"{lab} has no check {entry.check}{which}")
        if not _CAUSE.fullmatch(entry.cause):
            raise _wrong(file, (*at, "cause"), f"{entry.cause!r} is no cause")
        edits = []
        for where, one in (((), entry), *((("also", n), e) for n, e in enumerate(entry.also))):
            try:
                edits.append(_edit(course, lab, one, entry.file))
            except ValueError as error:
                raise _wrong(file, (*at, *where), str(error)) from None
        yield Mutant(
            id=entry.id,
            title=entry.title,
            lab=lab,
            edits=tuple(edits),
            check=entry.check,
            cause=entry.cause,
            cohort=entry.cohort,
            source=f"{file.shown}:{file.line(at)}",
            arch=entry.arch,
        )


def _edit(course: Course, lab: str, entry: _EditEntry, file: str) -> Edit:
    where = entry.file or file
    if where not in course.labs[lab].files:
        raise ValueError(f"{lab} has no file {where}")
    named: dict[Literal["region", "function", "label"], str | None] = {
        "region": entry.region,
        "function": entry.function,
        "label": entry.label,
    }
    given = [(kind, name) for kind, name in named.items() if name is not None]
    if len(given) != 1:
        raise ValueError("say one of region, function, label: what is replaced")
    return Edit(where, given[0][0], given[0][1], entry.nth, entry.code)


def _wrong(file: YamlFile, loc: Sequence[str | int], message: str) -> CourseError:
    key = " > ".join(str(part) for part in loc)
    return CourseError(f"{file.shown}:{file.line(loc)}: {key}: {message}.")


# --- applying ----------------------------------------------------------------------------------


def apply(course: Course, mutant: Mutant) -> dict[str, bytes]:
    """The files of the mutant's lab: the reference's, with the mutant's edits.

    Raises:
        DoesNotApply: a part is not there, or an edit changes nothing.
    """
    files = {path: reference_text(course, path) for path in course.lab(mutant.lab).files}
    for edit in mutant.edits:
        files[edit.file] = replaced(files[edit.file], edit, who=f"{mutant.source}: {mutant.id}")
    return {path: text.encode() for path, text in files.items()}


def replaced(text: str, edit: Edit, *, who: str = "") -> str:
    """`text` with the named part replaced.

    Args:
        text: a file of the reference, with its markup.
        edit: what to replace.
        who: whose edit it is, for messages.

    Raises:
        DoesNotApply: the part is not there, or the edit changes nothing.
    """
    lines = text.split("\n")
    found = _PARTS[edit.kind](lines, text, edit)
    if found is None:
        raise DoesNotApply(f"{who}: there is no such part any more: {edit}.")
    begin, end = found
    if _squeezed(lines[begin:end]) == _squeezed(edit.code.split("\n")):
        raise DoesNotApply(f"{who}: it changes nothing in {edit}.")
    return "\n".join([*lines[:begin], *edit.code.rstrip("\n").split("\n"), *lines[end:]])


def _squeezed(lines: Iterable[str]) -> str:
    return "".join("".join(line.split()) for line in lines)


def _region(lines: Sequence[str], text: str, edit: Edit) -> tuple[int, int] | None:
    """The solution between the opening comment and END SOLUTION."""
    of_step = [one for one in regions(text, path=edit.file) if one.step == edit.name]
    if edit.nth > len(of_step):
        return None
    region = of_step[edit.nth - 1]
    return region.end - 1 - len(region.solution), region.end - 1


def _function(lines: Sequence[str], text: str, edit: Edit) -> tuple[int, int] | None:
    """A C function from its return type to the brace in the first column that ends it."""
    head = re.search(rf"^{re.escape(edit.name)} \([^;{{}}]*\)\n\{{$", text, re.MULTILINE)
    if head is None:
        return None
    begin = text.count("\n", 0, head.start())
    end = lines.index("}", begin) + 1
    while begin and re.match(r"[A-Za-z_]", lines[begin - 1]):
        begin -= 1
    return begin, end


def _label(lines: Sequence[str], text: str, edit: Edit) -> tuple[int, int] | None:
    """Assembly from a label to the next named label, marker or section."""
    ends = re.compile(r"[A-Za-z_][\w.$]*:|[ \t]*(/\* (BEGIN|END) SOLUTION|\.section|\.globl)")
    for at, line in enumerate(lines):
        if line.startswith(f"{edit.name}:"):
            rest = (n for n in range(at + 1, len(lines)) if ends.match(lines[n]))
            return at, next(rest, len(lines))
    return None


_PARTS: Final[Mapping[str, Callable[[Sequence[str], str, Edit], tuple[int, int] | None]]] = {
    "region": _region,
    "function": _function,
    "label": _label,
}


# --- grading -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one mutant.

    Attributes:
        verdict: `killed` only if the named check failed, at least in part, with the named cause.
        cause: the cause that the named check gave.
        message: what a student would read, or what went wrong.
        points: what the mutant earned; None when it could not be judged.
        beside: other checks that failed, with their causes: they should tell of the same mistake.
    """

    mutant: Mutant
    verdict: Verdict
    cause: str = ""
    message: str = ""
    points: float | None = None
    beside: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0


def judge(mutant: Mutant, report: Report) -> Result:
    """What a report on a mutant says about the checks. Pure."""
    checks = {check.id: check for check in report.checks}
    if not report.build.ok:
        first = next((d for d in report.build.diagnostics if d.severity == "error"), None)
        where = f"{first.file}:{first.line}: {first.message}" if first else "no reason given"
        return Result(mutant, "error", message=f"it does not compile: {where}")
    broken = next((c for c in report.checks if c.points is None), None)
    if broken is not None:
        return Result(mutant, "error", message=f"{broken.id} could not be judged: {broken.infra}")
    named = checks[mutant.check]
    failed = [c for c in report.checks if c.outcome in ("fail", "partial", "timeout")]
    beside = tuple((c.id, c.cause or "") for c in failed if c.id != mutant.check)
    result = Result(
        mutant,
        "killed",
        cause=named.cause or "",
        message=f"{named.place}: {named.observed}" if named.place else named.observed,
        points=report.points,
        beside=beside,
    )
    if named not in failed:
        why = f" ({named.reason})" if named.reason else ""
        return replace(result, verdict="survived", message=f"{named.id}: {named.outcome}{why}")
    return result if named.cause == mutant.cause else replace(result, verdict="wrong cause")


def run_mutant(course: Course, mutant: Mutant, *, seed: int = SEED) -> Result:
    """Make, build and grade one mutant. Never raises for what a mutant or its file does."""
    began = time.monotonic()
    try:
        report = grade_lab(
            course,
            mutant.lab,
            apply(course, mutant),
            cohort=Cohort.derive(mutant.cohort),
            seed=seed,
            sandbox_required=False,
            submission_name=mutant.id,
            arch=mutant.arch,
        )
        result = judge(mutant, report)
    except VmmlabError as error:
        result = Result(mutant, "error", message=str(error))
    return replace(result, seconds=time.monotonic() - began)


def run_mutants(
    course: Course,
    labs: Iterable[str] | None = None,
    *,
    sample: int | None = None,
    seed: int = SEED,
    jobs: int = 1,
    tell: Callable[[Result], object] | None = None,
) -> tuple[Result, ...]:
    """Grade the mutants of some labs, or of all.

    Args:
        course: the course.
        labs: names of labs; None for all that have mutants.
        sample: only this many, chosen by the seed.
        seed: seed of the boots and of the sample.
        jobs: gradings at the same time, each in a process of its own.
        tell: called with each result as it comes.

    Returns:
        The results, in the order of the files.

    Raises:
        CourseError: a file of mutants is wrong.
    """
    chosen = load(course, labs)
    if sample is not None and sample < len(chosen):
        picked = random.Random(seed).sample(range(len(chosen)), sample)
        chosen = tuple(chosen[at] for at in sorted(picked))
    work = [(course.root, mutant, seed) for mutant in chosen]
    return _run_all(_mutant_job, work, jobs, tell)


J = TypeVar("J")
R = TypeVar("R")


def _run_all(
    one: Callable[[J], R], work: Sequence[J], jobs: int, tell: Callable[[R], object] | None
) -> tuple[R, ...]:
    results: dict[int, R] = {}

    def keep(at: int, result: R) -> None:
        results[at] = result
        if tell is not None:
            tell(result)

    if jobs <= 1:
        for at, job in enumerate(work):
            keep(at, one(job))
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            waiting = {pool.submit(one, job): at for at, job in enumerate(work)}
            for done in as_completed(waiting):
                keep(waiting[done], done.result())
    return tuple(results[at] for at in sorted(results))


def _mutant_job(job: tuple[Path, Mutant, int]) -> Result:
    root, mutant, seed = job
    return run_mutant(_course(root), mutant, seed=seed)


@functools.lru_cache(maxsize=1)
def _course(root: Path) -> Course:
    return courses.load(root)


# --- right solutions ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Variant:
    """A right solution of one lab, written differently from the reference.

    Attributes:
        arches: the architectures that it is right for.
    """

    name: str
    lab: str
    folder: Path
    arches: tuple[str, ...] = ARCHES[:1]

    def __str__(self) -> str:
        return f"{self.name}/{self.lab}"


@dataclass(frozen=True, slots=True)
class VariantResult:
    """What came of one variant.

    Attributes:
        how: cohort and compiler.
        accused: check, cause and message of each check that did not pass; must be empty.
    """

    variant: Variant
    how: str
    accused: tuple[tuple[str, str, str], ...]
    seconds: float = 0.0


def load_variants(course: Course, labs: Iterable[str] | None = None) -> tuple[Variant, ...]:
    """The variants of some labs, or of all, by name."""
    wanted = tuple(course.labs if labs is None else labs)
    top = mutants_dir(course) / "correct"
    folders = sorted(top.glob("*/lab*"))
    return tuple(
        Variant(f.parent.name, f.name, f, _arches(f.parent)) for f in folders if f.name in wanted
    )


def _arches(folder: Path) -> tuple[str, ...]:
    path = folder / "ARCHES"
    if not path.is_file():
        return ARCHES[:1]
    found = tuple(path.read_text(encoding="utf-8").split())
    if not found or not set(found) <= set(ARCHES):
        raise CourseError(f"{shown(path)}:1: one of {', '.join(ARCHES)} a line.")
    return found


def variant_files(course: Course, variant: Variant) -> dict[str, bytes]:
    """The variant's files, and the reference's where it has none.

    Raises:
        CourseError: it has a file that the lab does not have, or only the reference's own.
    """
    files = dict(reference(course, [variant.lab]).files)
    own = {f"{variant.lab}/{path.name}": path.read_bytes() for path in variant.folder.iterdir()}
    for path, content in own.items():
        if path not in files:
            raise CourseError(f"{shown(variant.folder)}: {variant.lab} has no file {path}.")
        if content == files[path]:
            raise CourseError(f"{shown(variant.folder)}: {path} is the reference's.")
    return files | own


def run_variant(
    course: Course,
    variant: Variant,
    *,
    cohort: str = "dev",
    compiler: str = "gcc",
    opt: str | None = None,
    arch: str | None = None,
    seed: int = SEED,
) -> VariantResult:
    """Grade one variant.

    Args:
        course: the course.
        variant: the right solution.
        cohort: name of the cohort whose numbers it is built with.
        compiler: gcc or clang, for all code.
        opt: such as "-O1", for the variant's code in boots that do not ask for something else.
        arch: what to build for; None for the first that the variant is right for.
        seed: seed of the boots.
    """
    began = time.monotonic()
    arch = arch or variant.arches[0]
    other = arch if arch != ARCHES[0] else None
    how = " ".join(filter(None, [cohort, compiler, opt, other]))
    try:
        report = grade_lab(
            course,
            variant.lab,
            variant_files(course, variant),
            cohort=Cohort.derive(cohort),
            seed=seed,
            sandbox_required=False,
            compiler=compiler,
            opt=opt,
            submission_name=str(variant),
            arch=arch,
        )
    except VmmlabError as error:
        accused: tuple[tuple[str, str, str], ...] = (("", "", str(error)),)
    else:
        words = {d.severity: f"{d.file}:{d.line}: {d.message}" for d in report.build.diagnostics}
        accused = tuple(
            (c.id, c.cause or c.outcome, words.get("error", "") or c.observed or c.reason)
            for c in report.checks
            if c.outcome != "pass"
        )
    return VariantResult(variant, how, accused, time.monotonic() - began)


def run_variants(
    course: Course,
    labs: Iterable[str] | None = None,
    *,
    how: Sequence[Mapping[str, str]] = ({},),
    seed: int = SEED,
    jobs: int = 1,
    tell: Callable[[VariantResult], object] | None = None,
) -> tuple[VariantResult, ...]:
    """Grade the variants of some labs, or of all, in each of the ways of `how`.

    Args:
        course: the course.
        labs: names of labs; None for all.
        how: keyword arguments of `run_variant` (cohort, compiler, opt), one mapping for each way.
        seed: seed of the boots.
        jobs: gradings at the same time.
        tell: called with each result as it comes.
    """
    work = [
        (course.root, one, {**way, "arch": arch}, seed)
        for one in load_variants(course, labs)
        for arch in one.arches
        for way in how
    ]
    return _run_all(_variant_job, work, jobs, tell)


def _variant_job(job: tuple[Path, Variant, dict[str, str], int]) -> VariantResult:
    root, variant, way, seed = job
    return run_variant(_course(root), variant, seed=seed, **way)


# --- showing -----------------------------------------------------------------------------------


def table(results: Sequence[Result]) -> list[str]:
    """The kill matrix as lines of a Markdown table, and a line that sums it up."""
    rows = [("mutant", "what is wrong in it", "check", "cause", "verdict")]
    for one in results:
        verdict = one.verdict
        if verdict == "wrong cause":
            words = f"wrong cause: {one.cause}"
        elif verdict == "killed":
            words = "killed"
        else:
            words = f"{verdict}: {' '.join(one.message.split())[:200]}"
        rows.append((one.mutant.id, one.mutant.title, one.mutant.check, one.mutant.cause, words))
    killed = sum(one.verdict == "killed" for one in results)
    seconds = sum(one.seconds for one in results)
    return [
        *_markdown(rows),
        "",
        f"{killed} of {len(results)} mutants killed by the named check with the named cause "
        f"({seconds:.0f} s of grading).",
    ]


def variants_table(results: Sequence[VariantResult]) -> list[str]:
    """The right solutions as lines of a Markdown table, and a line that sums it up."""
    rows = [("solution", "built for", "verdict")]
    for one in results:
        told = "; ".join(f"{c} {why}: {said}" for c, why, said in one.accused)
        rows.append((str(one.variant), one.how, " ".join(told.split())[:300] or "all points"))
    wrong = sum(bool(one.accused) for one in results)
    return [*_markdown(rows), "", f"{wrong} of {len(results)} right solutions accused."]


def _markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    wide = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = (cell.replace("|", "\\|").ljust(size) for cell, size in zip(row, wide, strict=True))
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            yield f"|{'|'.join('-' * (size + 2) for size in wide)}|"

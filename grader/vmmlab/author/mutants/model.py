"""Mutants: what one is, and reading them from grader/mutants/. Grades nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from vmmlab.base import yamlfile
from vmmlab.base.errors import CourseError, UsageError
from vmmlab.base.message import Message, Text, filled, msg, template
from vmmlab.base.yamlfile import YamlFile
from vmmlab.course.ids import CAUSE, MUTANT_ID
from vmmlab.course.model import ARCHES, Course

SEED: Final = 1
"""Seed of the boots if none is given."""

NonEmpty = Annotated[str, StringConstraints(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _EditEntry(_Model):
    """One replacement; exactly one of `region`, `function` and `label` names what it replaces."""

    file: NonEmpty | None = None
    region: NonEmpty | None = None
    nth: Annotated[int, Field(ge=1)] = 1
    function: NonEmpty | None = None
    label: NonEmpty | None = None
    code: str


class _MutantEntry(_EditEntry):
    file: NonEmpty
    id: NonEmpty
    title: NonEmpty
    check: NonEmpty
    cause: NonEmpty
    cohort: NonEmpty = "dev"
    arch: NonEmpty = ARCHES[0]
    also: list[_EditEntry] = []


class _FileEntry(_Model):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    mutants: Annotated[list[_MutantEntry], Field(min_length=1)]


_PARTS: Final = {
    "region": template("the region {name} of {file}"),
    "function": template("the function {name} of {file}"),
    "label": template("the label {name} of {file}"),
}


@dataclass(frozen=True, slots=True)
class Edit:
    """One named part of a reference file, and the text that replaces it.

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

    @property
    def title(self) -> Message:
        """How messages call the part."""
        name: Text = self.name
        if self.nth > 1:
            name = msg("{name} (number {number})", name=self.name, number=self.nth)
        return filled(_PARTS[self.kind], name=name, file=self.file)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One known-wrong solution.

    Attributes:
        id: `labN.topic.name`, unique.
        title: what is wrong in it, in words.
        lab: the lab that it belongs to.
        edits: the changes that make it of the reference.
        check: the check that must catch it.
        cause: the cause that this check must name.
        cohort: the cohort to grade it with; some mistakes show in some cohorts only.
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
    """Return the folder of a course's mutants."""
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


def of_names(every: Sequence[Mutant], names: Sequence[str]) -> tuple[Mutant, ...]:
    """Return the mutants of these names, in which `*` stands for anything; all if there is no name.

    Raises:
        UsageError: there is no mutant of a name.
    """
    for name in names:
        if not any(fnmatchcase(one.id, name) for one in every):
            raise UsageError(
                msg("there is no mutant {name}.", name=name),
                expected=msg("a name from grader/mutants/, such as {some}", some=every[0].id),
                next_step=msg("A * in a name stands for anything: lab3.jump.*"),
            )
    return tuple(o for o in every if not names or any(fnmatchcase(o.id, n) for n in names))


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
        if not MUTANT_ID.fullmatch(entry.id) or not entry.id.startswith(f"{lab}."):
            raise _wrong(
                file,
                (*at, "id"),
                msg("an id of the form {lab}.topic.name, not {entry}", lab=lab, entry=entry.id),
            )
        if entry.id in taken:
            raise _wrong(file, (*at, "id"), msg("{entry} is defined twice", entry=entry.id))
        taken.add(entry.id)
        if entry.arch not in ARCHES:
            raise _wrong(
                file,
                (*at, "arch"),
                msg("an architecture must be one of {arches}", arches=", ".join(ARCHES)),
            )
        if entry.check not in course.labs[lab].every_check_of(entry.arch):
            missing = msg("{lab} has no check {check}", lab=lab, check=entry.check)
            if entry.arch != ARCHES[0]:
                missing = msg(
                    "{lab} has no check {check} for {arch}",
                    lab=lab,
                    check=entry.check,
                    arch=entry.arch,
                )
            raise _wrong(file, (*at, "check"), missing)
        if not CAUSE.fullmatch(entry.cause):
            raise _wrong(file, (*at, "cause"), msg("{cause!r} is not a cause", cause=entry.cause))
        edits = []
        for where, one in (((), entry), *((("also", n), e) for n, e in enumerate(entry.also))):
            try:
                edits.append(_edit(course, lab, one, entry.file))
            except ValueError as error:
                raise _wrong(file, (*at, *where), error.args[0]) from None
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
        raise ValueError(msg("{lab} has no file {where}", lab=lab, where=where))
    named: dict[Literal["region", "function", "label"], str | None] = {
        "region": entry.region,
        "function": entry.function,
        "label": entry.label,
    }
    given = [(kind, name) for kind, name in named.items() if name is not None]
    if len(given) != 1:
        raise ValueError(msg("name what is replaced: one of region, function, label"))
    return Edit(where, given[0][0], given[0][1], entry.nth, entry.code)


def _wrong(file: YamlFile, loc: Sequence[str | int], message: Text) -> CourseError:
    key = " > ".join(str(part) for part in loc)
    return CourseError(
        msg(
            "{file}:{line}: {key}: {message}.",
            file=file.shown,
            line=file.line(loc),
            key=key,
            message=message,
        )
    )

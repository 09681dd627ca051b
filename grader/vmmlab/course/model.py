"""The course as typed, frozen models: labs, the files each one asks for, steps, checks and points.

`vmmlab.course.load` makes them from course.yml. They do not know QEMU and pytest: a check is only
an id, points and a step here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.base.nearest import suggestion
from vmmlab.course.deadlines import Deadlines
from vmmlab.course.values import STRICT, Text

ARCHES: Final = ("x86_64", "i386")
"""The architectures that a check can be for; the first is the default."""

Kind = Literal["kit", "class", "self-study"]
"""What a course is: the whole kit, or one of the two kinds of releases."""


class Step(BaseModel):
    """One thing that a student writes: its id, its title, and the function that it belongs to.

    `manual` says where the processors' manuals describe what it needs, the same in all languages.
    """

    model_config = STRICT

    id: Text
    title: Text
    file: Text
    function: Text
    manual: Text | None = None


class CheckSpec(BaseModel):
    """The entry of a check: its points and the step that earns them.

    A check without points needs no step. `title` replaces the check's own docstring.
    `arch` is the only architecture that the check is run for. `needs` is the last lab that it needs
    besides its own: while that one is held back, the check is judged later.
    """

    model_config = STRICT

    points: Annotated[int, Field(ge=0)]
    arch: Literal["x86_64", "i386"] = "x86_64"
    step: Text | None = None
    title: Text | None = None
    needs: Text | None = None


@dataclass(frozen=True, slots=True)
class Lab:
    """One stage of the course.

    Attributes:
        name: for example `lab3`.
        title: its heading.
        files: the files a student hands in, as `lab3/ap_start.c`.
        symbols: for each of these files the names that its contract keeps global.
        steps: in the order of execution.
        checks: those for x86_64 by id, in the order of course.yml; see `checks_of`.
        points: their sum; see `points_of`.
        cpus: the CPU counts this lab is meant for; `vmmlab run` boots the first.
        firmware: the firmware this lab is meant for; `vmmlab run` boots the first.
        source: the course.yml this came from.
        line: the line of the lab's key there, from 1.
        check_lines: the line of each check's key there, for all architectures.
        others: for each other architecture that has checks, the checks by id.
        hidden: the hidden checks by id; a released course names none.
        hidden_points: the sum of the hidden checks, whether they are named or not.
        later: open checks of all architectures, by id, that need a lab which is held back.
        links: the last lab whose objects an image of this lab has.
        given: given files, as `core/uefi.c`, that only images with this lab's objects have.
        guest: the given file of the test guest, as `guest/bios.S`, that its VMM runs; "": none.
        guest_uefi: the same for UEFI firmware, an EFI application, as `guest/efi_os.c`.
        built_for: the architectures of the images that have its objects.
    """

    name: str
    title: str
    files: tuple[str, ...]
    symbols: Mapping[str, tuple[str, ...]]
    steps: tuple[Step, ...]
    checks: Mapping[str, CheckSpec]
    points: int
    cpus: tuple[int, ...]
    firmware: tuple[str, ...]
    source: Path
    line: int
    check_lines: Mapping[str, int]
    others: Mapping[str, Mapping[str, CheckSpec]] = field(default_factory=dict)
    hidden: Mapping[str, CheckSpec] = field(default_factory=dict)
    hidden_points: int = 0
    later: Mapping[str, CheckSpec] = field(default_factory=dict)
    links: str = ""
    given: tuple[str, ...] = ()
    guest: str = ""
    guest_uefi: str = ""
    built_for: tuple[str, ...] = ARCHES

    @property
    def arches(self) -> tuple[str, ...]:
        """The architectures that this lab is graded for."""
        return tuple(arch for arch in ARCHES if self.checks_of(arch))

    @property
    def all_checks(self) -> dict[str, CheckSpec]:
        """The open checks of all architectures by id."""
        return {name: check for arch in ARCHES for name, check in self.checks_of(arch).items()}

    def checks_of(self, arch: str) -> Mapping[str, CheckSpec]:
        """Return the open checks for one architecture by id, in the order of course.yml."""
        return self.checks if arch == ARCHES[0] else self.others.get(arch, MappingProxyType({}))

    def hidden_of(self, arch: str) -> Mapping[str, CheckSpec]:
        """Return the hidden checks for one architecture by id; all of them are for x86_64."""
        return self.hidden if arch == ARCHES[0] else MappingProxyType({})

    def every_check_of(self, arch: str) -> dict[str, CheckSpec]:
        """Return the open and the hidden checks for one architecture by id."""
        return {**self.checks_of(arch), **self.hidden_of(arch)}

    def hidden_points_of(self, arch: str) -> int:
        """Return the sum of the hidden checks for one architecture; all are for x86_64."""
        return self.hidden_points if arch == ARCHES[0] else 0

    def points_of(self, arch: str) -> int:
        """Return the sum of the open checks for one architecture."""
        return sum(check.points for check in self.checks_of(arch).values())

    def later_of(self, arch: str) -> Mapping[str, CheckSpec]:
        """Return the open checks for one architecture that are judged later, by id."""
        return {name: check for name, check in self.later.items() if check.arch == arch}

    def step(self, step_id: str) -> Step:
        """Return the step called `step_id`.

        Raises:
            KeyError: the lab has no step of that name.
        """
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)


@dataclass(frozen=True, slots=True)
class Course:
    """A whole course.

    Attributes:
        root: the directory that holds course.yml.
        title: its heading.
        cohort: the name of the cohort to use if no other one is given.
        labs: by name, in the order of course.yml.
        until: the last lab that is open; "": all are.
        kind: the whole kit, a release for a class, or one for people who study alone.
        self_study_at: where the release for self-study is, in words; "": the course does not say.
        languages: those that the course is written in; without Japanese, its readers see English.
        deadlines: when the labs are due; None: course.yml does not say.
    """

    root: Path
    title: str
    cohort: str
    labs: Mapping[str, Lab]
    until: str = ""
    kind: Kind = "kit"
    self_study_at: str = ""
    languages: tuple[str, ...] = ("en", "ja")
    deadlines: Deadlines | None = None

    @property
    def self_study(self) -> bool:
        """Whether it is a release for people who study alone: it has solutions and answers."""
        return self.kind == "self-study"

    def students_checks(self, lab: Lab, arch: str) -> Mapping[str, CheckSpec]:
        """Return the checks that a student's own grading runs, for one architecture by id."""
        return lab.every_check_of(arch) if self.self_study else lab.checks_of(arch)

    @property
    def in_japanese(self) -> bool:
        """Whether handouts, comments and messages of the course are in Japanese, too."""
        return "ja" in self.languages

    @property
    def template(self) -> Path:
        """The cookiecutter template of a workspace."""
        return self.root / "vmm-skeleton"

    @property
    def tree(self) -> Path:
        """The unchanged given VMM, from which every build starts."""
        return self.template / "{{cookiecutter.slug}}"

    @property
    def reference_dir(self) -> Path:
        """The reference solutions (absent in a release)."""
        return self.root / "reference"

    @property
    def labs_dir(self) -> Path:
        """The handouts and checks."""
        return self.root / "labs"

    @property
    def held_back(self) -> tuple[str, ...]:
        """The names of the labs that this course does not have yet."""
        return self.after(self.until)

    @property
    def open_labs(self) -> tuple[Lab, ...]:
        """The labs that this course has already, in order."""
        return tuple(lab for name, lab in self.labs.items() if name not in self.held_back)

    def after(self, name: str) -> tuple[str, ...]:
        """Return the names of the labs after one; "" is none, and then there are none."""
        names = tuple(self.labs)
        return names[names.index(name) + 1 :] if name else ()

    def lab(self, name: str) -> Lab:
        """Return the lab called `name`.

        Raises:
            UsageError: there is no such lab, and the error names the nearest one; or it is held
                back.
        """
        found = self.labs.get(name)
        if name in self.held_back:
            raise UsageError(
                msg("{name} is not open yet.", name=name),
                expected=msg("a lab up to {until}", until=self.until),
                next_step=msg("wait for the next release of this course"),
            )
        if found is not None:
            return found
        raise UsageError(
            msg("this course has no lab called {name!r}.", name=name),
            expected=msg("one of {labs}", labs=", ".join(self.labs)),
            next_step=suggestion(name.partition(".")[0], self.labs),
        )

    def graded_for(self, name: str, arch: str) -> Lab:
        """Return the lab called `name`, which has checks for `arch`.

        Raises:
            UsageError: there is no such lab, no such architecture, or no checks for it.
        """
        lab = self.lab(name)
        if arch in lab.arches or arch == ARCHES[0]:
            return lab
        if arch not in ARCHES:
            raise UsageError(
                msg("there is no architecture {arch!r}.", arch=arch),
                expected=msg("one of {arches}", arches=", ".join(ARCHES)),
                next_step=suggestion(arch, ARCHES),
            )
        having = [one.name for one in self.labs.values() if arch in one.arches]
        raise UsageError(
            msg("{name} is not graded for {arch}.", name=name, arch=arch),
            expected=msg(
                "one of {having}: they have checks for {arch}", having=", ".join(having), arch=arch
            )
            if having
            else msg(
                "{arches}: no lab of this course has checks for {arch}", arches=ARCHES[0], arch=arch
            ),
            next_step=msg(
                "leave --arch out to have {name} graded for {arches}", name=name, arches=ARCHES[0]
            ),
        )

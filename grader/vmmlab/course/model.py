"""The course: course.yml as typed, frozen models, and where to find it.

Every mistake in course.yml becomes one `CourseError` that names the file, the line and the key.
This module knows neither QEMU nor pytest: what a check does is none of its business, only its
id, its points and its step are.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from vmmlab.base import yamlfile
from vmmlab.base.errors import CourseError, UsageError
from vmmlab.base.yamlfile import YamlFile, shown

COURSE_FILE: Final = "course.yml"
SCHEMA: Final = 1
ARCHES: Final = ("x86_64", "i386")
"""Architectures that a check can be for; the first is the one that nothing need be said for."""

_LAB = re.compile(r"lab(0|[1-9][0-9]?)")
_CHECK = re.compile(r"lab[0-9]+(\.[a-z0-9][a-z0-9_-]*){2}")
_HIDDEN: Final = "hidden"
_SOURCE = re.compile(r"lab[0-9]+/[A-Za-z0-9_][A-Za-z0-9_.-]*\.(c|S)")
_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Text = Annotated[str, StringConstraints(min_length=1)]
CohortName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
Cpus = Annotated[int, Field(ge=1, le=255)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Step(_Model):
    """One thing that a student writes: its id, what it asks for, and where it goes."""

    id: Text
    title: Text
    file: Text
    function: Text


class CheckSpec(_Model):
    """What course.yml says of a check: its points and the step that earns them.

    A check without points may stand without a step. `title` replaces the check's own docstring.
    `arch` is the only architecture that the check is run for.
    """

    points: Annotated[int, Field(ge=0)]
    arch: Literal["x86_64", "i386"] = "x86_64"
    step: Text | None = None
    title: Text | None = None


class _LabEntry(_Model):
    title: Text
    points: Annotated[int, Field(ge=0)] = 0
    points_i386: Annotated[int, Field(ge=0)] = 0
    hidden_points: Annotated[int, Field(ge=0)] = 0
    files: dict[str, list[Text]] = {}
    steps: list[Step] = []
    checks: dict[str, CheckSpec] = {}
    hidden: dict[str, CheckSpec] = {}
    cpus: Annotated[list[Cpus], Field(min_length=1)] = [4]
    firmware: Annotated[list[Literal["qboot", "seabios"]], Field(min_length=1)] = ["qboot"]


class _CourseEntry(_Model):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    title: Text
    cohort: CohortName = "dev"
    labs: Annotated[dict[str, _LabEntry], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Lab:
    """One stage of the course.

    Attributes:
        files: the files a student hands in, as `lab3/ap_start.c`.
        symbols: for each of these files the names that its contract keeps global.
        checks: those for x86_64 by id, in the order of course.yml; see `checks_of`.
        points: what they add up to; see `points_of`.
        cpus: the CPU counts this lab is meant for; `vmmlab run` boots the first.
        firmware: the firmware this lab is meant for; `vmmlab run` boots the first.
        source: the course.yml this came from.
        line: the line of the lab's key there, from 1.
        check_lines: the line of each check's key there, whatever its architecture.
        others: architecture to checks by id, for all architectures but x86_64 that have any.
        hidden: the hidden checks by id; a released course names none.
        hidden_points: what the hidden checks add up to, whether they are named or not.
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

    @property
    def arches(self) -> tuple[str, ...]:
        """The architectures that this lab is graded for."""
        return tuple(arch for arch in ARCHES if self.checks_of(arch))

    def checks_of(self, arch: str) -> Mapping[str, CheckSpec]:
        """The open checks for one architecture by id, in the order of course.yml."""
        return self.checks if arch == ARCHES[0] else self.others.get(arch, MappingProxyType({}))

    def hidden_of(self, arch: str) -> Mapping[str, CheckSpec]:
        """The hidden checks for one architecture by id; they are for x86_64."""
        return self.hidden if arch == ARCHES[0] else MappingProxyType({})

    def hidden_points_of(self, arch: str) -> int:
        """What the hidden checks for one architecture add up to; they are for x86_64."""
        return self.hidden_points if arch == ARCHES[0] else 0

    def points_of(self, arch: str) -> int:
        """What the open checks for one architecture add up to."""
        return sum(check.points for check in self.checks_of(arch).values())

    def step(self, step_id: str) -> Step:
        """Return the step called `step_id`; KeyError if the lab has none of that name."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)


@dataclass(frozen=True, slots=True)
class Course:
    """A whole course. `root` is the directory that holds course.yml."""

    root: Path
    title: str
    cohort: str
    labs: Mapping[str, Lab]

    @property
    def template(self) -> Path:
        """The cookiecutter template of a workspace."""
        return self.root / "vmm-skeleton"

    @property
    def tree(self) -> Path:
        """The given VMM, pristine: what every build starts from."""
        return self.template / "{{cookiecutter.slug}}"

    @property
    def reference_dir(self) -> Path:
        """The reference solutions (absent in a release)."""
        return self.root / "reference"

    @property
    def labs_dir(self) -> Path:
        """The handouts and checks."""
        return self.root / "labs"

    def lab(self, name: str) -> Lab:
        """Return the lab called `name`; UsageError that names the nearest one otherwise."""
        found = self.labs.get(name)
        if found is not None:
            return found
        raise UsageError(
            f"this course has no lab called {name!r}.",
            expected=f"one of {', '.join(self.labs)}",
            next_step=_suggestion(name, self.labs),
        )

    def graded_for(self, name: str, arch: str) -> Lab:
        """Return the lab called `name` if it has checks for `arch`; UsageError otherwise."""
        lab = self.lab(name)
        if arch in lab.arches or arch == ARCHES[0]:
            return lab
        if arch not in ARCHES:
            raise UsageError(
                f"there is no architecture {arch!r} here.",
                expected=f"one of {', '.join(ARCHES)}",
                next_step=_suggestion(arch, ARCHES),
            )
        having = [one.name for one in self.labs.values() if arch in one.arches]
        raise UsageError(
            f"{name} is not graded for {arch}.",
            expected=f"one of {', '.join(having)}: they have checks for {arch}"
            if having
            else f"{ARCHES[0]}: no lab of this course has checks for {arch}",
            next_step=f"leave --arch out to have {name} graded for {ARCHES[0]}",
        )


def find(start: Path, explicit: Path | None = None) -> Path:
    """Return the directory of the course to use.

    `explicit` (the option --course) wins; then the nearest course.yml beside a folder labs/,
    from `start` upwards; then the kit that vmmlab is installed from; then the data in the wheel.

    Raises:
        UsageError: `explicit` holds no course.yml, or there is no course anywhere.
    """
    if explicit is not None:
        root = explicit.parent if explicit.name == COURSE_FILE else explicit
        if not (root / COURSE_FILE).is_file():
            raise UsageError(
                f"{explicit} is not a course.",
                expected=f"a folder that holds {COURSE_FILE}",
                next_step="give --course the folder of the kit, or leave it out",
            )
        return root.resolve()
    start = start.resolve()
    package = Path(__file__).resolve().parents[1]
    for candidate in (start, *start.parents, package.parents[1], package / "data"):
        if (candidate / COURSE_FILE).is_file() and (candidate / "labs").is_dir():
            return candidate
    raise UsageError(
        f"no course was found from {start} upwards.",
        expected=f"a folder with {COURSE_FILE} and labs/",
        next_step="call vmmlab inside the kit, or add --course DIR",
    )


def load(root: Path) -> Course:
    """Read `root`/course.yml.

    Raises:
        CourseError: the file cannot be read, is not YAML, or says something that cannot be.
    """
    path = root / COURSE_FILE
    file = _read(path)
    try:
        entry = _CourseEntry.model_validate(file.data)
    except ValidationError as error:
        mistakes = [_mistake_of(detail) for detail in error.errors(include_url=False)]
    else:
        mistakes = list(_contradictions(entry))
        if not mistakes:
            return _course(root, entry, file)
    raise _error(file, mistakes)


def check_defined(
    lab: Lab, defined: Mapping[str, str] | Collection[str], *, hidden: bool = False
) -> None:
    """Compare the checks that course.yml lists for `lab` with those that its tests define.

    Args:
        lab: the lab.
        defined: the ids that the test files define; a mapping also says where each one is
            (as `labs/lab3/test_lab3.py:12`).
        hidden: the files of the hidden checks are among them.

    Raises:
        CourseError: a check of course.yml is defined nowhere, or a defined one has no points.
    """
    tests = f"labs/{lab.name}/test_{lab.name}.py"
    source = shown(lab.source)
    listed = {check_id: "checks" for arch in ARCHES for check_id in lab.checks_of(arch)}
    if hidden:
        listed |= dict.fromkeys(lab.hidden, "hidden")
    for check_id, key in listed.items():
        if check_id not in defined:
            if key == "hidden":
                tests = f"labs/{lab.name}/hidden/"
            near = _nearest(check_id, set(defined) - set(listed))
            raise CourseError(
                f"{source}:{lab.check_lines[check_id]}: labs > {lab.name} > {key} > {check_id}: "
                "no test defines this check.",
                expected=f'@check("{check_id}") in {tests}',
                found=f'the nearest there is @check("{near}")' if near else "",
                next_step="write the check, or take the line out of course.yml",
            )
    for check_id in defined:
        if check_id not in listed:
            where = defined[check_id] if isinstance(defined, Mapping) else tests
            near = _nearest(check_id, listed)
            key = "hidden" if _is_hidden(check_id) else "checks"
            raise CourseError(
                f"{where}: the check {check_id} is not in course.yml.",
                expected=f"{source}:{lab.line}: labs > {lab.name} > {key} > {check_id}",
                found=f"the nearest there is {near}" if near else "",
                next_step="add it there with its points and its step, or take the check out",
            )


# --- reading ---------------------------------------------------------------------------------


def _read(path: Path) -> YamlFile:
    file = yamlfile.read(path)
    if not isinstance(file.data, dict):
        raise CourseError(
            f"{file.shown}:1: this is not a course.",
            expected="keys such as schema, title and labs",
            found="nothing" if file.data is None else _found(file.data),
        )
    return file


def _course(root: Path, entry: _CourseEntry, file: YamlFile) -> Course:
    labs: dict[str, Lab] = {}
    for name, lab in entry.labs.items():
        lines = {c: file.line(("labs", name, "checks", c)) for c in lab.checks}
        lines |= {c: file.line(("labs", name, "hidden", c)) for c in lab.hidden}
        labs[name] = Lab(
            name=name,
            title=lab.title,
            files=tuple(lab.files),
            symbols=MappingProxyType({f: tuple(s) for f, s in lab.files.items()}),
            steps=tuple(lab.steps),
            checks=MappingProxyType(_for_arch(lab, ARCHES[0])),
            points=lab.points,
            cpus=tuple(lab.cpus),
            firmware=tuple(lab.firmware),
            source=file.path,
            line=file.line(("labs", name)),
            check_lines=MappingProxyType(lines),
            others=MappingProxyType(
                {a: MappingProxyType(found) for a in ARCHES[1:] if (found := _for_arch(lab, a))}
            ),
            hidden=MappingProxyType(dict(lab.hidden)),
            hidden_points=lab.hidden_points,
        )
    return Course(
        root=root,
        title=entry.title,
        cohort=entry.cohort,
        labs=MappingProxyType(labs),
    )


def _is_hidden(check_id: str) -> bool:
    """Whether an id is one of a hidden check: `labN.hidden.name`."""
    return check_id.split(".")[1:2] == [_HIDDEN]


def _for_arch(lab: _LabEntry, arch: str) -> dict[str, CheckSpec]:
    return {check_id: check for check_id, check in lab.checks.items() if check.arch == arch}


# --- what can be wrong -----------------------------------------------------------------------

Loc = tuple[str | int, ...]


class _Mistake(NamedTuple):
    loc: Loc
    message: str
    expected: str = ""
    found: str = ""
    next_step: str = ""


def _contradictions(entry: _CourseEntry) -> Iterator[_Mistake]:
    """What the types cannot say: names that do not fit each other, points that do not add up."""
    owner: dict[str, str] = {}
    for name, lab in entry.labs.items():
        here: Loc = ("labs", name)
        if not _LAB.fullmatch(name):
            yield _Mistake(here, "this is not a lab's name.", "lab0, lab1, …", name)
            continue
        yield from _wrong_files(here, name, lab, owner)
        yield from _wrong_steps(here, name, lab)
        yield from _wrong_checks(here, name, lab)


def _wrong_files(here: Loc, name: str, lab: _LabEntry, owner: dict[str, str]) -> Iterator[_Mistake]:
    for file, symbols in lab.files.items():
        at = (*here, "files", file)
        if not _SOURCE.fullmatch(file) or not file.startswith(f"{name}/"):
            yield _Mistake(at, "this is not a file of this lab.", f"{name}/NAME.c or {name}/NAME.S")
        if not symbols:
            yield _Mistake(at, "a file without a name in it.", "the functions it must define")
        for index, symbol in enumerate(symbols):
            if not _SYMBOL.fullmatch(symbol):
                yield _Mistake((*at, index), "this is not a C name.", found=symbol)
            elif symbol in owner:
                yield _Mistake(
                    (*at, index),
                    f"{symbol} belongs to two files.",
                    "each name in one file",
                    f"it is in {owner[symbol]} already",
                )
            owner.setdefault(symbol, file)


def _wrong_steps(here: Loc, name: str, lab: _LabEntry) -> Iterator[_Mistake]:
    for index, step in enumerate(lab.steps):
        at = (*here, "steps", index)
        wanted = f"{name}.{index + 1}"
        if step.id != wanted:
            yield _Mistake(
                (*at, "id"), "steps are numbered in order.", wanted, step.id, "renumber the steps"
            )
        if step.file not in lab.files:
            yield _Mistake(
                (*at, "file"),
                "this lab has no such file.",
                f"one of {', '.join(lab.files) or 'none: the lab has no files'}",
                step.file,
                _suggestion(step.file, lab.files),
            )
        elif step.function not in lab.files[step.file]:
            yield _Mistake(
                (*at, "function"),
                f"{step.file} has no such name in its contract.",
                f"one of {', '.join(lab.files[step.file])}",
                step.function,
                _suggestion(step.function, lab.files[step.file]),
            )


def _wrong_checks(here: Loc, name: str, lab: _LabEntry) -> Iterator[_Mistake]:
    steps = [step.id for step in lab.steps]
    everything = [
        *((("checks", check_id), check) for check_id, check in lab.checks.items()),
        *(((_HIDDEN, check_id), check) for check_id, check in lab.hidden.items()),
    ]
    for (key, check_id), check in everything:
        at = (*here, key, check_id)
        if not _CHECK.fullmatch(check_id) or not check_id.startswith(f"{name}."):
            yield _Mistake(at, "this is not a check's id.", f"{name}.topic.name", check_id)
        elif _is_hidden(check_id) != (key == _HIDDEN):
            right = f"{name}.{_HIDDEN}.name" if key == _HIDDEN else "a topic other than hidden"
            yield _Mistake(at, "hidden checks stand under `hidden`, others not.", right, check_id)
        if key == _HIDDEN and check.arch != ARCHES[0]:
            yield _Mistake((*at, "arch"), "hidden checks are for x86_64.", ARCHES[0], check.arch)
        if check.step is not None and check.step not in steps:
            yield _Mistake(
                (*at, "step"),
                "this lab has no such step.",
                f"one of {', '.join(steps) or 'none: the lab has no steps'}",
                check.step,
                _suggestion(check.step, steps),
            )
        if check.step is None and check.points:
            yield _Mistake(
                at, "a check with points needs the step that earns them.", "step: " + name + ".1"
            )
    hidden = sum(check.points for check in lab.hidden.values())
    if lab.hidden and hidden != lab.hidden_points:
        yield _Mistake(
            (*here, "hidden_points"),
            "the points do not add up.",
            f"{lab.hidden_points}, as it says here",
            f"the hidden checks of {name} add up to {hidden}",
            "change hidden_points or the points of the hidden checks",
        )
    for arch, key, said in (
        ("x86_64", "points", lab.points),
        ("i386", "points_i386", lab.points_i386),
    ):
        total = sum(check.points for check in _for_arch(lab, arch).values())
        if total != said:
            which = "" if arch == ARCHES[0] else f" for {arch}"
            yield _Mistake(
                (*here, key),
                "the points do not add up.",
                f"{said}, as it says here",
                f"the checks of {name}{which} add up to {total}",
                "change the lab's points or those of its checks",
            )


_UNKNOWN: Final = "unknown key."
_KINDS: Final = {
    "string_type": "text",
    "string_too_short": "some text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "list_type": "a list",
    "too_short": "at least one entry",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-', at most 32",
}


def _mistake_of(detail: Any) -> _Mistake:
    """A pydantic error in this project's words."""
    loc: Loc = tuple(part for part in detail["loc"] if part != "[key]")
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        known = _known_keys(loc)
        return _Mistake(
            loc,
            _UNKNOWN,
            f"one of {', '.join(known)}",
            str(loc[-1]),
            _suggestion(str(loc[-1]), known),
        )
    if kind == "missing":
        return _Mistake(loc, "this key is missing.")
    if loc == ("schema",):
        return _Mistake(
            loc,
            "this version of course.yml is not known.",
            str(SCHEMA),
            _found(detail["input"]),
            "take the vmmlab that goes with this course",
        )
    expected = _KINDS.get(kind, "")
    if kind in ("greater_than_equal", "less_than_equal"):
        limit = context.get("ge", context.get("le"))
        expected = f"{'at least' if 'ge' in context else 'at most'} {limit}"
    elif kind == "literal_error":
        expected = str(context["expected"])
    if not expected:
        expected = str(detail["msg"])
    return _Mistake(loc, "this value does not fit.", expected, _found(detail["input"]))


def _known_keys(loc: Loc) -> list[str]:
    model: type[BaseModel] = _CourseEntry
    if len(loc) == 3:
        model = _LabEntry
    elif len(loc) > 3:
        model = Step if loc[2] == "steps" else CheckSpec
    return [field.alias or name for name, field in model.model_fields.items()]


def _error(file: YamlFile, mistakes: Sequence[_Mistake]) -> CourseError:
    """One error for the first mistake in the file; the lines of the others are named too."""
    # A misspelt key is one mistake, not also a missing one.
    misspelt = {
        (*m.loc[:-1], m.next_step) for m in mistakes if m.message == _UNKNOWN and m.next_step
    }
    told = [m for m in mistakes if (*m.loc[:-1], _did_you_mean(m.loc[-1])) not in misspelt]
    placed = sorted(((file.line(m.loc), m) for m in told), key=lambda pair: pair[0])
    line, first = placed[0]
    next_step = first.next_step
    others = sorted({at for at, _ in placed[1:]} - {line})
    if others:
        more = f"then look at line {', '.join(map(str, others))}, where more is wrong"
        next_step = f"{next_step}; {more}" if next_step else more
    key = " > ".join(str(part) for part in first.loc)
    return CourseError(
        f"{file.shown}:{line}: {key}: {first.message}",
        expected=first.expected,
        found=first.found,
        next_step=next_step,
    )


def _found(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _nearest(name: str, known: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return near[0] if near else None


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = _nearest(name, known)
    return _did_you_mean(near) if near else ""


def _did_you_mean(name: str | int) -> str:
    return f"did you mean {name}?"

"""Loads course.yml. Every mistake in it is a `CourseError` that names file, line and key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import ValidationError

from vmmlab import __version__
from vmmlab.base import yamlfile
from vmmlab.base.errors import CourseError
from vmmlab.base.message import msg
from vmmlab.base.yamlfile import YamlFile
from vmmlab.course.entries import CourseEntry, linked
from vmmlab.course.find import COURSE_FILE
from vmmlab.course.ids import HIDDEN_TOPIC
from vmmlab.course.mistakes import Mistake, contradictions, described, mistake_of
from vmmlab.course.model import ARCHES, Course, Lab

_VERSIONS: Final = "vmmlab"
"""The key of course.yml that names the versions of vmmlab that may be used."""


def load_course(root: Path) -> Course:
    """Read `root`/course.yml.

    Raises:
        CourseError: the file cannot be read, is not YAML, or has a mistake.
    """
    file = _read(root / COURSE_FILE)
    _must_fit(file)  # first: a course of another version may have other keys
    try:
        entry = CourseEntry.model_validate(file.data)
    except ValidationError as error:
        mistakes = [mistake_of(detail) for detail in error.errors(include_url=False)]
    else:
        mistakes = list(contradictions(entry))
        if not mistakes:
            return _course(root, entry, file)
    raise _error(file, mistakes)


def _read(path: Path) -> YamlFile:
    file = yamlfile.read(path)
    if not isinstance(file.data, dict):
        raise CourseError(
            msg("{file}:1: this file is not a course.", file=file.shown),
            expected=msg("keys such as schema, title and labs"),
            found=msg("nothing") if file.data is None else described(file.data),
        )
    return file


def _must_fit(file: YamlFile) -> None:
    """Raise CourseError if the course is for other versions of vmmlab, as PEP 440 compares them."""
    versions = file.data.get(_VERSIONS)
    if not isinstance(versions, str):
        return
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # seldom needed, slow to load

    place = f"{file.shown}:{file.line((_VERSIONS,))}"
    try:
        fits = SpecifierSet(versions).contains(__version__, prereleases=True)
    except InvalidSpecifier as error:
        raise CourseError(
            msg("{place}: vmmlab: this names no versions.", place=place),
            expected=msg('versions as pip takes them, such as ">=0.1,<0.2"'),
            found=versions,
        ) from error
    if not fits:
        raise CourseError(
            msg("{place}: this course is for another version of vmmlab.", place=place),
            expected=versions,
            found=__version__,
            next_step=msg(
                'install that version: pip install "vmmlab{versions}"', versions=versions
            ),
        )


def _course(root: Path, entry: CourseEntry, file: YamlFile) -> Course:
    labs: dict[str, Lab] = {}
    names = list(entry.labs)
    held_back = names[names.index(entry.until) + 1 :] if entry.until else []
    built_for: dict[str, list[str]] = {name: [] for name in names}
    for arch in ARCHES:
        # An image for another architecture exists where a lab is graded for it.
        graded = [n for n, one in entry.labs.items() if arch == ARCHES[0] or one.checks_for(arch)]
        for name in {other for one in graded for other in linked(entry.labs, one)}:
            built_for[name].append(arch)
    for name, lab in entry.labs.items():
        open_for = {
            arch: MappingProxyType(
                {one: c for one, c in lab.checks_for(arch).items() if c.needs not in held_back}
            )
            for arch in ARCHES
        }
        later = {one: check for one, check in lab.checks.items() if check.needs in held_back}
        lines = {c: file.line(("labs", name, "checks", c)) for c in lab.checks}
        lines |= {c: file.line(("labs", name, HIDDEN_TOPIC, c)) for c in lab.hidden}
        labs[name] = Lab(
            name=name,
            title=lab.title,
            files=tuple(lab.files),
            symbols=MappingProxyType({f: tuple(s) for f, s in lab.files.items()}),
            steps=tuple(lab.steps),
            checks=open_for[ARCHES[0]],
            points=sum(check.points for check in open_for[ARCHES[0]].values()),
            cpus=tuple(lab.cpus),
            firmware=tuple(lab.firmware),
            source=file.path,
            line=file.line(("labs", name)),
            check_lines=MappingProxyType(lines),
            others=MappingProxyType(
                {arch: open_for[arch] for arch in ARCHES[1:] if open_for[arch]}
            ),
            hidden=MappingProxyType(dict(lab.hidden)),
            hidden_points=lab.hidden_points,
            later=MappingProxyType(later),
            links=lab.links or name,
            given=tuple(lab.given),
            guest=lab.guest or "",
            guest_uefi=lab.guest_uefi or "",
            built_for=tuple(built_for[name]),
        )
    return Course(
        root=root,
        title=entry.title,
        cohort=entry.cohort,
        labs=MappingProxyType(labs),
        until=entry.until or "",
        kind=entry.kind,
        self_study_at=entry.self_study_at or "",
        languages=tuple(entry.languages),
        deadlines=entry.deadlines,
    )


def _error(file: YamlFile, mistakes: Sequence[Mistake]) -> CourseError:
    """Return one error for the first mistake in the file; it names the lines of the others too."""
    # A misspelt key is one mistake, not also a missing one.
    meant = {(*m.loc[:-1], m.meant) for m in mistakes if m.meant}
    told = [m for m in mistakes if m.loc not in meant]
    placed = sorted(((file.line(m.loc), m) for m in told), key=lambda pair: pair[0])
    line, first = placed[0]
    next_step = first.next_step
    others = sorted({at for at, _ in placed[1:]} - {line})
    if others:
        more = msg(
            "then look at line {lines}, where there are more errors",
            lines=", ".join(map(str, others)),
        )
        next_step = msg("{first}; {then}", first=next_step, then=more) if next_step else more
    key = " > ".join(str(part) for part in first.loc)
    return CourseError(
        msg(
            "{file}:{line}: {key}: {message}",
            file=file.shown,
            line=line,
            key=key,
            message=first.message,
        ),
        expected=first.expected,
        found=first.found,
        next_step=next_step,
    )

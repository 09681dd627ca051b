"""Builds the images of a workspace, and finds the steps that are still to be written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.base.files import staged
from vmmlab.base.message import Message, Text, msg, nmsg
from vmmlab.course import comments
from vmmlab.course.cohort import Cohort, Role
from vmmlab.course.model import Course, Lab
from vmmlab.course.stops import function_of, open_steps
from vmmlab.course.submission import take
from vmmlab.host.sandbox import Sandbox
from vmmlab.host.tools import require
from vmmlab.images.builder import Builder
from vmmlab.images.model import BuildOptions, Delays, GivenCodeFailed, Image
from vmmlab.images.sources import FromReference, Prebuilt, PrebuiltSource
from vmmlab.student.editor import write_commands
from vmmlab.workspace.model import Workspace

ALL: Final = "vmm"
"""The name that stands for all labs, built from the student's own files."""

_GIVEN: Final = ("boot", "core", "guest", "include", "vmm.ld")


def build(here: Workspace, course: Course, lab: str, *, arch: str = "x86_64") -> Iterator[Text]:
    """Build a lab into the folder build/ of a workspace; yield what to tell the student.

    Args:
        here: the workspace.
        course: the course.
        lab: a lab's name, or `ALL`.
        arch: the architecture to build for.

    Raises:
        UsageError: there is no such architecture.
        BuildFailed: the student's files do not make an image.
        SubmissionError: a file is missing or cannot be read.
        InfraError: a tool is missing or failed.
    """
    began = time.monotonic()
    image, files = own_image(here, course, lab, arch)
    elf = install(image, folder_of(here.root, lab, arch))
    write_commands(here.root, arch)
    for warning in image.warnings:
        yield msg(
            "{file}:{line}: {severity}: {message}",
            file=warning.file,
            line=warning.line,
            severity=warning.severity,
            message=warning.message,
        )
    yield _built(lab, time.monotonic() - began, len(image.warnings), elf.relative_to(here.root))
    for name in _changed(here.root, course.tree):
        yield msg(
            "note: {name} differs from the given one; pytest and the grader use the given one",
            name=name,
        )
    yield from _next(labs_of(course, lab, arch), files, lab, arch)


def folder_of(root: Path, lab: str, arch: str, role: Role = "own") -> Path:
    """Return the folder in which a workspace keeps the image of a lab, or of `ALL`."""
    name = lab if arch == "x86_64" else f"{lab}-{arch}"
    return root / "build" / (name if role == "own" else f"{name}-{role}-cohort")


def _built(lab: str, seconds: float, warnings: int, elf: Path) -> Text:
    if not warnings:
        return msg(
            "{lab}: built in {seconds:.1f} s, no warnings: {elf}",
            lab=lab,
            seconds=seconds,
            elf=elf,
        )
    return nmsg(
        "{lab}: built in {seconds:.1f} s, {count} warning: {elf}",
        "{lab}: built in {seconds:.1f} s, {count} warnings: {elf}",
        count=warnings,
        lab=lab,
        seconds=seconds,
        elf=elf,
    )


def _next(labs: Sequence[Lab], files: Mapping[str, bytes], lab: str, arch: str) -> Iterator[Text]:
    make, grade = ("", "") if arch == "x86_64" else (f" ARCH={arch}", f" --arch {arch}")
    for one in labs:
        for step, line in open_steps(one, files):
            yield msg(
                "next: {step} in {file}:{line}, {function}: {title}",
                step=step.id,
                file=step.file,
                line=line,
                function=function_of(step, files),
                title=Message(step.title),
            )
            graded = f" && pytest {one.name}{grade}" if arch in one.arches else ""
            yield msg("      then make {goal}", goal=f"{lab}{make}{graded}")
            return
    if lab == ALL or not labs[0].files or arch not in labs[0].arches:
        yield msg("next: make run LAB={lab}", lab=f"{lab.removeprefix('lab')}{make}")
    else:
        yield msg("next: pytest {what}", what=f"{lab}{grade}")


def own_image(
    here: Workspace,
    course: Course,
    lab: str,
    arch: str = "x86_64",
    delays: Delays = "fast",
    role: Role = "own",
) -> tuple[Image, Mapping[str, bytes]]:
    """Build a lab from a workspace, its given files included; also return the student's files.

    Raises: as for `build`.
    """
    files = take(
        here.root, [one.name for one in labs_of(course, lab, arch)], course, own=not here.copied
    ).files
    prebuilt = here.prebuilt
    source = Prebuilt(prebuilt) if prebuilt.is_dir() else FromReference(course.reference_dir)
    tree = here.root if all((here.root / name).exists() for name in _GIVEN) else course.tree
    sandbox = Sandbox.choose(require=here.copied)
    cohort = here.cohort.in_role(role)
    try:
        return image_of(tree, course, source, lab, files, cohort, sandbox, arch, delays), files
    except GivenCodeFailed as error:
        changed = list(_changed(here.root, course.tree))
        if not changed:
            raise
        raise UsageError(
            msg(
                "{files}: with your changes the given VMM code does not compile.",
                files=", ".join(changed),
            ),
            found=error.found,
            next_step=msg("undo them, or correct them; pytest and the grader use the given files"),
        ) from error


def image_of(
    tree: Path,
    course: Course,
    source: PrebuiltSource,
    lab: str,
    files: Mapping[str, bytes],
    cohort: Cohort,
    sandbox: Sandbox,
    arch: str = "x86_64",
    delays: Delays = "fast",
) -> Image:
    """Build `lab` or `ALL` from `files`.

    Raises:
        UsageError: there is no such architecture.
        BuildFailed: the files do not make an image.
        InfraError: a tool is missing or failed.
    """
    require(("gcc", "ld", "objcopy"))
    builder = Builder(tree, course, sandbox, None, source)
    options = BuildOptions(arch=arch, delays=delays)
    if lab == ALL:
        return builder.build_own(files, cohort, options, course.held_back)
    return builder.build(lab, files, cohort, options)


def labs_of(course: Course, lab: str, arch: str) -> list[Lab]:
    """Return the labs whose files are the student's when a lab or `ALL` is built.

    Raises:
        UsageError: there is no such lab.
    """
    if lab == ALL:
        return [one for one in course.open_labs if one.files and arch in one.built_for]
    return [course.lab(lab)]


def install(image: Image, target: Path) -> Path:
    """Copy an image to a folder of the workspace; return the file with the symbols.

    Each file appears whole, so that two builds may run at once.
    """
    target.mkdir(parents=True, exist_ok=True)
    for source, name in ((image.elf, "vmm.elf"), (image.kernel, "vmm.elf32")):
        with staged(target / name, source.read_bytes()) as put_in_place:
            put_in_place()
    return target / "vmm.elf"


def _changed(root: Path, tree: Path) -> Iterator[str]:
    """Yield the given files whose code differs in this workspace; comments may be translated."""
    for name in _GIVEN:
        given = tree / name
        for path in sorted(given.rglob("*")) if given.is_dir() else [given]:
            relative = path.relative_to(tree)
            if not path.is_file():
                continue
            try:
                here, there = (file.read_text("utf-8") for file in (root / relative, path))
                same = here == there or comments.code(here) == comments.code(there)
            except (OSError, UnicodeDecodeError):
                same = False
            if not same:
                yield str(relative)

"""Makes a release: a course for students, without solutions and hidden checks.

The files of a release are listed here, and no others go in. At the end the release is searched for
every line of every solution. Only a whole kit can make one.
"""

from __future__ import annotations

import importlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vmmlab.base import yamlfile
from vmmlab.base.errors import CourseError, InfraError, UsageError
from vmmlab.base.message import Text, msg
from vmmlab.course import materials
from vmmlab.course.cohort import Cohort
from vmmlab.course.find import COURSE_FILE
from vmmlab.course.ids import HIDDEN_TOPIC
from vmmlab.course.load import load_course
from vmmlab.course.markup import regions
from vmmlab.course.model import Course
from vmmlab.course.reference import reference_text
from vmmlab.i18n.translate import LANGUAGES
from vmmlab.images import prebuilt

_PACKAGE: Final = Path(__file__).parents[1]
_OWN_FILES: Final = Path(__file__).with_name("release_files")
_OF_A_LAB: Final = ("README*.md", "causes*.yml", "messages*.yml", "locale/*.po", "pictures/*.svg")
_OF_THE_KIT: Final = ("LICENSE", "pyproject.toml", "grader/setup.sh")
_PAGES: Final = (
    "crosswalk", "evidence", "glossary", "i386", "memo-questions", "probes", "real-hardware",
    "what-comes-next",
)  # fmt: skip
_NOT_COPIED: Final = shutil.ignore_patterns("__pycache__", "*.pyc")
_NOT_TEXT: Final = (".o", ".png", ".ico")
_LINK: Final = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_MARKS: Final = ("BEGIN SOLUTION", "BEGIN HIDDEN TESTS", "BEGIN MARK SCHEME")
_SHORT: Final = 8
_NBGRADER_AT_LEAST: Final = "pip install 'vmmlab[instructor]'"


@dataclass(frozen=True, slots=True)
class Released:
    """A release that was made.

    Attributes:
        folder: the release.
        files: how many files it has.
        notes: what an instructor should know about it.
    """

    folder: Path
    files: int
    notes: tuple[Text, ...]


def release(course: Course, dest: Path, cohorts: Sequence[str] = ()) -> Released:
    """Write a release of `course` to `dest`, whole or not at all.

    Args:
        course: the instructor's course, with its reference.
        dest: a folder that does not exist yet, or is empty.
        cohorts: the cohorts to make prebuilt labs for; the course's own if empty. The first one
            becomes the course's own in the release.

    Raises:
        UsageError: `dest` is in use, or the course is a release itself.
        CourseError: the course is at fault, or the release would contain part of a solution.
        InfraError: the disk or a tool is at fault.
    """
    if not course.reference_dir.is_dir():
        raise UsageError(
            msg(
                "{root} has no reference solutions to make starters and stand-ins of.",
                root=course.root,
            ),
            expected=msg("the whole kit; this may be a release already"),
        )
    dest = dest.expanduser().absolute()
    _must_be_free(dest)
    names = tuple(dict.fromkeys(cohorts or [course.cohort]))
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{dest.name[:40]}.", dir=dest.parent) as scratch:
            made = Path(scratch) / "release"
            notes = tuple(_fill(course, made, names))
            if found := next(leaks(course, made), None):
                raise CourseError(
                    f"{found.file}:{found.line}: {found.what}",
                    expected=msg("nothing of a solution in a release"),
                    found=found.text,
                    next_step=msg("change that text; nothing was written"),
                )
            count = sum(path.is_file() for path in made.rglob("*"))
            if dest.is_dir():
                dest.rmdir()
            made.rename(dest)
    except OSError as error:
        raise InfraError(
            msg("the release could not be written to {dest}.", dest=dest),
            found=error.strerror or str(error),
            next_step=msg("nothing was left behind; mend this and try again"),
        ) from error
    return Released(dest, count, notes)


def _must_be_free(dest: Path) -> None:
    if not dest.exists() and not dest.is_symlink():
        return
    if not dest.is_dir() or dest.is_symlink() or any(dest.iterdir()):
        raise UsageError(
            msg("{dest} is in use; nothing was changed.", dest=dest),
            expected=msg("a folder that does not exist yet, or an empty one"),
            next_step=msg("choose another folder, or remove this one"),
        )


# --- what goes in ----------------------------------------------------------------------------


def _fill(course: Course, made: Path, cohorts: Sequence[str]) -> Iterator[Text]:
    """Write the release into `made` and yield notes."""
    made.mkdir()
    (made / COURSE_FILE).write_text(course_text(course, cohorts[0]), encoding="utf-8")
    released = load_course(made)
    for name in course.labs:
        copy_lab(course.labs_dir / name, made / "labs" / name, name)
    yield from _worksheets(course, made, cohorts)
    _copy_tree(course.template, made / "vmm-skeleton")
    for lang in LANGUAGES:
        for lab in course.labs.values():
            for path in lab.files:
                target = materials.starters_dir(released, lang) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(materials.starter(course, path, lang), encoding="utf-8")
    for name in cohorts:
        target = prebuilt.folder_of(released) / name
        prebuilt.place(course, Cohort.derive(name), target)
    yield from _copy_kit(course, made)
    _unlink_pages(made)


def copy_lab(source: Path, target: Path, lab: str) -> None:
    """Copy what students get of a lab's folder: checks, probes, handouts, hints and pictures.

    Args:
        source: labs/labN of the course.
        target: the new folder.
        lab: for example `lab3`.
    """
    target.mkdir(parents=True)
    for pattern in (f"test_{lab}.py", "probes.py", "exploration.py", *_OF_A_LAB):
        for path in sorted(source.glob(pattern)):
            place = target / path.relative_to(source)
            place.parent.mkdir(exist_ok=True)
            shutil.copy(path, place)


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=_NOT_COPIED, symlinks=True)


def _copy_kit(course: Course, made: Path) -> Iterator[Text]:
    """Copy the pages for students and, if this vmmlab is in a clone, the package; yield notes."""
    for page in _PAGES:
        for path in sorted((course.root / "docs").glob(f"{page}*.md")):
            (made / "docs").mkdir(exist_ok=True)
            shutil.copy(path, made / "docs" / path.name)
    kit = _PACKAGE.parents[1]
    if not (kit / "grader" / "setup.sh").is_file():
        yield msg("vmmlab itself is not in it: students install it by themselves")
        return
    _copy_tree(_PACKAGE, made / "grader" / "vmmlab")
    for name in _OF_THE_KIT:
        shutil.copy(kit / name, made / name)
    for path in sorted(_OWN_FILES.iterdir()):
        shutil.copy(path, made / path.name.removesuffix(".txt"))


def _unlink_pages(made: Path) -> None:
    """Turn links to what is not in the release into plain text."""
    for page in [*made.glob("labs/*/*.md"), *made.glob("docs/*.md")]:

        def kept(link: re.Match[str], folder: Path = page.parent) -> str:
            target = link.group(2).partition("#")[0]
            inside = not target or "://" in target or (folder / target).exists()
            return link.group(0) if inside else link.group(1)

        text = page.read_text(encoding="utf-8")
        page.write_text(_LINK.sub(kept, text), encoding="utf-8")


# --- course.yml ------------------------------------------------------------------------------


def course_text(course: Course, cohort: str) -> str:
    """Return course.yml without the names of hidden checks; its comments stay.

    Args:
        course: the instructor's course.
        cohort: the name of the course's own cohort in the release.

    Raises:
        CourseError: it cannot be read, or names a hidden check in a place that has to stay.
    """
    file = yamlfile.read(course.root / COURSE_FILE)
    begins = {
        file.line(("labs", lab.name, HIDDEN_TOPIC)) for lab in course.labs.values() if lab.hidden
    }
    lines: list[str] = []
    inside = -1  # the indentation of the key whose block is being left out
    for number, line in enumerate(file.path.read_text(encoding="utf-8").split("\n"), 1):
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent <= inside:
            inside = -1
        if number in begins and re.match(rf"[\"']?{HIDDEN_TOPIC}[\"']?\s*:", line.lstrip()):
            inside = indent
        elif inside < 0 or not line.strip():
            lines.append(line)
    if lines[-1]:
        lines.append("")
    made = "\n".join(lines)
    if re.search(r"^cohort:", made, re.MULTILINE):
        made = re.sub(r"^cohort:.*$", f"cohort: {cohort}", made, count=1, flags=re.MULTILINE)
    else:
        made = re.sub(r"^(title:.*)$", rf"\1\ncohort: {cohort}", made, count=1, flags=re.MULTILINE)
    for lab in course.labs.values():
        for line in made.split("\n"):
            if any(check in line for check in lab.hidden):
                raise _not_to_be_cut(msg("a hidden check is named in {line!r}", line=line.strip()))
    if not _same_but_for_hidden(made, file.data, cohort):
        raise _not_to_be_cut(msg("without these lines it would say something else"))
    return made


def _not_to_be_cut(found: Text) -> CourseError:
    return CourseError(
        msg("{course_file}: the hidden checks cannot be left out.", course_file=COURSE_FILE),
        expected=msg(
            "their ids below the key `{hidden}` of their lab only, on lines of its own",
            hidden=HIDDEN_TOPIC,
        ),
        found=found,
    )


def _same_but_for_hidden(made: str, data: Any, cohort: str) -> bool:
    """Return whether a released course.yml equals the instructor's without the hidden checks."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    labs = {
        name: {key: value for key, value in lab.items() if key != HIDDEN_TOPIC}
        for name, lab in data["labs"].items()
    }
    try:
        return bool(YAML(typ="safe").load(made) == {**data, "cohort": cohort, "labs": labs})
    except YAMLError:
        return False


# --- worksheets ------------------------------------------------------------------------------


def _worksheets(course: Course, made: Path, cohorts: Sequence[str]) -> Iterator[Text]:
    sources = sorted(course.labs_dir.glob("lab*/worksheet*.ipynb"))
    if not sources:
        return
    if len(cohorts) > 1:
        yield msg("no worksheets: their numbers are one cohort's, and this release is for several")
        return
    try:
        strip = _stripper(cohorts[0])
    except ImportError as error:
        yield msg(
            "no worksheets: nbgrader is not here ({error}); {nbgrader_at_least}",
            error=str(error),
            nbgrader_at_least=_NBGRADER_AT_LEAST,
        )
        return
    for source in sources:
        target = made / "labs" / source.parent.name / source.name
        target.write_text(strip(source), encoding="utf-8")


def _stripper(cohort: str) -> Any:
    """Return the function that makes a student's worksheet: nbgrader's own steps, in its order."""
    from nbgrader import preprocessors as steps
    from traitlets.config import Config

    from vmmlab.worksheet.autograde import configure

    nbformat: Any = importlib.import_module("nbformat")
    config = Config()
    configure(config, cohort)
    # All steps of `nbgrader generate_assignment` that need neither a gradebook nor a header file.
    wanted = [
        one
        for one in config.GenerateAssignment.preprocessors
        if one not in (steps.IncludeHeaderFooter, steps.InstantiateTests, steps.SaveCells)
    ]

    def strip(source: Path) -> str:
        notebook = nbformat.read(source, as_version=nbformat.NO_CONVERT)
        resources: Mapping[str, Any] = {
            "nbgrader": {"notebook": source.stem, "assignment": source.parent.name},
            "metadata": {},
        }
        for one in wanted:
            notebook, resources = one(config=config).preprocess(notebook, resources)
        return f"{nbformat.writes(notebook).rstrip()}\n"

    return strip


# --- what must not go in ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Leak:
    """Something that must not be in a release.

    Attributes:
        file: relative to the release.
        line: from 1.
        what: one sentence.
        text: the line of the solution, or the id.
    """

    file: str
    line: int
    what: Text
    text: Text


def leaks(course: Course, folder: Path) -> Iterator[Leak]:
    """Yield what a release gives away: lines of solutions, hidden checks, instructors' worksheets.

    Spaces do not count. Lines that are in a starter or in the given code as well, and lines with
    fewer than eight characters, are no secrets.

    Args:
        course: the instructor's course.
        folder: the release.
    """
    secrets: dict[str, Text] = dict(_solution_lines(course, folder))
    for lab in course.labs.values():
        secrets |= {
            check: msg("the hidden check {check} is named", check=check) for check in lab.hidden
        }
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix in _NOT_TEXT:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".ipynb":
            for mark in _MARKS:
                if mark in text:
                    at = text.count("\n", 0, text.index(mark)) + 1
                    yield Leak(name, at, msg("this is the instructor's worksheet."), mark)
        whole = _squeezed(text)
        for secret, what in secrets.items():
            if secret in whole:
                yield Leak(name, _line_of(text, secret), msg("{what}.", what=what), secret)


def _solution_lines(course: Course, folder: Path) -> Iterator[tuple[str, Text]]:
    """Yield each secret line of a solution without its spaces, and what it belongs to."""
    known = "\n".join(
        _squeezed(path.read_text(encoding="utf-8", errors="replace"))
        for path in [*course.tree.rglob("*"), *(folder / "vmm-skeleton/starters").rglob("*")]
        if path.is_file()
    )
    for lab in course.labs.values():
        for file in lab.files:
            for part in regions(reference_text(course, file), path=f"reference/{file}"):
                for line in map(_squeezed, part.solution):
                    comment = line.startswith(("/*", "*", "//"))
                    if len(line) >= _SHORT and line not in known and not comment:
                        yield (
                            line,
                            msg(
                                "a line of the solution of {step} ({file})",
                                step=part.step,
                                file=file,
                            ),
                        )


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _line_of(text: str, secret: str) -> int:
    """Return the number of the first line that contains `secret`, spaces ignored."""
    for number, line in enumerate(text.splitlines(), 1):
        if secret in _squeezed(line):
            return number
    return 1

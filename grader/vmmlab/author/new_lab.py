"""Makes a new lab: its folder, its reference, its entry in course.yml, a first mutant.

The new lab is small but complete: it can be graded at once, and its mutant is caught. The author
then replaces it piece by piece; `check_course` names what is still to be done. The entry is added
to course.yml, and every byte that was there stays, comments included. This module does not know
grading.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from vmmlab.base.errors import CourseError, InfraError, UsageError
from vmmlab.base.files import write_atomically
from vmmlab.base.message import msg
from vmmlab.course import comments
from vmmlab.course.find import COURSE_FILE
from vmmlab.course.ids import LAB_NAME
from vmmlab.course.load import load_course
from vmmlab.course.markup import starter_text
from vmmlab.course.model import Course

_NUMBERED: Final = ("labN", "bspN", "Lab N", "lab N", "LAB=N", "課題 N")
_PLACES: Final[Mapping[str, str]] = {
    "README.md.txt": "labs/labN/README.md",
    "README.ja.md.txt": "labs/labN/README.ja.md",
    "test_labN.py.txt": "labs/labN/test_labN.py",
    "causes.yml.txt": "labs/labN/causes.yml",
    "contract.yml.txt": "labs/labN/contract.yml",
    "worksheet.py.txt": "labs/labN/worksheet.py",
    "worksheet.ja.py.txt": "labs/labN/worksheet.ja.py",
    "ja.po.txt": "labs/labN/locale/ja.po",
    "start.c.txt": "reference/labN/start.c",
    "contracts.ja.yml.txt": "reference/labN/contracts.ja.yml",
    "mutants.yml.txt": "grader/mutants/labN.yml",
}
_JAPANESE: Final = re.compile(r"\bja\b")


@dataclass(frozen=True, slots=True)
class Made:
    """What `new_lab` has made.

    Attributes:
        files: the new files, relative to the clone.
        changed: the file with the new entry, relative to the clone.
    """

    files: tuple[str, ...]
    changed: str


def new_lab(course: Course, name: str) -> Made:
    """Make a lab that can be graded at once.

    Args:
        course: a clone of the kit; it is changed on disk, `course` itself is not.
        name: such as `lab11`.

    Raises:
        UsageError: `name` cannot be a lab's name, or the lab or one of its files exists.
        CourseError: the layout of course.yml allows no new entry.
        InfraError: a file cannot be written.
    """
    if not LAB_NAME.fullmatch(name) or name == "lab0":
        raise UsageError(
            msg("{name!r} cannot be a lab's name.", name=name),
            expected=msg("lab and a number, for example lab11"),
        )
    if name in course.labs:
        raise UsageError(
            msg("this course already has a {name}.", name=name),
            expected=msg("a new name"),
            next_step=msg("the next unused one is {free}", free=_free(course)),
        )
    _require_clone(course)
    number = name.removeprefix("lab")
    texts = {place.replace("labN", name): _filled(file, number) for file, place in _PLACES.items()}
    contracts_ja = f"reference/{name}/contracts.ja.yml"
    start = f"{name}/start.c"
    texts[contracts_ja] = _with_checksums(texts[contracts_ja], texts[f"reference/{start}"], start)
    if not course.in_japanese:
        texts = {place: text for place, text in texts.items() if not _JAPANESE.search(place)}
    texts |= _notebooks(texts, f"labs/{name}")
    there = [place for place in texts if (course.root / place).exists()]
    if there:
        raise UsageError(
            msg("{there} already exists.", there=there[0]),
            expected=msg("no file of {name} yet", name=name),
            next_step=msg("move it away, or choose another number"),
        )
    path = course.root / COURSE_FILE
    before = path.read_text(encoding="utf-8")
    after = with_entry(before, _filled("course.yml.txt", number), name)
    written: list[Path] = []
    try:
        for place, text in texts.items():
            _write(course.root / place, text, written)
        write_atomically(path, after.encode())
        load_course(course.root)
    except OSError as error:
        _undo(course, written, before)
        raise InfraError(
            msg("{name} could not be created; nothing was left behind.", name=name),
            found=f"{error.filename}: {error.strerror}",
            next_step=msg("free some space or make the folder writable, then run this again"),
        ) from error
    except CourseError:
        _undo(course, written, before)
        raise
    return Made(tuple(texts), COURSE_FILE)


def with_entry(text: str, entry: str, name: str = "") -> str:
    """Return course.yml with one more lab after the last one, and nothing else changed.

    Args:
        text: the text of course.yml.
        entry: the lines of the new lab, indented like those of the other labs.
        name: the new lab, for messages.

    Raises:
        CourseError: the labs cannot be found, or are not indented by two spaces.
    """
    lines = text.splitlines(keepends=True)
    start = next((at for at, line in enumerate(lines) if re.match(r"labs:\s*(#.*)?$", line)), None)
    if start is None:
        raise CourseError(
            msg(
                "{course_file}: found no place for {name}.",
                course_file=COURSE_FILE,
                name=name or msg("a new lab"),
            ),
            expected=msg("a line `labs:` with the labs below it"),
            next_step=msg("add the entry by hand"),
        )
    end, first = start + 1, ""
    for at in range(start + 1, len(lines)):
        line = lines[at]
        if line.strip() and not line.startswith((" ", "#")):
            break
        if line.startswith(" ") and line.strip():
            end, first = at + 1, first or line
    if first and not re.match(r"  \S", first):
        raise CourseError(
            msg(
                "{course_file}:{start}: the labs are not indented by two spaces.",
                course_file=COURSE_FILE,
                start=start + 2,
            ),
            found=repr(first.rstrip("\n")),
            next_step=msg("add the entry by hand"),
        )
    head = "".join(lines[:end])
    if head and not head.endswith("\n"):
        head += "\n"
    return head + entry + "".join(lines[end:])


def _require_clone(course: Course) -> None:
    for folder in ("reference", "grader/mutants", "labs"):
        if not (course.root / folder).is_dir():
            raise UsageError(
                msg(
                    "{root} is not a clone of the kit: it has no folder {folder}.",
                    root=course.root.name,
                    folder=folder,
                ),
                expected=msg("the kit itself, with the reference solutions"),
                next_step=msg("change to your clone, or add --course DIR"),
            )


def _free(course: Course) -> str:
    return next(f"lab{n}" for n in range(1, 100) if f"lab{n}" not in course.labs)


def _filled(file: str, number: str) -> str:
    text = (files("vmmlab.author") / "new_lab_files" / file).read_text(encoding="utf-8")
    for word in _NUMBERED:
        text = text.replace(word, word[:-1] + number)
    return text


def _notebooks(texts: Mapping[str, str], folder: str) -> dict[str, str]:
    """Return the notebooks of a lab's worksheets; none if this environment cannot make them."""
    try:
        from vmmlab.worksheet.source import render

        source = texts[f"{folder}/worksheet.py"]
        made = {f"{folder}/worksheet.ipynb": render(source)}
        if (translated := texts.get(f"{folder}/worksheet.ja.py")) is not None:
            made[f"{folder}/worksheet.ja.ipynb"] = render(source, translated=translated)
        return made
    except ImportError:
        return {}


def _with_checksums(translations: str, reference: str, path: str) -> str:
    """Fill in the checksums of the comments that a starter's translations belong to."""
    for number, comment in enumerate(comments.translatable(starter_text(reference, path=path))):
        translations = translations.replace(f"CHECKSUM {number}", comment.checksum)
    return translations


def _write(path: Path, text: str, written: list[Path]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        written.append(path)
        file.write(text)


def _undo(course: Course, written: list[Path], before: str) -> None:
    for path in written:
        path.unlink(missing_ok=True)
    for path in written:
        with suppress(OSError):  # a folder with other files stays
            path.parent.rmdir()
            path.parents[1].rmdir()
    with suppress(OSError):
        if (course.root / COURSE_FILE).read_text(encoding="utf-8") != before:
            write_atomically(course.root / COURSE_FILE, before.encode())

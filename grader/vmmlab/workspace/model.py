"""A student's workspace: making one, filling it, recognising one. Knows nothing of grading."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vmmlab.base.errors import CourseError, InfraError, UsageError
from vmmlab.course import materials
from vmmlab.course.cohort import Cohort
from vmmlab.course.model import Course, Lab
from vmmlab.i18n.translate import LANGUAGES

WORKSPACE_FILE: Final = "workspace.toml"
PREBUILT_FOLDER: Final = "standin"
"""The folder of a workspace that holds the prebuilt objects of the other labs."""

SCHEMA: Final = 1
_MAX_STUDENT: Final = 100


PlacePrebuilt = Callable[[Course, Cohort, Path], None]
"""Puts the prebuilt objects of a course for a cohort into a folder."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What `vmmlab new` asks for.

    Attributes:
        student: whose workspace it is.
        cohort: whose numbers it gets.
        lang: the language of the starters, which the workspace remembers; "" for English starters
            and whatever the environment says later.

    Raises:
        UsageError: the name holds what no name holds.
    """

    student: str
    cohort: Cohort
    lang: str = ""

    def __post_init__(self) -> None:
        # Braces: cookiecutter would take them for a template.
        if (
            not self.student.isprintable()
            or not self.student.strip()
            or "{" in self.student
            or len(self.student) > _MAX_STUDENT
        ):
            raise UsageError(
                "this cannot be a student's name.",
                expected=f"one line of text without braces, at most {_MAX_STUDENT} characters",
                found=repr(self.student[:_MAX_STUDENT]),
            )
        assert self.lang in ("", *LANGUAGES)


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace on disk, as its workspace.toml describes it.

    Attributes:
        root: the folder that holds workspace.toml.
        cohort: the numbers of its cohort.h.
        student: the name given when it was made.
        version: the vmmlab that made it.
        lang: the language that it was made in, "" if it says none.
    """

    root: Path
    cohort: Cohort
    student: str
    version: str
    lang: str = ""


def locate(start: Path) -> Workspace | None:
    """Return the workspace that `start` lies in, or None.

    Raises:
        UsageError: there is one, but its workspace.toml cannot be read.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / WORKSPACE_FILE).is_file():
            return read(folder)
    return None


def read(root: Path) -> Workspace:
    """Read `root`/workspace.toml.

    Raises:
        UsageError: it cannot be read, or says something that cannot be.
    """
    path = root / WORKSPACE_FILE
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise UsageError(
                f"{path} is of another version.",
                expected=f"schema = {SCHEMA}",
                found=f"schema = {data['schema']!r}",
                next_step="use the vmmlab that made this workspace, or make a new one",
            )
        numbers = data["cohort"]
        return Workspace(
            root=root,
            cohort=Cohort(
                _as(str, numbers, "name"),
                apinit_addr=_as(int, numbers, "apinit_addr"),
                apinit_offset=_as(int, numbers, "apinit_offset"),
                stack_size=_as(int, numbers, "stack_size"),
                pcpu_pad=_as(int, numbers, "pcpu_pad"),
            ),
            student=_as(str, data, "student"),
            version=_as(str, data, "vmmlab"),
            lang=_as(str, data, "lang") if "lang" in data else "",
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        found = str(error)
    except KeyError as error:
        found = f"no key {error.args[0]!r}"
    raise UsageError(
        f"{path} cannot be read.",
        expected="the file as vmmlab wrote it",
        found=found,
        next_step="put it back; or make a new workspace and copy your labs' files into it",
    )


def new(dest: Path, course: Course, answers: Answers, place_prebuilt: PlacePrebuilt) -> Path:
    """Make a workspace in `dest`, whole or not at all, and return its path.

    Args:
        dest: a folder that does not exist or is empty; `~` is understood.
        course: where template, starters and handouts come from; a release will do.
        answers: the student and the cohort.
        place_prebuilt: puts the prebuilt objects into a folder (`vmmlab.images.prebuilt.place`).

    Raises:
        UsageError: `dest` is in use, or the course is a release for other cohorts.
        CourseError: the course's template or reference is at fault.
        InfraError: the disk or a tool is.
    """
    dest = Path(os.path.abspath(dest.expanduser()))  # noqa: PTH100 (resolve would follow links)
    exists = _is_empty_folder(dest)
    made = _make_parents(dest.parent)
    scratch: Path | None = None
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f".{dest.name[:40]}.", dir=dest.parent))
        built = _render(course, answers, scratch)
        populate(built, course, place_prebuilt)
        if exists:
            _move_into(built, dest)
        else:
            built.rename(dest)
    except BaseException as error:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise InfraError(
                f"the workspace could not be written to {dest}.",
                found=error.strerror or str(error),
                next_step="nothing was left behind; mend this and try again",
            ) from error
        raise
    shutil.rmtree(scratch, ignore_errors=True)
    return dest


def populate(directory: Path, course: Course, place_prebuilt: PlacePrebuilt) -> None:
    """Add what a rendered template lacks: starters, checks, handouts, prebuilt objects, `.venv`.

    Args:
        directory: the folder that cookiecutter has just made.
        course: where the starters and the handouts come from.
        place_prebuilt: puts the prebuilt objects into a folder (`vmmlab.images.prebuilt.place`).

    Raises:
        UsageError: the course is a release for other cohorts.
        CourseError: the reference or its markup is at fault.
        InfraError: the prebuilt objects could not be built.
    """
    workspace = read(directory)
    for lab in course.labs.values():
        _add_lab(directory, lab, course, workspace.lang)
    place_prebuilt(course, workspace.cohort, directory / PREBUILT_FOLDER)
    _link_environment(directory / ".venv")


# --- the parts of it -------------------------------------------------------------------------


def _add_lab(directory: Path, lab: Lab, course: Course, lang: str) -> None:
    for path in lab.files:
        target = directory / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(materials.starter(course, path, lang), encoding="utf-8")
    for name in (f"test_{lab.name}.py", "README.md", "README.ja.md"):
        source = course.labs_dir / lab.name / name
        if source.is_file():
            (directory / lab.name).mkdir(exist_ok=True)
            shutil.copyfile(source, directory / lab.name / name)
    for picture in sorted((course.labs_dir / lab.name / "pictures").glob("*.svg")):
        (directory / lab.name / "pictures").mkdir(exist_ok=True, parents=True)
        shutil.copyfile(picture, directory / lab.name / "pictures" / picture.name)


def _link_environment(link: Path) -> None:
    """Let `.venv` lead to the environment that vmmlab runs from, if it is one."""
    if (Path(sys.prefix) / "pyvenv.cfg").is_file() and not link.is_symlink():
        link.symlink_to(sys.prefix)


def _render(course: Course, answers: Answers, scratch: Path) -> Path:
    # Imported here: only `vmmlab new` needs it, and it takes a quarter of a second.
    from cookiecutter.exceptions import CookiecutterException
    from cookiecutter.main import cookiecutter
    from jinja2 import TemplateError

    given: dict[str, Any] = {
        "slug": "workspace",
        "student": answers.student,
        "cohort": answers.cohort.name,
        "lang": answers.lang,
        **answers.cohort.literals(),
    }
    try:
        # Not in `scratch` itself: cookiecutter takes braces in a path for a template.
        with tempfile.TemporaryDirectory() as own:
            # Not the user's own configuration: nothing of theirs changes what a workspace is.
            config = Path(own) / "config.yml"
            config.write_text(f"replay_dir: {own}/replay\ncookiecutters_dir: {own}/none\n")
            made = cookiecutter(
                str(course.template),
                no_input=True,
                extra_context=given,
                output_dir=own,
                config_file=str(config),
                accept_hooks=False,
            )
            return _copy(Path(made), scratch / "workspace")
    except (CookiecutterException, TemplateError) as error:
        raise CourseError(
            f"the workspace's template {course.template} does not work.", found=str(error)
        ) from error


def _copy(source: Path, target: Path) -> Path:
    """As shutil.copytree, but the first trouble ends it."""
    target.mkdir()
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir()
        else:
            shutil.copy(path, place)
    return target


def _is_empty_folder(dest: Path) -> bool:
    """Whether `dest` exists, empty; UsageError if it is anything else that exists."""
    try:
        names = sorted(entry.name for entry in dest.iterdir())
    except FileNotFoundError:
        if dest.is_symlink():
            raise UsageError(
                f"{dest} is a link that leads nowhere.", next_step="remove it, or choose another"
            ) from None
        return False
    except OSError as error:
        raise UsageError(
            f"{dest} cannot become a workspace.",
            expected="a folder that does not exist yet, or an empty one",
            found=(error.strerror or str(error)).lower(),
        ) from None
    if names:
        again = WORKSPACE_FILE in names
        raise UsageError(
            f"{dest} is a workspace already; nothing was changed."
            if again
            else f"{dest} is not empty; nothing was changed.",
            expected="a folder that does not exist yet, or an empty one",
            found=", ".join(names[:5]) + (", …" if len(names) > 5 else ""),
            next_step="choose another folder",
        )
    return True


def _make_parents(parent: Path) -> list[Path]:
    """Make the folders above the workspace; return those that were new, the outermost first."""
    missing = [p for p in (parent, *parent.parents) if not p.exists()][::-1]
    made: list[Path] = []
    for folder in missing:
        try:
            folder.mkdir()
        except OSError as error:
            for one in reversed(made):
                with suppress(OSError):
                    one.rmdir()
            raise UsageError(
                f"{folder} cannot be made.", found=(error.strerror or str(error)).lower()
            ) from None
        made.append(folder)
    return made


def _move_into(built: Path, dest: Path) -> None:
    moved: list[Path] = []
    try:
        for entry in sorted(built.iterdir()):
            moved.append(entry.rename(dest / entry.name))
    except BaseException:
        for entry in moved:
            entry.rename(built / entry.name)
        raise


def _as(kind: type, table: Any, key: str) -> Any:
    value = table[key]
    if type(value) is not kind:
        raise TypeError(f"{key} = {value!r}")
    return value

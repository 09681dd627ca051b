"""Makes a workspace on disk: renders the template and adds starters, checks and handouts.

The caller adds the prebuilt labs: making them needs a compiler, and this package knows none.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vmmlab.base import owned
from vmmlab.base.errors import CourseError, InfraError, UsageError, os_reason
from vmmlab.base.message import msg
from vmmlab.base.workspacefile import WORKSPACE_FILE
from vmmlab.course import comments, materials
from vmmlab.course.cohort import Cohort
from vmmlab.course.find import is_installed
from vmmlab.course.labpackage import check_files
from vmmlab.course.model import Course, Lab
from vmmlab.course.pages import pages
from vmmlab.i18n.translate import LANGUAGES
from vmmlab.workspace import given
from vmmlab.workspace.model import Workspace, read

_MAX_STUDENT: Final = 100
_HIDDEN: Final = "hidden"


@dataclass(frozen=True, slots=True)
class Answers:
    """What `vmmlab new` asks for.

    Attributes:
        student: the student's name.
        cohort: the numbers for cohort.h.
        lang: the language of the starters, which the workspace remembers; "" for English starters
            and, later, the language of the environment.

    Raises:
        UsageError: `student` cannot be a name.
    """

    student: str
    cohort: Cohort
    lang: str = ""

    def __post_init__(self) -> None:
        # cookiecutter would take braces for a template.
        if (
            not self.student.isprintable()
            or not self.student.strip()
            or "{" in self.student
            or len(self.student) > _MAX_STUDENT
        ):
            raise UsageError(
                msg("this is not a valid name of a student."),
                expected=msg(
                    "one line of text without braces, at most {max_student} characters",
                    max_student=_MAX_STUDENT,
                ),
                found=repr(self.student[:_MAX_STUDENT]),
            )
        assert self.lang in ("", *LANGUAGES)


def new(
    dest: Path, course: Course, answers: Answers, complete: Callable[[Workspace], None]
) -> Path:
    """Make a workspace in `dest`, whole or not at all, and return its path.

    Args:
        dest: a folder that does not exist or is empty; `~` is understood.
        course: where template, starters and handouts come from; a release will do.
        answers: the student and the cohort.
        complete: adds the rest before the workspace appears in `dest`; if it raises, nothing is
            left behind.

    Raises:
        UsageError: `dest` is in use.
        CourseError: the course's template or reference is at fault.
        InfraError: the workspace cannot be written.
    """
    dest = Path(os.path.abspath(dest.expanduser()))  # noqa: PTH100 (resolve would follow links)
    exists = _is_empty_folder(dest)
    made = _make_parents(dest.parent)
    scratch: Path | None = None
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f".{dest.name[:40]}.", dir=dest.parent))
        built = render_all(course, answers, scratch, complete)
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
                msg("the workspace could not be written to {dest}.", dest=dest),
                found=os_reason(error),
                next_step=msg("nothing was left behind; fix this and try again"),
            ) from error
        raise
    shutil.rmtree(scratch, ignore_errors=True)
    with suppress(OSError, RuntimeError):  # then `locate` does not find it, and the caller says so
        remember(dest, course)
    return dest


def render_all(
    course: Course, answers: Answers, scratch: Path, complete: Callable[[Workspace], None]
) -> Path:
    """Make a whole workspace in a folder below `scratch`, and return that.

    Args:
        course: where template, starters and handouts come from.
        answers: the student and the cohort.
        scratch: a folder.
        complete: adds the rest.

    Raises:
        CourseError: the course's template or reference is at fault.
        OSError: it cannot be written.
    """
    built = _render(course, answers, scratch)
    complete(fill(built, course))
    given.write_listing(built)
    return built


def remember(directory: Path, course: Course) -> None:
    """Remember a workspace as the user's own, with the course that it was made from.

    Raises:
        UsageError: its workspace.toml cannot be read.
        OSError: the record cannot be written.
        RuntimeError: the user has no home directory.
    """
    made_from = None if is_installed(course.root) else course.root
    owned.claim(directory, read(directory).mark, made_from)


def fill(directory: Path, course: Course) -> Workspace:
    """Add starters, checks, handouts and `.venv` to a rendered template; return the workspace.

    The comments of the given code are translated into the language of the workspace.

    Args:
        directory: the folder that cookiecutter has just made.
        course: where the starters and the handouts come from.

    Raises:
        UsageError: its workspace.toml cannot be read.
        CourseError: the reference or its markup is at fault.
    """
    workspace = read(directory)
    comments.translate_files(directory, materials.given_comments(course, workspace.lang))
    for lab in course.open_labs:
        _add_lab(directory, lab, course, workspace.lang)
    there = {path.relative_to(directory).as_posix() for path in directory.rglob("*")}
    for name, data in pages(course, there).items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    _link_environment(directory / ".venv")
    return workspace


# --- what is added to the template ------------------------------------------------------------


def _add_lab(directory: Path, lab: Lab, course: Course, lang: str) -> None:
    for path in lab.files:
        target = directory / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(materials.starter(course, path, lang), encoding="utf-8")
    folder = course.labs_dir / lab.name
    for source in check_files(folder):
        (directory / lab.name).mkdir(exist_ok=True)
        shutil.copyfile(source, directory / lab.name / source.name)
    if course.self_study and (folder / _HIDDEN).is_dir():
        shutil.copytree(
            folder / _HIDDEN,
            directory / lab.name / _HIDDEN,
            ignore=shutil.ignore_patterns("__pycache__", "locale"),
        )
    if (worksheet := materials.ready_worksheet(course, lab.name, lang)) is not None:
        (directory / lab.name).mkdir(exist_ok=True)
        shutil.copyfile(worksheet, directory / lab.name / worksheet.name)


def _link_environment(link: Path) -> None:
    """Make `.venv` a link to the environment that vmmlab runs from, if it is one."""
    if (Path(sys.prefix) / "pyvenv.cfg").is_file() and not link.is_symlink():
        link.symlink_to(sys.prefix)


# --- the template -------------------------------------------------------------------------------


def _render(course: Course, answers: Answers, scratch: Path) -> Path:
    # Imported here because it takes a quarter of a second and only `vmmlab new` needs it.
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
            # Not the user's own configuration, which could change the workspace.
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
            msg("the workspace's template {template} does not work.", template=course.template),
            found=str(error),
        ) from error


def _copy(source: Path, target: Path) -> Path:
    """Copy a folder as shutil.copytree does, but stop at the first error."""
    target.mkdir()
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir()
        else:
            shutil.copy(path, place)
    return target


# --- where it goes ------------------------------------------------------------------------------


def _is_empty_folder(dest: Path) -> bool:
    """Return whether `dest` exists and is empty; raise UsageError for anything else that exists."""
    try:
        names = sorted(entry.name for entry in dest.iterdir())
    except FileNotFoundError:
        if dest.is_symlink():
            raise UsageError(
                msg("{dest} is a link that points nowhere.", dest=dest),
                next_step=msg("remove it, or choose another"),
            ) from None
        return False
    except OSError as error:
        raise UsageError(
            msg("{dest} cannot become a workspace.", dest=dest),
            expected=msg("a folder that does not exist yet, or an empty one"),
            found=os_reason(error),
        ) from None
    if names:
        again = WORKSPACE_FILE in names
        raise UsageError(
            msg("{dest} is already a workspace; nothing was changed.", dest=dest)
            if again
            else msg("{dest} is not empty; nothing was changed.", dest=dest),
            expected=msg("a folder that does not exist yet, or an empty one"),
            found=", ".join(names[:5]) + (", …" if len(names) > 5 else ""),
            next_step=msg("choose another folder"),
        )
    return True


def _make_parents(parent: Path) -> list[Path]:
    """Make the folders above the workspace; return the new ones, the outermost first."""
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
                msg("{folder} cannot be created.", folder=folder), found=os_reason(error)
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

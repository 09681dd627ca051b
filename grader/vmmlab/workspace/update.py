"""Brings the given files of a newer release into a workspace; the student's files stay.

A given file that the student has changed is a conflict if the release has changed it, too. With a
conflict nothing is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vmmlab import __version__
from vmmlab.base.errors import InfraError, UsageError, os_reason
from vmmlab.base.message import listed, msg
from vmmlab.base.scratch import scratch_folder
from vmmlab.base.workspacefile import WORKSPACE_FILE, text_of
from vmmlab.course.cohort import Cohort
from vmmlab.course.model import Course
from vmmlab.workspace import given, journal
from vmmlab.workspace.model import Workspace, not_own
from vmmlab.workspace.new import Answers, render_all
from vmmlab.workspace.templating import toml_string

_VERSION: Final = re.compile(r"^vmmlab\s*=.*$", re.MULTILINE)
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What an update changes.

    Attributes:
        added: new files, by path.
        changed: files that are replaced.
        removed: given files that the release has no more.
        conflicts: files that both the student and the release have changed.
        kept: files that the student has changed and that stay as they are.
        starters: the student's files whose starter has changed in the release.
    """

    added: Mapping[str, bytes]
    changed: Mapping[str, bytes]
    removed: tuple[str, ...]
    conflicts: tuple[str, ...]
    kept: tuple[str, ...]
    starters: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.added or self.changed or self.removed)


def plan(here: Workspace, course: Course, complete: Callable[[Workspace], None]) -> Plan:
    """Return what an update would do; nothing is changed.

    Args:
        here: the workspace.
        course: the newer course; a release will do.
        complete: adds the prebuilt labs to a new workspace.

    Raises:
        UsageError: the workspace is not the user's own, or the course has no such cohort.
        CourseError: the course is at fault.
        InfraError: a tool or the disk is at fault.
    """
    return _compared(here, course, _new_files(here, course, complete))


def update(here: Workspace, course: Course, complete: Callable[[Workspace], None]) -> Plan:
    """Bring the given files of a course into a workspace, all or nothing; return what was done.

    Args:
        here: the workspace.
        course: the newer course; a release will do.
        complete: adds the prebuilt labs to a new workspace.

    Raises:
        UsageError: the workspace is not the user's own, there are conflicts, a link stands where
            a file belongs, or the course has no such cohort; nothing was changed.
        CourseError: the course is at fault.
        InfraError: a tool or the disk is at fault.
    """
    files = _new_files(here, course, complete)
    made = _compared(here, course, files)
    if made.conflicts:
        raise UsageError(
            msg("{root} was not updated; nothing was changed.", root=here.root),
            expected=msg("given files as they were given, where the release has newer ones"),
            found=msg(
                "changed by you and by the release: {files}",
                files=listed(made.conflicts[:_SHOWN], ", "),
            ),
            next_step=msg(
                "move your versions of these files away, run vmmlab update again, "
                "and bring your changes into the new ones"
            ),
        )
    put = {**made.added, **made.changed, given.FILE: given.listing(files)}
    text = text_of(here.root)
    version = f"vmmlab = {toml_string(__version__)}"
    put[WORKSPACE_FILE] = _VERSION.sub(lambda _: version, text, count=1).encode()
    journal.write(here.root, put, made.removed)
    return made


def _compared(here: Workspace, course: Course, files: Mapping[str, bytes]) -> Plan:
    before = given.read_listing(here.root)
    added: dict[str, bytes] = {}
    changed: dict[str, bytes] = {}
    conflicts: list[str] = []
    kept: list[str] = []
    starters: list[str] = []
    for path, data in files.items():
        now, new = given.digest_at(here.root / path), given.digest(data)
        if now is None:
            added[path] = data
        elif now == new:
            continue
        elif given.is_students(path, course):
            if before.get(path) not in (None, new):
                starters.append(path)
        elif now == before.get(path):
            changed[path] = data
        elif new == before.get(path):
            kept.append(path)
        else:
            conflicts.append(path)
    gone = [path for path in before if path not in files and not given.is_students(path, course)]
    removed = tuple(path for path in gone if given.digest_at(here.root / path) == before[path])
    journal.check_places(here.root, [*files, *removed])
    return Plan(added, changed, removed, tuple(conflicts), tuple(kept), tuple(starters))


def _new_files(
    here: Workspace, course: Course, complete: Callable[[Workspace], None]
) -> Mapping[str, bytes]:
    """Return all files of a new workspace with the answers of this one."""
    if here.copied:
        raise not_own(here.root)
    if Cohort.derive(here.cohort.name) != here.cohort:
        raise UsageError(
            msg("the numbers of the cohort {cohort} have changed.", cohort=here.cohort.name),
            expected=msg("those in {workspace_file}", workspace_file=WORKSPACE_FILE),
            next_step=msg("create a new workspace and copy your labs' files into it"),
        )
    answers = Answers(student=here.student, cohort=here.cohort, lang=here.lang)
    try:
        with scratch_folder("update") as scratch:
            return given.files_of(render_all(course, answers, scratch, complete))
    except OSError as error:
        raise InfraError(
            msg("the new files could not be made; nothing was changed."), found=os_reason(error)
        ) from None

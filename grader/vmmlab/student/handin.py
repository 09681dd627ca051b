"""Makes the archive that a student hands in, and says what is in it and what is still open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vmmlab.base.errors import UsageError, os_reason
from vmmlab.base.files import write_atomically
from vmmlab.base.message import Text, msg
from vmmlab.course.model import Course
from vmmlab.course.stops import open_steps
from vmmlab.workspace.handin import FOLDER, pack
from vmmlab.workspace.model import Workspace


def hand_in(
    here: Workspace, course: Course, labs: Sequence[str], output: Path | None = None
) -> Iterator[Text]:
    """Write the archive, whole or not at all, and yield what to tell the student.

    Args:
        here: the workspace.
        course: the course.
        labs: the labs; all that are open and have files, if there are none.
        output: the file to write; by default handin/LAB.zip, or handin/vmm.zip for several labs.

    Raises:
        SubmissionError: a file is missing or could not be graded; nothing is written.
        UsageError: there is no such lab, or the file cannot be written.
    """
    wanted = list(dict.fromkeys(labs)) or [lab.name for lab in course.open_labs if lab.files]
    data, taken = pack(here, course, wanted)
    name = wanted[0] if len(wanted) == 1 else "vmm"
    path = output or here.root / FOLDER / f"{name}.zip"
    try:
        if output is None:
            path.parent.mkdir(exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise UsageError(
            msg("{path} cannot be written.", path=path),
            found=os_reason(error),
            next_step=msg("name another file with -o"),
        ) from None
    for file in taken.files:
        yield f"  {file}"
    for lab in map(course.lab, wanted):
        if steps := ", ".join(step.id for step, _ in open_steps(lab, taken.files)):
            yield msg("note: still to be written: {steps}", steps=steps)
    yield msg(
        "{path}: {count} files, {size} bytes: hand in this file",
        path=path,
        count=len(taken.files),
        size=len(data),
    )

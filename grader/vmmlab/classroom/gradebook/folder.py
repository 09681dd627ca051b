"""nbgrader's course folder: whether a folder is one, and what its configuration says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from nbgrader.apps import NbGrader
from nbgrader.coursedir import CourseDirectory

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg

CONFIG_FILE: Final = "nbgrader_config.py"
_SIGNS: Final = (CONFIG_FILE, "gradebook.db", "source")


def is_course_folder(folder: Path) -> bool:
    """Return whether `folder` looks like a course folder of nbgrader."""
    return any((folder / name).exists() for name in _SIGNS)


def open_folder(folder: Path) -> tuple[Any, Any]:
    """Return nbgrader's application, configured for a course folder, and its `CourseDirectory`.

    Args:
        folder: the course folder.

    Raises:
        UsageError: it is no course folder, or its nbgrader_config.py cannot be read.
    """
    if not is_course_folder(folder):
        raise UsageError(
            msg("{folder} is not a course folder of nbgrader.", folder=folder),
            expected=msg("{signs} or {last} in it", signs=", ".join(_SIGNS[:-1]), last=_SIGNS[-1]),
            next_step=msg("name that folder with --nbgrader; vmmlab gradebook init makes one"),
        )
    app = NbGrader()
    app.load_cwd_config = False
    app.raise_config_file_errors = True  # it would otherwise go on without the file
    app.log_level = "ERROR"
    initialize(app, [], folder)
    return app, CourseDirectory(parent=app)


def initialize(app: Any, words: list[str], folder: Path) -> None:
    """Let one of nbgrader's applications read the configuration of a course folder.

    Args:
        app: the application.
        words: its command line.
        folder: the course folder.

    Raises:
        UsageError: nbgrader cannot read nbgrader_config.py.
    """
    try:
        app.initialize(words, root=str(folder.resolve()))
    except (Exception, SystemExit) as error:
        raise UsageError(
            msg("{folder}: nbgrader cannot read it.", folder=folder / CONFIG_FILE),
            found=f"{type(error).__name__}: {error}",
        ) from error
    # the root comes from the command, not from the file
    app.config.CourseDirectory.root = str(folder.resolve())

"""Opens the gradebook of an nbgrader course, and makes it if there is none."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from nbgrader import api
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.message import msg
from vmmlab.classroom.gradebook.book import Book
from vmmlab.classroom.gradebook.folder import open_folder

_BUSY_MS: Final = 30_000
"""How long to wait for another writer of the gradebook, in milliseconds."""


@contextlib.contextmanager
def open_book(folder: Path, *, copy: bool = False) -> Iterator[Book]:
    """Open the gradebook of an nbgrader course, and make it if there is none.

    Args:
        folder: the course folder, with nbgrader_config.py or gradebook.db.
        copy: work on a copy that is thrown away.

    Raises:
        UsageError: this is no course folder.
        InfraError: the gradebook cannot be made or opened.
    """
    app, directory = open_folder(folder)
    url = make_url(directory.db_url)
    sqlite = url.get_backend_name() == "sqlite" and url.database
    file = folder.resolve() / str(url.database) if sqlite else None
    with contextlib.ExitStack() as stack:
        if copy:
            if file is None:
                raise UsageError(
                    msg("a dry run works on a copy, and only an SQLite gradebook can be copied."),
                    found=url.get_backend_name(),
                    next_step=msg("leave --dry-run out"),
                )
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vmmlab-")))
            file = _copied(file, scratch / "gradebook.db")
        if file is not None:
            if not file.exists():
                _make(file, directory.course_id)
            url = url.set(database=str(file))
        with _explained(str(file or url)):
            gradebook = api.Gradebook(
                url.render_as_string(hide_password=False), directory.course_id
            )
            if file is not None:
                _whole_transactions(gradebook)
            with Book(app, directory, gradebook) as book:
                yield book


def _make(file: Path, course_id: str) -> None:
    """Make an empty gradebook, whole or not at all.

    nbgrader calls the command `alembic` without a path; it is in the folder of this Python.
    """
    scripts = sysconfig.get_path("scripts")
    before = os.environ.get("PATH", "")
    place = os.pathsep.join(part for part in (scripts, before) if part)
    if shutil.which("alembic", path=place) is None:
        raise InfraError(
            msg("nbgrader cannot make a gradebook: its tool alembic is missing."),
            expected=msg("{scripts}/alembic", scripts=scripts),
            next_step=msg("pip install 'vmmlab[instructor]' into the environment of this vmmlab"),
        )
    with tempfile.TemporaryDirectory(prefix=".gradebook-", dir=file.parent) as scratch:
        fresh = Path(scratch) / file.name
        os.environ["PATH"] = place
        try:
            api.Gradebook(f"sqlite:///{fresh}", course_id).close()
        finally:
            os.environ["PATH"] = before
        with contextlib.suppress(FileExistsError):  # another process has just made it
            os.link(fresh, file)


def _copied(file: Path, to: Path) -> Path:
    if not file.exists():
        return to
    try:
        with (
            contextlib.closing(sqlite3.connect(file)) as old,
            contextlib.closing(sqlite3.connect(to)) as new,
        ):
            old.backup(new)
    except sqlite3.Error as error:
        raise InfraError(
            msg("{file}: the gradebook cannot be copied: {error}.", file=file, error=str(error))
        ) from error
    return to


def _whole_transactions(gradebook: api.Gradebook) -> None:
    """Make transactions of SQLite begin with the write lock, as in SQLAlchemy's manual."""

    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")

    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    gradebook.db.remove()
    gradebook.engine.dispose()
    event.listen(gradebook.engine, "connect", connected)
    event.listen(gradebook.engine, "begin", begun)


@contextlib.contextmanager
def _explained(place: str) -> Iterator[None]:
    try:
        yield
    except api.InvalidEntry as error:
        raise InfraError(
            msg("{place}: the gradebook took no entry: {error}.", place=place, error=error)
        ) from error
    except DBAPIError as error:
        said = str(error.orig)
        locked = "locked" in said
        raise InfraError(
            msg("{place}: the gradebook cannot be used: {said}.", place=place, said=said),
            next_step=msg("another program is writing to it: run this again")
            if locked
            else msg("after an update of nbgrader: make a copy, then run nbgrader db upgrade"),
        ) from error
    except SQLAlchemyError as error:
        raise InfraError(
            msg("{place}: the gradebook cannot be used: {error}.", place=place, error=str(error))
        ) from error

"""Opens the gradebook of an nbgrader course, or makes a new one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from nbgrader import api
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.message import msg
from vmmlab.base.scratch import scratch_folder
from vmmlab.base.text import clean_line
from vmmlab.classroom.gradebook.book import Book
from vmmlab.classroom.gradebook.folder import open_folder
from vmmlab.classroom.gradebook.version import alembic_on_path, must_be_current

_BUSY_MS: Final = 30_000
"""How long to wait for another writer of the gradebook, in milliseconds."""


@contextlib.contextmanager
def open_book(folder: Path, *, copy: bool = False, make: bool = False) -> Iterator[Book]:
    """Open the gradebook of an nbgrader course.

    Args:
        folder: the course folder, with nbgrader_config.py or gradebook.db.
        copy: change nothing: work on a copy; on a server, in a transaction that is undone.
        make: make it if there is none, and nothing has been graded yet.

    Raises:
        UsageError: this is no course folder, or there is no gradebook.
        InfraError: the gradebook cannot be made or opened.
    """
    app, directory = open_folder(folder)
    url, file = place_of(folder, directory)
    if file is not None and _is_missing(file) and (not make or _has_grades(directory)):
        raise UsageError(
            msg("{file}: there is no gradebook.", file=file),
            expected=msg("the gradebook of this course, with its marks by hand"),
            next_step=msg(
                "put it, or a backup of it, back; for a new one without any marks, move {folder} "
                "away as well and run: vmmlab gradebook init",
                folder=_graded_folder(directory),
            ),
        )
    with contextlib.ExitStack() as stack:
        if copy and file is not None:
            scratch = stack.enter_context(scratch_folder("gradebook"))
            file = copied(file, scratch / "gradebook.db")
        shown = str(file or url)
        stack.enter_context(explained(shown, file))
        if file is not None:
            if not file.exists():
                _make(file, directory.course_id)
            url = url.set(database=str(file))
        must_be_current(url, folder, shown)
        with alembic_on_path():  # for a database that is empty
            gradebook = api.Gradebook(
                url.render_as_string(hide_password=False), directory.course_id
            )
        dry = None
        if file is not None:
            _whole_transactions(gradebook)
        elif copy:
            dry = stack.enter_context(gradebook.engine.connect())
            stack.callback(dry.begin().rollback)
        yield stack.enter_context(Book(app, directory, gradebook, dry))


def _graded_folder(directory: Any) -> Path:
    """Return the folder in which nbgrader and `Book` keep what has been graded."""
    return Path(directory.root, directory.autograded_directory)


def _is_missing(file: Path) -> bool:
    """Return whether there is no gradebook; an empty file, as a full disk leaves it, is not one."""
    return not file.exists() or (file.is_file() and not file.stat().st_size)


def _has_grades(directory: Any) -> bool:
    graded = _graded_folder(directory)
    return graded.is_dir() and any(graded.iterdir())


def url_of(database: str) -> URL:
    """Return the URL of a database.

    Raises:
        UsageError: it is not a URL.
    """
    try:
        return make_url(database)
    except ArgumentError:
        raise UsageError(
            msg("{database!r} is not the URL of a database.", database=database),
            expected="postgresql+psycopg://USER:PASSWORD@HOST/DATABASE",
        ) from None


def place_of(folder: Path, directory: Any) -> tuple[URL, Path | None]:
    """Return the URL of a folder's gradebook, and its file; None if it is on a server.

    Args:
        folder: nbgrader's course folder.
        directory: its `CourseDirectory`.

    Raises:
        UsageError: nbgrader_config.py has something else than a URL.
    """
    url = url_of(directory.db_url)
    sqlite = url.get_backend_name() == "sqlite" and url.database
    return url, folder.resolve() / str(url.database) if sqlite else None


def _make(file: Path, course_id: str) -> None:
    """Make an empty gradebook, whole or not at all."""
    with tempfile.TemporaryDirectory(prefix=".gradebook-", dir=file.parent) as scratch:
        fresh = Path(scratch) / file.name
        with alembic_on_path():
            api.Gradebook(f"sqlite:///{fresh}", course_id).close()
        with contextlib.suppress(FileExistsError):  # another process has just made it
            os.link(fresh, file)


def copied(file: Path, to: Path) -> Path:
    """Copy a gradebook that others may be using; return `to`.

    Raises:
        InfraError: it cannot be read.
    """
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
def explained(place: str, file: Path | None = None) -> Iterator[None]:
    """Turn what SQLAlchemy and nbgrader say about a gradebook into an error for people.

    Args:
        place: the gradebook, for messages.
        file: its file, which exists once it is open; None if it is on a server.
    """
    try:
        yield
    except api.InvalidEntry as error:
        raise InfraError(
            msg("{place}: the gradebook took no entry: {error}.", place=place, error=error)
        ) from error
    except DBAPIError as error:
        said = _first_line(error.orig)
        if file is not None and not file.exists():  # SQLite says "attempt to write a readonly …"
            raise InfraError(
                msg("{place}: the gradebook was deleted or moved in the middle.", place=place),
                next_step=msg("put it, or a backup of it, back and run this again"),
            ) from error
        if "not a database" in said or "malformed" in said:  # as SQLite says it
            raise InfraError(
                msg("{place}: the gradebook is damaged: {said}.", place=place, said=said),
                next_step=msg("put a backup of it in its place; this command has changed nothing"),
            ) from error
        raise InfraError(
            msg("{place}: the gradebook cannot be used: {said}.", place=place, said=said),
            next_step=msg(
                "what was entered before is there, whole: run this again when it can be used"
            ),
        ) from error
    except (ImportError, NoSuchModuleError) as error:
        raise UsageError(
            msg("{place}: the gradebook needs a driver: {error}.", place=place, error=str(error)),
            next_step="pip install 'vmmlab[postgresql]'",
        ) from error
    except SQLAlchemyError as error:
        raise InfraError(
            msg("{place}: the gradebook cannot be used: {error}.", place=place, error=str(error))
        ) from error


def _first_line(error: object) -> str:
    """Return what a driver says, without the advice in further lines, and without a full stop."""
    return clean_line(next(iter(str(error).strip().splitlines()), "")).rstrip(" .")

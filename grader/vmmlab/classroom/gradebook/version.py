"""The version of nbgrader's database: whether this nbgrader can use a gradebook, and its update.

nbgrader itself finds out only when a column is missing, and its own update changes the only copy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from alembic.script import ScriptDirectory
from nbgrader import dbutil
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import URL

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.message import msg
from vmmlab.base.scratch import scratch_folder
from vmmlab.base.text import clean_line

_TABLE: Final = "alembic_version"
EMPTY: Final = ""
"""The version of a database without tables."""
UNNAMED: Final = "?"
"""That of a database with tables and no version."""


@contextlib.contextmanager
def alembic_on_path() -> Iterator[None]:
    """Let nbgrader find `alembic`, which it calls without a path: it is beside this Python.

    Raises:
        InfraError: it is not there.
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
    os.environ["PATH"] = place
    try:
        yield
    finally:
        os.environ["PATH"] = before


def must_be_current(url: URL, folder: Path, shown: str) -> None:
    """Raise unless this nbgrader can use a gradebook; one that is empty or new is no problem.

    Args:
        url: the database.
        folder: nbgrader's course folder.
        shown: the place, for messages.

    Raises:
        UsageError: it is of another version of nbgrader.
    """
    found, wanted = version_of(url), str(_scripts().get_current_head())
    if found in (EMPTY, wanted):
        return
    must_not_be_newer(found, shown)
    raise UsageError(
        msg("{place}: the gradebook is of an older nbgrader.", place=shown),
        expected=msg("version {version} of its tables", version=wanted),
        found=found,
        next_step=msg("vmmlab gradebook upgrade --nbgrader {folder}", folder=folder),
    )


def must_not_be_newer(found: str, shown: str) -> None:
    """Raise UsageError if this nbgrader does not know a version of the tables.

    Args:
        found: what `version_of` has returned.
        shown: the place of the gradebook, for messages.
    """
    known = {EMPTY, *(one.revision for one in _scripts().walk_revisions())}
    if found not in known:
        wanted = str(_scripts().get_current_head())
        raise UsageError(
            msg(
                "{place}: the gradebook is of a newer nbgrader than the installed one.", place=shown
            ),
            expected=msg("version {version} of its tables, or an older one", version=wanted),
            found=found,
            next_step="pip install --upgrade nbgrader",
        )


def version_of(url: URL) -> str:
    """Return the version of a gradebook's tables; `EMPTY` if there are none.

    Args:
        url: the database.
    """
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            tables = inspect(connection).get_table_names()
            if _TABLE not in tables:
                return UNNAMED if tables else EMPTY
            row = connection.execute(text(f"SELECT version_num FROM {_TABLE}")).first()
            return str(row[0]) if row else UNNAMED
    finally:
        engine.dispose()


def upgrade(file: Path) -> None:
    """Bring the tables of a gradebook to the version of this nbgrader.

    Args:
        file: it is changed, so make it a copy.

    Raises:
        InfraError: that does not work.
    """
    with scratch_folder("alembic") as scratch, alembic_on_path():
        ini = scratch / "alembic.ini"
        dbutil.write_alembic_ini(str(ini), f"sqlite:///{file}")
        done = subprocess.run(
            ["alembic", "-c", ini, "upgrade", "head"], capture_output=True, text=True, check=False
        )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise InfraError(
            msg("the gradebook could not be updated; nothing has changed."),
            found=clean_line(said[-1] if said else ""),
            next_step=msg("nbgrader's own way is nbgrader db upgrade"),
        )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(dbutil.ALEMBIC_DIR)

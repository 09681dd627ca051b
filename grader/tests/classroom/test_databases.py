"""Gradebooks on a PostgreSQL server, of other versions of nbgrader, and gone in the middle."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from gradebook_helpers import FAIL, JUMP, Put, Sync, grades, rows

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.scratch import reap
from vmmlab.classroom.gradebook import create, export, opening, update
from vmmlab.classroom.gradebook.book import Book
from vmmlab.classroom.gradebook.create import Setup
from vmmlab.classroom.roster import Entry
from vmmlab.cli import main
from vmmlab.course.model import Course

pytestmark = pytest.mark.slow

# --- PostgreSQL --------------------------------------------------------------------------------


def postgres_programs() -> Path | None:
    """Return the folder of a PostgreSQL server's programs; Debian has them off the path."""
    found = [Path(one) for one in os.environ.get("PATH", "").split(os.pathsep)]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    needed = ("initdb", "pg_ctl", "createdb", "postgres")
    return next((one for one in found if all((one / name).exists() for name in needed)), None)


@pytest.fixture
def server() -> Iterator[str]:
    """A PostgreSQL server of its own, on a socket; the URL of an empty database."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="pip install 'vmmlab[postgresql]'")
    user: dict[str, Any] = {"user": "postgres"} if os.geteuid() == 0 else {}  # it refuses root
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as scratch:
        here = Path(scratch)
        if user:
            shutil.chown(here, "postgres")

        def run(program: str, *words: str) -> None:
            command = [str(programs / program), *words]
            subprocess.run(command, cwd=here, check=True, capture_output=True, **user)

        data, log = str(here / "data"), str(here / "log")
        run("initdb", "-D", data, "-U", "vmm", "-A", "trust", "--no-sync")
        options = f"-k {here} -c listen_addresses='' -c fsync=off"
        run("pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")
        try:
            run("createdb", "-h", str(here), "-U", "vmm", "grades")
            yield f"postgresql+psycopg://vmm@/grades?host={here}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")


@pytest.mark.full
def test_a_gradebook_on_a_server(
    server: str, put: Put, sync: Sync, folder: Path, course: Course, tmp_path: Path
) -> None:
    from nbgrader.api import Gradebook

    (folder / "gradebook.db").unlink()
    (folder / "nbgrader_config.py").unlink()
    roster = {"alice": Entry("alice", "花子", '山田, "A"'), "zoe": Entry("zoe")}
    made = create.create(course, folder, Setup(cohort="spring", database=server, roster=roster))
    assert (made.files, made.students) == (("nbgrader_config.py",), ("alice", "zoe"))
    put(jump_target=FAIL)
    put("bob")
    would = sync(dry_run=True, create_students=True)
    with Gradebook(server, "vmm") as there:
        assert [one.id for one in there.students] == ["alice", "zoe"]
        assert there.assignments == []
    did = sync(create_students=True)
    assert [one.changes for one in did.synced] == [one.changes for one in would.synced]
    with Gradebook(server, "vmm") as there:
        grade = there.find_grade(JUMP, "lab3", "lab3-checks", "alice")
        assert (grade.auto_score, grade.max_score) == (0, 3)
        grade.manual_score = 2
        there.db.commit()
        assert there.find_submission("lab3-checks", "alice").score == 13
    assert not any(one.changed for one in sync().synced)
    put()
    (one,) = [one for one in sync().synced if one.changed]
    assert (one.student, one.changes.review, one.changes.after) == ("alice", [JUMP], 13)
    assert export.write(folder, tmp_path / "grades.csv") == export.Written(3, 1)
    assert not (folder / "gradebook.db").exists()
    with pytest.raises(UsageError, match="only an SQLite gradebook can be copied"):
        update.update(folder)


@pytest.mark.full
def test_a_server_that_is_not_there(put: Put, sync: Sync, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="pip install 'vmmlab[postgresql]'")
    config = folder / "nbgrader_config.py"
    url = f"postgresql+psycopg://vmm:secret@/grades?host={tmp_path}"
    config.write_text(f"c.CourseDirectory.db_url = {url!r}\n")
    put()
    with pytest.raises(InfraError, match="the gradebook cannot be used") as caught:
        sync()
    assert "secret" not in str(caught.value)


def test_a_server_without_a_driver(put: Put, sync: Sync, folder: Path) -> None:
    put()
    for url in ("oracle+nothing://x/y", "nonsense"):
        (folder / "nbgrader_config.py").write_text(f"c.CourseDirectory.db_url = {url!r}\n")
        with pytest.raises(UsageError, match=r"needs a driver|not the URL of a database"):
            sync()


# --- other versions of nbgrader ----------------------------------------------------------------


def downgraded(file: Path) -> None:
    """Make a gradebook without assignments one of an nbgrader that knew one course only."""
    with closing(sqlite3.connect(file)) as database:
        database.executescript(
            """
            DROP TABLE assignment;
            CREATE TABLE assignment (
                id VARCHAR(32) NOT NULL PRIMARY KEY,
                name VARCHAR(128) NOT NULL UNIQUE,
                duedate DATETIME
            );
            DROP TABLE course;
            UPDATE alembic_version SET version_num = '282d30a0218e';
            """
        )


def test_a_gradebook_of_an_older_nbgrader_is_updated_on_request_only(
    put: Put, sync: Sync, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "gradebook.db"
    downgraded(file)
    before = file.read_bytes()
    put()
    for dry in (True, False):
        with pytest.raises(UsageError, match=r"(?s)older nbgrader.*vmmlab gradebook upgrade"):
            sync(dry_run=dry)
    assert file.read_bytes() == before
    assert main.main(["gradebook", "upgrade", "--nbgrader", str(folder)]) == 0
    said = capsys.readouterr().out
    backup = folder / "gradebook.db.282d30a0218e.1"
    assert f"the gradebook as it was: {backup}" in said
    assert backup.read_bytes() == before
    assert sync().exit_code == 0
    assert [row[0] for row in rows(folder)["student"]] == ["alice", "bob"]
    assert main.main(["gradebook", "upgrade", "--nbgrader", str(folder)]) == 0
    assert "of this version already" in capsys.readouterr().out
    assert sorted(one.name for one in folder.glob("gradebook.db*")) == [file.name, backup.name]


def test_an_update_that_fails_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "gradebook.db"
    downgraded(file)
    with closing(sqlite3.connect(file)) as database:
        database.execute("DROP TABLE assignment")
        database.commit()
    before = file.read_bytes()
    with pytest.raises(InfraError, match="could not be updated; nothing has changed"):
        update.update(folder)
    assert file.read_bytes() == before
    assert [one.name for one in folder.iterdir() if "gradebook" in one.name] == [file.name]


def test_a_gradebook_of_a_newer_nbgrader_is_left_alone(put: Put, sync: Sync, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "gradebook.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = 'f00'")
        database.commit()
    before = (folder / "gradebook.db").read_bytes()
    put()
    with pytest.raises(UsageError, match=r"(?s)newer nbgrader.*f00"):
        sync()
    with pytest.raises(UsageError, match=r"(?s)newer nbgrader.*f00"):
        update.update(folder)
    assert (folder / "gradebook.db").read_bytes() == before


def test_a_file_that_is_no_gradebook_is_named(put: Put, sync: Sync, folder: Path) -> None:
    (folder / "gradebook.db").write_text("this is no database" * 100)
    put()
    with pytest.raises(InfraError, match="the gradebook is damaged: file is not a database"):
        sync()


# --- locked, or gone in the middle -------------------------------------------------------------


def test_a_gradebook_that_stays_locked(
    put: Put, sync: Sync, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_BUSY_MS", 1)
    put()
    before = rows(folder)
    with closing(sqlite3.connect(folder / "gradebook.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InfraError, match=r"(?s)locked.*run this again"):
            sync()
        other.execute("ROLLBACK")
    assert rows(folder) == before
    assert not (folder / "autograded").exists() or not list((folder / "autograded").rglob("*.*"))
    assert sync().exit_code == 0


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_gradebook_that_goes_away_in_the_middle(
    at: int, put: Put, sync: Sync, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part of the reports is there as a whole or not at all, and the rest can follow."""
    from vmmlab.classroom.gradebook import rows as row_module
    from vmmlab.classroom.gradebook import sync as sync_module

    for name in ("alice", "bob", "eve", "zoe"):
        put(name)
    monkeypatch.setattr(sync_module, "_TOGETHER", 2)
    real = row_module.Rows._save_scores
    calls = 0

    def fails(self: Any, handed: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise sqlite3.OperationalError("disk I/O error")
        real(self, handed)

    with monkeypatch.context() as patch:
        patch.setattr(row_module.Rows, "_save_scores", fails)
        if at == 3:  # there are two parts
            assert sync(create_students=True).exit_code == 0
        else:
            with pytest.raises((InfraError, sqlite3.OperationalError)):
                sync(create_students=True)
    there = {"alice", "bob"} if at > 1 else set()
    there |= {"eve", "zoe"} if at > 2 else set()
    handed = {path.parents[1].name for path in (folder / "submitted").rglob("*.json")}
    assert handed == there
    assert len(rows(folder)["submitted_assignment"]) == len(there)
    result = sync(create_students=True)
    assert {one.student for one in result.synced if one.changed} == {
        "alice", "bob", "eve", "zoe",
    } - there  # fmt: skip
    assert len(rows(folder)["grade"]) == 16
    assert grades(folder, "zoe")[JUMP]["score"] == 3


def test_a_file_that_is_deleted_in_the_middle(
    put: Put, sync: Sync, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux lets a program write into a deleted file; SQLite notices, and so does the command."""
    from vmmlab.classroom.gradebook import rows as row_module
    from vmmlab.classroom.gradebook import sync as sync_module

    for name in ("alice", "bob"):
        put(name)
    monkeypatch.setattr(sync_module, "_TOGETHER", 1)
    real = row_module.Rows.save
    file, kept = folder / "gradebook.db", folder / "kept.db"

    def moves(self: Any, handed: Any) -> None:
        real(self, handed)
        if handed[0].student == "alice":
            file.rename(kept)

    with monkeypatch.context() as patch:
        patch.setattr(row_module.Rows, "save", moves)
        with pytest.raises(InfraError, match="deleted or moved in the middle"):
            sync(create_students=True)
    assert not file.exists()
    kept.rename(file)
    assert sync(create_students=True).exit_code == 0
    assert len(rows(folder)["submitted_assignment"]) == 2


@pytest.mark.parametrize("emptied", [False, True])
def test_a_deleted_gradebook_is_not_replaced_by_an_empty_one(
    put: Put, sync: Sync, folder: Path, course: Course, tmp_path: Path, emptied: bool
) -> None:
    file = folder / "gradebook.db"
    put("alice")
    assert sync(create_students=True).exit_code == 0
    if emptied:  # by a disk that was full
        file.write_bytes(b"")
    else:
        file.unlink()
    for asked in (
        lambda: sync(create_students=True),
        lambda: sync(create_students=True, dry_run=True),
        lambda: create.create(course, folder, Setup(cohort="spring")),
        lambda: export.write(folder, tmp_path / "grades.csv"),
    ):
        with pytest.raises(UsageError, match="there is no gradebook") as caught:
            asked()
        assert str(folder / "autograded") in str(caught.value.next_step)
        assert emptied == file.exists()
        assert not emptied or file.read_bytes() == b""
    assert not (tmp_path / "grades.csv").exists()
    (folder / "autograded").rename(tmp_path / "autograded")
    assert sync(create_students=True).exit_code == 0
    assert len(rows(folder)["submitted_assignment"]) == 1


@pytest.mark.full
def test_a_server_that_stops_in_the_middle(
    server: str, put: Put, sync: Sync, folder: Path, course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vmmlab.classroom.gradebook import rows as row_module
    from vmmlab.classroom.gradebook import sync as sync_module

    (folder / "gradebook.db").unlink()
    (folder / "nbgrader_config.py").unlink()
    create.create(course, folder, Setup(cohort="spring", database=server))
    for name in ("alice", "bob", "eve"):
        put(name)
    monkeypatch.setattr(sync_module, "_TOGETHER", 1)
    real = row_module.Rows.save

    def stops(self: Any, handed: Any) -> None:
        if handed[0].student == "bob":
            there = psycopg.connect(server.replace("+psycopg", ""), autocommit=True)
            with there:  # as when the server crashes: it ends every connection
                there.execute(
                    "SELECT pg_terminate_backend (pid) FROM pg_stat_activity"
                    " WHERE pid <> pg_backend_pid () AND datname = 'grades'"
                )
        real(self, handed)

    psycopg = pytest.importorskip("psycopg")
    with monkeypatch.context() as patch:
        patch.setattr(row_module.Rows, "save", stops)
        with pytest.raises(InfraError, match="the gradebook cannot be used") as caught:
            sync(create_students=True)
    assert "\n" not in str(caught.value.message)
    handed = {path.parents[1].name for path in (folder / "submitted").rglob("*.json")}
    assert handed == {"alice"}
    result = sync(create_students=True)
    assert {one.student for one in result.synced if one.changed} == {"bob", "eve"}


# --- students whom the roster does not know, and a whole class -----------------------------------


def test_a_student_who_is_not_in_the_roster_is_listed_and_kept(
    put: Put, sync: Sync, folder: Path
) -> None:
    put("bob", jump_target=FAIL)
    sync()
    before = grades(folder, "bob")
    put("bob")
    put("alice")
    result = sync(roster={"alice": Entry("alice")})
    (one,) = result.refused
    assert "bob is not in the roster" in one.reason
    assert grades(folder, "bob") == before
    assert [row[0] for row in rows(folder)["student"]] == ["alice", "bob"]


def test_a_class_takes_no_more_statements_than_a_few_students(
    put: Put, sync: Sync, folder: Path
) -> None:
    """nbgrader's own functions would need hundreds for each report."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def statements(students: int) -> int:
        count = 0

        def executed(*_: object) -> None:
            nonlocal count
            count += 1

        for number in range(students):
            put(f"s{number}", jump_target=FAIL)
        event.listen(Engine, "before_cursor_execute", executed)
        try:
            assert sync(create_students=True).exit_code == 0
        finally:
            event.remove(Engine, "before_cursor_execute", executed)
        return count

    sync_of_one = statements(1)
    assert statements(40) <= sync_of_one < 100


def test_another_vmmlab_leaves_the_copy_of_a_dry_run_alone(
    put: Put, sync: Sync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each vmmlab removes what killed ones have left in the folder for temporary files."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    real = Book.students
    there: list[int] = []

    def students(self: Book) -> frozenset[str]:
        reap(place)
        there.append(len(list(place.iterdir())))
        return real(self)

    monkeypatch.setattr(Book, "students", students)
    put()
    assert sync(dry_run=True).synced[0].changes.after == 14
    assert there == [1]
    assert list(place.iterdir()) == []

"""nbgrader's log is not printed; its last line says what went wrong."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tornado.log import app_log

from vmmlab.classroom.gradebook.quiet import quiet, reason

LOGGED = """Traceback (most recent call last):
  File "api.py", line 1, in commit
sqlite3.OperationalError: database or disk is full

The above exception was the direct cause of the following exception:

sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) database or disk is full
(Background on this error at: https://sqlalche.me/e/21/e3q8)
"""


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    app = SimpleNamespace(log=None)
    with quiet(app) as said:
        app_log.error("Rolling back session")
        app.log.error(LOGGED)
        app.log.error("There was an error processing assignment: %s", "lab0")
    assert capfd.readouterr() == ("", "")
    assert not app_log.disabled
    error = ValueError("Please see the the above traceback\nfor details")
    assert reason(error, said).endswith("(sqlite3.OperationalError) database or disk is full")
    assert reason(error, []) == "Please see the the above traceback"
    assert reason(ValueError(), []) == "ValueError"

"""Runs the checks of one lab in this process, in a pytest with no plugin but the engine.

Nothing outside the lab's test files takes part: no conftest.py, no configuration, no plugin, no
environment variable. For the student's own pytest see `vmmlab.student.plugin`.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from vmmlab.base.errors import CourseError, InfraError, UsageError, VmmlabError
from vmmlab.base.message import msg
from vmmlab.grading.run import LabRun

_EMPTY_INI: Final = Path(__file__).with_name("pytest.ini")
# Plugins that pytest would load: none is needed, and each one takes time or changes something for
# the whole process.
_WITHOUT: Final = (
    "cacheprovider", "debugging", "doctest", "faulthandler", "junitxml", "logging", "pastebin",
    "setuponly", "setupplan", "stepwise", "terminal", "threadexception", "unittest",
    "unraisableexception", "warnings",
)  # fmt: skip
_ENVIRONMENT: Final = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_ADDOPTS": None,
    "PYTEST_PLUGINS": None,
    "PYTEST_CURRENT_TEST": None,
    "PYTEST_THEME": None,
    "PYTEST_DEBUG": None,
}


def run_checks(run: LabRun, folder: Path, select: str | None = None) -> None:
    """Run the checks of one lab; their results are in `run` afterwards.

    Args:
        run: the lab's checks and boots.
        folder: the folder of the test files.
        select: a pytest `-k` expression over ids and function names of checks.

    Raises:
        CourseError: the checks are wrong, or disagree with course.yml.
        UsageError: `select` cannot be read or matches nothing.
        InfraError: the boots cannot start, or pytest itself failed.
        KeyboardInterrupt: the run was interrupted.
    """
    with _environment(_ENVIRONMENT):
        # Imported here, so that compilers and QEMU are at work while it loads.
        import pytest

        from vmmlab.grading.engine import Engine

        engine = Engine(lambda path: run if path in run.files else None, alone=True)
        arguments = [
            *("-c", str(_EMPTY_INI), "--rootdir", str(folder), "--confcutdir", str(folder)),
            *("--noconftest", "--import-mode=importlib", "--assert=plain", "--capture=sys"),
        ]
        for name in _WITHOUT:
            arguments += ["-p", f"no:{name}"]
        if select:
            arguments += ["-k", select]
        arguments += map(str, run.files)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = pytest.main(arguments, plugins=[engine])
    if isinstance(engine.error, (VmmlabError, KeyboardInterrupt)):
        raise engine.error
    if engine.error is not None:
        raise CourseError(
            msg("a check of {lab} ended the whole run.", lab=run.lab), found=repr(engine.error)
        )
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise _nothing_ran(run, select, code, said.getvalue().strip())


def _nothing_ran(run: LabRun, select: str | None, code: int, said: str) -> VmmlabError:
    """Return the error for a pytest that ran no check.

    Args:
        run: the lab's checks.
        select: the `-k` expression.
        code: pytest's exit code.
        said: what it printed.
    """
    import pytest

    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        return UsageError(
            msg("no check of {lab} matches {select!r}.", lab=run.lab, select=select)
            if select
            else msg("{lab} has no checks.", lab=run.lab),
            expected=msg(
                "a part of one of {checks}", checks=", ".join(check.id for check in run.checks)
            )
            if run.checks
            else "",
        )
    if code == pytest.ExitCode.USAGE_ERROR and select:
        return UsageError(
            msg("the selection {select!r} cannot be read.", select=select),
            expected=msg('words with "and", "or", "not" and brackets, as for pytest -k'),
            found=said.removeprefix("ERROR: "),
        )
    return InfraError(
        msg("the engine that runs the checks failed."),
        found=said[-2000:],
        next_step=msg("this is a defect of vmmlab; please report it"),
    )


@contextlib.contextmanager
def _environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables, or unset those that are None, and restore them afterwards."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

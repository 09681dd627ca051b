"""What all tests share: the English language, and a browser or the count of tests without one."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import pytest
from browsing import Browser, axe_source

os.environ["LC_ALL"] = "C.UTF-8"


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give vmmlab a state folder of the tests' own."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        patch.delenv("VMMLAB_OWN", raising=False)
        yield folder


def pytest_collection_finish() -> None:
    """Keep what thousands of collected tests consist of out of each later collection of garbage."""
    gc.collect()
    gc.freeze()


BROWSER: Final = "browser"
_DESELECTED: Final = pytest.StashKey[int]()


# --- browser tests: skipped without a browser, unless --require-browser is given ------------------


class Chromium(NamedTuple):
    """The programs that open a page."""

    program: str
    driver: str


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --require-browser."""
    parser.addoption(
        "--require-browser",
        action="store_true",
        help="without Chromium and its driver, fail the browser tests instead of skipping them",
    )


@pytest.fixture(scope="session")
def chromium(pytestconfig: pytest.Config) -> Chromium:
    """Return Chromium and its driver; skip the test if one of them is missing."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if program and driver:
        return Chromium(program, driver)
    missing = "chromium or chromedriver is missing: apt-get install chromium chromium-driver"
    _without(pytestconfig, missing)


def _without(config: pytest.Config, missing: str) -> NoReturn:
    if config.getoption("--require-browser"):
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="module")
def browser(chromium: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Yield a browser for the pages of a module."""
    made = Browser(tmp_path_factory.mktemp("pages"), chromium.program, chromium.driver)
    try:
        yield made
    finally:
        made.driver.quit()


@pytest.fixture(scope="session")
def axe(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the source of axe-core; skip the test if it cannot be had."""
    try:
        return axe_source(tmp_path_factory.mktemp("axe"))
    except FileNotFoundError as error:
        _without(pytestconfig, str(error))


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Count the browser tests that -m or -k leaves out."""
    for item in items:
        if item.get_closest_marker(BROWSER):
            stash = item.config.stash
            stash[_DESELECTED] = stash.get(_DESELECTED, 0) + 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell xdist's controller what this worker counted."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[BROWSER] = session.config.stash.get(_DESELECTED, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker counted; all workers collect the same tests."""
    counted = getattr(node, "workeroutput", {}).get(BROWSER, 0)
    stash = node.config.stash
    stash[_DESELECTED] = max(stash.get(_DESELECTED, 0), counted)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say how many browser tests did not run."""
    reports = terminalreporter.stats.get("skipped", [])
    left = config.stash.get(_DESELECTED, 0) + sum(BROWSER in one.keywords for one in reports)
    if left:
        terminalreporter.write_line(
            f"{left} browser tests did not run; to run them: make test-browser"
        )


# --- schemas --------------------------------------------------------------------------------------


def _without_dialect(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_dialect(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _without_dialect(value)
        for key, value in node.items()
        if not (key == "enum" and "const" in node)
    }


@pytest.fixture(scope="session")
def without_dialect() -> Callable[[Any], Any]:
    """Takes out of a JSON Schema what differs between versions of pydantic."""
    return _without_dialect

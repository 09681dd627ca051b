"""nbgrader's formgrader in a real headless browser: what an instructor sees and types.

Needs Chromium and its driver (`make test-browser` installs them). Set VMMLAB_SCREENSHOTS to a
folder to keep pictures of the pages.
"""

import os
import secrets
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import chromium
from gradebook_helpers import FAIL, INFRA, JUMP, Put, Sync, app, autograde, grades, rows, worksheet

from vmmlab.classroom.gradebook import create
from vmmlab.host.sandbox import Sandbox

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore:Object of type"),  # nbgrader's own, in autograde
    pytest.mark.browser,
]


@pytest.fixture
def server(folder: Path, tmp_path: Path) -> Iterator[str]:
    """A Jupyter server with nbgrader's extension; the URL of its formgrader, with a token."""
    token = secrets.token_hex(8)
    log = tmp_path / "server.log"
    info = tmp_path / "runtime"
    info.mkdir()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"),
                *("--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"),
                *(f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"),
                f"--ServerApp.info_file={info / 'server.json'}",
            ],
            cwd=folder,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HOME": str(tmp_path)},
        )
    try:
        port = _port(process, log, token)
        yield f"http://127.0.0.1:{port}/formgrader?token={token}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: "subprocess.Popen[bytes]", log: Path, token: str) -> int:
    """Return the port that the server has chosen, once it answers."""
    import re
    import time

    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", log.read_text())
        if found:
            url = f"http://127.0.0.1:{found[1]}/api/status?token={token}"
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return int(found[1])
            except OSError:
                pass
        time.sleep(0.2)  # another program's server: there is no event to wait for
    raise AssertionError(log.read_text())


class Browser:
    """Chromium without a window."""

    def __init__(self, formgrader: str, program: str, driver: str) -> None:
        self.driver = chromium(program, driver, "window-size=1280,1000")
        self.driver.get(formgrader)
        self.base = formgrader.split("?")[0]

    def see(self, path: str, selector: str) -> None:
        """Open a page and wait until a text is on it."""
        self.driver.get(self.base + path)
        self.until(lambda: self.all(selector))

    def until(self, what: Any) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 60).until(lambda _: what())

    def all(self, selector: str) -> list[Any]:
        from selenium.webdriver.common.by import By

        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def table(self) -> dict[str, list[str]]:
        """Return the rows of the page's table by their first cell."""
        found = [
            [cell.text.strip() for cell in row.find_elements("css selector", "td")]
            for row in self.all("table tbody tr")
        ]
        return {row[0]: row[1:] for row in found if len(row) > 1}

    def picture(self, name: str) -> None:
        folder = os.environ.get("VMMLAB_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))


@pytest.fixture
def browser(server: str, chromium: Any) -> Iterator[Browser]:
    made = Browser(server, chromium.program, chromium.driver)
    try:
        yield made
    finally:
        made.driver.quit()


@pytest.fixture
def both(put: Put, sync: Sync, folder: Path) -> None:
    """A worksheet and a lab of alice's; the grader could not judge one check."""
    worksheet(folder)
    autograde(folder)
    put(jump_target=FAIL, ladder_long=INFRA)
    put("bob")
    sync()


def test_the_formgrader_shows_both_and_a_mark_by_hand_survives(
    both: None, browser: Browser, sync: Sync, folder: Path
) -> None:
    browser.see("/gradebook", "table tbody td a")
    browser.until(lambda: "lab3-checks" in browser.table())
    browser.picture("assignments")
    assert {"lab3", "lab3-checks"} <= set(browser.table())
    assert browser.table()["lab3-checks"][1] == "2"

    browser.see("/manage_students/alice", "table tbody td a")
    browser.until(lambda: "lab3-checks" in browser.table())
    browser.picture("student")
    scores = browser.table()
    assert scores["lab3"][0] == "3 / 5"
    assert scores["lab3-checks"][0] == "6 / 14"

    browser.see("/gradebook/lab3-checks/lab3", "table tbody td a")
    browser.until(lambda: len(browser.all(".glyphicon-ok")) >= 2)
    browser.picture("submissions")  # alice's needs a mark and has failed tests, bob's neither

    browser.see("/manage_students/alice/lab3-checks", "table tbody td a")
    submission = browser.all("table tbody td a")[0].get_attribute("href")
    path = submission.removeprefix(browser.base)
    browser.see(path, f"#{JUMP}")
    box = browser.all(f"#{JUMP}")[0]
    browser.until(lambda: box.get_attribute("placeholder") == "0")
    comment = browser.all(f"#{JUMP}-comment")[0]
    assert comment.get_attribute("placeholder").startswith("far-jump-wrong-target: ")
    page = browser.all("#notebook")[0].text
    for part in ("lab3.jump.target", "a far jump to 0xf0000", "not judged: the points are still"):
        assert part in page
    browser.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    browser.picture("submission")

    for selector, text in ((f"#{JUMP}", "2.5"), (f"#{JUMP}-comment", "nearly right")):
        field = browser.all(selector)[0]
        field.click()
        field.send_keys(text)
        browser.driver.execute_script("arguments[0].blur()", field)
    browser.until(lambda: grades(folder)[JUMP]["manual_score"] == 2.5)
    browser.until(lambda: grades(folder)[JUMP]["comment"] == "nearly right")

    before = rows(folder)
    assert not any(one.changed for one in sync().synced)
    assert rows(folder) == before
    browser.see(path, f"#{JUMP}")
    browser.until(lambda: browser.all(f"#{JUMP}")[0].get_attribute("value") == "2.5")
    browser.picture("marked")
    assert browser.all(f"#{JUMP}-comment")[0].get_attribute("value") == "nearly right"

    app("GenerateFeedbackApp", folder, "--course=vmm", "--assignment=lab3-checks")
    feedback = folder / "feedback" / "alice" / "lab3-checks" / "lab3.html"
    assert "nearly right" in feedback.read_text()
    browser.driver.get(feedback.as_uri())
    assert "Score: 8.5 / 14.0" in browser.all("body")[0].text
    browser.picture("feedback")


@pytest.fixture
def configured(folder: Path) -> None:
    """The configuration that `vmmlab gradebook init` writes."""
    (folder / "nbgrader_config.py").write_text(create._config(create.Setup(cohort="dev")))


def test_the_buttons_grade_worksheets_and_say_what_to_do_with_checks(
    configured: None, both: None, browser: Browser, folder: Path
) -> None:
    def pressed(button: str, modal: str) -> str:
        """Press a button and return what the dialog says."""
        browser.until(lambda: browser.all(button))
        browser.driver.execute_script("arguments[0].click()", browser.all(button)[0])
        browser.until(lambda: browser.all(f"{modal} .modal-body"))
        browser.until(lambda: browser.all(f"{modal} .modal-body")[0].text)
        return str(browser.all(f"{modal} .modal-body")[0].text)

    before = rows(folder)
    browser.see("/manage_submissions/lab3-checks", "td.autograde a")
    said = pressed("td.autograde a", "#error-modal")
    browser.picture("autograde-checks")
    assert "vmmlab gradebook sync results/reports" in said
    assert "Traceback" not in said
    browser.see("", "td.assign a")
    browser.until(lambda: "lab3-checks" in browser.table())
    rows_there = [row.text for row in browser.all("table tbody tr")]
    at = next(n for n, text in enumerate(rows_there, 1) if "lab3-checks" in text)
    said = pressed(f"table tbody tr:nth-child({at}) td.assign a", "#error-modal")
    browser.picture("generate-checks")
    assert "vmmlab gradebook sync results/reports" in said
    assert "Traceback" not in said
    assert rows(folder) == before
    if Sandbox.choose(require=False).kind == "none":
        pytest.skip("worksheets are not graded without a sandbox")
    browser.see("/manage_submissions/lab3", "td.autograde a")
    said = pressed("td.autograde a", "#success-modal")
    browser.picture("autograde-worksheet")
    assert "Successfully autograded 'lab3' for student 'alice'" in said


def test_without_the_notebook_file_there_is_nothing_to_review(
    both: None, browser: Browser, folder: Path
) -> None:
    """Why a notebook is written for each student."""
    (folder / "autograded" / "bob" / "lab3-checks" / "lab3.ipynb").unlink()
    browser.see("/gradebook/lab3-checks/lab3", "table tbody td a")
    browser.until(lambda: browser.table())
    assert len(browser.table()) == 1  # alice's only

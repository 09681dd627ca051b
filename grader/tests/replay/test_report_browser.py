"""The report in a real browser: lanes, labels, slider, keyboard, accessibility.

Needs Chromium, its driver, and npm for axe-core (`make test-browser` installs them). Set
VMMLAB_SCREENSHOTS to a folder to keep pictures of the pages.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from records import COURSE, boot, html, many, record, with_boot
from test_report_page import explored

from vmmlab.observe.observation import Observation
from vmmlab.x86.decode import as_text

pytestmark = [pytest.mark.full, pytest.mark.browser]

PHONE, DESKTOP = 390, 1280
WIDTHS = pytest.mark.parametrize("width", [PHONE, DESKTOP])
AXE: Final = "axe-core@4.10.3"

PAGES: Final = {
    "right": lambda: html(record("lab3")),
    "wrong": lambda: html(record("lab3.real.lgdt-by-ds")),
    "wrong-ja": lambda: html(record("lab3.real.lgdt-by-ds"), "ja"),
    "panic": lambda: html(record("lab5")),
    "firmware-ja": lambda: html(record("lab6"), "ja"),
    "guest": lambda: html(record("lab7")),
    "guest-ja": lambda: html(record("lab10"), "ja"),
    "memory-ja": lambda: html(record("lab8"), "ja"),
    "signals-ja": lambda: html(record("lab9"), "ja"),
    "lock": lambda: html(record("lab4.lock.store-only")),
    "order": lambda: html(explored()[0]),
    "many": lambda: html(with_boot(record("lab3"), lambda seen: many(seen, 64))),
}

OVERLAPPING = """
const boxes = [...document.querySelectorAll("svg.lanes")].map((svg) =>
  [...svg.querySelectorAll("text")].map((one) => [one.getBBox(), one.textContent]));
const found = [];
for (const texts of boxes) {
  texts.forEach(([a, told], at) => texts.slice(at + 1).forEach(([b, other]) => {
    if (a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height)
      found.push([told, other]);
  }));
}
return found;
"""
SQUEEZED = """
const lines = (one) => {
  const range = document.createRange();
  range.selectNodeContents(one);
  return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size;
};
return [...document.querySelectorAll("th, td")].filter((one) => {
  const told = one.textContent.trim(), count = lines(one);
  return count > 2 && told.length / count < 2.5;
}).map((one) => one.textContent.trim());
"""
OUTSIDE = """
return [...document.querySelectorAll("svg.lanes")].flatMap((svg) => {
  const most = svg.viewBox.baseVal.width;
  return [...svg.querySelectorAll("text")].filter((one) => {
    const box = one.getBBox();
    return box.x < 0 || box.x + box.width > most;
  }).map((one) => one.textContent);
});
"""


class Browser:
    """Chromium without a window, and the pages."""

    def __init__(self, folder: Path, program: str, driver: str) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        options = Options()
        options.binary_location = program
        for word in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
            options.add_argument(f"--{word}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.driver.set_script_timeout(120)  # axe-core on a busy machine
        self.folder = folder

    def open(self, name: str, width: int = DESKTOP, scheme: str = "light", text: str = "") -> None:
        """Open a page, every fold of it unfolded."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        path = self.folder / f"{name}.html"
        path.write_text(text or PAGES[name](), encoding="utf-8")
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get(path.as_uri())

    def unfold(self) -> None:
        self.js('document.querySelectorAll("details").forEach((one) => { one.open = true; })')

    def js(self, text: str, *values: Any) -> Any:
        return self.driver.execute_script(text, *values)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def errors(self) -> list[str]:
        return [one["message"] for one in self.driver.get_log("browser")]

    def picture(self, name: str) -> None:
        if folder := os.environ.get("VMMLAB_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))


@pytest.fixture(scope="module")
def browser(chromium, tmp_path_factory) -> Iterator[Browser]:
    made = Browser(tmp_path_factory.mktemp("pages"), chromium.program, chromium.driver)
    try:
        yield made
    finally:
        made.driver.quit()


@pytest.fixture(scope="session")
def axe(pytestconfig, tmp_path_factory) -> str:
    """The source of axe-core, from npm; kept in build/ for the next time."""
    kept = COURSE.root / "build" / f"{AXE.replace('@', '-')}.js"
    if kept.is_file():
        return kept.read_text("utf-8")
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    done = npm and subprocess.run(
        [npm, "pack", "--silent", AXE], cwd=folder, capture_output=True, text=True, check=False
    )
    if not done or done.returncode:
        missing = f"axe-core is missing: npm pack {AXE}: {done.stderr if done else 'no npm'}"
        if pytestconfig.getoption("--require-browser"):
            pytest.fail(missing)
        pytest.skip(missing)
    with tarfile.open(folder / done.stdout.split()[-1]) as packed:
        text = packed.extractfile("package/axe.min.js").read().decode("utf-8")
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(text, encoding="utf-8")
    return text


# --- what is seen ---------------------------------------------------------------------------------


@WIDTHS
@pytest.mark.parametrize("name", PAGES)
def test_a_page_in_a_window(browser, name, width):
    browser.open(name, width)
    browser.unfold()
    assert browser.js("return document.documentElement.scrollWidth") <= width
    assert browser.js(OVERLAPPING) == []
    assert browser.js(OUTSIDE) == []
    assert browser.js(SQUEEZED) == [], "a word for each line would be readable, a letter is not"
    assert browser.errors() == []
    browser.picture(f"report-{name}-{width}")


def test_labels_that_overlap_are_noticed(browser):
    browser.open("right")
    browser.js(
        'document.querySelectorAll("svg.lanes .head").forEach((o) => o.setAttribute("x", 300))'
    )
    assert browser.js(OVERLAPPING)


def test_a_column_that_is_too_narrow_is_noticed(browser):
    browser.open("guest-ja", PHONE)
    narrow = (
        "<div style='width: 1em'><table><tr><td style='min-width: 0'>ロングモード</td></tr></table>"
    )
    browser.js(
        'document.querySelector("main").insertAdjacentHTML("beforeend", arguments[0])', narrow
    )
    assert browser.js(SQUEEZED) == ["ロングモード"]


def test_an_error_is_noticed(browser):
    text = PAGES["right"]().replace('"use strict";', "nothing.at.all();", 1)
    browser.open("broken", text=text)
    assert browser.errors()


def test_a_page_that_loads_something_is_noticed(browser):
    text = PAGES["right"]().replace(
        "</main>", '<img alt="" src="https://example.org/x.png"></main>'
    )
    browser.open("loads", text=text)
    assert any("Content Security Policy" in one for one in browser.errors())


@pytest.mark.parametrize("name", ["right", "wrong"])
def test_each_cpu_has_a_lane_that_is_seen(browser, name):
    browser.open(name)
    seen: Observation = (
        record({"right": "lab3", "wrong": "lab3.real.lgdt-by-ds"}[name]).boots[0].seen
    )
    lanes = browser.all("details.boot[open] svg.lanes g.own")
    assert [lane.find_element("css selector", ".name").text for lane in lanes] == [
        cpu.name for cpu in seen.cpus
    ]
    for lane, cpu in zip(lanes, seen.cpus, strict=True):
        marks = lane.find_elements("css selector", "circle")
        assert len(marks) == len(cpu.milestones)
        assert all(mark.is_displayed() for mark in marks)
        assert lane.find_element("css selector", ".end").text


# --- the slider -----------------------------------------------------------------------------------


def shown(browser) -> tuple[str, str]:
    return browser.one(".replay output").text, browser.one(".replay .instruction").text


def steps_of(cpu: int) -> list[str]:
    return [
        as_text(step.code, step.state.pc, step.state.bits)
        for step in boot("lab3", "ladder").cpus[cpu].steps
    ]


def test_the_slider_moves(browser):
    from selenium.webdriver.common.keys import Keys

    browser.open("right")
    wanted = steps_of(1)
    count = len(wanted)
    assert shown(browser) == (f"step 1 of {count}", wanted[0])
    slider = browser.one(".replay input[type=range]")
    for number in range(2, 6):
        slider.send_keys(Keys.ARROW_RIGHT)
        assert shown(browser) == (f"step {number} of {count}", wanted[number - 1])
    slider.send_keys(Keys.ARROW_LEFT)
    assert shown(browser) == (f"step 4 of {count}", wanted[3])
    slider.send_keys(Keys.END)
    assert shown(browser) == (f"step {count} of {count}", wanted[-1])
    browser.one(".replay .back").click()
    assert shown(browser) == (f"step {count - 1} of {count}", wanted[-2])
    browser.one(".replay .syntax").send_keys(Keys.ARROW_RIGHT)  # anywhere in the replay
    assert shown(browser) == (f"step {count} of {count}", wanted[-1])
    browser.one(".replay .forward").click()  # there is no further one
    assert shown(browser) == (f"step {count} of {count}", wanted[-1])
    assert browser.errors() == []


def test_a_step_shows_registers_mode_and_source(browser):
    browser.open("right")
    seen = boot("lab3", "ladder").cpus[1].steps
    writes = next(at for at, step in enumerate(seen) if step.register == "cr0")
    browser.js(
        "const r = document.querySelector('.replay input'); r.value = arguments[0];"
        "r.dispatchEvent(new Event('input'))",
        writes + 1,
    )
    assert browser.one(".replay .mode").text == "real mode"
    assert "CR0 0x60000010 → 0x60000011" in browser.one(".replay .effect").text
    assert browser.one(".replay .file").text == seen[writes].place.source
    browser.one(".replay .forward").click()
    assert browser.one(".replay .mode").text == "protected mode"
    changed = {row.text.split()[0] for row in browser.all(".replay tr.changed")}
    assert changed == {"RIP", "CR0"}
    assert "CR0 0x60000011 (was 0x60000010)" in browser.one(".replay .registers").text


def test_intel_syntax_at_a_click(browser):
    browser.open("right")
    att = shown(browser)[1]
    assert att == boot("lab3", "ladder").cpus[1].steps[0].text == "ljmpw $0xf00, $0x0"
    browser.one(".replay .syntax").click()
    assert shown(browser)[1] == "ljmp 0xf00:0"
    browser.one(".replay .syntax").click()
    assert shown(browser)[1] == att


def test_another_cpu(browser):
    from selenium.webdriver.support.ui import Select

    browser.open("right")
    Select(browser.one(".replay select")).select_by_visible_text("CPU 3")
    assert shown(browser) == (f"step 1 of {len(steps_of(3))}", steps_of(3)[0])


def test_a_failing_cpu_is_shown_where_it_stopped(browser):
    browser.open("wrong")
    last = record("lab3.real.lgdt-by-ds").boots[0].seen.cpus[1].steps[-1]
    number = len(record("lab3.real.lgdt-by-ds").boots[0].seen.cpus[1].steps)
    wanted = as_text(last.code, last.state.pc, last.state.bits)
    assert shown(browser) == (f"step {number} of {number}", wanted)


def test_the_counterexample_step_by_step(browser):
    browser.open("order")
    rows = browser.all("#explored tbody tr")
    at = [row.get_attribute("aria-current") for row in rows].index("step")
    assert at == len(rows) - 1
    browser.one("#explored .back").click()
    now = browser.all("#explored tr.now")
    assert [row.text for row in now] == [rows[at - 1].text]
    assert len(browser.all("#explored .turn.now")) == 1


# --- by keyboard, on paper, read aloud ------------------------------------------------------------


def test_by_keyboard(browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser.open("wrong")
    ActionChains(browser.driver).send_keys(Keys.TAB).perform()
    active = browser.driver.switch_to.active_element
    assert active.get_attribute("class") == "skip"
    assert active.is_displayed()
    hint = browser.one(".hint summary")
    hint.send_keys(Keys.ENTER)
    assert browser.one(".hint").get_attribute("open") is not None
    reached = set()
    for _ in range(80):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        active = browser.driver.switch_to.active_element
        reached.add((active.tag_name, active.get_attribute("type") or ""))
    assert {("input", "range"), ("button", "button"), ("summary", ""), ("a", "")} <= reached


def test_a_link_to_a_boot_opens_it(browser):
    browser.open("wrong")
    browser.all(".failure dd a")[-1].click()
    name = browser.all(".failure dd a")[-1].get_attribute("href").partition("#")[2]
    assert browser.one(f"#{name}").get_attribute("open") is not None


def test_on_paper(browser):
    browser.open("wrong")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not browser.one(".replay .controls").is_displayed()
        assert not browser.one("nav").is_displayed()
        assert browser.one("svg.lanes").is_displayed()
        assert browser.one(".failure").is_displayed()
        done = browser.driver.execute_cdp_cmd("Page.printToPDF", {})
        assert len(done["data"]) > 10_000
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def faults(browser: Browser, axe: str) -> list[str]:
    """What axe-core calls serious or critical."""
    browser.js(axe + "; window.axe = axe;")
    found = browser.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {resultTypes: ['violations']}).then((r) => done(JSON.stringify("
        "r.violations.filter((v) => ['serious', 'critical'].includes(v.impact)).map((v) =>"
        "[v.id, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200))]))))"
    )
    return [f"{name}: {nodes}" for name, nodes in json.loads(found)]


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
@pytest.mark.parametrize("name", [name for name in PAGES if name != "many"])
def test_no_serious_fault_of_accessibility(browser, axe, name, width, scheme):
    browser.open(name, width, scheme)
    browser.unfold()
    assert faults(browser, axe) == []


def test_a_fault_of_accessibility_is_noticed(browser, axe):
    text = PAGES["wrong"]().replace("--dim:#57606a", "--dim:#d0d0d0")
    browser.open("faint", text=text)
    assert any(one.startswith("color-contrast") for one in faults(browser, axe))

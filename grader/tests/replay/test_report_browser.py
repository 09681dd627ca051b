"""The report in a real browser: lanes, labels, slider, keyboard, accessibility.

Needs Chromium (`make test-browser` installs it).
"""

from __future__ import annotations

from typing import Final

import pytest
from browsing import DESKTOP, PHONE, Browser
from records import boot, html, many, record, with_boot
from test_report_page import explored

from vmmlab.observe.observation import Observation
from vmmlab.x86.decode import as_text

pytestmark = [pytest.mark.full, pytest.mark.browser]

WIDTHS = pytest.mark.parametrize("width", [PHONE, DESKTOP])

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


def opened(browser: Browser, name: str, width: int = DESKTOP, scheme: str = "light") -> None:
    browser.show(name, PAGES[name](), width, scheme)


# --- what is seen ---------------------------------------------------------------------------------


@WIDTHS
@pytest.mark.parametrize("name", PAGES)
def test_a_page_in_a_window(browser, name, width):
    opened(browser, name, width)
    browser.unfold()
    assert browser.width() <= width
    assert browser.js(OVERLAPPING) == []
    assert browser.js(OUTSIDE) == []
    assert browser.js(SQUEEZED) == [], "a word for each line would be readable, a letter is not"
    assert browser.errors() == []
    browser.picture(f"report-{name}-{width}")


def test_labels_that_overlap_are_noticed(browser):
    opened(browser, "right")
    browser.js(
        'document.querySelectorAll("svg.lanes .head").forEach((o) => o.setAttribute("x", 300))'
    )
    assert browser.js(OVERLAPPING)


def test_a_column_that_is_too_narrow_is_noticed(browser):
    opened(browser, "guest-ja", PHONE)
    narrow = (
        "<div style='width: 1em'><table><tr><td style='min-width: 0'>ロングモード</td></tr></table>"
    )
    browser.js(
        'document.querySelector("main").insertAdjacentHTML("beforeend", arguments[0])', narrow
    )
    assert browser.js(SQUEEZED) == ["ロングモード"]


def test_an_error_is_noticed(browser):
    text = PAGES["right"]().replace('"use strict";', "nothing.at.all();", 1)
    browser.show("broken", text)
    assert browser.errors()


def test_a_page_that_loads_something_is_noticed(browser):
    text = PAGES["right"]().replace(
        "</main>", '<img alt="" src="https://example.org/x.png"></main>'
    )
    browser.show("loads", text)
    assert any("Content Security Policy" in one for one in browser.errors())


@pytest.mark.parametrize("name", ["right", "wrong"])
def test_each_cpu_has_a_lane_that_is_seen(browser, name):
    opened(browser, name)
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

    opened(browser, "right")
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
    opened(browser, "right")
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
    opened(browser, "right")
    att = shown(browser)[1]
    assert att == boot("lab3", "ladder").cpus[1].steps[0].text == "ljmpw $0xf00, $0x0"
    browser.one(".replay .syntax").click()
    assert shown(browser)[1] == "ljmp 0xf00:0"
    browser.one(".replay .syntax").click()
    assert shown(browser)[1] == att


def test_another_cpu(browser):
    from selenium.webdriver.support.ui import Select

    opened(browser, "right")
    Select(browser.one(".replay select")).select_by_visible_text("CPU 3")
    assert shown(browser) == (f"step 1 of {len(steps_of(3))}", steps_of(3)[0])


def test_a_failing_cpu_is_shown_where_it_stopped(browser):
    opened(browser, "wrong")
    last = record("lab3.real.lgdt-by-ds").boots[0].seen.cpus[1].steps[-1]
    number = len(record("lab3.real.lgdt-by-ds").boots[0].seen.cpus[1].steps)
    wanted = as_text(last.code, last.state.pc, last.state.bits)
    assert shown(browser) == (f"step {number} of {number}", wanted)


def test_the_counterexample_step_by_step(browser):
    opened(browser, "order")
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

    opened(browser, "wrong")
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
    opened(browser, "wrong")
    browser.all(".failure dd a")[-1].click()
    name = browser.all(".failure dd a")[-1].get_attribute("href").partition("#")[2]
    assert browser.one(f"#{name}").get_attribute("open") is not None


def test_on_paper(browser):
    opened(browser, "wrong")
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


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
@pytest.mark.parametrize("name", [name for name in PAGES if name != "many"])
def test_no_serious_fault_of_accessibility(browser, axe, name, width, scheme):
    opened(browser, name, width, scheme)
    browser.unfold()
    assert browser.faults(axe) == []


def test_a_fault_of_accessibility_is_noticed(browser, axe):
    text = PAGES["wrong"]().replace("--dim:#57606a", "--dim:#d0d0d0")
    browser.show("faint", text)
    assert any(one.startswith("color-contrast") for one in browser.faults(axe))

"""Chromium without a window, for the tests that look at pages.

Needs Chromium and its driver, and npm for axe-core (`make test-browser` installs them). Set
VMMLAB_SCREENSHOTS to a folder to keep pictures of the pages.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any, Final

PHONE, DESKTOP = 390, 1280  # pixels of CSS
AXE: Final = "axe-core@4.10.3"
ROOT: Final = Path(__file__).resolve().parents[2]


def chromium(program: str, driver: str, *more: str) -> Any:
    """Start Chromium without a window.

    Args:
        program: its path.
        driver: the path of chromedriver.
        more: options besides the usual ones, without `--`.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = program
    for word in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", *more):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


class Browser:
    """Chromium without a window, and the pages."""

    def __init__(self, folder: Path, program: str, driver: str) -> None:
        self.driver = chromium(program, driver)
        self.driver.set_script_timeout(120)  # axe-core on a busy machine
        self.folder = folder

    def visit(self, address: str, width: int = DESKTOP, scheme: str = "light") -> None:
        """Open an address in a window of a width, in the light or in the dark."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get(address)

    def show(self, name: str, text: str, width: int = DESKTOP, scheme: str = "light") -> None:
        """Write a page into a file and open it."""
        path = self.folder / f"{name}.html"
        path.write_text(text, encoding="utf-8")
        self.visit(path.as_uri(), width, scheme)

    def unfold(self) -> None:
        self.js('document.querySelectorAll("details").forEach((one) => { one.open = true; })')

    def js(self, text: str, *values: Any) -> Any:
        return self.driver.execute_script(text, *values)

    def width(self) -> int:
        """How wide the page is: more than its window if it scrolls sideways."""
        return int(self.js("return document.documentElement.scrollWidth"))

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def errors(self) -> list[str]:
        return [one["message"] for one in self.driver.get_log("browser")]

    def faults(self, axe: str) -> list[str]:
        """What axe-core calls serious or critical."""
        self.js(axe + "; window.axe = axe;")
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run(document, {resultTypes: ['violations']}).then((r) => done(JSON.stringify("
            "r.violations.filter((v) => ['serious', 'critical'].includes(v.impact)).map((v) =>"
            "[v.id, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200))]))))"
        )
        return [f"{name}: {nodes}" for name, nodes in json.loads(found)]

    def picture(self, name: str) -> None:
        if folder := os.environ.get("VMMLAB_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))


def axe_source(folder: Path) -> str:
    """Return the source of axe-core, from npm; it is kept in build/ for the next time.

    Raises:
        FileNotFoundError: npm is missing or does not find it.
    """
    kept = ROOT / "build" / f"{AXE.replace('@', '-')}.js"
    if kept.is_file():
        return kept.read_text("utf-8")
    npm = shutil.which("npm")
    done = npm and subprocess.run(
        [npm, "pack", "--silent", AXE], cwd=folder, capture_output=True, text=True, check=False
    )
    if not done or done.returncode:
        raise FileNotFoundError(
            f"axe-core is missing: npm pack {AXE}: {done.stderr if done else 'no npm'}"
        )
    with tarfile.open(folder / done.stdout.split()[-1]) as packed:
        text = packed.extractfile("package/axe.min.js").read().decode("utf-8")
    kept.parent.mkdir(exist_ok=True)
    whole = kept.with_name(f"{kept.name}.{os.getpid()}")
    whole.write_text(text, encoding="utf-8")
    whole.replace(kept)
    return text

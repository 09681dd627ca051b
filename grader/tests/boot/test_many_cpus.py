"""`vmmlab run` with many processors: x2APIC in the given code, and a handshake with everyone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vmmlab.host.versions import tool_versions

KIT = Path(__file__).resolve().parents[3]


def run(cpus: int) -> subprocess.CompletedProcess[str]:
    argv = ["run", "lab4", "--cpus", str(cpus), "--submission", "reference", "--timeout", "120"]
    return subprocess.run(
        [str(Path(sys.executable).with_name("vmmlab")), *argv],
        cwd=KIT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def everyone_comes(cpus: int) -> None:
    done = run(cpus)
    assert done.returncode == 0, done.stdout + done.stderr
    numbers = [int(n) for n in re.findall(r"^Processor (\d+) \(AP\)", done.stdout, re.MULTILINE)]
    assert sorted(numbers) == list(range(1, cpus)), "each AP has one number of its own"
    assert f"ACPI: {cpus} processors" in done.stdout
    assert "all CPUs have halted" in done.stdout


def test_64() -> None:
    everyone_comes(64)


@pytest.mark.full
def test_255() -> None:
    everyone_comes(255)


def test_288_take_x2apic() -> None:
    version = tool_versions().qemu
    if version >= (9, 0):
        everyone_comes(288)
        return
    done = run(288)
    assert done.returncode == 2
    assert "x2APIC" in done.stderr
    assert ".".join(map(str, version)) in done.stderr

"""A workspace below a small course, graded by a real pytest in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

FAKE_RUNNER = '''
"""In place of QEMU: says what it was asked, answers with what the student's file says."""
import os
import vmmlab.grading.boots
from vmmlab.images.model import BuildFailed, Diagnostic
from vmmlab.base.errors import InfraError
from vmmlab.grading.request import RunFacts

LOG = os.environ["FAKE_LOG"]

class Runner:
    def __init__(self, request):
        self.request = request
        (self.text,) = request.files.values()
        self.log(f"start {request.lab} {request.seed} {request.cohort.name} {request.mode}")

    def log(self, text):
        with open(LOG, "a") as file:
            file.write(text + "\\n")

    def prepare(self, scenarios):
        self.log("prepare " + " ".join(item.name for item in scenarios))

    def observe(self, scenario):
        self.log("boot " + scenario.name)
        if b"syntax error" in self.text:
            wrong = Diagnostic(f"{self.request.lab}/a.c", 3, 1, "error", "syntax error")
            raise BuildFailed(self.request.lab, [wrong])
        if b"ctrl-c" in self.text:
            raise KeyboardInterrupt
        if b"qemu dies" in self.text:
            raise InfraError("QEMU died")
        return self.text.decode()

    def facts(self):
        return RunFacts(versions={"qemu": "9.9"})

    def close(self):
        self.log("close " + self.request.lab)

vmmlab.grading.boots.LabRunner = Runner
'''

TESTS = """
    from vmmlab.checks import check, fail
    from vmmlab.probes import bringup, parking

    S = bringup(cpus=4)

    @check("LAB.ljmpw.present", S)
    def far_jump(boot):
        '''There is a far jump.'''
        if "jump" not in boot:
            fail("far-jump-missing", cpu=0, place="physical 0", observed="zeroes", next="look")

    def two(boot):
        yield "CPU 1", 1
        yield "CPU 2", 2

    @check("LAB.ljmpw.target", S, per=two, after="LAB.ljmpw.present")
    def target(boot, cpu):
        '''It leads to the trampoline.'''
        if f"cpu{cpu}" not in boot:
            fail("lost", cpu=cpu)

    @check("LAB.late.cpu", parking(name="late"))
    def late(boot):
        '''A late CPU.'''
        if "break the check" in boot:
            raise KeyError("mistake of the author")
"""

COURSE = """\
schema: 1
title: Small
labs:
"""
LAB = """\
  LAB:
    title: A lab
    points: 6
    files: {LAB/a.c: [aLAB]}
    steps:
      - {id: LAB.1, title: do it, file: LAB/a.c, function: aLAB}
    checks:
      LAB.ljmpw.present: {points: 1, step: LAB.1}
      LAB.ljmpw.target: {points: 2, step: LAB.1}
      LAB.late.cpu: {points: 3, step: LAB.1}
"""
WORKSPACE = """\
schema = 1
vmmlab = "0.1.0"
student = "me"

[cohort]
name = "dev"
apinit_addr = 61440
apinit_offset = 0
stack_size = 32768
pcpu_pad = 0
"""


@dataclass
class Ran:
    code: int
    out: str
    log: list[str]

    @property
    def last(self) -> str:
        """pytest's last line, without its decoration."""
        line = self.out.strip().splitlines()[-1]
        return re.sub(r" in [0-9.]+s.*", "", line).strip("= ")


@dataclass
class Place:
    root: Path
    fakes: Path

    def student(self, lab: str, text: str) -> None:
        (self.root / lab / "a.c").write_text(text)

    def pytest(
        self,
        *arguments: str,
        cwd: Path | None = None,
        **environment: str,
    ) -> Ran:
        log = self.fakes / "log"
        log.unlink(missing_ok=True)
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV", "NO_C"))},
            "PYTHONPATH": str(self.fakes),
            "FAKE_LOG": str(log),
            "VMMLAB_OWN": str(self.root.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        }
        command = [sys.executable, "-m", "pytest", "-p", "fakerunner", *arguments]
        if "-n" not in arguments:  # what is not needed is not waited for
            command += ["-p", "no:hypothesispytest", "-p", "no:xdist"]
        done = subprocess.run(
            command, cwd=cwd or self.root, env=env, capture_output=True, text=True, timeout=60
        )
        lines = log.read_text().splitlines() if log.exists() else []
        return Ran(done.returncode, done.stdout + done.stderr, lines)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    course = tmp_path / "kit"
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    (fakes / "fakerunner.py").write_text(FAKE_RUNNER)
    labs = ["lab3", "lab4"]
    (course / "labs").mkdir(parents=True)
    (course / "course.yml").write_text(COURSE + "".join(LAB.replace("LAB", lab) for lab in labs))
    root = course / "work"
    for lab in labs:
        (root / lab).mkdir(parents=True)
        text = textwrap.dedent(TESTS).replace("LAB", lab)
        (root / lab / f"test_{lab}.py").write_text(text)
        (root / lab / "a.c").write_text("jump cpu1 cpu2\n")
    (root / "workspace.toml").write_text(WORKSPACE)
    return Place(root, fakes)


@pytest.fixture
def outside(place: Place, tmp_path: Path) -> Callable[..., Ran]:
    """pytest in a project that has nothing to do with vmmlab."""
    project = tmp_path / "elsewhere"
    project.mkdir()
    (project / "test_mine.py").write_text("def test_mine():\n    assert 1 + 1 == 2\n")

    def run(*arguments: str, **options: str) -> Ran:
        return place.pytest(*arguments, cwd=project, **options)

    return run

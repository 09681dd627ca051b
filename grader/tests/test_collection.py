"""Every test file on disk is collected: none is lost to a setting of pytest."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parents[1]

LIST_MODULES = """
import sys
import pytest

class NoTests(pytest.Collector):
    def collect(self):
        return []

class Lister:
    def pytest_pycollect_makemodule(self, module_path, parent):
        print("MODULE", module_path)
        return NoTests.from_parent(parent, name=module_path.name)

arguments = ["--collect-only", "-q", "-p", "no:cacheprovider", "-p", "vmmlab.student.plugin"]
sys.exit(pytest.main(arguments, plugins=[Lister()]))
"""
"""Prints the test modules that pytest finds; importing them too would take far longer."""


def collected():
    """The test files that pytest collects by the project's configuration."""
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the other plugins take seconds to load
    ran = subprocess.run(
        [sys.executable, "-c", LIST_MODULES],
        cwd=ROOT, env=os.environ | alone, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 5, ran.stdout + ran.stderr  # no tests were collected
    lines = ran.stdout.splitlines()
    return {Path(line.removeprefix("MODULE ")) for line in lines if line.startswith("MODULE ")}


def test_every_test_file_is_collected():
    on_disk = set(TESTS.rglob("test_*.py"))
    assert Path(__file__) in on_disk
    assert on_disk - collected() == set()


def test_no_two_test_files_have_the_same_name():
    """pytest imports each by its name alone, so it would refuse the second one."""
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_the_folders_that_make_test_runs_first_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    quick = makefile.partition("$(addprefix grader/tests/,")[2].partition(")")[0]
    assert quick
    assert [name for name in quick.split() if not (TESTS / name).is_dir()] == []

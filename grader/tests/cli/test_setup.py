"""`make setup` on machines without some of the tools. All tools are stubs; nothing is installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SYSTEM = ("sh", "dirname", "id", "sort", "xargs", "grep", "cat", "mkdir", "cp", "chmod", "echo")
NEEDED = ("qemu-system-x86_64", "gcc", "ld", "objcopy")

PYTHON = """\
#!/bin/sh
# Stands for python3: knows its version, makes an environment, notes what pip is asked for.
case "$*" in
-V) echo "Python $VERSION" ;;
"-c import sys;"*) [ "$VERSION" != 3.9.2 ] ;;
"-c import ensurepip, venv") [ -z "$NO_VENV" ] ;;
"-c ") ;;
"-m venv --clear .venv")
    mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo "#!$PWD/.venv/bin/python" >.venv/bin/pip
    chmod +x .venv/bin/pip; echo venv >>"$LOG" ;;
"-m compileall -q grader/vmmlab labs") echo compileall >>"$LOG" ;;
"-m pip install"*) echo "pip $*" >>"$LOG"; [ -z "$NO_NETWORK" ] ;;
*) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""


class Machine:
    """A folder with the kit's set-up files, and a PATH of stubs."""

    def __init__(self, root: Path) -> None:
        self.kit, self.bin, self.log = root / "kit", root / "bin", root / "log"
        self.bin.mkdir()
        self.log.touch()
        (self.kit / "grader").mkdir(parents=True)
        shutil.copyfile(ROOT / "grader" / "setup.sh", self.kit / "grader" / "setup.sh")
        for name in SYSTEM:
            found = shutil.which(name)
            assert found is not None
            (self.bin / name).symlink_to(found)
        self.stub("python3", PYTHON)
        self.user(1000)
        self.env = {"PATH": str(self.bin), "LOG": str(self.log), "VERSION": "3.11.2"}

    def stub(self, name: str, text: str = "#!/bin/sh\n") -> None:
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def user(self, number: int) -> None:
        self.stub("id", f"#!/bin/sh\necho {number}\n")

    def setup(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "grader/setup.sh", *words],
            cwd=self.kit,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def done(self) -> str:
        return self.log.read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_with_all_tools_only_python_is_set_up(machine: Machine) -> None:
    for name in (*NEEDED, "bwrap"):
        machine.stub(name)
    done = machine.setup()
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.done.split("\n")[0] == "venv"
    kept_small = "what only the kit's own tests need is left out"
    assert "--editable .[explore]\n" in machine.done, kept_small
    assert machine.done.split("\n")[-2] == "compileall"
    assert (machine.kit / ".venv" / ".setup").read_text() == f"{machine.kit}\n"
    assert not (machine.kit / ".venv" / ".setup-dev").exists()


def test_a_second_time_the_environment_stays(machine: Machine) -> None:
    for name in (*NEEDED, "bwrap"):
        machine.stub(name)
    machine.setup()
    machine.setup()
    assert machine.done.count("venv\n") == 1


def test_a_moved_clone_gets_a_new_environment(machine: Machine, tmp_path: Path) -> None:
    for name in (*NEEDED, "bwrap"):
        machine.stub(name)
    machine.setup()
    machine.kit = machine.kit.rename(tmp_path / "elsewhere")
    assert machine.setup().returncode == 0
    assert machine.done.count("venv\n") == 2


def test_a_user_without_tools_is_told_one_line(machine: Machine) -> None:
    machine.stub("apt-get", '#!/bin/sh\necho "apt-get $*" >>"$LOG"\n')
    machine.stub("gcc")
    done = machine.setup()
    assert done.returncode == 1
    assert "missing: binutils qemu-system-x86\n" in done.stderr
    assert (
        "run: sudo apt-get install --no-install-recommends binutils qemu-system-x86 bubblewrap\n"
        in done.stderr
    )
    assert machine.done == "", "nothing is done, and sudo is never called"


def test_a_user_without_the_sandbox_goes_on(machine: Machine) -> None:
    for name in NEEDED:
        machine.stub(name)
    done = machine.setup()
    assert done.returncode == 0
    assert (
        "for the rest run: sudo apt-get install --no-install-recommends bubblewrap" in done.stdout
    )
    assert "pip" in machine.done


def test_root_installs_what_is_missing(machine: Machine) -> None:
    machine.user(0)
    machine.stub("apt-get", '#!/bin/sh\necho "$DEBIAN_FRONTEND apt-get $*" >>"$LOG"\n')
    machine.stub("gcc")
    done = machine.setup("dev")
    assert done.returncode == 0
    first, second = machine.done.replace(" grub-pc-bin", "").split("\n")[:2]
    assert first == "noninteractive apt-get -qq update"
    assert second == (
        "noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 install --no-install-recommends "
        "binutils clang grub-common qemu-system-x86 xorriso bubblewrap gdb"
    )
    assert "--editable .[dev]\n" in machine.done
    assert (machine.kit / ".venv" / ".setup-dev").exists()


def test_root_whose_apt_fails(machine: Machine) -> None:
    machine.user(0)
    machine.stub("apt-get", "#!/bin/sh\nexit 100\n")
    done = machine.setup()
    assert done.returncode == 1
    assert "apt-get could not install" in done.stderr
    assert machine.done == ""


def test_a_python_that_is_too_old(machine: Machine) -> None:
    for name in (*NEEDED, "bwrap"):
        machine.stub(name)
    machine.env["VERSION"] = "3.9.2"
    done = machine.setup()
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed, and python3 is Python 3.9.2" in done.stderr
    assert "make setup PYTHON=" in done.stderr


def test_a_python_without_venv(machine: Machine) -> None:
    for name in (*NEEDED, "bwrap"):
        machine.stub(name)
    machine.env["NO_VENV"] = "1"
    done = machine.setup()
    assert done.returncode == 1
    assert "missing: python3-venv" in done.stderr


def test_no_package_index(machine: Machine) -> None:
    for name in (*NEEDED, "bwrap"):
        machine.stub(name)
    machine.env["NO_NETWORK"] = "1"
    done = machine.setup()
    assert done.returncode == 1
    assert "pip could not install vmmlab" in done.stderr
    assert not (machine.kit / ".venv" / ".setup").exists(), "the next make tries again"


# --- the Makefile -----------------------------------------------------------------------------


def make(*words: str) -> str:
    # Without the variables of a make that runs these tests.
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(
        ["make", "--no-print-directory", "JOBS=2", *words],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


def test_make_alone_lists_the_commands() -> None:
    text = make()
    names = "lab0 setup test test-slow test-full bench soak lint clean"
    for name in names.split():
        assert f"make {name}" in text


def test_a_lab_grades_the_reference() -> None:
    assert ".venv/bin/vmmlab grade lab3 --submission reference" in make("-n", "lab3")


def test_the_tests_come_after_lint_and_quick_ones_first() -> None:
    text = make("-n", "test")
    order = [
        text.index(word)
        for word in (
            "ruff check",
            "ruff format --check",
            "mypy",
            "clang-format",
            "grader/tests/course",
            'pytest -n 2 --dist worksteal -m "not full and not slow" '
            "grader/tests --ignore=grader/tests/course",
        )
    ]
    assert order == sorted(order)
    assert text.count("pytest") == 2

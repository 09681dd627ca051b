"""A workspace with its prebuilt labs: built, booted and debugged as by a student."""

import contextlib
import ctypes
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course

ROOT = Path(__file__).resolve().parents[3]
VMMLAB = Path(sys.prefix) / "bin" / "vmmlab"
ROUGHLY_S = 60

pytestmark = pytest.mark.skipif(
    not VMMLAB.is_file(), reason="vmmlab is not installed in this environment"
)


def sh(
    here: Path,
    plain: Mapping[str, str],
    line: str,
    stdin: str = "",
    patience_s: float = ROUGHLY_S,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "-c", line],
        cwd=here,
        env=plain,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=patience_s,
        check=False,
    )


def fill_in(here: Path) -> None:
    shutil.copytree(ROOT / "reference", here, dirs_exist_ok=True)


PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def started_by(pid: int) -> list[int]:
    """Return the QEMU processes that a process has started, itself or through others."""
    parents: dict[int, int] = {}
    names: dict[int, bytes] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            number = int(entry.name)
            parents[number] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            names[number] = (entry / "cmdline").read_bytes().split(b"\0")[0]
    found = []
    for number, name in names.items():
        above = number
        while above in parents and above != pid:
            above = parents[above]
        if above == pid and b"qemu-system" in name:
            found.append(number)
    return found


@contextlib.contextmanager
def nothing_left_running() -> Iterator[None]:
    """Adopt the orphans of what runs meanwhile, and assert that no QEMU is among them."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
    try:
        yield
        assert started_by(os.getpid()) == []
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0)


def test_a_machine_that_is_left_running_is_noticed(tmp_path: Path) -> None:
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.symlink_to(shutil.which("sleep") or "/bin/sleep")
    # Until then it is a fork of the shell.
    begun = 'while [ "$(readlink /proc/$!/exe)" = "$(readlink /proc/$$/exe)" ]; do :; done'
    leave_it = ["sh", "-c", f"{qemu} 60 >&- & {begun}"]
    with pytest.raises(AssertionError), nothing_left_running():
        subprocess.run(leave_it, check=True)
    (pid,) = started_by(os.getpid())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_each_starter_builds_and_says_what_comes_first(
    here: Path, plain: Mapping[str, str]
) -> None:
    for lab in load_course(ROOT).labs.values():
        done = sh(here, plain, f"make {lab.name}")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"build/{lab.name}/vmm.elf" in done.stdout
        assert (here / "build" / lab.name / "vmm.elf").is_file()
        if lab.steps:
            first = lab.steps[0]
            assert f"next: {first.id} in {first.file}:" in done.stdout
            assert f"then make {lab.name} && pytest {lab.name}" in done.stdout
        else:
            assert "next: make run LAB=0" in done.stdout
    done = sh(here, plain, "make vmm")
    assert done.returncode == 0
    assert "next: lab1.1 in lab1/vmm_main.c:" in done.stdout


def test_a_step_that_is_filled_in_is_not_asked_for_again(
    here: Path, plain: Mapping[str, str]
) -> None:
    from vmmlab.course.reference import reference

    files = reference(load_course(ROOT), ["lab1"], steps={"lab1.1", "lab1.2"}).files
    for name, text in files.items():
        (here / name).write_bytes(text)
    assert "next: lab1.3 in lab1/initfunc.c:" in sh(here, plain, "make lab1").stdout


def test_a_finished_workspace(here: Path, plain: Mapping[str, str]) -> None:
    fill_in(here)
    assert "next: pytest lab3\n" in sh(here, plain, "make lab3").stdout
    done = sh(here, plain, "make vmm")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no warnings" in done.stdout
    booted = sh(here, plain, "make run LAB=vmm CPUS=3")
    assert booted.returncode == 0
    assert "Processor 2" in booted.stdout
    assert booted.stdout.endswith("vmmlab: all CPUs have halted\n")


@pytest.mark.full
def test_a_finished_workspace_for_i386(here: Path, plain: Mapping[str, str]) -> None:
    first = sh(here, plain, "make lab3 ARCH=i386").stdout
    assert "then make lab3 ARCH=i386 && pytest lab3 --arch i386\n" in first
    fill_in(here)
    done = sh(here, plain, "make lab3 ARCH=i386")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no warnings: build/lab3-i386/vmm.elf\nnext: pytest lab3 --arch i386\n" in done.stdout
    assert (here / "build/lab3-i386/vmm.elf").read_bytes()[4] == 1, "ELFCLASS32"
    assert "next: make run LAB=4 ARCH=i386\n" in sh(here, plain, "make lab4 ARCH=i386").stdout
    booted = sh(here, plain, "make run LAB=3 ARCH=i386")
    assert booted.returncode == 0
    assert "Processor 3 (AP)" in booted.stdout
    assert booted.stdout.endswith("vmmlab: all CPUs have halted\n")
    graded = sh(here, plain, ".venv/bin/pytest lab2 --arch i386")
    assert graded.returncode == 0, graded.stdout
    assert "lab2  10/10 points" in graded.stdout
    assert " i386 " in graded.stdout
    assert "lab2.procs" not in graded.stdout
    wrong = sh(here, plain, "make lab3 ARCH=pdp11")
    assert wrong.returncode != 0
    assert "x86_64, i386" in wrong.stderr


FIRMWARE = {"lab6": "seabios"}
"""The firmware with which a lab's own functions run; qboot for the others."""


def test_a_starter_boots_and_stops_at_the_first_step(here: Path, plain: Mapping[str, str]) -> None:
    for lab in load_course(ROOT).labs.values():
        firmware = f" FIRMWARE={FIRMWARE[lab.name]}" if lab.name in FIRMWARE else ""
        done = sh(here, plain, f"make run LAB={lab.name[3:]}{firmware}")
        assert done.returncode == 0, done.stdout + done.stderr
        ends = ("all CPUs have halted", "a CPU has stopped at a TODO, and the others wait for it")
        assert any(end in done.stdout for end in ends)
        if lab.steps and lab.name != "lab5":  # lab 5's functions run only when a CPU panics
            assert f"TODO({lab.steps[0].id})" in done.stdout


def test_what_does_not_compile(here: Path, plain: Mapping[str, str]) -> None:
    path = here / "lab3" / "ap_start.c"
    path.write_text(path.read_text() + "int f (void) { return wrong; }\n")
    line = path.read_text().count("\n")
    done = sh(here, plain, ".venv/bin/vmmlab build lab3")
    assert done.returncode == 1
    assert f"lab3/ap_start.c:{line}:" in done.stderr.split("\n")[0]
    assert "Traceback" not in done.stderr
    assert sh(here, plain, "make lab3").returncode != 0
    assert sh(here, plain, "make lab4").returncode == 0, "another lab is not touched by it"


def test_warnings_are_shown(here: Path, plain: Mapping[str, str]) -> None:
    path = here / "lab4" / "sync.c"
    path.write_text(path.read_text() + "static int nobody;\n")
    done = sh(here, plain, "make lab4")
    assert done.returncode == 0
    assert "lab4/sync.c:" in done.stdout
    assert "warning" in done.stdout
    assert "1 warning:" in done.stdout


def test_a_given_file_that_was_changed_is_named(here: Path, plain: Mapping[str, str]) -> None:
    path = here / "core" / "main.c"
    path.write_text(path.read_text().replace("{", "{ ", 1) + "/* mine */\n")
    done = sh(here, plain, "make lab0")
    assert done.returncode == 0
    assert "note: core/main.c differs from the given one" in done.stdout


def test_a_given_file_that_no_longer_compiles_is_the_students_change(
    here: Path, plain: Mapping[str, str]
) -> None:
    path = here / "core" / "todo.c"
    path.write_text("int broken\n" + path.read_text())
    done = sh(here, plain, ".venv/bin/vmmlab build lab0")
    assert done.returncode == 2
    assert "core/todo.c: with your changes the given VMM code does not compile" in done.stderr
    assert "core/todo.c:" in done.stderr.split("found:")[1]
    assert "not the student's fault" not in done.stderr


def test_what_is_missing_is_named(here: Path, plain: Mapping[str, str]) -> None:
    (here / "lab3" / "apinit.S").unlink()
    done = sh(here, plain, ".venv/bin/vmmlab build lab3")
    assert done.returncode == 2
    assert "lab3/apinit.S: is missing" in done.stderr
    assert sh(here, plain, "make run").returncode != 0
    assert "LAB=3" in sh(here, plain, "make run").stderr


def test_two_builds_at_once(here: Path, plain: Mapping[str, str]) -> None:
    both = [
        subprocess.Popen(["make", "lab1"], cwd=here, env=plain, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [one.wait(ROUGHLY_S) for one in both] == [0, 0]
    assert sorted(p.name for p in (here / "build" / "lab1").iterdir()) == ["vmm.elf", "vmm.elf32"]


# --- the environment --------------------------------------------------------------------------


def test_the_first_line_of_the_readme_activates(here: Path, plain: Mapping[str, str]) -> None:
    line = (here / "README.md").read_text().split("\n")[0]
    done = sh(here, plain, f"{line}\ncommand -v vmmlab pytest && make lab1 >/dev/null")
    assert done.returncode == 0
    assert done.stdout.split() == [str(VMMLAB), str(VMMLAB.with_name("pytest"))]


def test_without_the_link_vmmlab_is_taken_from_the_path(
    here: Path, plain: Mapping[str, str]
) -> None:
    (here / ".venv").unlink()
    done = sh(here, plain, "make lab1")
    assert done.returncode != 0
    assert "vmmlab is not here" in done.stderr
    assert "activate" in done.stderr
    assert sh(here, plain, f"PATH={VMMLAB.parent}:$PATH make lab1").returncode == 0


@pytest.mark.slow
def test_pytest_takes_the_labs_in_the_order_of_the_course(
    here: Path, plain: Mapping[str, str]
) -> None:
    done = sh(here, plain, ".venv/bin/pytest --collect-only -q")
    labs = [line.split("/")[0] for line in done.stdout.splitlines() if "::" in line]
    assert list(dict.fromkeys(labs)) == [f"lab{number}" for number in range(11)], done.stdout
    graded = sh(here, plain, ".venv/bin/pytest lab10 lab2 -k 'map or mi or switch or start'")
    told = re.findall(r"^(lab\d+)  \S", graded.stdout, re.MULTILINE)
    assert told == ["lab2", "lab10"], graded.stdout
    backwards = sh(here, plain, ".venv/bin/pytest --collect-only -q lab4 lab3 -k barrier")
    assert {line.split("/")[0] for line in backwards.stdout.splitlines() if "::" in line} == {
        "lab4"
    }


def test_cleaning(here: Path, plain: Mapping[str, str]) -> None:
    before = {p for p in here.rglob("*") if ".venv" not in p.parts}
    sh(here, plain, "make lab1")
    assert sh(here, plain, "make clean").returncode == 0
    assert {p for p in here.rglob("*") if ".venv" not in p.parts} == before


def test_help(here: Path, plain: Mapping[str, str]) -> None:
    done = sh(here, plain, "make")
    assert done.returncode == 0
    for word in (
        "make lab1, lab2",
        "make vmm",
        "make run LAB=3",
        "make gdb LAB=3",
        "pytest -k ljmpw",
    ):
        assert word in done.stdout


# --- booting ----------------------------------------------------------------------------------


def test_on_a_terminal_ctrl_a_x_leaves(here: Path, plain: Mapping[str, str]) -> None:
    try:
        ours, theirs = pty.openpty()
    except OSError:
        pytest.skip("this machine has no pseudo terminals")
    with subprocess.Popen(
        [VMMLAB, "run", "lab0"],
        cwd=here,
        env=plain,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        said, sent = b"", False
        ends_at = time.monotonic() + ROUGHLY_S
        while time.monotonic() < ends_at:
            if select.select([ours], [], [], 1)[0]:
                try:
                    said += os.read(ours, 4096)
                except OSError:  # the other side is closed
                    break
            if not sent and b"Processor 0" in said:
                os.write(ours, b"\x01x")
                sent = True
        os.close(ours)
    assert b"Ctrl-A X quits" in said
    assert b"QEMU has ended" in said
    assert process.returncode == 0


@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
def test_under_gdb_each_processor_is_a_thread(here: Path, plain: Mapping[str, str]) -> None:
    with nothing_left_running():
        done = sh(
            here,
            plain,
            "make gdb LAB=2 CPUS=3 2>&1",
            stdin="continue\ninfo threads\ncontinue\nserial\ncpus\nmilestones\nquit\n",
        )
    assert done.returncode == 0
    assert "in vmm_main ()" in done.stdout
    for number in (1, 2, 3):
        assert f"Thread 1.{number} (CPU#{number - 1}" in done.stdout
    assert "hit Breakpoint" in done.stdout
    assert "vmm_todo" in done.stdout
    assert "Hardware assisted breakpoint" in done.stdout
    assert "vmmlab VMM, cohort dev" in done.stdout, "what `serial` shows"
    assert re.search(r"\* CPU 0  long mode  vmm_todo.*CR3 ", done.stdout, re.DOTALL)
    assert "this boot was not recorded" in done.stdout


@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
def test_under_gdb_i386_has_registers_of_32_bits(here: Path, plain: Mapping[str, str]) -> None:
    done = sh(here, plain, "make gdb LAB=2 ARCH=i386", stdin="continue\nx/i $eip\np $esp\nquit\n")
    assert done.returncode == 0
    assert "<vmm_main>" in done.stdout
    assert "(void *) 0x4010" in done.stdout


needs_gdb = pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")

DEBUGGING = """\
cpus
x/6i $pc
apinit
icr
milestones
physmem 0xf000 16
stepi
p/x $pc
hbreak *0xf045
physmem here
monitor vmmlab 1 cpuz
quit
"""


@needs_gdb
@pytest.mark.parametrize(
    ("words", "same"),
    [("ladder.protected", ()), ("i386.protected --arch i386", ("eip",))],
    ids=["x86_64", "i386"],
)
def test_debugging_stops_where_the_evidence_was_taken(
    here: Path, plain: Mapping[str, str], words: str, same: tuple[str, ...]
) -> None:
    """CPU 1 loads the GDT from the wrong place, since %cs: is forgotten."""
    fill_in(here)
    path = here / "lab3" / "apinit.S"
    path.write_text(path.read_text().replace("lgdtl\t%cs:", "lgdtl\t"))
    line = path.read_text().split("\n").index("\tlgdtl\tCS_OFFSET (gdtr)") + 1
    with nothing_left_running():
        done = sh(here, plain, f".venv/bin/vmmlab debug {words} 2>&1", stdin=DEBUGGING)
    said = done.stdout
    assert done.returncode == 0, said
    assert "CPU 1 is about to execute the instruction that the evidence is about." in said
    assert re.search(rf"cpuinit_start \(\) at lab3/apinit.S:{line}\n", said)
    assert re.search(rf"\* CPU 1  real mode  trampoline\+0x2f.*lab3/apinit.S:{line}", said)
    assert re.search(r"=> 0xf02f <cpuinit_start\+47>:\s+lgdtl 0x[0-9a-f]+\n", said), "16-bit code"
    assert re.search(r"0xf045 <cpuinit32>:\s+movl \$0x10, %eax\n", said), "32-bit code"
    assert "physical address 0: ea 00 00 00 0f: a far jump to 0xf000" in said
    assert re.search(r"<cpuinit32\+0x5>  \[32\]  movl %eax, %ds", said)
    assert "CPU 0: INIT, to all CPUs except the sending one" in said
    assert "0x0000f000  fa " in said
    assert re.search(r"\$1 = 0xf035\n", said), "one step, and RIP is a linear address"
    assert "Hardware assisted breakpoint 1 at 0xf045" in said
    assert "here is no address or number." in said
    assert "did you mean cpus?" in said


@needs_gdb
def test_what_cannot_be_debugged_says_why(here: Path, plain: Mapping[str, str]) -> None:
    done = sh(here, plain, ".venv/bin/vmmlab debug laddr.protectd")
    assert done.returncode == 2
    assert "there is no check laddr.protectd." in done.stderr
    assert "lab3.ladder.protected" in done.stderr
    done = sh(here, plain, ".venv/bin/vmmlab debug lab3.ladder")
    assert done.returncode == 2
    assert "lab3.ladder may be several checks." in done.stderr
    (here / "lab3" / "apinit.S").write_text("\tnonsense\n")
    done = sh(here, plain, ".venv/bin/vmmlab debug ladder.protected")
    assert done.returncode == 2
    assert "lab3 did not compile" in done.stderr


def test_debugging_without_gdb_says_so(
    here: Path, plain: Mapping[str, str], tmp_path: Path
) -> None:
    (tmp_path / "env").symlink_to("/usr/bin/env")
    env = {**plain, "PATH": str(tmp_path)}
    done = sh(here, env, "exec .venv/bin/vmmlab debug ladder.protected")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "vmmlab: gdb is not installed."


def test_without_gdb_it_says_so(here: Path, plain: Mapping[str, str], tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in (
        "qemu-system-x86_64",
        "gcc",
        "ld",
        "objcopy",
        "readelf",
        "bwrap",
        "env",
        "sh",
        "as",
    ):
        found = shutil.which(name)
        if found:
            (tools / name).symlink_to(found)
    done = sh(here, {**plain, "PATH": str(tools)}, "exec .venv/bin/vmmlab run lab0 --gdb")
    assert done.returncode == 2
    assert "gdb is not installed" in done.stderr


def test_without_a_compiler_and_qemu_each_command_says_once_what_to_install(
    here: Path, plain: Mapping[str, str], tmp_path: Path
) -> None:
    """And no lab is graded: nothing is judged, nor counted as an attempt."""
    (tmp_path / "env").symlink_to("/usr/bin/env")
    env = {**plain, "PATH": str(tmp_path)}
    for line in ("pytest lab1", "vmmlab watch lab1", "vmmlab debug lab1.mi.copied"):
        done = sh(here, env, f"exec .venv/bin/{line}")
        assert done.returncode
        said = done.stdout + done.stderr
        if "debug" not in line:  # that names gdb first
            assert said.count("qemu-system-x86_64, gcc, ld, objcopy: not installed.") == 1
            assert "next:" in said
        assert "Traceback" not in said
        assert "points" not in said
    assert not list((here / ".vmmlab").glob("progress*"))


def endless(here: Path) -> None:
    path = here / "lab1" / "vmm_main.c"
    path.write_text(path.read_text().replace('vmm_todo ("lab1.1");', "for (;;) ;"))


def test_what_runs_for_ever_is_stopped(here: Path, plain: Mapping[str, str]) -> None:
    endless(here)
    done = sh(here, plain, ".venv/bin/vmmlab run lab1 --timeout 0.5")
    assert done.returncode == 1
    assert "still running after 0.5 s, stopped" in done.stdout


def test_what_resets_is_said(here: Path, plain: Mapping[str, str]) -> None:
    path = here / "lab1" / "vmm_main.c"
    crash = 'asm volatile ("lidt %0; ud2" : : "m" (*(char (*)[10])mi_arg));'
    path.write_text(path.read_text().replace('vmm_todo ("lab1.1");', crash))
    done = sh(here, plain, ".venv/bin/vmmlab run lab1")
    assert done.returncode == 1
    assert "the machine has stopped: guest-reset" in done.stdout


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ("run lab1", signal.SIGINT),
        ("run lab1", signal.SIGTERM),
        ("run lab1", signal.SIGKILL),
        ("grade lab1 lab3 --submission .", signal.SIGINT),
        ("grade lab1 lab3 --submission .", signal.SIGTERM),
        ("watch lab1", signal.SIGINT),
        ("watch lab1", signal.SIGTERM),
        ("watch lab1", signal.SIGKILL),
    ],
)
def test_no_machine_is_left_behind(
    here: Path, plain: Mapping[str, str], words: str, how: signal.Signals
) -> None:
    endless(here)
    env = {**plain, "XDG_CACHE_HOME": str(here / "cache"), "VMMLAB_OWN": str(here)}
    with subprocess.Popen(
        # a shell's & makes SIGINT ignored
        ["env", "--default-signal=INT", VMMLAB, *words.split()],
        cwd=here,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        found: list[int] = []
        wait_for(
            lambda: found.extend(started_by(process.pid)) or found or process.poll() is not None
        )
        assert process.poll() is None, process.stderr.read()
        process.send_signal(how)
        said = process.stderr.read()
    watching = words.startswith("watch")
    if how is not signal.SIGKILL:
        assert process.returncode == (0 if watching and how is signal.SIGINT else 128 + how)
        assert said.strip() == ("" if watching else "vmmlab: interrupted")
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in found))


def wait_for(condition: Callable[[], object]) -> None:
    """Poll the state of another process every 20 ms, for at most ROUGHLY_S seconds."""
    ends_at = time.monotonic() + ROUGHLY_S
    pause = select.poll()
    while not condition():
        assert time.monotonic() < ends_at
        pause.poll(20)


# --- cookiecutter by itself -------------------------------------------------------------------


def cookiecutter(
    kit: Path, out: Path, plain: Mapping[str, str], *words: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cookiecutter", "vmm-skeleton/", "--no-input", "-o", out, *words],
        cwd=kit,
        env={**plain, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
        timeout=ROUGHLY_S,
        check=False,
    )


def test_plain_cookiecutter_makes_the_same(
    master: Path, tmp_path: Path, plain: Mapping[str, str]
) -> None:
    done = cookiecutter(ROOT, tmp_path, plain, "student=Ada")
    assert (done.returncode, done.stderr) == (0, "")

    def content(folder: Path) -> dict[str, bytes]:
        return {
            str(p.relative_to(folder)): re.sub(rb'(?m)^id = ".*"$', b"", p.read_bytes())
            for p in folder.rglob("*")
            if p.is_file() and ".venv" not in p.parts
        }

    assert content(tmp_path / "vmm") == content(master)
    assert (tmp_path / "vmm" / ".venv").is_symlink()


def test_plain_cookiecutter_with_a_cohort(tmp_path: Path, plain: Mapping[str, str]) -> None:
    done = cookiecutter(ROOT, tmp_path, plain, "cohort=autumn", "slug=mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "mine" / "cohort.h").read_text() == Cohort.derive("autumn").header()
    done = cookiecutter(ROOT, tmp_path, plain, "cohort=a b", "slug=yours")
    assert done.returncode != 0
    assert "cannot be a cohort's name" in done.stdout + done.stderr
    assert not (tmp_path / "yours").exists()


def test_plain_cookiecutter_leaves_nothing_when_it_fails(
    tmp_path: Path, plain: Mapping[str, str]
) -> None:
    kit = tmp_path / "kit"
    for name in ("vmm-skeleton", "reference", "labs"):
        shutil.copytree(ROOT / name, kit / name)
    shutil.copyfile(ROOT / "course.yml", kit / "course.yml")
    broken = kit / "reference" / "lab4" / "sync.c"
    broken.write_text(broken.read_text().replace("END SOLUTION", "END OF IT"))
    done = cookiecutter(kit, tmp_path / "out", plain)
    assert done.returncode != 0
    assert "reference/lab4/sync.c:" in done.stderr
    assert not (tmp_path / "out" / "vmm").exists()

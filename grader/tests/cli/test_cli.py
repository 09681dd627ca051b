"""The command: exit codes, messages, and what it passes to the grader."""

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from vmmlab import __version__
from vmmlab.base.errors import CourseError, InfraError, SubmissionError, UsageError, VmmlabError
from vmmlab.cli import main
from vmmlab.course import secret
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.grading.request import RunRequest, default_seed
from vmmlab.host import tools
from vmmlab.report.model import Report, read_json, write_json
from vmmlab.workspace.new import Answers

ROOT = Path(__file__).resolve().parents[3]
VMMLAB = [sys.executable, "-m", "vmmlab.cli.main"]


@pytest.fixture(autouse=True)
def in_the_kit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def vmmlab(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VMMLAB, *words],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
        **more,
    )


# --- the command as such ----------------------------------------------------------------------


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"vmmlab {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_a_shell(shell: str) -> None:
    made = vmmlab(env={**os.environ, "_VMMLAB_COMPLETE": f"source_{shell}"})
    assert "vmmlab" in made.stdout
    assert made.returncode == 0
    asked = {"COMP_WORDS": "vmmlab gr", "COMP_CWORD": "1"}
    asked |= {"_TYPER_COMPLETE_ARGS": "vmmlab gr", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    found = vmmlab(env={**os.environ, **asked, "_VMMLAB_COMPLETE": f"complete_{shell}"}).stdout
    assert {"grade", "gradebook"} <= set(re.findall(r"\w+", found))
    assert "release" not in found


def test_students_do_not_see_the_commands_of_authors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the clone they are shown; they can be called everywhere, and then say what is missing."""
    from vmmlab.course import find

    for course, seen in ((ROOT, True), (tmp_path, False)):
        monkeypatch.setattr(find, "find_course", lambda *_, course=course: course)
        assert main.main(["--help"]) == 0
        listed = re.findall(r"^  ([a-z-]+)  ", capsys.readouterr().out, re.MULTILINE)
        assert "grade" in listed
        for name in main._AUTHORS:
            assert (name in listed) is seen, name
    assert main.main(["release", "--help"]) == 0
    assert "--until" in capsys.readouterr().out


def test_the_version_is_quick_because_nothing_is_loaded() -> None:
    code = (
        "import sys; from vmmlab.cli import main as cli; cli.main(['--version']);"
        "print(sorted({'pydantic', 'rich', 'cookiecutter', 'pytest', 'asyncio', 'capstone',"
        "'ruamel', 'vmmlab.course.model'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == f"vmmlab {__version__}\n[]\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Usage:"),
        (["frobnicate"], "No such command"),
        (["grade"], "Missing"),
        (["grade", "lab3"], "--submission"),
        (["grade", "lab3", "--submission", "x", "--seed", "many"], "--seed"),
        (["grade", "lab3", "--submission", "reference", "--cc", "tcc"], "gcc, clang"),
        (["grade", "lab3", "--submission", "reference", "--opt", "O9"], "-O0, -O1"),
        (["run", "lab3", "--cpus", "0"], "--cpus"),
        (["export", "gradescop", "x"], "Did you mean 'gradescope'?"),
        (["export", "qqq", "x"], "'qqq' is none of 'gradescope', "),
        (["export", "juint", "x", "--lang", "ja"], "'junit' のことですか。"),
        (["new"], "DIR"),
        (["--frob"], "--frob"),
    ],
)
def test_wrong_usage_is_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(words) == 2
    printed = capsys.readouterr()
    assert said in printed.out + printed.err
    assert "Traceback" not in printed.err
    assert "Value error" not in printed.err


def test_help_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["grade", "--help"]) == 0
    assert "--submission" in capsys.readouterr().out


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """Run a command that ends with the given exception."""

    def run(error: BaseException) -> int:
        def fail() -> None:
            raise error

        broken = typer.Typer()
        broken.command()(fail)
        monkeypatch.setattr(main, "app", broken)
        return main.main([])

    return run


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("no.", expected="yes"), 2, "vmmlab: no.\n  expected: yes\n"),
        (CourseError("course.yml:3: x."), 2, "vmmlab: course.yml:3: x.\n"),
        (SubmissionError("gone."), 2, "vmmlab: gone.\n"),
        (InfraError("broken."), 3, "vmmlab: broken.\n"),
        (KeyboardInterrupt(), 130, "vmmlab: interrupted\n"),
        (typer.Abort(), 130, "vmmlab: interrupted\n"),
        (OSError(errno.ENOSPC, "No space", "/x/y"), 3, "vmmlab: the disk is full (/x/y)\n"),
    ],
)
def test_each_error_has_its_code_and_its_text(
    failing: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    assert failing(error) == code
    assert capsys.readouterr().err.startswith(said)


def test_a_bug_is_one_line_and_a_file(
    failing: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert failing(ZeroDivisionError("by\nzero")) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "a bug in vmmlab" in said
    assert "ZeroDivisionError: by zero" in said
    (file,) = tmp_path.iterdir()
    assert str(file) in said
    assert "Traceback" in file.read_text()


def test_a_bug_where_nothing_can_be_written(
    failing: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    assert failing(ZeroDivisionError()) == 3
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_who_has_gone() -> None:
    with subprocess.Popen(
        [*VMMLAB, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_sigterm_unwinds(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, typer; from vmmlab.cli import main as cli\n"
        "def wait():\n"
        "  try: os.kill(os.getpid(), signal.SIGTERM); signal.pause()\n"
        "  finally: print('ended everything')\n"
        "cli.app = typer.Typer(); cli.app.command()(wait); sys.exit(cli.main([]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (143, "ended everything\n")
    assert done.stderr.strip() == "vmmlab: interrupted"


# --- grade ------------------------------------------------------------------------------------


class Grader:
    """Replaces vmmlab.report.make: records the requests, and answers as a test wants."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, int | VmmlabError] = {}

    def judge_lab(self, request: RunRequest, **more: Any) -> SimpleNamespace:
        lab = request.lab
        self.asked.append((lab, {**vars(request), **more}))
        answer = self.answers.get(lab, 0)
        if isinstance(answer, VmmlabError):
            raise answer
        return SimpleNamespace(report=f"report of {lab}: {answer}")


@pytest.fixture
def grader(monkeypatch: pytest.MonkeyPatch) -> Grader:
    fake = Grader()

    def code(report: str) -> int:
        return int(report.rpartition(" ")[2])

    def write(report: str | Report, path: Path, places: dict[str, str]) -> None:
        if isinstance(report, Report):
            return write_json(report, path, places)
        path.write_text(report)

    monkeypatch.setattr("vmmlab.report.make.judge_lab", fake.judge_lab)
    monkeypatch.setattr("vmmlab.cli.pictures.Pictures.kept", lambda self, found, report: report)
    monkeypatch.setattr("vmmlab.report.exit_code", code)
    monkeypatch.setattr("vmmlab.report.write_json", write)
    monkeypatch.setattr("vmmlab.report.terminal.print_report", lambda r, say: typer.echo(r))
    return fake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A submission of lab3 and lab4 with all files, each of them empty."""
    for lab in ("lab3", "lab4"):
        for file in load_course(ROOT).lab(lab).files:
            (tmp_path / "sub" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "sub" / file).write_text("")
    return tmp_path / "sub"


def test_what_the_grader_is_given(grader: Grader, folder: Path) -> None:
    (folder / "extra.txt").write_text("")
    assert main.main(["grade", "lab3", "--submission", str(folder), "--seed", "7"]) == 0
    ((lab, asked),) = grader.asked
    assert lab == "lab3"
    assert set(asked["files"]) == {"lab3/apinit.S", "lab3/ap_start.c"}
    assert asked["seed"] == 7
    assert asked["cohort"] == Cohort.derive("dev")
    assert asked["mode"] == "standalone"
    assert asked["arch"] == "x86_64"
    assert asked["submission"] == str(folder)
    assert asked["sandbox_required"] is True, "it may be somebody else's work"
    assert "extra.txt" in str(asked["notes"][0])


def test_the_reference(grader: Grader) -> None:
    assert main.main(["grade", "lab4", "--submission", "reference", "-k", "lock"]) == 0
    ((_, asked),) = grader.asked
    assert asked["mode"] == "reference"
    assert asked["select"] == "lock"
    assert asked["sandbox_required"] is False
    assert asked["seed"] == default_seed("lab4", "dev")
    assert b"BEGIN SOLUTION" in asked["files"]["lab4/sync.c"]


def test_a_sandbox_can_be_done_without_in_so_many_words(grader: Grader, folder: Path) -> None:
    main.main(["grade", "lab3", "--submission", str(folder), "--no-sandbox"])
    assert grader.asked[0][1]["sandbox_required"] is False


def test_an_official_seed_follows_from_the_secret(
    grader: Grader, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    assert main.main(["secret", "new", str(kept)]) == 0
    key = kept.read_text().split()[1]
    words = ["grade", "lab3", "--submission", str(folder), "--secret-file", str(kept)]
    for more in ([], [], ["--round", "2"], ["--seed", "7"]):
        assert main.main([*words, *more]) == 0
    first, again, second, given = (asked for _, asked in grader.asked)
    assert first["seed"] == again["seed"] == secret.read(kept, []).seed("lab3", "1")
    assert len({first["seed"], second["seed"], default_seed("lab3", "dev")}) == 3
    assert (first["round"], second["round"]) == ("1", "2")
    assert (given["seed"], given["round"]) == (7, ""), "an explicit seed is not official"
    assert given["secret"] == first["secret"], "but the third cohort stays secret"
    printed = capsys.readouterr()
    assert key not in printed.out + printed.err + repr(first["secret"])


def test_hidden_checks_that_course_yml_lacks_are_named(
    grader: Grader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labs" / "lab1" / "hidden").mkdir(parents=True)
    (tmp_path / "course.yml").write_text("schema: 1\ntitle: x\nlabs:\n  lab1: {title: x}\n")
    (tmp_path / "labs" / "lab1" / "test_lab1.py").write_text("")
    words = ["grade", "lab1", "--submission", "reference", "--hidden", "--course", str(tmp_path)]
    assert main.main(words) == 2
    assert "no hidden checks for lab1" in capsys.readouterr().err
    (tmp_path / "labs" / "lab1" / "hidden" / "test_more.py").write_text("")
    assert main.main(words) == 2
    said = capsys.readouterr().err
    assert "course.yml lists no hidden checks of lab1" in said
    assert "labs/lab1/hidden/test_more.py" in said


def test_a_secret_in_the_submission_is_refused(
    grader: Grader, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret.make(folder / "kept", None)
    words = ["grade", "lab3", "--submission", str(folder), "--secret-file", str(folder / "kept")]
    assert main.main(words) == 2
    assert "the secret may not be in" in capsys.readouterr().err
    assert grader.asked == []


def test_the_cohort_is_never_the_submissions(grader: Grader, folder: Path) -> None:
    other = Cohort.derive("other")
    numbers = "\n".join(f"{key} = {value}" for key, value in other.literals().items())
    (folder / "workspace.toml").write_text(
        f'schema = 1\nvmmlab = "0"\nstudent = "x"\n[cohort]\nname = "other"\n{numbers}\n'
    )
    main.main(["grade", "lab3", "--submission", str(folder)])
    main.main(["grade", "lab3", "--submission", str(folder), "--cohort", "autumn"])
    assert [asked["cohort"].name for _, asked in grader.asked] == ["dev", "autumn"]


def test_ones_own_workspace_is_graded_as_pytest_does(
    grader: Grader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = "\n".join(f"{k} = {v}" for k, v in Cohort.derive("other").literals().items())
    (folder / "workspace.toml").write_text(
        f'schema = 1\nvmmlab = "0"\nstudent = "x"\n[cohort]\nname = "other"\n{numbers}\n'
    )
    monkeypatch.chdir(folder / "lab3")
    monkeypatch.setenv("VMMLAB_OWN", str(folder))
    main.main(["grade", "lab3", "--submission", ".."])
    assert grader.asked[0][1]["cohort"] == Cohort.derive("other")
    assert grader.asked[0][1]["sandbox_required"] is False


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({"lab3": 0, "lab4": 0}, 0),
        ({"lab3": 1, "lab4": 0}, 1),
        ({"lab3": 1, "lab4": SubmissionError("gone")}, 2),
        ({"lab3": InfraError("broken"), "lab4": SubmissionError("gone")}, 3),
        ({"lab3": 3, "lab4": 1}, 3),
    ],
)
def test_of_several_labs_the_worst_counts(
    grader: Grader,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    answers: dict[str, int | VmmlabError],
    code: int,
) -> None:
    grader.answers = answers
    assert main.main(["grade", "lab3", "lab4", "lab3", "--submission", str(folder)]) == code
    assert [lab for lab, _ in grader.asked] == ["lab3", "lab4"], "each once, all of them"
    printed = capsys.readouterr()
    for lab, answer in answers.items():
        if isinstance(answer, VmmlabError):
            assert f"vmmlab: {lab}: {answer}" in printed.err
        else:
            assert f"report of {lab}: {answer}" in printed.out


def test_one_lab_that_is_missing_does_not_cost_the_other(
    grader: Grader, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "lab3" / "apinit.S").unlink()
    assert main.main(["grade", "lab3", "lab4", "--submission", str(folder)]) == 2
    assert [lab for lab, _ in grader.asked] == ["lab4"]
    assert "lab3/apinit.S: is missing" in capsys.readouterr().err


def test_reports_as_files(grader: Grader, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    sub = ["--submission", str(folder), "--json", str(target)]
    main.main(["grade", "lab3", *sub])
    assert target.read_text() == "report of lab3: 0"
    main.main(["grade", "lab3", "lab4", *sub])
    assert (tmp_path / "report.json.lab4").read_text() == "report of lab4: 0"


def test_what_cannot_be_graded_has_a_report(
    grader: Grader, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes the place of the report of an earlier submission, and the gradebook has a 0."""
    (folder / "lab3" / "apinit.S").rename(folder / "lab3" / "APINIT.s")
    target, theirs = tmp_path / "lab3.json", tmp_path / "theirs.json"
    words = ["grade", "lab3", "--submission", str(folder), "--json", str(target)]
    target.write_text("the report on what was handed in before")
    assert main.main([*words, "--student-json", str(theirs)]) == 2
    assert grader.asked == []
    assert "lab3/apinit.S: is missing; APINIT.s is there" in capsys.readouterr().err
    report = read_json(target)
    assert (report.points, report.hidden_points, report.handed_in) == (0, 0, True)
    assert "lab3/apinit.S: is missing; APINIT.s is there" in str(report.checks[0].reason)
    assert report.audit is not None
    assert all(one.visibility == "visible" for one in read_json(theirs).checks)
    for path in (folder / "lab3").iterdir():
        path.unlink()
    (folder / "lab3").rmdir()
    assert main.main(words) == 2
    assert not read_json(target).handed_in  # no grade
    target.unlink()
    words[3] = "no-such-folder"
    assert main.main(words) == 2
    assert not target.exists()  # a wrong command says nothing of a student


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lab11", "--submission", "reference"], "no lab called 'lab11'"),
        (["lab3", "--submission", "nowhere"], "nowhere cannot be read"),
        (["lab3", "--submission", "reference", "--arch", "pdp11"], "'pdp11'"),
        (["lab1", "--submission", "reference", "--arch", "i386"], "lab1 is not graded for i386"),
        (["lab4", "--submission", "reference", "--arch", "i386"], "one of lab2, lab3"),
        (["lab3", "--submission", "reference", "--cohort", "a b"], "cannot be a cohort's name"),
        (["lab3", "--submission", "reference", "--course", "grader"], "is not a course"),
    ],
)
def test_what_cannot_be_graded_is_2(
    grader: Grader, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main.main(["grade", *words]) == 2
    assert grader.asked == []
    assert said in capsys.readouterr().err


def test_missing_tools_are_named_at_once(
    grader: Grader, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "is_installed", lambda name: False)
    assert main.main(["grade", "lab3", "--submission", "reference"]) == 3
    said = capsys.readouterr().err
    assert "qemu-system-x86_64, gcc, ld, objcopy: not installed" in said
    assert "binutils gcc qemu-system-x86" in said


# --- the others -------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["build", "lab3"], ["build", "lab3", "--workspace", "grader"]])
def test_building_needs_a_workspace(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(words) == 2
    assert "not in a workspace" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--firmware", "uefi"], "it has no uefi_entry"),
        (["--firmware", "coreboot"], "no firmware 'coreboot'"),
        (["--accel", "hax"], "no accelerator 'hax'"),
    ],
)
def test_running_with_what_is_not_there(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["run", "lab0", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Answers]]:
    asked: list[Answers] = []

    def new(dest: Path, of: Course, answers: Answers) -> Path:
        asked.append(answers)
        return dest

    monkeypatch.setattr("vmmlab.student.new.new_workspace", new)
    return iter([asked])


def test_a_new_workspace(made: Iterator[list[Answers]], capsys: pytest.CaptureFixture[str]) -> None:
    asked = next(made)
    assert main.main(["new", "my vmm", "--no-input", "--name", "Ada", "--cohort", "autumn"]) == 0
    assert asked == [Answers("Ada", Cohort.derive("autumn"))]
    assert "cd 'my vmm'\n" in capsys.readouterr().out
    assert main.main(["new", "vmm", "--no-input"]) == 0
    assert asked[1].cohort.name == "dev"
    assert main.main(["new", "vmm", "--no-input", "--name", "{{x}}"]) == 2


def test_a_bad_course_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "labs").mkdir()
    (tmp_path / "course.yml").write_text("schema: 1\ntitel: x\nlabs:\n  lab0: {title: y}\n")
    words = ("grade", "lab0", "--submission", "reference", "--course", ".")
    done = vmmlab(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "vmmlab: course.yml:2: titel: unknown key.\n"
        "  expected: one of schema, title, cohort, until, kind, self_study_at, vmmlab, "
        "languages, deadlines, labs\n"
        "  found:    titel\n"
        "  next:     did you mean title?\n"
    )


def test_without_rights_to_write_a_report(
    grader: Grader, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verdict is shown even when its file cannot be written."""
    monkey = folder / "no" / "such" / "folder" / "x.json"
    code = main.main(["grade", "lab3", "--submission", str(folder), "--json", str(monkey)])
    assert code == 3
    assert "report of lab3: 0" in capsys.readouterr().out


def test_ctrl_c_is_one_line(tmp_path: Path) -> None:
    # Processes that a shell starts in the background ignore SIGINT, and so may these tests.
    code = (
        "import os, signal, sys, typer; from vmmlab.cli import main as cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def wait(): os.kill(os.getpid(), signal.SIGINT); signal.pause()\n"
        "cli.app = typer.Typer(); cli.app.command()(wait); sys.exit(cli.main([]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr.strip()) == (130, "vmmlab: interrupted")


def test_the_installed_command_is_this_one() -> None:
    script = Path(sys.prefix) / "bin" / "vmmlab"
    if not script.is_file():
        pytest.skip("vmmlab is not installed in this environment")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"vmmlab \S+\n", done.stdout)
    assert os.access(script, os.X_OK)

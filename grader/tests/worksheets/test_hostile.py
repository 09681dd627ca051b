"""Hostile notebooks: each attack fails here, and succeeds without the protection.

One class is graded once. It has honest notebooks and one for each kind of attack. A notebook prints
what it finds out, and the tests look at its outputs. Each attack is also run without the sandbox or
in one kernel, where it succeeds; otherwise the tests would prove nothing.
"""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import nbformat
import pytest
from sheet import LABS, SOLUTION, cells, notebook, play
from test_nbgrader import CONFIG, hidden_lines, nbgrader, release, scores, solutions, submit

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.classroom.gradebook import worksheets
from vmmlab.host import bubblewrap
from vmmlab.host.bubblewrap import Bubblewrap
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.host.sandbox import Sandbox
from vmmlab.worksheet import kernel as kernels
from vmmlab.worksheet.kernel import Kernel
from vmmlab.worksheet.two_kernels import names_needed

pytestmark = pytest.mark.slow

LAB = "lab0"
QUESTION = "lab0-piece"
needs_bwrap = pytest.mark.skipif(
    not bubblewrap.examine().works, reason="bubblewrap does not work here"
)

READ = """
import pathlib
for place in {places!r}:
    try:
        print("LOOT", len(pathlib.Path(place).read_bytes()), place)
    except OSError as error:
        print("nothing:", error)
"""
WRITE = """
import sqlite3
try:
    with sqlite3.connect({database!r}) as book:
        book.execute("update grade set auto_score = 99, manual_score = 99")
    print("LOOT written")
except sqlite3.Error as error:
    print("nothing:", error)
"""
NETWORK = """
import socket
try:
    with socket.create_connection(("127.0.0.1", {port}), 3) as line:
        print("LOOT", line.recv(20))
except OSError as error:
    print("nothing:", error)
"""
FORGE = """
def all_points(lines):
    print("SEEN", "".join(lines))
    return ["2.0"] if "check.points" in "".join(lines) else lines
get_ipython().input_transformers_cleanup.append(all_points)
from vmmlab import worksheet
worksheet.Check.points = property(lambda self: self._maximum)
worksheet.Check.right = worksheet.Check.case = lambda *_, **__: None
"""
LOOP = "while True:\n    pass\n"
DEAF = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + LOOP
FLOOD = "while True:\n    print('x' * 1000)\n"
MEMORY = "hoard = bytearray(1 << 40)\n"
EXIT = "import os\nos._exit(0)\n"
LEAVE = """
import subprocess
subprocess.Popen(["sleep", {mark!r}], start_new_session=True)
print("LOOT left behind")
"""
PAGE = "from IPython.display import HTML\nHTML('<script>alert(1)</script>')\n"


@pytest.fixture(scope="module")
def harm(tmp_path_factory):
    """A class that was graded: its folder, the result by student, what each notebook printed."""
    if not bubblewrap.examine().works:
        pytest.skip("bubblewrap does not work here")
    course = tmp_path_factory.mktemp("course")
    # Short limits: three of these run for ever.
    (course / "nbgrader_config.py").write_text(CONFIG + "c.ExecuteApart.cell_s = 4\n")
    released = release(course, LAB)
    right = solutions(LAB)
    mark = f"86400.{time.time_ns() % 10**9}"
    with _listening() as port:
        attacks = _attacks(course, port, mark)
        submit(course, LAB, "ada", released, right)
        for name, code in attacks.items():
            path = submit(course, LAB, name, released, {**right, QUESTION: code})
            assert code.strip().splitlines()[0] in str(nbformat.read(path, as_version=4))
        _links(course)
        submit(course, LAB, "zoe", released, right)
        graded = {one.student: one for one in worksheets.grade(course, LAB)}
    return course, graded, {name: said(course, name) for name in attacks}, mark


def _attacks(course, port, mark):
    places = [
        *("gradebook.db", "source/lab0/worksheet.ipynb", "submitted/ada/lab0/worksheet.ipynb"),
        *("autograded/ada/lab0/worksheet.ipynb", "nbgrader_config.py"),
    ]
    kit = Path(__file__).resolve().parents[3]
    secrets = [str(course / place) for place in places] + [
        *(str(kit / "labs/lab0/worksheet.py"), str(kit / "reference/lab1/vmm_main.c")),
        *(__file__, "/etc/passwd", str(Path.home() / ".bashrc")),
    ]
    return {
        "reads": READ.format(places=secrets),
        "writes": WRITE.format(database=str(course / "gradebook.db")),
        "network": NETWORK.format(port=port),
        "forges": FORGE,
        "loops": LOOP,
        "deaf": DEAF,
        "floods": FLOOD,
        "memory": MEMORY,
        "exits": EXIT,
        "leaves": LEAVE.format(mark=mark),
        "page": PAGE,
    }


def _links(course):
    """Hand in two links to another student's file, and a file that is no notebook."""
    for name, target in {
        "linked": "../../ada/lab0/worksheet.ipynb",
        "solved": "../../../source/lab0/worksheet.ipynb",
    }.items():
        folder = course / "submitted" / name / LAB
        folder.mkdir(parents=True)
        (folder / "worksheet.ipynb").symlink_to(target)
    folder = course / "submitted" / "beside" / LAB
    folder.mkdir(parents=True)
    (folder / "worksheet.ipynb").write_bytes(
        (course / "submitted/ada/lab0/worksheet.ipynb").read_bytes()
    )
    (folder / "notes.txt").symlink_to("/etc/passwd")
    folder = course / "submitted" / "broken" / LAB
    folder.mkdir(parents=True)
    (folder / "worksheet.ipynb").write_text("{")


class _listening:
    """A server on this machine that a notebook could connect to."""

    def __enter__(self):
        code = (
            "import socket,sys\ns=socket.create_server(('127.0.0.1',0))\n"
            "print(s.getsockname()[1],flush=True)\n"
            "while True: s.accept()[0].sendall(b'hello')\n"
        )
        self._process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        return int(self._process.stdout.readline())

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()


def said(course, student):
    """Return all outputs of an autograded notebook as one text."""
    path = course / "autograded" / student / LAB / "worksheet.ipynb"
    sheet = nbformat.read(path, as_version=4)
    return "\n".join(str(cell.get("outputs", "")) for cell in sheet.cells)


def full():
    return play(LAB).maximum


HONEST_BUT_ONE = {name: 0.0 if name == QUESTION else points for name, points in full().items()}


def auto(course, student):
    return {name: scores(course, LAB)[student][name] for name in full()}


def lines_of_tests():
    """Return lines of hidden tests."""
    found = [line for line in hidden_lines(LAB) if line.startswith("check.")]
    assert found
    return found


# ---- a small class, in every run of the tests


@needs_bwrap
def test_a_small_class(tmp_path):
    """The most important notebook of each kind; the whole class is graded below."""
    course = tmp_path
    (course / "nbgrader_config.py").write_text(CONFIG + "c.ExecuteApart.cell_s = 2\n")
    released = release(course, LAB)
    right = solutions(LAB)
    submit(course, LAB, "ada", released, right)
    attacks = _attacks(course, 1, "0")
    everything = attacks["reads"] + attacks["writes"] + FORGE + LOOP
    submit(course, LAB, "eve", released, {**right, QUESTION: everything})
    _links(course)
    graded = {one.student: one for one in worksheets.grade(course, LAB)}
    assert auto(course, "ada") == full()
    assert auto(course, "eve") == HONEST_BUT_ONE
    text = said(course, "eve")
    assert "LOOT" not in text
    assert text.count("nothing:") >= 8
    assert not [line for line in lines_of_tests() if line in text]
    assert "stopped after 2 s" in str(graded["eve"].stopped[0])
    for student in ("linked", "solved", "beside"):
        assert "is a link" in str(graded[student].problem)
    assert {
        one.student: one.exit_code for one in graded.values() if one.exit_code
    } == dict.fromkeys(("linked", "solved", "beside", "broken"), 2)
    # Again: there is nothing to do, unless one student is graded on demand.
    (before,) = worksheets.grade(course, LAB, student="ada")
    assert (before.before, before.points) == (True, sum(full().values()))
    (again,) = worksheets.grade(course, LAB, student="ada", again=True)
    assert (again.before, again.points) == (False, sum(full().values()))


# ---- nobody suffers


@pytest.mark.full
def test_the_others_are_graded(harm):
    course, graded, _, _ = harm
    for student in ("ada", "zoe"):
        assert auto(course, student) == full()
        assert (graded[student].exit_code, graded[student].stopped) == (0, ())


@pytest.mark.full
def test_what_it_costs_is_the_question_where_the_attack_was(harm):
    course = harm[0]
    for student in ("reads", "writes", "network", "leaves", "page", "memory", "loops"):
        assert auto(course, student) == HONEST_BUT_ONE, student


# ---- nobody gains


@pytest.mark.full
@pytest.mark.parametrize("student", ["reads", "writes", "network"])
def test_it_gets_nothing(harm, student):
    text = harm[2][student]
    assert "LOOT" not in text
    assert "nothing:" in text


@pytest.mark.full
def test_no_grade_was_written(harm):
    with closing(sqlite3.connect(harm[0] / "gradebook.db")) as book:
        found = book.execute("select max(auto_score), max(manual_score) from grade").fetchone()
    assert found == (3.0, None)


@pytest.mark.full
def test_a_hook_in_ipython_neither_earns_points_nor_sees_hidden_tests(harm):
    course, _, texts, _ = harm
    assert auto(course, "forges") == HONEST_BUT_ONE
    assert "SEEN" in texts["forges"]  # it saw the cells that it may see
    assert not [line for line in lines_of_tests() if line in texts["forges"]]


@pytest.mark.full
@pytest.mark.parametrize("student", ["loops", "deaf", "floods"])
def test_what_runs_for_ever_is_stopped_and_named(harm, student):
    _, graded, texts, _ = harm
    why = "stopped after" if student == "floods" else "stopped after 4 s"
    assert why in str(graded[student].stopped[0])
    assert f"{QUESTION}-answer" in str(graded[student].stopped[0])
    assert len(texts[student]) < 400_000


@pytest.mark.full
@pytest.mark.parametrize("student", ["deaf", "exits"])
def test_without_a_kernel_the_rest_earns_nothing(harm, student):
    course, graded, texts, _ = harm
    assert set(auto(course, student).values()) == {0.0}
    assert "not run" in texts[student]
    assert graded[student].exit_code == 0


@pytest.mark.full
def test_no_process_is_left(harm):
    mark = harm[3].encode()
    assert "LOOT left behind" in harm[2]["leaves"]  # it was started, and has ended with the kernel
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert mark not in path.read_bytes()
        except OSError:
            continue


@pytest.mark.full
def test_a_page_for_the_instructors_browser_is_text(harm):
    assert "<script>" not in harm[2]["page"]
    assert "IPython.core.display.HTML" in harm[2]["page"]


@pytest.mark.full
@pytest.mark.parametrize("student", ["linked", "solved", "beside"])
def test_a_link_is_refused_and_nothing_of_it_kept(harm, student):
    course, graded, _, _ = harm
    assert "is a link" in str(graded[student].problem)
    assert graded[student].exit_code == 2
    assert not (course / "autograded" / student / LAB).exists()


@pytest.mark.full
def test_a_file_that_is_no_notebook_is_named(harm):
    one = harm[1]["broken"]
    assert (one.exit_code, one.points) == (2, None)
    assert "not JSON" in str(one.found)


# ---- the attacks are real: without the protection they succeed


def in_the_open(code, *, require=False):
    with Kernel(
        Sandbox.choose(require=True) if require else Sandbox.none(), {}, ResourceLimits()
    ) as kernel:
        return str(kernel.run(code, 10).outputs)


def test_without_a_sandbox_they_get_what_they_want(tmp_path):
    database = tmp_path / "gradebook.db"
    with closing(sqlite3.connect(database)) as book, book:
        book.execute("create table grade (auto_score, manual_score)")
        book.execute("insert into grade values (0, 0)")
    with _listening() as port:
        attacks = _attacks(tmp_path, port, "0")
        found = in_the_open("\n".join(attacks[name] for name in ("reads", "writes", "network")))
    assert all(f"{loot}" in found for loot in ("LOOT written", "LOOT b'hello'", "gradebook.db"))
    assert found.count("LOOT") >= 6
    with closing(sqlite3.connect(database)) as book:
        assert book.execute("select manual_score from grade").fetchone() == (99,)


@needs_bwrap
def test_in_one_kernel_the_hook_would_earn_all_points():
    test = cells(LAB, "test")[QUESTION].source
    with Kernel(Sandbox.choose(require=True), {}, ResourceLimits()) as kernel:
        for code in ("import os\nfrom vmmlab import worksheet\nme = None", FORGE):
            kernel.run(code, 20)
        found = str(kernel.run(test, 5).outputs)
    assert "'text/plain': '2.0'" in found
    assert "check.case" in found


@needs_bwrap
def test_an_installed_kits_solutions_are_not_shown(tmp_path, monkeypatch):
    """In the image for grading they are inside the package, which a kernel may read."""
    (tmp_path / "data").mkdir()
    for place in ("code.py", "data/worksheet.py"):
        (tmp_path / place).write_text("x")
    places = [*kernels.shown(), tmp_path]
    monkeypatch.setattr(kernels, "_PACKAGE", tmp_path)
    monkeypatch.setattr(kernels, "shown", lambda: places)
    found = in_the_open(
        READ.format(places=[str(tmp_path / "code.py"), str(tmp_path / "data/worksheet.py")]),
        require=True,
    )
    assert found.count("LOOT") == 1
    assert found.count("nothing:") == 1


# ---- values


@pytest.mark.parametrize("lab", LABS)
def test_all_answers_are_plain_values_that_the_tests_ask_for(lab):
    """A test uses only the names that its answer cell has as `name = None`."""
    answers = cells(lab, "answer")
    for question, cell in cells(lab, "test").items():
        stub = SOLUTION.sub("", answers[question].source + "\n")
        names = {line.removesuffix(" = None") for line in stub.split("\n") if " = None" in line}
        assert names <= names_needed(cell.source), question


def test_a_name_inside_a_function_is_needed_and_its_arguments_are_not():
    text = "def f(a):\n    return a + b\ncheck.case(1, lambda c: c + d, 'x')\ne = 1\nprint(e)\n"
    assert names_needed(text) - {"print"} == {"b", "check", "d"}


# ---- the command


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "nbgrader_config.py").write_text(CONFIG)
    return tmp_path


def test_without_a_sandbox_it_refuses(folder, monkeypatch):
    missing = Bubblewrap(False, reason="bubblewrap (bwrap) is not installed", next_step="…")
    monkeypatch.setattr(bubblewrap, "examine", lambda: missing)
    with pytest.raises(InfraError, match="needs a sandbox"):
        worksheets.grade(folder, LAB)
    with pytest.raises(UsageError, match="has no assignment lab0"):
        worksheets.grade(folder, LAB, sandbox_required=False)


@needs_bwrap
def test_a_course_that_would_run_notebooks_in_the_open_is_refused(folder):
    (folder / "nbgrader_config.py").write_text("c = get_config()\n")
    with pytest.raises(UsageError, match="without a sandbox"):
        worksheets.grade(folder, LAB)


@needs_bwrap
def test_a_course_folder_that_kernels_can_read_is_refused(folder, monkeypatch):
    monkeypatch.setattr(worksheets, "shown", lambda: [folder.parent])
    with pytest.raises(UsageError, match="every kernel may read"):
        worksheets.grade(folder, LAB)


@pytest.mark.full
@needs_bwrap
def test_nbgraders_own_command_is_as_safe(folder):
    """So is the button in the formgrader, which does the same."""
    released = release(folder, LAB)
    submit(folder, LAB, "eve", released, {QUESTION: _attacks(folder, 1, "0")["reads"] + FORGE})
    nbgrader(folder, "autograde", LAB)
    assert set(auto(folder, "eve").values()) == {0.0}
    assert "nothing:" in said(folder, "eve")
    assert "LOOT" not in said(folder, "eve")


def test_lines_for_a_terminal():
    graded = [
        worksheets.Graded("ada", 12.0, 12.0, by_hand=3.0),
        worksheets.Graded("e\x1b[2Jve", 0.5, 12.0, stopped=("lab0-piece-answer: stopped",)),
        worksheets.Graded("zoe", 3.0, 12.0, before=True),
        worksheets.Graded("max", problem="max/lab0 is a link\nnext: remove it", exit_code=2),
    ]
    shown = list(worksheets.lines("lab0", graded))
    assert shown[0].endswith("lab0  12/12 points, 3 more to be given by hand")
    assert "\x1b" not in shown[1]
    assert "0.5/12 points" in shown[1]
    assert shown[2] == "    lab0-piece-answer: stopped"
    assert "already graded; --force grades it again" in shown[3]
    assert "not graded: max/lab0 is a link" in shown[4]


def test_the_notebook_has_what_is_attacked():
    assert QUESTION in cells(LAB, "answer")
    assert notebook(LAB)

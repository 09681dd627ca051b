"""Attack 4: notebooks that would take the memory, the disk or the time of the grader."""

import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest

nbformat: Any = pytest.importorskip("nbformat")
pytest.importorskip("nbgrader")

from vmmlab.base.errors import SubmissionError  # noqa: E402
from vmmlab.base.removal import remove_tree  # noqa: E402
from vmmlab.host import bubblewrap  # noqa: E402
from vmmlab.host.rlimits import ResourceLimits  # noqa: E402
from vmmlab.host.sandbox import Sandbox  # noqa: E402
from vmmlab.worksheet import apart, intake, kernel  # noqa: E402
from vmmlab.worksheet.guard import exceeded  # noqa: E402
from vmmlab.worksheet.kernel import Kernel, why_stopped  # noqa: E402
from vmmlab.worksheet.two_kernels import ReleasedCell, Timing  # noqa: E402

pytestmark = pytest.mark.slow

LIMITS = ResourceLimits(file_mib=64, cpu_s=60, memory_mib=2048)
needs_bwrap = pytest.mark.skipif(
    not bubblewrap.examine().works, reason="bubblewrap does not work here"
)


def flood(kind: str, content: str, count: int = 100_000) -> str:
    """Code that sends messages as the kernel itself would, signed."""
    return (
        "k = get_ipython().kernel\n"
        f"for i in range({count}):\n"
        f"    k.session.send(k.iopub_socket, {kind!r}, {content}, parent=k.get_parent())\n"
    )


FLOODS = {
    "stream": flood("stream", "{'name': 'stdout', 'text': 'x' * (3 << 20)}"),
    "too large for a message": flood("stream", "{'name': 'stdout', 'text': 'x' * (15 << 20)}", 40),
    "display": flood("display_data", "{'data': {'text/plain': 'x' * 1000}, 'metadata': {}}"),
    "pictures": flood("display_data", "{'data': {'image/png': 'x' * (1 << 20)}, 'metadata': {}}"),
    "update": flood("update_display_data", "{'data': {}, 'metadata': {}, 'transient': {}}"),
    "comm": flood("comm_open", "{'comm_id': 'a', 'target_name': 'x', 'data': {'x': 'x' * 2000}}"),
    "clear": flood("clear_output", "{'wait': False}"),
    "errors": flood("error", "{'ename': 'x', 'evalue': 'y', 'traceback': ['z' * 900] * 900}"),
    "nonsense": flood("stream", "b'[[1]]'"),
    "unsigned": (
        "k = get_ipython().kernel\nfor i in range(100000):\n"
        "    parts = [b'<IDS|MSG>', b'', b'{}', b'{}', b'{}', b'x' * 100000]\n"
        "    k.iopub_socket.send_multipart(parts)\n"
    ),
}


@needs_bwrap
@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_messages_takes_no_memory(kind: str) -> None:
    with Kernel(Sandbox.choose(require=True), {}, LIMITS) as one:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        done = one.run(FLOODS[kind], 8)
        assert len(json.dumps(done.outputs)) < 2 * kernel.MOST_TEXT + 100_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10
        assert done.ended or kind == "too large for a message"


@needs_bwrap
def test_without_the_budget_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_CELL_BYTES", 1 << 40)
    with Kernel(Sandbox.choose(require=True), {}, LIMITS) as one:
        assert "stopped after 3 s" in str(one.run(FLOODS["stream"], 3).ended)


@needs_bwrap
@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os, time\nfor i in range(300):\n    os.fork() or time.sleep(50)\n", "more than"),
        (
            "import threading, time\nfor i in range(400):\n"
            "    threading.Thread(target=time.sleep, args=(50,)).start()\ntime.sleep(20)\n",
            "",  # the limit of memory stops it
        ),
        (
            "import os, time\nfor i in range(5):\n    if not os.fork():\n"
            "        x = bytearray(400 << 20); time.sleep(50)\ntime.sleep(20)\n",
            "MiB of memory",
        ),
    ],
)
def test_many_processes_and_much_memory_end_the_kernel(code: str, why: str) -> None:
    with Kernel(Sandbox.choose(require=True), {}, LIMITS) as one:
        done = one.run(code, 20)
        assert why in str(done.ended)
        assert not one.alive or "can't start new thread" in str(done.outputs)


def test_what_is_exceeded() -> None:
    assert exceeded(os.getpid(), processes=10_000, memory_mib=1 << 30) == ""
    assert "memory" in str(exceeded(os.getpid(), processes=10_000, memory_mib=1))
    assert "processes" in str(exceeded(os.getpid(), processes=0))
    assert exceeded(1 << 30) == "", "it has ended"


@needs_bwrap
def test_an_honest_cell_with_much_output_ends_by_itself() -> None:
    code = "from IPython.display import display\nfor i in range(2000): display(i)\nprint('end')"
    with Kernel(Sandbox.choose(require=True), {}, LIMITS) as one:
        assert one.run(code, 30).ended == ""
        assert one.run("1 + 1", 10).outputs[0]["data"] == {"text/plain": "2"}
        assert one.values(["i"], 10).values == {"i": "'1999'"}


@pytest.mark.parametrize("name", ["Stopped", "stopped", " Stopped "])
def test_an_error_of_the_notebook_is_not_the_graders(name: str) -> None:
    content = {"ename": name, "evalue": "stopped after 30 s", "traceback": []}
    output = kernel._output("error", content, 1000, "…")
    assert output is not None
    assert why_stopped(output) == ""


# --- one notebook in a process of its own ---------------------------------------------------------


def graded(code: str, **more: Any) -> tuple[Any, list[Any]]:
    cell = nbformat.v4.new_code_cell(code, metadata={"nbgrader": {"grade_id": "a"}})
    nb = nbformat.v4.new_notebook(cells=[cell])
    options: dict[str, Any] = {
        "sandbox_required": True,
        "environment": {},
        "limits": LIMITS,
        "timing": Timing(10, 30),
        "language": "en",
        **more,
    }
    stops = apart.grade_apart(nb, {"a": ReleasedCell(code, "answer")}, **options)
    return nb.cells[0], stops


@needs_bwrap
def test_a_notebook_in_a_process_of_its_own() -> None:
    cell, stops = graded("print('hello')")
    assert stops == []
    assert cell.outputs[0].text == "hello\n"
    assert cell.execution_count == 1


@needs_bwrap
def test_its_disk_is_small_and_nothing_of_it_stays(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "here, written = os.environ['HOME'], {}\n"
        "for place in (here, '/tmp', '/', '/usr/local', '/dev'):\n"
        "    total = 0\n"
        "    try:\n"
        "        for number in range(40):\n"
        "            with open(f'{place}/{number}', 'wb') as file:\n"
        "                total += file.write(bytes(20 << 20)) >> 20\n"
        "    except OSError as error: pass\n"
        "    written[place] = total\n"
        "for number in range(3000):\n"
        "    try: os.mkdir('d' * 50); os.chdir('d' * 50)\n"
        "    except OSError: break\n"
        "print(sorted(written.values()), number, here)\n"
    )
    cell, _ = graded(code)
    assert cell.outputs[0].output_type == "stream", cell.outputs
    sizes, here = cell.outputs[0].text.rpartition(" ")[::2]
    assert max(json.loads(sizes.partition("]")[0] + "]")) <= 260, sizes
    assert not Path(here.strip()).exists()


@needs_bwrap
def test_a_process_that_needs_too_much_costs_the_notebook_and_not_the_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = "import sys; sys.stdin.read(); raise MemoryError"
    monkeypatch.setattr(apart, "_CODE", code)
    cell, stops = graded("1")
    assert "memory" in str(stops[0])
    assert "memory" in str(why_stopped(cell.outputs[0]))


@needs_bwrap
def test_nor_does_one_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_CODE", "import time; time.sleep(60)")
    monkeypatch.setattr(apart, "_SPARE_S", 1.0)
    began = time.monotonic()
    _, stops = graded("1", timing=Timing(0.1, 0.1))
    assert "stopped after" in str(stops[0])
    assert time.monotonic() - began < 30


# --- the folder ----------------------------------------------------------------------------------


@pytest.fixture
def handed_in(tmp_path: Path) -> Path:
    folder = tmp_path / "submitted" / "eve" / "lab3"
    folder.mkdir(parents=True)
    (folder / "worksheet.ipynb").write_text("{}")
    return folder


def test_a_small_folder_is_fine(handed_in: Path) -> None:
    (handed_in / "pictures").mkdir()
    (handed_in / "pictures" / "a.png").write_bytes(bytes(1000))
    intake.check_folder(handed_in)


@pytest.mark.parametrize(
    "kind", ["large", "many", "deep", "much", "link", "pipe", "hard", "link above", "deep3000"]
)
def test_a_folder_that_is_refused(handed_in: Path, tmp_path: Path, kind: str) -> None:
    sheet = handed_in / "worksheet.ipynb"
    if kind == "large":
        os.truncate(sheet, 200 << 20)
    elif kind == "many":
        for number in range(1100):
            (handed_in / f"{number}").touch()
    elif kind == "much":
        for number in range(6):
            os.truncate(os.open(handed_in / f"{number}", os.O_CREAT | os.O_RDWR), 7 << 20)
    elif kind == "deep":
        (handed_in / "/".join("abcdefghijkl")).mkdir(parents=True)
    elif kind == "deep3000":
        here = os.open(handed_in, os.O_RDONLY)
        for _ in range(3000):
            os.mkdir("d", dir_fd=here)
            inner = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
    elif kind == "link":
        (handed_in / "x").symlink_to("/etc/passwd")
    elif kind == "pipe":
        os.mkfifo(handed_in / "x")
    elif kind == "hard":
        (tmp_path / "bob").write_text("{}")
        os.link(tmp_path / "bob", handed_in / "x")
    else:
        real = handed_in.rename(tmp_path / "real")
        handed_in.symlink_to(real)
    with pytest.raises(SubmissionError):
        intake.check_folder(handed_in)
    if kind == "deep3000":
        assert remove_tree(handed_in)  # too deep for the clean-up of pytest

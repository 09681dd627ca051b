"""Cells of a worksheet that attack the machine on which they are run."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus import Attack, Defence, off

pytest.importorskip("nbgrader")

import nbformat

from vmmlab.base.errors import SubmissionError
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.host.sandbox import Sandbox
from vmmlab.worksheet import apart, guard, handedin, intake, kernel
from vmmlab.worksheet.kernel import Kernel
from vmmlab.worksheet.two_kernels import Timing

LIMITS = ResourceLimits(file_mib=8, cpu_s=60, memory_mib=2048)
SECRET = "SECRET of the host"

CELLS = {
    "it reads a file of the host": "print(open({secret!r}).read())",
    "it reads by a shell": "get_ipython().system('cat ' + {secret!r})",
    "it lists the folder of the class": "import os; print(*os.listdir({folder!r}))",
    "it reads the environment of the grader": (
        "import os\nfor n in range(os.getppid() - 1, os.getppid() + 1):\n"
        "    print(open(f'/proc/{{n}}/environ').read())"
    ),
    "it writes a file beside the class": "open({made!r}, 'w').write('x')",
    "it writes sitecustomize.py": (
        "import site, pathlib\npathlib.Path({folder!r}, 'sitecustomize.py').write_text('x')"
    ),
    "it leaves a process": (
        "import subprocess\n"
        "subprocess.Popen(['sh', '-c', 'sleep 3; echo > ' + {made!r}], start_new_session=True)"
    ),
    "it makes a link to a file of the host": (
        "import os; os.symlink({secret!r}, 'link'); print(open('link').read())"
    ),
    "it connects to a port of the host": (
        "import socket\nprint(socket.create_connection(('127.0.0.1', {port}), 5).recv(100))"
    ),
    "it kills everything that it can": (
        "import os, signal\nos.kill({pid}, signal.SIGURG)\nprint('SECRET' + ' of the host')"
    ),
}
SHOWN = ("it reads a file of the host", "it writes a file beside the class")


def _run(name: str, folder: Path) -> str:
    """Run a cell; return what it has read of the host, or made there."""
    (folder / "class").mkdir()
    secret, made = folder / "class" / "secret.txt", folder / "made"
    secret.write_text(SECRET)
    os.environ["VMMLAB_TRIAL"] = SECRET
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)

        def answer() -> None:
            with contextlib.suppress(OSError):
                server.accept()[0].sendall(SECRET.encode())

        threading.Thread(target=answer, daemon=True).start()
        code = CELLS[name].format(
            secret=str(secret), folder=str(secret.parent), made=str(made),
            port=server.getsockname()[1], pid=os.getpid(),
        )  # fmt: skip
        with Kernel(Sandbox.choose(require=False), {}, LIMITS) as one:
            said = str(one.run(code, 20).outputs)
    del os.environ["VMMLAB_TRIAL"]
    if SECRET in said or ("lists" in name and "secret.txt" in said):
        return "it has read the host"
    return "it has written to the host" if {*folder.rglob("*")} - {secret.parent, secret} else ""


def _processes(folder: Path) -> str:
    code = "import os, time\nfor i in range(300):\n    os.fork() or time.sleep(50)\n"
    with Kernel(Sandbox.choose(require=True), {}, LIMITS) as one:
        done = one.run(code, 6)
    return "" if "more than" in str(done.ended) else "300 processes"


def _floods(folder: Path) -> str:
    code = (
        "k = get_ipython().kernel\nfor i in range(2000):\n    k.session.send(k.iopub_socket,"
        " 'stream', {'name': 'stdout', 'text': 'x' * (3 << 20)}, parent=k.get_parent())\n"
    )
    with Kernel(Sandbox.choose(require=True), {}, LIMITS) as one:
        done = one.run(code, 8)
    return "" if "MiB of output" in str(done.ended) else "all that it has sent is read"


def _large_folder(folder: Path) -> str:
    place = folder / "submitted" / "eve" / "lab1"
    place.mkdir(parents=True)
    with (place / "worksheet.ipynb").open("wb") as file:
        file.truncate(200 << 20)
    try:
        intake.check_folder(place)
    except SubmissionError:
        return ""
    return "a notebook of 200 MiB"


HALF = (
    "import json\nk = get_ipython().kernel\n"
    "k.session.pack = lambda one: json.dumps(one, default=str).encode()\n"
    "half = {'name': 'stdout', 'text': chr(0xd800)}\n"
    "k.session.send(k.iopub_socket, 'stream', half, parent=k.get_parent())"
)


def _graded(cells: list[str], depth: int, folder: Path) -> str:
    """Hand in a notebook; return why it has no grade, which is no word about the student."""
    place = folder / "eve" / "lab1"
    place.mkdir(parents=True)
    sheet = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])
    deep = functools.reduce(lambda inner, _: [inner], range(depth), 0)
    sheet.cells[0].metadata["x"] = deep if depth else 0
    text = json.dumps(sheet, indent=None)
    (place / "worksheet.ipynb").write_text(text)
    try:
        intake.check_folder(place)
        apart.grade_apart(
            sheet, {}, sandbox_required=True, environment={}, limits=LIMITS,
            timing=Timing(20, 100), language="en",
        )  # fmt: skip
        nbformat.write(sheet, folder / "graded.ipynb")
    except SubmissionError:
        return ""
    except Exception as error:
        return f"{type(error).__name__}, and no grade"
    return ""


NO_SHEETS = {
    "a worksheet that is `null`": {"worksheet.ipynb": b"null"},
    "a worksheet that is a number without end": {"worksheet.ipynb": b"1e999999"},
    "a worksheet in UTF-16": {"worksheet.ipynb": "{}".encode("utf-16")},
    "a time of handing in that is none": {
        "worksheet.ipynb": b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        "timestamp.txt": b"yesterday",
    },
}


def _read_by_nbgrader(files: dict[str, bytes], folder: Path) -> str:
    """Hand in what is no worksheet; return the error with which nbgrader itself ends."""
    from nbgrader.coursedir import CourseDirectory

    place = folder / "eve" / "lab1"
    place.mkdir(parents=True)
    for name, data in files.items():
        (place / name).write_bytes(data)
    try:
        handedin.check_sheets(place)
        CourseDirectory().get_existing_timestamp(str(place))
        nbformat.read(place / "worksheet.ipynb", as_version=4)
    except SubmissionError:
        return ""
    except Exception as error:
        return f"{type(error).__name__}, and no grade"
    return ""


def _attacks() -> Iterator[Attack]:
    for name, files in NO_SHEETS.items():
        attempt = functools.partial(_read_by_nbgrader, files)
        first = "what is no worksheet is refused before nbgrader reads it"
        yield Attack("notebook", name, "refused, with a reason", first, attempt, True)
    sandbox = "cells run in a sandbox"
    for name in CELLS:
        attempt = functools.partial(_run, name)
        full = name != SHOWN[0]
        yield Attack("notebook", name, "not allowed", sandbox, attempt, name in SHOWN, full)
    many, flood = "the processes of a kernel are counted", "a cell has a budget of messages"
    yield Attack("notebook", "it forks 300 times", "ended", many, _processes, True, True)
    yield Attack("notebook", "6 GiB of signed messages", "ended", flood, _floods, True, True)
    large = "the folder of a worksheet is measured first"
    yield Attack("notebook", "a worksheet of 200 MiB", "refused", large, _large_folder, True)
    for name, expected, defence, cells, depth in (
        ("half a character in an output", "shown as text", "an output is text", [HALF], 0),
        (
            "150 cells that print 100,000 characters",
            "ended",
            "a notebook that says too much was stopped",
            ["print('\\x01' * 100_000)"] * 150,
            0,
        ),
        (
            "metadata 900 times in each other",
            "refused",
            "a notebook is read before others read it",
            ["1"],
            900,
        ),
    ):
        tries = functools.partial(_graded, cells, depth)
        yield Attack("notebook", name, expected, defence, tries, True, True)


ATTACKS = tuple(_attacks())


def _any_size(patch: pytest.MonkeyPatch) -> None:
    for name in ("FILE_MIB", "FOLDER_MIB"):
        patch.setattr(intake, name, 1 << 20)


def _any_text(patch: pytest.MonkeyPatch) -> None:
    """Grade in this process: what is replaced here is not replaced in another one."""
    patch.setattr(kernel, "_encodable", lambda text: text)
    patch.setattr(apart, "_run", lambda request, wall_s: apart._graded(json.loads(request)))


def _no_look(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(handedin, "why_none", lambda data: "")
    patch.setattr(handedin, "_is_time", lambda data: True)


DEFENCES = (
    Defence("what is no worksheet is refused before nbgrader reads it", _no_look),
    Defence(
        "cells run in a sandbox",
        off(Sandbox, "choose", classmethod(lambda cls, require: cls.none())),
    ),
    Defence("the processes of a kernel are counted", off(guard, "exceeded", lambda pid: "")),
    Defence("a cell has a budget of messages", off(kernel, "_CELL_BYTES", 1 << 40)),
    Defence("the folder of a worksheet is measured first", _any_size),
    Defence("an output is text", _any_text),
    Defence("a notebook that says too much was stopped", off(apart, "_TOO_MUCH", 99)),
    Defence(
        "a notebook is read before others read it",
        off(intake, "_can_be_copied", lambda path, size: True),
    ),
)

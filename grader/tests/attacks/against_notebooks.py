"""Cells of a worksheet that attack the machine on which they are run."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus import Attack, Defence, off

pytest.importorskip("nbgrader")

from vmmlab.base.errors import SubmissionError
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.host.sandbox import Sandbox
from vmmlab.worksheet import guard, intake, kernel
from vmmlab.worksheet.kernel import Kernel

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


def _attacks() -> Iterator[Attack]:
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


ATTACKS = tuple(_attacks())


def _any_size(patch: pytest.MonkeyPatch) -> None:
    for name in ("FILE_MIB", "FOLDER_MIB"):
        patch.setattr(intake, name, 1 << 20)


DEFENCES = (
    Defence(
        "cells run in a sandbox",
        off(Sandbox, "choose", classmethod(lambda cls, require: cls.none())),
    ),
    Defence("the processes of a kernel are counted", off(guard, "exceeded", lambda pid: "")),
    Defence("a cell has a budget of messages", off(kernel, "_CELL_BYTES", 1 << 40)),
    Defence("the folder of a worksheet is measured first", _any_size),
)

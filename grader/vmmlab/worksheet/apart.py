"""Grades one notebook in its own process, with limits on memory, disk, processes and time.

The process receives what the student's kernel sends, so its memory is limited; what kernels write
goes to a file system in memory, of limited size, which ends with the process.
"""

from __future__ import annotations

import functools
import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.base.messagedata import from_json, to_json
from vmmlab.base.scratch import scratch_folder
from vmmlab.host import bubblewrap
from vmmlab.host.rlimits import MIB, ResourceLimits, at_most
from vmmlab.host.sandbox import Sandbox
from vmmlab.i18n.translate import Reader
from vmmlab.worksheet.kernel import Kernel, stopped
from vmmlab.worksheet.language import reader
from vmmlab.worksheet.two_kernels import (
    ReleasedCell,
    Timing,
    code_cells,
    grade_in_two_kernels,
)

DISK_MIB: Final = 64
"""What the kernels of a notebook can write together, in MiB."""
MEMORY_MIB: Final = 1024
"""The address space of the process in MiB, without its kernels."""
_CODE: Final = "from vmmlab.worksheet.apart import main; main()"
_SPARE_S: Final = 60.0
_TRIAL_S: Final = 10.0
_ANSWER_BYTES: Final = 64 * MIB
_TOO_MUCH: Final = 3  # the status of a process that has more to say


def grade_apart(
    nb: Any,
    sources: Mapping[str, ReleasedCell],
    *,
    sandbox_required: bool,
    environment: Mapping[str, str],
    limits: ResourceLimits,
    timing: Timing,
    language: str,
) -> list[Text]:
    """Run the code cells of a notebook in another process and put their outputs into it.

    Args:
        nb: the student's notebook; changed.
        sources: the cells that were released, by nbgrader's id.
        sandbox_required: refuse to run where there is no sandbox.
        environment: variables for the code.
        limits: the limits of each process in a kernel.
        timing: how long cells may take.
        language: that of the notebook.

    Returns:
        A text for each cell that was stopped.

    Raises:
        InfraError: a kernel cannot be started, or a locked cell without points fails.
    """
    cells = code_cells(nb)
    request = {
        "cells": [{"source": cell.source, "metadata": cell.metadata} for cell in cells],
        "sources": {name: asdict(one) for name, one in sources.items()},
        "sandbox_required": sandbox_required,
        "environment": dict(environment),
        "limits": asdict(limits),
        "timing": asdict(timing),
        "language": language,
    }
    answer = _run(json.dumps(request), 2 * timing.notebook_s + _SPARE_S)
    if not isinstance(answer, dict):
        return _stopped(cells, answer, reader(language))
    if "error" in answer:
        message, expected, found, next_step = map(from_json, answer["error"])
        raise InfraError(message, expected=expected, found=found, next_step=next_step)
    from nbformat import from_dict

    make: Any = from_dict
    for cell, done in zip(cells, answer["cells"], strict=True):
        cell.outputs = [make(one) for one in done["outputs"]]
        cell.execution_count = done["execution_count"]
    return [from_json(one) for one in answer["stops"]]


def main() -> None:
    """Grade the notebook on standard input; the process that `grade_apart` starts."""
    _limit(resource.RLIMIT_AS, MEMORY_MIB * MIB)
    request = json.load(sys.stdin)
    said = json.dumps(_graded(request))
    if len(said) > _ANSWER_BYTES:
        sys.exit(_TOO_MUCH)
    sys.stdout.write(said)


def _graded(request: Mapping[str, Any]) -> dict[str, Any]:
    from nbformat import from_dict

    make: Any = from_dict
    nb = make({"cells": [{"cell_type": "code", **cell} for cell in request["cells"]]})
    sources = {name: ReleasedCell(**one) for name, one in request["sources"].items()}
    limits, timing = ResourceLimits(**request["limits"]), Timing(**request["timing"])
    try:
        box = Sandbox.choose(require=request["sandbox_required"])
        say = reader(request["language"])
        new_kernel = functools.partial(Kernel, box, request["environment"], limits, say)
        stops = grade_in_two_kernels(nb, sources, new_kernel, timing, say)
    except InfraError as problem:
        texts = (problem.message, problem.expected, problem.found, problem.next_step)
        return {"error": [to_json(text) for text in texts]}
    return {
        "cells": [
            {
                "outputs": cell.get("outputs", []),
                "execution_count": cell.get("execution_count"),
            }
            for cell in nb.cells
        ],
        "stops": [to_json(stop) for stop in stops],
    }


def _limit(which: int, most: int) -> None:
    """Set the limit of this process; what it starts may have another one."""
    resource.setrlimit(which, (at_most(which, most), resource.getrlimit(which)[1]))


def _run(request: str, wall_s: float) -> dict[str, Any] | Text:
    """Return the answer of the process, or why the notebook was stopped.

    Raises:
        InfraError: the process cannot be started.
    """
    with scratch_folder("sheet") as folder:
        command = [*_own_disk(folder), "env", f"TMPDIR={folder}", sys.executable, "-I", "-c", _CODE]
        box = Sandbox.none()
        try:
            process = box.running.start(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as problem:
            raise InfraError(
                msg("A worksheet could not be graded."),
                found=str(problem),
                next_step=msg("Run `vmmlab doctor`."),
            ) from problem
        try:
            said, complaint = process.communicate(request.encode(), timeout=wall_s)
        except subprocess.TimeoutExpired:
            return msg("stopped after {timeout_s:.0f} s", timeout_s=wall_s)
        finally:
            box.running.end(process)
    if process.returncode == 0:
        answer: dict[str, Any] = json.loads(said)
        return answer
    if process.returncode == _TOO_MUCH:
        return msg("stopped after {mib} MiB of output", mib=_ANSWER_BYTES // MIB)
    if process.returncode < 0 or b"MemoryError" in complaint:
        return msg("ended because it needed more than {mib} MiB of memory", mib=MEMORY_MIB)
    raise InfraError(
        msg("A worksheet could not be graded."),
        found=complaint.decode(errors="replace").strip().rpartition("\n")[2],
        next_step=msg("Run `vmmlab doctor`."),
    )


def _stopped(cells: list[Any], why: Text, say: Reader) -> list[Text]:
    """Put the reason into every cell; nbgrader gives no points for a cell with an error."""
    from nbformat import from_dict

    make: Any = from_dict
    told = say(msg("This cell did not run to its end: {why}", why=why))
    for number, cell in enumerate(cells, start=1):
        cell.execution_count = number
        cell.outputs = [make(stopped(why, told))]
    return [msg("the notebook: {why}", why=why)]


def _own_disk(folder: Path) -> list[str]:
    """Return the command in front of a program for which a folder is a small disk of its own."""
    if not _can_have_own_disk():
        return []
    return _with_disk(bubblewrap.examine().path, DISK_MIB * MIB, str(folder))


def _with_disk(bwrap: str, size: int, folder: str) -> list[str]:
    """Return the words before a command that give it a folder on a disk of `size` bytes."""
    return [
        *(bwrap, "--die-with-parent", "--dev-bind", "/", "/"),
        *("--size", str(size), "--tmpfs", folder, "--"),
    ]


@functools.lru_cache(maxsize=1)
def _can_have_own_disk() -> bool:
    """Return whether bubblewrap can limit a disk, and a sandbox works within that."""
    found = bubblewrap.examine()
    if not (found.works and bubblewrap.can_size()):
        return False
    inner = [found.path, *bubblewrap.profile(), "--", "/bin/sh", "-c", "ulimit -c 0"]
    try:
        done = subprocess.run(
            [*_with_disk(found.path, 4096, "/mnt"), *inner],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRIAL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0

"""Exploration of untrusted code, in a process of its own inside the sandbox.

The sandbox shows only Python, the emulator, this package and the image. The answer is untrusted
data: a process that dies, hangs or prints anything else becomes one clear error.
"""

from __future__ import annotations

import compileall
import importlib.util
import json
import math
import signal
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.explore.exploration import CPUS, SCENARIOS, Bounds, Exploration
from vmmlab.explore.program import CohortLike, ImageLike
from vmmlab.explore.schema import from_data
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.host.sandbox import Completed, Sandbox
from vmmlab.host.toolroots import NIX
from vmmlab.images.model import one_line

_PACKAGES: Final = ("unicorn", "capstone", "elftools")
_OWN: Final = ("__init__.py", "base", "images", "explore")
_RUN: Final = (
    "import sys; sys.path += sys.argv[2:]; from vmmlab.explore.child import main; main(sys.argv[1])"
)
_MEMORY_MIB: Final = 4096  # of address space; the emulator alone reserves more than 1 GiB
_SPARE_S: Final = 20
_CROWDED: Final = 6
"""On a busy machine the search may take this many times its CPU time."""
_AGAIN: Final = "Run the command again. If it ends like this each time, it is a defect of vmmlab."


def explore(
    image: ImageLike,
    cohort: CohortLike,
    sandbox: Sandbox,
    *,
    sources: Mapping[str, bytes] | None = None,
    bounds: Bounds | None = None,
    scenarios: Sequence[str] | None = None,
    wall_s: float | None = None,
) -> Exploration:
    """Search all interleavings like `vmmlab.explore.explore`, but in the sandbox.

    Args:
        image: x86_64, with lab 4 in it.
        cohort: the cohort that it was built for.
        sandbox: where the search runs.
        sources: the student's files by path, for the text of source lines.
        bounds: when to stop.
        scenarios: which ones of `SCENARIOS`; None: all.
        wall_s: stop the process after this many seconds; None: derived from `bounds`.

    Raises:
        InfraError: unicorn is not installed, the image was not built from this kit, or the search
            died, hung, or gave an invalid answer.
        UsageError: the image is for another architecture.
    """
    if image.options.arch != "x86_64":
        raise UsageError(
            f"Orders are not explored for {image.options.arch}.", expected="an image for x86_64"
        )
    bounds = bounds or Bounds()
    asked = tuple(SCENARIOS if scenarios is None else scenarios)
    cpu_s = math.ceil(2 * (bounds.seconds + bounds.fallback_seconds)) + _SPARE_S
    wall_s = _CROWDED * cpu_s if wall_s is None else wall_s
    python, needed, places = _python()
    # The sandbox keeps no files: compile what the search imports here, once.
    compileall.compile_dir(Path(__file__).parent, maxlevels=0, quiet=2)
    with tempfile.TemporaryDirectory(prefix="vmmlab-explore-") as folder:
        request = Path(folder) / "request.json"
        data = _request(image, cohort, sources or {}, bounds, asked)
        request.write_text(json.dumps(data), encoding="utf-8")
        done = sandbox.run(
            [*python, "-c", _RUN, str(request), *places],
            ro=[*needed, Path(folder), image.elf, image.symbols.line_text],
            timeout_s=wall_s,
            limits=ResourceLimits(file_mib=8, cpu_s=cpu_s, memory_mib=_MEMORY_MIB),
        )
    return _answer(done, image, asked, wall_s)


def _request(
    image: ImageLike,
    cohort: CohortLike,
    sources: Mapping[str, bytes],
    bounds: Bounds,
    scenarios: Sequence[str],
) -> dict[str, Any]:
    """Return the request that `vmmlab.explore.child` reads."""
    return {
        "elf": str(image.elf),
        "lines": str(image.symbols.line_text),
        "symbols": image.symbols.data,
        "options": [image.options.arch, image.options.compiler, image.options.opt],
        "key": image.key,
        "cohort": [cohort.apinit_addr, cohort.pcpu_pad],
        "sources": {path: text.decode(errors="replace") for path, text in sources.items()},
        "bounds": asdict(bounds),
        "scenarios": scenarios,
    }


def _answer(done: Completed, image: ImageLike, asked: Sequence[str], wall_s: float) -> Exploration:
    """Return the exploration that the process printed, if it is a valid answer.

    Raises:
        InfraError: it is not.
    """
    if done.timed_out:
        raise InfraError(
            "The search for wrong schedules does not come to an end.",
            expected=f"an answer within {wall_s:.0f} s",
            next_step=_AGAIN,
        )
    if not done.ok:
        raise InfraError(
            "The search for wrong schedules has ended without an answer.",
            found=_end(done),
            next_step=_AGAIN,
        )
    try:
        data = json.loads(done.stdout)
        if isinstance(data, dict) and "error" in data:
            raise _reported(data["error"])
        found = from_data(data)
        answered = tuple(dict.fromkeys(part.scenario for part in found.parts))
        if (found.image, found.cpus, answered) != (image.key, CPUS, tuple(asked)):
            raise ValueError("this is the answer to another question")
    except ValueError as error:
        raise InfraError(
            "The search for wrong schedules gave an answer that cannot be understood.",
            found=one_line(str(error)),
            next_step=_AGAIN,
        ) from error
    return found


def _reported(error: Any) -> InfraError:
    """Return the error that the search reports about the image.

    Raises:
        ValueError: the data do not describe an error.
    """
    if not isinstance(error, list) or [type(text) for text in error] != [str] * 4:
        raise ValueError("this is not an error")
    message, expected, found, next_step = map(one_line, error)
    return InfraError(message, expected=expected, found=found, next_step=next_step)


def _end(done: Completed) -> str:
    """Return how a process has ended, in words."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    if lines and lines[-1].startswith("MemoryError"):
        return f"it needs more than {_MEMORY_MIB} MiB of memory"
    number = done.returncode - 128
    if number in {one.value for one in signal.Signals}:
        return f"it was ended by {signal.Signals(number).name}"
    return one_line(lines[-1]) if lines else f"status {done.returncode}"


def _python() -> tuple[list[str], list[Path], list[str]]:
    """Return the command that starts Python, the paths it must read, and its import folders.

    Raises:
        InfraError: unicorn is not installed.
    """
    program = Path(sys.executable).resolve()
    paths = sysconfig.get_paths()
    needed = [program, Path(paths["stdlib"]), Path(paths["platstdlib"])]
    if program.is_relative_to(NIX):
        needed.append(NIX)
    library = sysconfig.get_config_var("LIBDIR")
    if sysconfig.get_config_var("Py_ENABLE_SHARED") and library:
        needed += sorted(Path(library).glob("libpython3*"))
    # Only these packages of vmmlab: an installed one may contain a course.
    own = Path(__file__).parents[1]
    needed += [own / name for name in _OWN]
    packages = []
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise InfraError(
                f"Exploring schedules needs {name}, which is not installed.",
                next_step="pip install 'vmmlab[explore]'",
            )
        packages.append(Path(next(iter(spec.submodule_search_locations))))
    folders = dict.fromkeys(str(place.parent) for place in (own, *packages))
    return [str(program), "-I", "-S", "-B"], [*dict.fromkeys([*needed, *packages])], [*folders]

"""Exploring somebody's compiled code in a process of its own, behind the sandbox's door.

Inside nothing is to be seen but Python, the emulator, this package and the image. What comes back
is data to be looked at: a process that dies, hangs or talks nonsense is one clear error.
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
_MEMORY_MIB: Final = 4096  # of addresses; the emulator alone asks for more than one GiB
_SPARE_S: Final = 20
_CROWDED: Final = 6
"""So many times slower than alone a busy machine may be."""
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
    """Try all orders of the lab-4 code in an image, as `vmmlab.explore.explore` does, but inside.

    Args:
        image: x86_64, with lab 4 in it, the student's or any.
        cohort: the one that the image was built for.
        sandbox: where the search runs.
        sources: the student's files by path, for the text of source lines.
        bounds: when to stop.
        scenarios: which ones of `SCENARIOS`; None: all.
        wall_s: seconds after which the search is ended; None: plenty.

    Raises:
        InfraError: unicorn is not installed, the image is not one of this kit, or the search died,
            hung, or gave an answer that is none.
        UsageError: the image is for another architecture.
    """
    if image.options.arch != "x86_64":
        raise UsageError(
            f"Orders are not explored for {image.options.arch}.", expected="an image for x86_64"
        )
    limits = bounds or Bounds()
    asked = tuple(SCENARIOS if scenarios is None else scenarios)
    cpu_s = math.ceil(2 * (limits.seconds + limits.fallback_seconds)) + _SPARE_S
    wall_s = _CROWDED * cpu_s if wall_s is None else wall_s
    python, needed, places = _python()
    # Inside nothing can be kept: compile what the search imports out here, once.
    compileall.compile_dir(Path(__file__).parent, maxlevels=0, quiet=2)
    with tempfile.TemporaryDirectory(prefix="vmmlab-explore-") as folder:
        request = Path(folder) / "request.json"
        request.write_text(
            json.dumps(
                {
                    "elf": str(image.elf),
                    "lines": str(image.symbols.line_text),
                    "symbols": image.symbols.data,
                    "options": [image.options.arch, image.options.compiler, image.options.opt],
                    "key": image.key,
                    "cohort": [cohort.apinit_addr, cohort.pcpu_pad],
                    "sources": {
                        path: text.decode(errors="replace")
                        for path, text in (sources or {}).items()
                    },
                    "bounds": asdict(limits),
                    "scenarios": asked,
                }
            ),
            encoding="utf-8",
        )
        done = sandbox.run(
            [*python, "-c", _RUN, str(request), *places],
            ro=[*needed, Path(folder), image.elf, image.symbols.line_text],
            timeout_s=wall_s,
            limits=ResourceLimits(file_mib=8, cpu_s=cpu_s, memory_mib=_MEMORY_MIB),
        )
    return _answer(done, image, asked, wall_s)


def _answer(done: Completed, image: ImageLike, asked: Sequence[str], wall_s: float) -> Exploration:
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
            raise _told(data["error"])
        found = from_data(data)
        told = tuple(dict.fromkeys(part.scenario for part in found.parts))
        if (found.image, found.cpus, told) != (image.key, CPUS, tuple(asked)):
            raise ValueError("this is the answer to another question")
    except ValueError as error:
        raise InfraError(
            "The search for wrong schedules gave an answer that cannot be understood.",
            found=one_line(str(error)),
            next_step=_AGAIN,
        ) from error
    return found


def _told(error: Any) -> InfraError:
    """What the search says about the image."""
    if not isinstance(error, list) or [type(text) for text in error] != [str] * 4:
        raise ValueError("this is not an error")
    message, expected, found, next_step = map(one_line, error)
    return InfraError(message, expected=expected, found=found, next_step=next_step)


def _end(done: Completed) -> str:
    """How a process has ended, in words."""
    said = done.stderr.decode(errors="replace").strip().splitlines()
    if said and said[-1].startswith("MemoryError"):
        return f"it needs more than {_MEMORY_MIB} MiB of memory"
    number = done.returncode - 128
    if number in {one.value for one in signal.Signals}:
        return f"it was ended by {signal.Signals(number).name}"
    return one_line(said[-1]) if said else f"status {done.returncode}"


def _python() -> tuple[list[str], list[Path], list[str]]:
    """How to start Python, what must be readable for it, and the folders of its packages.

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
    # Only these of vmmlab: an installed one may hold a course.
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

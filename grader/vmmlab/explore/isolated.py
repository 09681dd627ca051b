"""Exploration of untrusted code, in a process of its own inside the sandbox.

The sandbox shows only Python, the emulator, this package and the image. The answer is untrusted
data: a process that dies, hangs or prints anything else becomes one clear error.
"""

from __future__ import annotations

import compileall
import importlib.util
import json
import math
import shutil
import signal
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.message import Text, msg
from vmmlab.base.messagedata import from_json, with_strings
from vmmlab.base.scratch import scratch_folder
from vmmlab.explore.declaration import declaration_file
from vmmlab.explore.exploration import Bounds, Exploration
from vmmlab.explore.program import CohortLike, ImageLike
from vmmlab.explore.schema import from_data
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.host.sandbox import Completed, Sandbox
from vmmlab.host.toolroots import NIX
from vmmlab.images.model import one_line

_PACKAGES: Final = ("unicorn", "capstone", "elftools")
_OWN: Final = (
    *("__init__.py", "base", "images", "explore", "x86"),
    *("course/__init__.py", "course/labpackage.py"),
)
_RUN: Final = (
    "import sys; sys.path += sys.argv[2:]; from vmmlab.explore.child import main; main(sys.argv[1])"
)
_MEMORY_MIB: Final = 4096  # of address space; the emulator alone reserves more than 1 GiB
_SPARE_S: Final = 20
_CROWDED: Final = 6
"""On a busy machine the search may take this many times its CPU time."""
_AGAIN: Final = msg("Run the command again. If it fails every time, this is a defect of vmmlab.")


def explore(
    image: ImageLike,
    cohort: CohortLike,
    sandbox: Sandbox,
    lab: str,
    folder: Path,
    *,
    sources: Mapping[str, bytes] | None = None,
    bounds: Bounds | None = None,
    scenarios: Sequence[str] | None = None,
    wall_s: float | None = None,
) -> Exploration:
    """Search all interleavings like `vmmlab.explore.explore`, but in the sandbox.

    Args:
        image: x86_64, with the lab in it.
        cohort: the cohort that it was built for.
        sandbox: where the search runs.
        lab: the lab.
        folder: its folder, with its declaration.
        sources: the student's files by path, for the text of source lines.
        bounds: when to stop.
        scenarios: names of the scenarios to search; None: all.
        wall_s: stop the process after this many seconds; None: derived from `bounds`.

    Raises:
        InfraError: unicorn is not installed, the image was not built from this kit, or the search
            died, hung, or gave an invalid answer.
        UsageError: the image is for another architecture.
    """
    if image.options.arch != "x86_64":
        raise UsageError(
            msg("The explorer does not support {arch}.", arch=image.options.arch),
            expected=msg("an image for x86_64"),
        )
    bounds = bounds or Bounds()
    asked = None if scenarios is None else tuple(scenarios)
    cpu_s = math.ceil(2 * (bounds.seconds + bounds.fallback_seconds)) + _SPARE_S
    wall_s = _CROWDED * cpu_s if wall_s is None else wall_s
    python, needed, places = _python()
    if declaration_file(folder) is None:
        raise UsageError(msg("there are no schedules to explore in {lab}.", lab=lab))
    # The sandbox keeps no files: compile what the search imports here, once.
    compileall.compile_dir(Path(__file__).parent, maxlevels=0, quiet=2)
    with scratch_folder("explore") as place:
        request = place / "request.json"
        data = _request(image, cohort, sources or {}, bounds, asked)
        data |= {"lab": lab, "folder": str(_copied(folder, place))}
        request.write_text(json.dumps(data), encoding="utf-8")
        done = sandbox.run(
            [*python, "-c", _RUN, str(request), *places],
            ro=[*needed, place, image.elf, image.symbols.line_text],
            timeout_s=wall_s,
            limits=ResourceLimits(file_mib=8, cpu_s=cpu_s, memory_mib=_MEMORY_MIB),
        )
    return _answer(done, image, asked, wall_s)


def _request(
    image: ImageLike,
    cohort: CohortLike,
    sources: Mapping[str, bytes],
    bounds: Bounds,
    scenarios: Sequence[str] | None,
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


def _copied(folder: Path, place: Path) -> Path:
    """Copy a lab's modules but not its tests, and return the folder of the copies.

    The declaration may import other modules of its folder.
    """
    target = place / "lab"
    target.mkdir()
    for path in folder.glob("*.py"):
        if not path.name.startswith("test_"):
            shutil.copy(path, target)
    return target


def _answer(
    done: Completed, image: ImageLike, asked: Sequence[str] | None, wall_s: float
) -> Exploration:
    """Return the exploration that the process printed, if it is a valid answer.

    Raises:
        InfraError: it is not.
    """
    if done.timed_out:
        raise InfraError(
            msg("The search for wrong schedules did not finish."),
            expected=msg("a result within {seconds:.0f} s", seconds=wall_s),
            next_step=_AGAIN,
        )
    if not done.ok:
        raise InfraError(
            msg("The search for wrong schedules ended without a result."),
            found=_end(done),
            next_step=_AGAIN,
        )
    try:
        data = json.loads(done.stdout)
        if isinstance(data, dict) and "error" in data:
            raise _reported(data["error"])
        found = from_data(data)
    except (ValueError, RecursionError) as error:
        raise _not_understood(one_line(str(error))) from error
    if found.image != image.key or not _answers(found, asked):
        raise _not_understood(msg("this is the result for another question"))
    return found


def _answers(found: Exploration, asked: Sequence[str] | None) -> bool:
    """Return True if the parts are those of the scenarios; a wrong one is the last."""
    answered = tuple(dict.fromkeys(part.scenario for part in found.parts))
    if asked is None:
        return bool(answered)
    if found.verdict == "wrong":
        asked = asked[: len(answered)]
    return bool(answered) and answered == tuple(asked)


def _not_understood(found: Text) -> InfraError:
    return InfraError(
        msg("The result of the search for wrong schedules cannot be read."),
        found=found,
        next_step=_AGAIN,
    )


def _reported(error: Any) -> InfraError:
    """Return the error that the search reports about the image.

    Raises:
        ValueError: the data do not describe an error.
    """
    if not isinstance(error, list) or len(error) != 4:
        raise ValueError("this is not an error")
    message, expected, found, next_step = (_in_one_line(from_json(text)) for text in error)
    return InfraError(message, expected=expected, found=found, next_step=next_step)


def _in_one_line(text: Text) -> Text:
    """Return a text that fits a line, also with its values."""
    if isinstance(text, str):
        return one_line(text)
    text = with_strings(text, one_line)
    english = str(text)
    return text if english == one_line(english) else one_line(english)


def _end(done: Completed) -> Text:
    """Return how a process has ended, in words."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    if lines and lines[-1].startswith("MemoryError"):
        return msg("it needs more than {limit} MiB of memory", limit=_MEMORY_MIB)
    number = done.returncode - 128
    if number in {one.value for one in signal.Signals}:
        return msg("{signal} ended it", signal=signal.Signals(number).name)
    return one_line(lines[-1]) if lines else msg("status {status}", status=done.returncode)


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
                msg("Exploring schedules needs {name}, which is not installed.", name=name),
                next_step="pip install 'vmmlab[explore]'",
            )
        packages.append(Path(next(iter(spec.submodule_search_locations))))
    folders = dict.fromkeys(str(place.parent) for place in (own, *packages))
    return [str(program), "-I", "-S", "-B"], [*dict.fromkeys([*needed, *packages])], [*folders]

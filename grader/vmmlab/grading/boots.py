"""From a lab and its files to Observations: builds, boots in parallel, retries nothing.

One thread with one event loop drives all machines of a grading; as many boot at once as the host
has CPUs. What an Observation means is not known here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from vmmlab.base.errors import InfraError
from vmmlab.checks import Scenario
from vmmlab.course.cohort import Cohort
from vmmlab.course.model import Course
from vmmlab.grading import inputs
from vmmlab.grading.grade import RunFacts, RunRequest
from vmmlab.host.sandbox import Sandbox
from vmmlab.host.versions import tool_versions
from vmmlab.images import prebuilt
from vmmlab.images.builder import Builder
from vmmlab.images.model import BuildOptions, Diagnostic, Image, ObjectPatch
from vmmlab.images.sources import Prebuilt
from vmmlab.machine import Machine, MachineSpec
from vmmlab.machine.firmware import DEFAULT
from vmmlab.observe.observation import Observation
from vmmlab.observe.session import Director, Inputs
from vmmlab.probes.bringup import make_probe

T = TypeVar("T")

COST = {"exclusion": 4, "barrier": 3, "ladder": 2, "late-ap": 2}
"""About how much longer a boot takes with these probes."""
BUILD_PARAMS = ("opt", "compiler", "delays")


def make_builder(
    course: Course, sandbox: Sandbox, standins: Path | None, cohort: Cohort
) -> Builder:
    """The builder of a course, with stand-ins from its reference or ready-made.

    Args:
        course: the course.
        sandbox: where compilers run.
        standins: folder of ready-made stand-ins, in place of those of a release.
        cohort: whose stand-ins are needed.

    Raises:
        UsageError: the course has no stand-ins for this cohort.
    """
    own = standins is not None and standins.is_dir() and not course.reference_dir.is_dir()
    source = Prebuilt(standins) if own and standins else prebuilt.source_of(course, cohort)
    return Builder(course.tree, course, sandbox, None, source)


def build_options(
    scenario: Scenario,
    *,
    arch: str,
    seed: int,
    compiler: str | None = None,
    opt: str | None = None,
) -> BuildOptions:
    """How the VMM of a scenario is built.

    Args:
        scenario: what it says itself counts.
        arch: what to build for.
        seed: of the boot's inputs.
        compiler: where the scenario names none.
        opt: where the scenario names none.
    """
    named: dict[str, Any] = {"compiler": compiler, "opt": opt}
    named |= {name: found for name in BUILD_PARAMS if (found := scenario.get(name)) is not None}
    given = {name: value for name, value in named.items() if value is not None}
    shuffle = scenario.get("shuffle")
    own_functions = scenario.get("probe") == "initfuncs"
    asm_seed = seed + (int(shuffle) if shuffle else 0)
    return BuildOptions(
        arch=arch,
        extra_asm=inputs.initfunc_asm(asm_seed, int(scenario.get("functions", 0)))
        if own_functions
        else None,
        link_order_seed=asm_seed if shuffle else None,
        **given,
    )


async def boot(
    image: Image, scenario: Scenario, cohort: Cohort, seed: int, sandbox: Sandbox
) -> Observation:
    """Boot one scenario and watch it.

    Args:
        image: what to boot.
        scenario: its name and parameters.
        cohort: whose numbers are in the image.
        seed: seed of the boot's inputs.
        sandbox: what QEMU runs in.

    Raises:
        InfraError: QEMU could not be started, or died although the guest did not end it.
    """
    with tempfile.TemporaryDirectory(prefix="vmmlab-modules-") as folder:
        modules: list[Path] = []
        for number in range(int(scenario.get("modules", 0))):
            modules.append(Path(folder) / f"module{number}")
            modules[-1].write_bytes(inputs.module(seed, number))
        return await _boot(image, scenario, cohort, seed, sandbox, tuple(modules))


async def _boot(
    image: Image,
    scenario: Scenario,
    cohort: Cohort,
    seed: int,
    sandbox: Sandbox,
    modules: tuple[Path, ...],
) -> Observation:
    cpus = int(scenario.get("cpus", 4))
    spec = MachineSpec(
        kernel=image.kernel,
        cpus=cpus,
        memory_mib=int(scenario.get("memory", inputs.memory_mib(seed, scenario.name))),
        firmware=str(scenario.get("firmware", DEFAULT)),
        cmdline=inputs.command_line(seed, scenario.name, int(scenario.get("cmdline", 0))),
        modules=modules,
    )
    given = Inputs(
        scenario=scenario.name,
        seed=seed,
        cpus=cpus,
        apinit_addr=cohort.apinit_addr,
        apinit_offset=cohort.apinit_offset,
        stack_size=cohort.stack_size,
        pcpu_pad=cohort.pcpu_pad,
        arch=image.options.arch,
    )
    probe = make_probe(str(scenario.get("probe", "end")), dict(scenario.params))
    async with Machine(spec, sandbox) as machine:
        return await Director(machine, image.symbols, given).run(probe)


def _cost(scenario: Scenario) -> float:
    """About how long a boot takes, in units of its own: a guess, for the order alone."""
    return COST.get(str(scenario.get("probe")), 1) + int(scenario.get("cpus", 4)) / 6


class LabRunner:
    """Builds and boots the scenarios of one lab for one submission.

    Args:
        request: what to build and boot.
        patch: what is changed in the student's object before the link; None: nothing.
    """

    def __init__(self, request: RunRequest, patch: ObjectPatch | None = None) -> None:
        self._request = request
        self._sandbox = Sandbox.choose(require=request.sandbox_required)
        self._builder = make_builder(
            request.course, self._sandbox, request.standins, request.cohort
        ).patched(patch)
        self._images: dict[BuildOptions, concurrent.futures.Future[Image]] = {}
        self._boots: dict[Scenario, concurrent.futures.Future[Observation]] = {}
        self._warnings: dict[Diagnostic, None] = {}
        self._times = {"build": 0.0, "boots": 0.0}
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1)
        self._versions = self._pool.submit(tool_versions)
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(os.cpu_count() or 1)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._image(build_options(Scenario("first"), **self._build_params()))

    def prepare(self, scenarios: Sequence[Scenario]) -> None:
        """Start building and booting; return at once.

        The first one goes first: if it shows a mistake, most checks of the others need not wait
        for their boots. Of the others the longest begins.

        Args:
            scenarios: in the order in which checks will ask for them.
        """
        for scenario in (*scenarios[:1], *sorted(scenarios[1:], key=_cost, reverse=True)):
            self._boot(scenario)

    def observe(self, scenario: Scenario) -> Observation:
        """The Observation of a scenario; boots it (again) if there is none.

        Raises:
            BuildFailed: the student's code does not build.
            InfraError: QEMU failed, not the student.
        """
        try:
            return self._boot(scenario).result()
        except InfraError:
            self._boots.pop(scenario, None)
            self._images = {
                options: image
                for options, image in self._images.items()
                if not (image.done() and isinstance(image.exception(), InfraError))
            }
            raise

    def facts(self) -> RunFacts:
        """Warnings, versions and times, as far as anything has run."""
        versions = self._versions.result()
        notes = [self._sandbox.note] if self._sandbox.kind == "none" else []
        if not versions.tried:
            notes.append(f"{versions.qemu_text} was never tried with vmmlab; 7.2 and 10.0 were.")
        return RunFacts(
            warnings=tuple(self._warnings),
            versions={"qemu": ".".join(map(str, versions.qemu)), "qemu.qmp": versions.qmp},
            times=dict(self._times),
            notes=notes,
        )

    def close(self) -> None:
        """End every boot and build that is still going on."""
        if self._loop.is_closed():
            return

        async def end() -> None:
            rest = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        with suppress(concurrent.futures.CancelledError):
            asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    # ---- behind the curtain ------------------------------------------------------------------

    def _build_params(self) -> dict[str, Any]:
        request = self._request
        return {
            "arch": request.arch,
            "seed": request.seed,
            "compiler": request.compiler,
            "opt": request.opt,
        }

    def _image(self, options: BuildOptions) -> concurrent.futures.Future[Image]:
        if options not in self._images:
            self._images[options] = self._pool.submit(self._build, options)
        return self._images[options]

    def _build(self, options: BuildOptions) -> Image:
        began = time.monotonic()
        request = self._request
        files: Mapping[str, bytes] = request.files
        if request.mode == "own":
            image = self._builder.build_own(files, request.cohort, options)
        else:
            image = self._builder.build(request.lab, files, request.cohort, options)
        self._warnings |= dict.fromkeys(image.warnings)
        self._times["build"] += time.monotonic() - began
        return image

    def _boot(self, scenario: Scenario) -> concurrent.futures.Future[Observation]:
        if scenario not in self._boots:
            image = self._image(build_options(scenario, **self._build_params()))
            self._boots[scenario] = self._start(lambda: self._run(scenario, image))
        return self._boots[scenario]

    def _start(self, make: Callable[[], Coroutine[Any, Any, T]]) -> concurrent.futures.Future[T]:
        return asyncio.run_coroutine_threadsafe(make(), self._loop)

    async def _run(
        self, scenario: Scenario, image: concurrent.futures.Future[Image]
    ) -> Observation:
        built = await asyncio.wrap_future(image)
        request = self._request
        async with self._slots:
            began = time.monotonic()
            seen = await boot(built, scenario, request.cohort, request.seed, self._sandbox)
            self._times["boots"] += time.monotonic() - began
            return seen

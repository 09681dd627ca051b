"""The runner that really boots: from a request to images and Observations.

One thread with one event loop drives all machines of a grading; as many boot at once as the host
has CPUs, or fewer. Retries nothing, and does not know what an Observation means.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.base.text import clean_line
from vmmlab.checks import Scenario
from vmmlab.course.cohort import Cohort
from vmmlab.course.model import Course
from vmmlab.explore import Bounds, Exploration, isolated
from vmmlab.grading import inputs
from vmmlab.grading.machines import Uefi, inputs_of, machine_of
from vmmlab.grading.request import RunFacts, RunRequest
from vmmlab.host import cgroup
from vmmlab.host.sandbox import Sandbox
from vmmlab.host.versions import tool_versions
from vmmlab.images.builder import Builder
from vmmlab.images.efi import EfiBuilder
from vmmlab.images.guest import GuestBuilder
from vmmlab.images.model import BuildOptions, Diagnostic, Image, ObjectPatch
from vmmlab.images.prebuilt import source_of
from vmmlab.images.sources import Prebuilt
from vmmlab.machine import Limits, firmware
from vmmlab.machine.templates import Templates, started
from vmmlab.observe.boot import Watching
from vmmlab.observe.boot import observe as watch
from vmmlab.observe.evidence import Lost
from vmmlab.observe.lost import BootLost, not_booted
from vmmlab.observe.observation import Observation
from vmmlab.observe.session import Session
from vmmlab.probes import make_probe
from vmmlab.probes.words import boot_in_words

_BOUNDS: Final = Bounds(seconds=6.0, fallback_seconds=1.0, one_order_seconds=8.0)

Observer = Callable[[Session, Watching, Callable[[], bool]], Awaitable[Any]]
"""Lets a machine boot: `vmmlab.observe.boot.observe`, or what debugs it."""

BUILD_PARAMS = ("opt", "compiler", "delays")


def make_builder(
    course: Course, sandbox: Sandbox, prebuilt: Path | None, cohort: Cohort
) -> Builder:
    """Return the builder of a course; the other labs come from its reference or are prebuilt.

    Args:
        course: the course.
        sandbox: where compilers run.
        prebuilt: folder of prebuilt labs; used instead of a release's own.
        cohort: whose prebuilt labs are needed.

    Raises:
        UsageError: the course has no prebuilt labs for this cohort.
    """
    own = prebuilt is not None and prebuilt.is_dir() and not course.reference_dir.is_dir()
    source = Prebuilt(prebuilt) if own and prebuilt else source_of(course, cohort)
    return Builder(course.tree, course, sandbox, None, source)


def build_options(
    scenario: Scenario,
    *,
    arch: str,
    seed: int,
    compiler: str | None = None,
    opt: str | None = None,
) -> BuildOptions:
    """Return how the VMM of a scenario is built.

    Args:
        scenario: its own parameters take precedence.
        arch: what to build for.
        seed: seed of the boot's inputs.
        compiler: compiler where the scenario names none.
        opt: optimisation where the scenario names none.
    """
    named: dict[str, Any] = {"compiler": compiler, "opt": opt}
    own = {name: getattr(scenario, name) for name in BUILD_PARAMS}
    named |= {name: value for name, value in own.items() if value is not None}
    given = {name: value for name, value in named.items() if value is not None}
    shuffle = scenario.shuffle
    own_functions = "functions" in scenario.kind.parameters
    asm_seed = seed + (int(shuffle) if shuffle else 0)
    return BuildOptions(
        arch=arch,
        extra_asm=inputs.initfunc_asm(asm_seed, int(scenario.option("functions", 0)))
        if own_functions
        else None,
        link_order_seed=asm_seed if shuffle else None,
        no_initfuncs=bool(scenario.option("empty", False)),
        **given,
    )


class GradeClock:
    """How much time the boots of one grade have left.

    The limit is that of an idle host, times the least factor that a boot has measured: boots that
    keep the host busy must not earn time by that.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._limit_s = math.inf
        self._longest: tuple[float, Scenario] | None = None
        self._was_over = False

    def note(self, limits: Limits) -> None:
        """Take into account how slow this host is, as a boot has found.

        Args:
            limits: those of the boot.
        """
        self._limit_s = min(self._limit_s, limits.grade_s)

    def over(self) -> bool:
        """Whether the time is up; asked only for a boot that is not at its end."""
        self._was_over |= time.monotonic() - self._began >= self._limit_s
        return self._was_over

    def forgive(self, seconds: float) -> None:
        """Let some time not count: it was not the submission's."""
        self._began += seconds

    def used(self, scenario: Scenario, seconds: float) -> None:
        """Take into account how long a boot took."""
        if self._longest is None or seconds > self._longest[0]:
            self._longest = seconds, scenario

    def notes(self) -> list[Text]:
        """Return which boot took longest, if the time was not enough for all."""
        if self._longest is None or not self._was_over:
            return []
        seconds, scenario = self._longest
        return [
            msg(
                "The boots used up the time of this grade, {limit:.0f} s. The longest was the one "
                "with {boot}: {seconds:.0f} s. Checks whose boots did not get their time are "
                "reported as timeouts.",
                limit=self._limit_s,
                boot=boot_in_words(scenario),
                seconds=seconds,
            )
        ]


async def boot(
    image: Image,
    scenario: Scenario,
    cohort: Cohort,
    seed: int,
    sandbox: Sandbox,
    clock: GradeClock | None = None,
    uefi: Uefi | None = None,
    guest: Path | None = None,
    observer: Observer = watch,
) -> Any:
    """Boot one scenario and observe it.

    Args:
        image: what to boot.
        scenario: its name and parameters.
        cohort: whose numbers are in the image.
        seed: seed of the boot's inputs.
        sandbox: where QEMU runs.
        clock: how much time the grade has left; None for no limit but the boot's own.
        uefi: what a boot by UEFI firmware needs; None: the scenario has another firmware.
        guest: a test guest: the first multiboot module, or an EFI application that the loader
            starts.
        observer: boots, with a probe; what it returns is returned.

    Raises:
        BootLost: QEMU could not be started, or died although the guest did not end it.
    """
    clock = clock or GradeClock()
    with scenario.scope.in_use():
        spec = machine_of(image, scenario, seed, uefi, guest)
        given = inputs_of(image, scenario, cohort, seed, spec)
        if clock.over():
            return not_booted(given, image.symbols, Lost("no-time"), "timeout")
        began = time.monotonic()
        try:
            async with started(spec, sandbox, uefi.templates if uefi else None) as machine:
                clock.note(machine.limits)
                if spec.efi:
                    clock.forgive(time.monotonic() - began)
                probe = make_probe(scenario.probe, dict(scenario.options))
                session = Session(machine, image.symbols, given)
                return await observer(session, probe, clock.over)
        except BootLost:
            raise
        except InfraError as error:
            lost = Lost("refused", clean_line(str(error.found)))
            raise BootLost(error, not_booted(given, image.symbols, lost)) from error


def _cost(scenario: Scenario) -> float:
    """Estimate the duration of a boot, in arbitrary units; used only to order boots."""
    return scenario.kind.cost + scenario.cpus / 6


def _must_be_made(made: concurrent.futures.Future[Any] | None) -> bool:
    """Whether something was not made yet, or could not be and is tried again."""
    return made is None or (made.done() and made.exception() is not None)


class LabRunner:
    """Builds and boots the scenarios of one lab for one submission.

    Args:
        request: what to build and boot.
        patch: change to the submission's merged object before the link; None: no change.
        jobs: how many boots, and how many builds, run at a time; None: as many as the host has
            processors.
    """

    def __init__(
        self, request: RunRequest, patch: ObjectPatch | None = None, *, jobs: int | None = None
    ) -> None:
        jobs = jobs or os.cpu_count() or 1
        self._request = request
        self._group = cgroup.make()
        sandbox = Sandbox.choose(require=request.sandbox_required)
        self._sandbox = sandbox.within(self._group)
        self._builder = make_builder(
            request.course, self._sandbox, request.prebuilt, request.cohort
        ).patched(patch)
        self._images: dict[tuple[Cohort, BuildOptions], concurrent.futures.Future[Image]] = {}
        self._boots: dict[Scenario, concurrent.futures.Future[Observation]] = {}
        self._guests: dict[str, concurrent.futures.Future[Path]] = {}
        self._uefi: concurrent.futures.Future[Uefi] | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._warnings: dict[Diagnostic, None] = {}
        self._times = {"build": 0.0, "boots": 0.0}
        self._clock = GradeClock()
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=jobs)
        self._search_pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._versions = self._pool.submit(tool_versions)
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(jobs)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._image(Scenario("first"))

    def prepare(self, scenarios: Sequence[Scenario]) -> None:
        """Start building and booting; return at once.

        The first scenario boots first: if it shows a mistake, most checks of the others are
        skipped without waiting for their boots. The others start in order of decreasing duration.

        Args:
            scenarios: in the order in which checks will ask for them.
        """
        for scenario in (*scenarios[:1], *sorted(scenarios[1:], key=_cost, reverse=True)):
            self._boot(scenario)

    def observe(self, scenario: Scenario) -> Observation:
        """Return the Observation of a scenario; boot it (again) if there is none.

        Raises:
            BuildFailed: the submitted files do not build.
            InfraError: QEMU or a tool failed, not the submission.
        """
        try:
            return self._boot(scenario).result()
        except InfraError:
            self._boots.pop(scenario, None)
            self._images = {
                key: image
                for key, image in self._images.items()
                if not (image.done() and isinstance(image.exception(), InfraError))
            }
            raise

    def boot_with(self, scenario: Scenario, observer: Observer) -> concurrent.futures.Future[Any]:
        """Boot one scenario under another observer; return what that returns."""
        return asyncio.run_coroutine_threadsafe(
            self._run(scenario, self._image(scenario), observer), self._loop
        )

    def image(self, scenario: Scenario) -> Image:
        """Return the image of a scenario.

        Raises:
            BuildFailed: the submitted files do not build.
            InfraError: a tool failed.
        """
        return self._image(scenario).result()

    def explore(self, folder: Path) -> concurrent.futures.Future[Exploration]:
        """Begin the search for wrong orders; see `ExploringRunner`."""
        image = self._image(Scenario("first"))
        return self._search_pool.submit(self._explore, folder, image)

    def _explore(self, folder: Path, image: concurrent.futures.Future[Image]) -> Exploration:
        request = self._request
        built = image.result()
        began = time.monotonic()
        found = isolated.explore(
            built,
            request.cohort,
            self._sandbox,
            request.lab,
            folder,
            sources=request.files,
            bounds=_BOUNDS,
        )
        self._times["orders"] = time.monotonic() - began
        return found

    def facts(self) -> RunFacts:
        """Return warnings, versions and times, as far as anything has run."""
        versions = self._versions.result()
        notes: list[Text] = [self._sandbox.note] if self._sandbox.kind == "none" else []
        notes += self._clock.notes()
        if not versions.tried:
            notes.append(
                msg(
                    "{qemu_text} is not tested with vmmlab; 7.2 and 10.0 are.",
                    qemu_text=versions.qemu_text,
                )
            )
        return RunFacts(
            warnings=tuple(self._warnings),
            versions={
                "qemu": ".".join(map(str, versions.qemu)),
                "qemu.qmp": versions.qmp,
                "sandbox": self._sandbox.level,
            },
            times=dict(self._times),
            notes=notes,
        )

    def close(self) -> None:
        """End every boot and build that is still running. Safe to call again."""
        if self._loop.is_closed():
            return
        self._sandbox.stop()
        with suppress(concurrent.futures.CancelledError):
            asyncio.run_coroutine_threadsafe(self._end_boots(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._search_pool.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._builder.close()
        if self._group is not None:
            self._group.close()

    async def _end_boots(self) -> None:
        """Cancel the boots and wait until each has ended its machine.

        Only the boots: a machine's own tasks, such as those of its QMP connection, are ended by the
        machine, which still needs them.
        """
        boots = list(self._running)
        for task in boots:
            task.cancel()
        await asyncio.gather(*boots, return_exceptions=True)

    def _options(self, scenario: Scenario) -> BuildOptions:
        request = self._request
        return build_options(
            scenario,
            arch=request.arch,
            seed=request.seed,
            compiler=request.compiler,
            opt=request.opt,
        )

    def _image(self, scenario: Scenario) -> concurrent.futures.Future[Image]:
        key = self._request.cohort_of(scenario), self._options(scenario)
        if key not in self._images:
            self._images[key] = self._pool.submit(self._build, *key)
        return self._images[key]

    def _build(self, cohort: Cohort, options: BuildOptions) -> Image:
        began = time.monotonic()
        request = self._request
        files: Mapping[str, bytes] = request.files
        if request.reference_only:
            image = self._builder.build_reference(request.lab, cohort, options)
        elif request.mode == "own":
            held_back = request.course.held_back
            image = self._builder.build_own(files, cohort, options, held_back, request.lab)
        else:
            image = self._builder.build(request.lab, files, cohort, options)
        self._warnings |= dict.fromkeys(image.warnings)
        self._times["build"] += time.monotonic() - began
        return image

    def _guest(self, scenario: Scenario) -> concurrent.futures.Future[Path]:
        """Return the file of a scenario's test guest, built once."""
        name = scenario.guest_image
        if _must_be_made(self._guests.get(name)):
            efi = firmware.find(scenario.firmware).efi
            self._guests[name] = self._pool.submit(self._make_guest, name, efi)
        return self._guests[name]

    def _make_guest(self, name: str, efi: bool) -> Path:
        if efi:
            return EfiBuilder(self._request.course.tree, self._sandbox).guest(name)
        return GuestBuilder(self._request.course.tree, self._sandbox).build(name).flat

    def _boot(self, scenario: Scenario) -> concurrent.futures.Future[Observation]:
        if scenario not in self._boots:
            image = self._image(scenario)
            self._boots[scenario] = asyncio.run_coroutine_threadsafe(
                self._run(scenario, image), self._loop
            )
        return self._boots[scenario]

    def _uefi_needs(self) -> concurrent.futures.Future[Uefi]:
        """Return what boots by UEFI firmware need, built once."""
        if self._uefi is None or _must_be_made(self._uefi):
            self._uefi = self._pool.submit(self._make_uefi)
        return self._uefi

    def _make_uefi(self) -> Uefi:
        loader = EfiBuilder(self._request.course.tree, self._sandbox).template()
        return Uefi(loader, Templates())

    async def _run(
        self,
        scenario: Scenario,
        image: concurrent.futures.Future[Image],
        observer: Observer = watch,
    ) -> Any:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        built = await asyncio.wrap_future(image)
        uefi = None
        if firmware.find(scenario.firmware).efi:
            uefi = await asyncio.wrap_future(self._uefi_needs())
        guest = None
        if scenario.guest_image:
            guest = await asyncio.wrap_future(self._guest(scenario))
        request = self._request
        async with self._slots:
            began = time.monotonic()
            cohort = request.cohort_of(scenario)
            seen = await boot(
                built,
                scenario,
                cohort,
                request.seed,
                self._sandbox,
                self._clock,
                uefi,
                guest,
                observer,
            )
            took = time.monotonic() - began
            self._times["boots"] += took
            self._clock.used(scenario, took)
            return seen

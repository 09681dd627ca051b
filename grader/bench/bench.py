"""How fast a verdict is, as a ratio to the floor. Prints; judges nothing.

The floor of a lab is the time that its boots take when nothing is watched but their end: the same
scenarios, as many at a time, in a bare QEMU with an image whose `vmm_parked` ends QEMU at once. A
boot with UEFI firmware, which is restored from its template, and one with a guest end at a
breakpoint: where the check lets the guest run to its end, the floor does so, too; where the grader
directs the guest, the floor ends at its start. Floor and verdict are measured in turn, so that a
host that slows down slows down both. The bring-up is measured against the delays that are
programmed into it, which are BitVisor's own in the preset `faithful`.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vmmlab.checks import Scenario
from vmmlab.checks.declaring import declared_in
from vmmlab.course.cohort import Cohort
from vmmlab.course.find import find_course
from vmmlab.course.labpackage import LabPackage
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.course.reference import reference
from vmmlab.grading import inputs
from vmmlab.grading.boots import build_options, make_builder
from vmmlab.grading.machines import Uefi, machine_of
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.efi import EfiBuilder
from vmmlab.images.guest import GuestBuilder
from vmmlab.images.model import BuildOptions, Delays, Image
from vmmlab.machine import Machine, MachineSpec, PlainLauncher, firmware
from vmmlab.machine.templates import Templates, started
from vmmlab.probes import make_probe
from vmmlab.student.command import qemu_argv

EXIT_AT_ONCE = """
	.text
	.globl {place}
	.type {place}, @function
{place}:
	mov $0xf4, %dx
	xor %al, %al
	out %al, %dx
1:	hlt
	jmp 1b
	.size {place}, . - {place}
	.section .note.GNU-stack, "", @progbits
"""
SEED = 1
DELAYS_US: dict[Delays, tuple[int, int]] = {"fast": (100, 5000), "faithful": (10_000, 200_000)}
"""After INIT and after each SIPI: core/delays.c."""
WORKERS = os.cpu_count() or 1


def scenarios_of(course: Course, lab: str) -> list[Scenario]:
    """The boots of a lab, each once, in the order of its checks."""
    folder = course.labs_dir / lab
    module = LabPackage(lab, folder).load(folder / f"test_{lab}.py")
    return list(dict.fromkeys(one for check in declared_in(module) for one in check.scenarios))


def bare_boot(image: Image, scenario: Scenario, *more: str) -> None:
    """One boot in a QEMU that nobody watches; `more` are further options.

    Raises:
        RuntimeError: it did not end as it should.
    """
    spec = MachineSpec(
        kernel=image.kernel,
        cpus=scenario.cpus,
        memory_mib=inputs.memory_mib(SEED, scenario.name),
        firmware=scenario.firmware,
        svm=scenario.svm,
    )
    argv = [
        *qemu_argv(spec, "tcg"),
        *("-append", inputs.command_line(SEED, scenario.name)),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        *more,
    ]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    if done.returncode != 1:
        raise RuntimeError(f"{scenario}: exit {done.returncode}\n{done.stderr.decode()}")


def floor_of(course: Course, lab: str) -> tuple[Callable[[], None], int]:
    """What to time as the floor of a lab, and how many boots that is."""
    boots: list[Callable[[], None]] = []
    for scenario in scenarios_of(course, lab):
        options = build_options(scenario, arch="x86_64", seed=SEED)
        if firmware.find(scenario.firmware).efi or scenario.guest_image:
            bare = bare_machine(course, lab, options, scenario)
            boots.append(functools.partial(stopped_boot, *bare, scenario))
        else:
            boots.append(functools.partial(bare_boot, bare_image(course, lab, options), scenario))

    def run() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda boot: boot(), boots))

    return run, len(boots)


def bare_machine(
    course: Course, lab: str, options: BuildOptions, scenario: Scenario
) -> tuple[MachineSpec, Image]:
    """The machine of a scenario that records nothing, and the reference that it boots."""
    cohort, box = Cohort.derive(course.cohort), Sandbox.choose(require=False)
    files = reference(course, [lab], None).files
    image = make_builder(course, box, None, cohort).build(lab, files, cohort, options)
    efi, name = EfiBuilder(course.tree, box), scenario.guest_image
    with_efi = firmware.find(scenario.firmware).efi
    guest = None
    if name:
        guest = efi.guest(name) if with_efi else GuestBuilder(course.tree, box).build(name).flat
    needs = Uefi(efi.template(), Templates()) if with_efi else None
    spec = machine_of(image, scenario, SEED, needs, guest)
    return replace(spec, log_guests=False), image


def end_in_guest(scenario: Scenario) -> tuple[int, int]:
    """The linear address at which a scenario's guest ends, 0 if the grader directs it.

    The second number is how many of its CPUs come there.
    """
    with scenario.scope.in_use():
        probe: Any = make_probe(scenario.probe, dict(scenario.options))
    until = getattr(probe, "until", "")
    if not until:
        return 0, 0
    return dict(probe.marks)[until], scenario.cpus if probe.by == "all" else 1


def stopped_boot(spec: MachineSpec, image: Image, scenario: Scenario) -> None:
    """One boot that ends at a breakpoint.

    Raises:
        RuntimeError: it did not end as it should.
    """
    place, wanted = end_in_guest(scenario) if scenario.guest_image else (0, 0)
    first = "vmm_guest_starts" if scenario.guest_image else "vmm_parked"

    async def come(machine: Machine, count: int) -> None:
        there: set[int | None] = set()
        while len(there) < count:
            await machine.gdb.resume(set(range(spec.cpus)) - there)
            stop = await machine.gdb.wait(60)
            if stop is None or stop.kind != "break":
                raise RuntimeError(f"{scenario}: {stop}")
            there.add(stop.cpu)

    async def run() -> None:
        templates = Templates() if spec.efi else None
        async with started(spec, PlainLauncher(), templates) as machine:
            await machine.gdb.set_break(image.symbols.addr(first))
            await come(machine, 1)
            if place:
                await machine.gdb.clear_break(image.symbols.addr(first))
                await machine.gdb.set_break(place)
                await come(machine, wanted)

    asyncio.run(run())


def bare_image(course: Course, lab: str, options: BuildOptions, place: str = "vmm_parked") -> Image:
    """The reference, built so that it ends QEMU when the first processor comes to `place`."""
    files, cohort = reference(course, [lab], None).files, Cohort.derive(course.cohort)
    builder = make_builder(course, Sandbox.choose(require=False), None, cohort)
    source = EXIT_AT_ONCE.format(place=place) + (options.extra_asm or "")
    bare = replace(options, extra_asm=source, extra_replaces=True)
    return builder.build(lab, files, cohort, bare)


def bring_up(image: Image, scratch: Path) -> tuple[float, int, int]:
    """Milliseconds from the first INIT until the BSP goes on; INITs and SIPIs in between.

    By QEMU's own time stamps: the end is the write with which `bsp_proc` ends QEMU.
    """
    log = scratch / "trace"
    bare_boot(
        image, Scenario("bring-up", cpus=4),
        "-trace", "memory_region_ops_write", "-msg", "timestamp=on", "-D", str(log),
    )  # fmt: skip
    begins, ends, kinds = 0.0, 0.0, []
    for line in log.read_text().splitlines():
        at = re.search(r"@(\d+\.\d+):", line)
        wrote = re.search(r"addr 0x(\w+) value 0x(\w+) size \d name '([^']*)'", line)
        if at is None or wrote is None:
            continue
        if wrote[1].lower() == "fee00300":
            kinds.append(int(wrote[2], 16) & 0x700)
            begins = begins or float(at[1])
        elif wrote[3] == "isa-debug-exit":
            ends = float(at[1])
    return (ends - begins) * 1000, kinds.count(0x500), kinds.count(0x600)


def many_cpus(course: Course, cpus: int) -> tuple[float, int]:
    """Wall time in seconds from start to verdict of `vmmlab run`, and QEMU's peak memory in MiB."""
    argv = [
        str(Path(sys.executable).with_name("vmmlab")), "run", "lab4", "--cpus", str(cpus),
        "--submission", "reference", "--course", str(course.root), "--timeout", "300",
    ]  # fmt: skip
    began = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    took_s = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout.decode()}")
    return took_s, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024


def timed(run: Callable[[], object]) -> float:
    """Wall time of one call, in seconds."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def command(*arguments: str, cwd: Path | None = None) -> Callable[[], None]:
    """What a person runs, as a whole process.

    Args:
        arguments: of `vmmlab`.
        cwd: where it is run.
    """
    argv = [str(Path(sys.executable).with_name("vmmlab")), *arguments]

    def run() -> None:
        done = subprocess.run(argv, capture_output=True, check=False, cwd=cwd)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stderr.decode()}")

    return run


def edit_and_grade(course: Course, lab: str, folder: Path) -> Callable[[], None]:
    """Change one file in a student's workspace, then get a verdict there."""
    command("new", str(folder), "--no-input", "--course", str(course.root))()
    for one in course.labs.values():
        for name in one.files:
            shutil.copyfile(course.reference_dir / name, folder / name)
    changed = folder / course.labs[lab].files[-1]
    count = iter(range(1_000_000))
    verdict = command("grade", lab, "--submission", ".", "--seed", str(SEED), cwd=folder)

    def run() -> None:
        with changed.open("a") as out:
            out.write(f"/* edit {next(count)} of {time.time_ns()} */\n")
        verdict()

    return run


class Watched:
    """`vmmlab watch` in a student's workspace: a save, then a verdict, in a process that is warm.

    Args:
        lab: the lab.
        folder: the workspace.
        changed: the file that is saved.
    """

    def __init__(self, lab: str, folder: Path, changed: Path) -> None:
        self._changed = changed
        self._count = 0
        self._process = subprocess.Popen(
            [str(Path(sys.executable).with_name("vmmlab")), "watch", lab, "--lang", "en"],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._verdict()

    def _verdict(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "Ctrl-C ends this" in line:
                return
        raise RuntimeError("vmmlab watch has ended")

    def run(self) -> None:
        """Save the file and wait for the verdict."""
        self._count += 1
        with self._changed.open("a") as out:
            out.write(f"/* save {self._count} of {time.time_ns()} */\n")
        self._verdict()

    def end(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.communicate()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("labs", nargs="*", help="labs (default: all that are graded)")
    options = parser.parse_args(arguments)
    course = load_course(find_course(Path.cwd(), None))
    console = Console()
    table = Table(title=f"verdict against the floor, median of {options.runs}, {WORKERS} CPUs")
    for column in ("lab", "boots", "floor s", "verdict s", "2.0 x floor + 0.6", "ratio", "worst"):
        table.add_column(column, justify="left" if column == "lab" else "right")
    labs = options.labs or [n for n, lab in course.labs.items() if lab.files and lab.all_checks]
    for lab in labs:
        floor, boots = floor_of(course, lab)
        verdict = command(
            "grade", lab, "--submission", "reference", "--course", str(course.root),
            "--seed", str(SEED),
        )  # fmt: skip
        floor(), verdict()
        pairs = [(timed(floor), timed(verdict)) for _ in range(options.runs)]
        low, full = (statistics.median(values) for values in zip(*pairs, strict=True))
        table.add_row(
            lab, str(boots), f"{low:.2f}", f"{full:.2f}", f"{2 * low + 0.6:.2f}",
            f"{full / (2 * low + 0.6):.2f}", f"{max(v for _, v in pairs):.2f}",
        )  # fmt: skip
    console.print(table)
    edits = Table(title="edit one file in a workspace, then a verdict: cold, and with vmmlab watch")
    for column in ("lab", "cold s", "worst s", "watch s", "worst s"):
        edits.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as scratch:
        for lab in labs:
            run = edit_and_grade(course, lab, Path(scratch) / lab)
            run()
            times = [timed(run) for _ in range(options.runs)]
            folder = Path(scratch) / lab
            warm = Watched(lab, folder, folder / course.labs[lab].files[-1])
            warm.run()
            warmed = [timed(warm.run) for _ in range(options.runs)]
            warm.end()
            edits.add_row(
                lab, f"{statistics.median(times):.2f}", f"{max(times):.2f}",
                f"{statistics.median(warmed):.2f}", f"{max(warmed):.2f}",
            )  # fmt: skip
    console.print(edits)
    _machine(course, console, options.runs)


def _machine(course: Course, console: Console, runs: int) -> None:
    """The bench itself: boots a second, the bring-up beside its delays, many processors."""
    image = bare_image(course, "lab4", BuildOptions())
    four = Scenario("bring-up", cpus=4)

    def many() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda _: bare_boot(image, four), range(10 * runs)))

    console.print(
        f"bare boots of 4 CPUs: {10 * runs / timed(many):.0f} a second, {WORKERS} at a time"
    )

    table = Table(title=f"bring-up of 4 CPUs, median of {runs}")
    for column in ("delays", "INIT", "SIPI", "programmed ms", "measured ms", "beyond ms", "ratio"):
        table.add_column(column, justify="left" if column == "delays" else "right")
    with tempfile.TemporaryDirectory() as scratch:
        for delays, (init_us, sipi_us) in DELAYS_US.items():
            built = bare_image(course, "lab4", BuildOptions(delays=delays), "bsp_proc")
            seen = [bring_up(built, Path(scratch)) for _ in range(runs)]
            took_ms, inits, sipis = (statistics.median(v) for v in zip(*seen, strict=True))
            due_ms = (inits * init_us + sipis * sipi_us) / 1000
            table.add_row(
                delays, f"{inits:.0f}", f"{sipis:.0f}", f"{due_ms:.1f}", f"{took_ms:.1f}",
                f"{took_ms - due_ms:.1f}", f"{took_ms / due_ms:.2f}",
            )  # fmt: skip
    console.print(table)

    crowd = Table(title="vmmlab run lab4, start to verdict")
    for column in ("CPUs", "floor s", "seconds", "ratio", "QEMU at most MiB"):
        crowd.add_column(column, justify="right")
    for cpus in (16, 64, 255):
        floor_s = timed(lambda n=cpus: bare_boot(image, Scenario("crowd", cpus=n)))
        took_s, mib = many_cpus(course, cpus)
        crowd.add_row(
            str(cpus), f"{floor_s:.2f}", f"{took_s:.2f}", f"{took_s / floor_s:.2f}", str(mib)
        )
    console.print(crowd)


if __name__ == "__main__":
    main()

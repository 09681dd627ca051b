"""How fast a verdict is, as a ratio to the floor. Prints; judges nothing.

The floor of a lab is the time that its boots take when nothing is watched: the same scenarios, as
many at a time, in a bare QEMU with an image whose `vmm_parked` ends QEMU at once. Floor and verdict
are measured in turn, so that a host that slows down slows down both.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
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

from rich.console import Console
from rich.table import Table

from vmmlab import course as courses
from vmmlab.build import Image
from vmmlab.checks import Scenario
from vmmlab.checks.model import declared_in
from vmmlab.cohort import Cohort
from vmmlab.course import Course
from vmmlab.evidence import inputs
from vmmlab.evidence.runner import build_options, make_builder
from vmmlab.machine import tool_versions
from vmmlab.sandbox import Sandbox
from vmmlab.submission import reference

EXIT_AT_ONCE = """
	.text
	.globl vmm_parked
	.type vmm_parked, @function
vmm_parked:
	mov $0xf4, %dx
	xor %al, %al
	out %al, %dx
1:	hlt
	jmp 1b
	.size vmm_parked, . - vmm_parked
	.section .note.GNU-stack, "", @progbits
"""
SEED = 1
FIRMWARE = {"qboot": ["-bios", "qboot.rom"], "seabios": []}
WORKERS = os.cpu_count() or 1


def scenarios_of(course: Course, lab: str) -> list[Scenario]:
    """The boots of a lab, each once, in the order of its checks."""
    path = course.labs_dir / lab / f"test_{lab}.py"
    spec = importlib.util.spec_from_file_location(f"bench_{lab}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(dict.fromkeys(one for check in declared_in(module) for one in check.scenarios))


def bare_boot(image: Image, scenario: Scenario) -> None:
    """One boot in a QEMU that nobody watches.

    Raises:
        RuntimeError: it did not end as it should.
    """
    argv = [
        str(tool_versions().qemu_path),
        "-accel", "tcg,thread=multi", "-M", "q35,sata=off,smbus=off",
        *FIRMWARE[scenario.get("firmware", "qboot")],
        "-m", str(inputs.memory_mib(SEED, scenario.name)), "-smp", str(scenario.get("cpus", 4)),
        "-nodefaults", "-display", "none", "-no-reboot", "-kernel", str(image.kernel),
        "-append", inputs.command_line(SEED, scenario.name),
        "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    if done.returncode != 1:
        raise RuntimeError(f"{scenario}: exit {done.returncode}\n{done.stderr.decode()}")


def floor_of(course: Course, lab: str) -> tuple[Callable[[], None], int]:
    """What to time as the floor of a lab, and how many boots that is."""
    builder = make_builder(course, Sandbox.choose(require=False), None)
    files, cohort = reference(course, [lab], None).files, Cohort.derive(course.cohort)
    boots = []
    for scenario in scenarios_of(course, lab):
        options = build_options(scenario, arch="x86_64", seed=SEED)
        source = EXIT_AT_ONCE + (options.extra_asm or "")
        bare = replace(options, extra_asm=source, extra_replaces=True)
        boots.append((builder.build(lab, files, cohort, bare), scenario))

    def run() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda boot: bare_boot(*boot), boots))

    return run, len(boots)


def timed(run: Callable[[], object]) -> float:
    """Wall time of one call, in seconds."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def grade(lab: str, submission: str, course: Course) -> Callable[[], None]:
    """What a person runs to get a verdict, as a whole process."""
    argv = [
        str(Path(sys.executable).with_name("vmmlab")), "grade", lab, "--submission", submission,
        "--course", str(course.root), "--seed", str(SEED),
    ]  # fmt: skip

    def run() -> None:
        done = subprocess.run(argv, capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stderr.decode()}")

    return run


def edit_and_grade(course: Course, lab: str, folder: Path) -> Callable[[], None]:
    """Change one file of a submission, then get a verdict."""
    shutil.copytree(course.reference_dir, folder, dirs_exist_ok=True)
    changed = folder / course.labs[lab].files[-1]
    count = iter(range(1_000_000))
    verdict = grade(lab, str(folder), course)

    def run() -> None:
        with changed.open("a") as out:
            out.write(f"/* edit {next(count)} of {time.time_ns()} */\n")
        verdict()

    return run


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("labs", nargs="*", default=["lab1", "lab2", "lab3", "lab4"])
    options = parser.parse_args(arguments)
    course = courses.load(courses.find(Path.cwd(), None))
    console = Console()
    table = Table(title=f"verdict against the floor, median of {options.runs}, {WORKERS} CPUs")
    for column in ("lab", "boots", "floor s", "verdict s", "2.0 x floor + 0.6", "ratio", "worst"):
        table.add_column(column, justify="left" if column == "lab" else "right")
    for lab in options.labs:
        floor, boots = floor_of(course, lab)
        verdict = grade(lab, "reference", course)
        floor(), verdict()
        pairs = [(timed(floor), timed(verdict)) for _ in range(options.runs)]
        low, full = (statistics.median(values) for values in zip(*pairs, strict=True))
        table.add_row(
            lab, str(boots), f"{low:.2f}", f"{full:.2f}", f"{2 * low + 0.6:.2f}",
            f"{full / (2 * low + 0.6):.2f}", f"{max(v for _, v in pairs):.2f}",
        )  # fmt: skip
    console.print(table)
    edits = Table(title="edit one file, then a verdict")
    for column in ("lab", "median s", "worst s"):
        edits.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as scratch:
        for lab in options.labs:
            run = edit_and_grade(course, lab, Path(scratch) / lab)
            run()
            times = [timed(run) for _ in range(options.runs)]
            edits.add_row(lab, f"{statistics.median(times):.2f}", f"{max(times):.2f}")
    console.print(edits)


if __name__ == "__main__":
    main()

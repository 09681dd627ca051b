"""Boots a student's own VMM from a notebook and shows the evidence. Gives no points.

Without a workspace or QEMU it says so instead of booting: a worksheet can always be run to its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vmmlab.base.errors import UsageError, VmmlabError
from vmmlab.base.message import msg, nmsg
from vmmlab.base.text import cells
from vmmlab.i18n.translate import Reader, error_text
from vmmlab.observe.milestones import milestones
from vmmlab.worksheet.numbers import Student, reader_for

if TYPE_CHECKING:
    from vmmlab.observe.cpu import CpuRecord
    from vmmlab.observe.observation import Observation

_SHOWN_SERIAL = 12  # lines


@dataclass(frozen=True)
class BootReport:
    """One boot, shown to a reader.

    Attributes:
        lab: the lab that was built.
        observation: the evidence of the boot, or None if there was no boot.
        problem: why there was no boot, else "".
        reader: the student, for the language.
        lab_folder: has the texts of the lab's own probes.
    """

    lab: str
    observation: Observation | None
    problem: str = ""
    reader: Student | None = None
    lab_folder: Path | None = None

    def __repr__(self) -> str:
        say = reader_for(self.reader)
        if self.observation is None:
            return f"{say(msg('{lab} was not booted.', lab=self.lab))} {self.problem}"
        if self.lab_folder is not None:
            say = say.of(self.lab_folder)
        return "\n".join(_lines(self.lab, self.observation, say))


def boot_lab(
    lab: str,
    workspace: str | Path,
    *,
    cpus: int = 4,
    seed: int = 1,
    reader: Student | None = None,
) -> BootReport:
    """Build `lab` from a workspace, boot it once and follow every AP from milestone to milestone.

    Args:
        lab: for example `lab3`; the other labs are prebuilt.
        workspace: the folder that `vmmlab new` made, or a folder in it; `~` is understood. If it is
            no workspace, the one that this notebook lies in is booted.
        cpus: how many processors the machine has, 1 to 16.
        seed: varies memory size and command line.
        reader: the student, for the language; None for English.
    """
    say = reader_for(reader)
    if not 1 <= cpus <= 16:
        problem = say(msg("The number of CPUs must be 1 to 16, not {cpus}.", cpus=cpus))
        return BootReport(lab, None, problem, reader)
    try:
        seen, folder = _observe(lab, Path(workspace).expanduser(), cpus, seed)
        return BootReport(lab, seen, reader=reader, lab_folder=folder)
    except VmmlabError as error:
        return BootReport(lab, None, error_text(error, say), reader)


def _observe(lab: str, folder: Path, cpus: int, seed: int) -> tuple[Observation, Path]:
    """Return what was seen, and the lab's folder."""
    # Imported here because most of a worksheet does not need it.
    from vmmlab.base.workspacefile import workspace_folder
    from vmmlab.course import submission
    from vmmlab.course.find import find_course
    from vmmlab.course.load import load_course
    from vmmlab.grading.boots import LabRunner
    from vmmlab.grading.request import RunRequest
    from vmmlab.host.tools import require
    from vmmlab.probes import bringup
    from vmmlab.workspace import model as workspace

    if workspace_folder(folder.resolve()) is None:
        folder = workspace_folder(Path.cwd()) or folder
    if workspace_folder(folder.resolve()) is None:
        raise UsageError(
            msg("{folder} is not a workspace.", folder=folder),
            expected=msg("the folder that `vmmlab new` created"),
            next_step=msg("assign its name to `workspace` above; or continue without a boot"),
        )
    here = workspace.require(folder)
    require(("qemu-system-x86_64", "gcc", "ld", "objcopy"))
    kit = load_course(find_course(here.root, made_from=here.course))
    runner = LabRunner(
        RunRequest(
            course=kit,
            lab=lab,
            files=submission.take(here.root, [lab], kit, own=not here.copied).of(lab),
            cohort=here.cohort,
            seed=seed,
            sandbox_required=here.copied,  # as grading does
            prebuilt=here.prebuilt,
        )
    )
    try:
        return runner.observe(bringup(name="worksheet", cpus=cpus)), kit.labs_dir / lab
    finally:
        runner.close()


def _lines(lab: str, seen: Observation, say: Reader) -> list[str]:
    count = len(seen.cpus)
    machine = nmsg("{lab} on {count} CPU", "{lab} on {count} CPUs", count=count, lab=lab)
    lines = [f"{say(machine)}{say.label(': ')}{say(_ENDINGS[seen.how_ended])}"]
    code = seen.physical_0.during
    if code:
        lines.append(
            say(msg("physical 0, when the APs were started: {value}", value=code[:5].hex(" ")))
        )
    if seen.icr:
        lines.append(say(msg("messages to other CPUs, with milliseconds since the first:")))
        began = seen.icr[0].time_s
        lines += [f"  {1000 * (one.time_s - began):7.1f}  {say(one.text)}" for one in seen.icr]
    for cpu in seen.cpus:
        lines += _of_cpu(cpu, say)
    if seen.serial.strip():
        lines.append(say(msg("what it printed (this is not evidence):")))
        lines += [f"  {line}" for line in seen.serial.strip().splitlines()[-_SHOWN_SERIAL:]]
    return lines


_ENDINGS = {
    "complete": msg("all CPUs came to rest"),
    "shutdown": msg("a CPU reset the machine (triple fault)"),
    "quiet": msg("it had not finished when the time was up"),
    "shown": msg("the grader stopped it after it had recorded enough"),
    "timeout": msg("it was ended after its time limit"),
    "lost": msg("QEMU was lost"),
}


def _of_cpu(cpu: CpuRecord, say: Reader) -> list[str]:
    lines = [f"{cpu.name}{say.label(': ')}{say.label(cpu.end_kind)} ({say(cpu.end_place.text)})"]
    if cpu.milestones:
        heading = say.label("address")
        heading = " " * (7 - cells(heading)) + heading
        lines.append(f"{'':39}{heading} {'rsp':>13} {'cr0':>9} {'cr3':>7} {'efer':>4}")
    for milestone in milestones():
        if (state := cpu.milestones.get(milestone.name)) is None:
            continue
        title = say(milestone.title)
        lines.append(
            f"  {title}{' ' * (36 - cells(title))} {state.pc:8x} {state.rsp:13x} {state.cr0:9x}"
            f" {state.cr3:7x} {state.efer:4x}"
        )
    return lines

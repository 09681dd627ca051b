"""Compiles a set of files in one sandbox call, several at a time.

The compiler sees only the files of the job: headers, cohort.h and the sources of this call. Knows
neither labs nor caches.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vmmlab.base.errors import InfraError
from vmmlab.base.files import is_regular, read_regular
from vmmlab.base.message import msg
from vmmlab.host.processes import oom_kills
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.host.sandbox import Sandbox
from vmmlab.images import diagnostics
from vmmlab.images.model import Diagnostic
from vmmlab.images.toolchain import ENVIRONMENT, Toolchain

# A student's file compiles in 0.05 s and makes 50 KiB; these stop macro bombs and `.fill`.
CPU_S = 5
FILE_MIB = 16
MEMORY_MIB = 320
# Reached only on a very busy machine: the limit of processor time ends a compiler long before.
WALL_S = 120.0
_STDERR_BYTES = 512 * 1024
# What tools print names their files: these names are the same on every host.
SOURCE, OUT = "/vmmlab/src", "/vmmlab/out"

CLANG_MIB = 512  # its libraries alone take 200
LIMITS = ResourceLimits(file_mib=FILE_MIB, cpu_s=CPU_S, memory_mib=MEMORY_MIB)
CLANG_LIMITS = replace(LIMITS, memory_mib=CLANG_MIB)
_LIMITS_TEXT = {
    "cpu": msg(
        "compiling it was stopped after {cpu_s} s of processor time (an endless macro, "
        "include or repetition?)",
        cpu_s=CPU_S,
    ),
    "size": msg(
        "its object file would be larger than {file_mib} MiB (a very large .fill or array?)",
        file_mib=FILE_MIB,
    ),
    "memory": msg(
        "compiling it needs more than {memory_mib} MiB of memory (an endless macro, "
        "include or repetition?)",
        memory_mib=MEMORY_MIB,
    ),
}


@dataclass(frozen=True)
class Compiled:
    """The result for one file: its object unless `failed`; `killed` if the system ended it."""

    source: str
    object: Path
    failed: bool
    diagnostics: tuple[Diagnostic, ...]
    log: str
    killed: bool = False


@dataclass(frozen=True)
class Job:
    """What to compile.

    Attributes:
        files: everything that the compiler may see, by relative path.
        sources: those of them to compile.
        flags: for every source.
        merge: what to do when everything has compiled.
    """

    files: Mapping[str, bytes]
    sources: Sequence[str]
    flags: list[str]
    merge: Merge | None = None


@dataclass(frozen=True)
class Merge:
    """Commands to run when everything has compiled; `{out}` in a word becomes the path of out/."""

    commands: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Results:
    """The result of a job.

    Attributes:
        files: one for each source, in order.
        merged: whether the merge commands ran and succeeded (True if there are none).
        merge_log: what they printed.
        out: where objects and merged files are; objects are named 0.o, 1.o, …
    """

    files: tuple[Compiled, ...]
    merged: bool
    merge_log: str
    out: Path

    @property
    def failed(self) -> bool:
        """Whether some file did not compile."""
        return any(one.failed for one in self.files)

    def check_killed(self) -> None:
        """Check, when something failed, whether the system ended a compiler.

        Raises:
            InfraError: it did, which is not the student's fault.
        """
        for one in self.files:
            if one.killed:
                raise InfraError(
                    msg("The system killed the compiler of {source}.", source=one.source),
                    found=msg("it reached no limit of the sandbox; probably memory ran out"),
                    next_step=msg("Run it again when less is running on this machine."),
                )

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """The diagnostics of all files."""
        return tuple(one for file in self.files for one in file.diagnostics)

    @property
    def log(self) -> str:
        """The logs of all files."""
        return "".join(file.log for file in self.files)


def compile_all(sandbox: Sandbox, tools: Toolchain, job: Job, work: Path) -> Results:
    """Compile every source of the job.

    Args:
        sandbox: where compilers run.
        tools: with what.
        job: what.
        work: an empty directory; objects end up in its out/.

    Raises:
        InfraError: the machine is at fault (no time, no room, no tool).
    """
    source_dir, out = work / "src", work / "out"
    for name, content in job.files.items():
        path = source_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (source_dir / "include").mkdir(parents=True, exist_ok=True)
    out.mkdir()
    ended = oom_kills()
    seen_source, seen_out = sandbox.seen(source_dir, SOURCE), sandbox.seen(out, OUT)
    done = sandbox.run(
        ["/bin/sh", "-c", _script(tools, job, seen_source, seen_out)],
        cwd=seen_source,
        ro=(source_dir, *tools.roots),
        rw=(out,),
        timeout_s=WALL_S,
        limits=CLANG_LIMITS if tools.compiler == "clang" else LIMITS,
        env=ENVIRONMENT,
        names={source_dir: seen_source, out: seen_out},
    )
    if done.timed_out:
        raise InfraError(
            msg(
                "Compiling did not finish within {wall_s:.0f} s although no compiler used "
                "more than {cpu_s} s of processor time: the machine is overloaded.",
                wall_s=WALL_S,
                cpu_s=CPU_S,
            ),
            next_step=msg("Run it again when less is running on this machine."),
        )
    short = ended is None or ended != oom_kills()
    return Results(
        tuple(
            _outcome(source, out / str(number), job, seen_source, short)
            for number, source in enumerate(job.sources)
        ),
        job.merge is None or _text(out / "merge.rc").strip() == "0",
        _text(out / "merge.err"),
        out,
    )


def _script(tools: Toolchain, job: Job, source_dir: Path, out: Path) -> str:
    """Return the shell script that compiles into N.o, N.err, N.rc, and then merges."""
    lines = []
    for number, source in enumerate(job.sources):
        target = out / str(number)
        argv = tools.compile_argv(source, f"{target}.o", flags=job.flags, directory=source_dir)
        error, status = shlex.quote(f"{target}.err"), shlex.quote(f"{target}.rc")
        lines.append(f"{shlex.join(argv)} 2>{error}; echo $? >{status}")
    script = _in_parallel(lines)
    if job.merge is None:
        return script
    objects = " ".join(f"-a -e {shlex.quote(f'{out / str(n)}.o')}" for n in range(len(lines)))
    steps = " && ".join(
        shlex.join(word.replace("{out}", str(out)) for word in command)
        for command in job.merge.commands
    )
    merge = shlex.quote(str(out / "merge"))
    script += f"if [ 1 {objects} ]; then\n{{ {steps}; }} 2>{merge}.err\n"
    return script + f"echo $? >{merge}.rc\nfi\n"


def _in_parallel(lines: Sequence[str]) -> str:
    """Return a shell script that runs `lines` with one worker a CPU.

    Two such scripts run at once for two ways to build: together they keep within the memory that a
    submission may take.
    """
    workers = max(1, min(len(lines), os.cpu_count() or 1))
    lanes = ["\n".join(lines[start::workers]) for start in range(workers)]
    return "\n".join(f"(\n{lane}\n) &" for lane in lanes) + "\nwait\n"


def _outcome(source: str, target: Path, job: Job, source_dir: Path, short: bool) -> Compiled:
    """Return the result for one file; `short`: whether memory may have run out."""
    made, base = Path(f"{target}.o"), str(source_dir)
    text, status = _text(Path(f"{target}.err")), _text(Path(f"{target}.rc")).strip()
    # If there is no status, the shell was killed or had no room to write it.
    code = int(status) if status.isdecimal() else 137
    if code == 127:
        raise InfraError(
            msg("The compiler could not be started."),
            found=diagnostics.last_words(text, code),
            next_step=msg("Run `vmmlab doctor`."),
        )
    found = diagnostics.parse(text, job.sources, base, source, known=job.files)
    failed = code != 0 or not is_regular(made)
    log = diagnostics.bounded_log(text, base)
    if failed:
        if why := diagnostics.stopped(text, code, _LIMITS_TEXT):
            found = [Diagnostic(source, 0, 0, "error", why)]
            log = f"{source}: {why}\n"
        elif diagnostics.killed(text, code, out_of_memory=short):
            return Compiled(source, made, failed, tuple(found), log, killed=True)
        elif not any(one.severity == "error" for one in found):
            found.append(Diagnostic(source, 0, 0, "error", diagnostics.last_words(text, code)))
    return Compiled(source, made, failed, tuple(found), log)


def _text(path: Path) -> str:
    try:
        return read_regular(path, _STDERR_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""

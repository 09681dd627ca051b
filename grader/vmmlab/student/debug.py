"""A boot under gdb, with each processor a thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.base.scratch import scratch_folder
from vmmlab.host import toolroots, tools
from vmmlab.host.processes import children
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.host.running import kill_tree
from vmmlab.host.sandbox import Sandbox
from vmmlab.i18n.translate import Reader
from vmmlab.images.symbols import Symbols
from vmmlab.machine import Machine, MachineSpec
from vmmlab.machine.gdb.server import OWN, GdbServer
from vmmlab.observe.session import Session
from vmmlab.observe.view import Inputs
from vmmlab.student.boot import Boot
from vmmlab.student.command import terminal_kept
from vmmlab.student.gdbanswers import COMMANDS, Answers

_GDB_MIB: Final = 2048  # of address space
_BREAKPOINTS: Final = ("vmm_main", "vmm_todo", "vmm_ap_missing", "panic")
_HELPERS: Final = Path(__file__).with_name("gdb_helpers.py")
_GDB_HELP: Final = (
    msg("continue: run to the next breakpoint    info threads: all CPUs"),
    msg("hbreak NAME: a hardware breakpoint      serial: the serial output"),
    msg("cpus, apinit, icr, physmem, code: help NAME says what they show"),
    msg("Ctrl-C: interrupt it                    quit: end gdb and the machine"),
)


def boot_under_gdb(
    elf: Path,
    symbols: Symbols,
    spec: MachineSpec,
    inputs: Inputs,
    what: Boot,
    sandbox: Sandbox,
    root: Path,
    say: Reader,
    *,
    untrusted: bool = False,
    guest: Path | None = None,
) -> int:
    """Boot a machine under gdb, which has the terminal, and return gdb's exit code.

    Args:
        elf: the image with its debug information.
        symbols: its symbols; breakpoints are set at those that it has.
        spec: the machine.
        inputs: the numbers of its cohort.
        what: what is booted.
        sandbox: where QEMU runs.
        root: the folder that gdb starts in, with the sources.
        say: the reader's language.
        untrusted: it is another person's image: gdb, too, runs in the sandbox.
        guest: the file with the symbols of its guest, for gdb.

    Raises:
        UsageError: gdb is not installed.
        InfraError: there is no QEMU.
    """
    gdb_path()
    with scratch_folder("gdb") as folder, _lent(spec, sandbox, symbols, inputs, folder, say):
        seen = seen_folder(folder, sandbox, untrusted=untrusted)
        commands = _gdb_commands(symbols, seen, what, spec, say)
        if guest is not None:
            shutil.copyfile(guest, folder / "guest.elf")
            commands = f"add-symbol-file {seen / 'guest.elf'}\n{commands}"
        return attach(elf, commands, folder, root, sandbox, untrusted=untrusted)


@contextmanager
def _lent(
    spec: MachineSpec,
    sandbox: Sandbox,
    symbols: Symbols,
    inputs: Inputs,
    folder: Path,
    say: Reader,
) -> Iterator[None]:
    """Start a machine and serve gdb at `folder`/gdb until the block is left.

    Raises:
        InfraError: QEMU cannot be started.
    """
    ready: concurrent.futures.Future[None] = concurrent.futures.Future()
    over: concurrent.futures.Future[None] = concurrent.futures.Future()

    async def lend() -> None:
        async with Machine(spec, sandbox) as machine:
            answers = Answers(Session(machine, symbols, inputs), say, watched=False)
            server = GdbServer(
                machine.gdb, answers, narrow=inputs.arch == "i386", halted=answers.halted
            )
            async with await server.serve(folder / "gdb"):
                ready.set_result(None)
                await asyncio.wrap_future(over)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        lent = pool.submit(asyncio.run, lend())
        try:
            concurrent.futures.wait((lent, ready), return_when="FIRST_COMPLETED")
            if lent.done():
                lent.result()  # raises why it did not start
            yield
        finally:
            over.set_result(None)
            lent.result()


def gdb_path() -> str:
    """Return where gdb is.

    Raises:
        UsageError: it is not installed.
    """
    gdb = shutil.which("gdb")
    if gdb is None:
        remedy = tools.install_command([tools.PACKAGES["gdb"]])
        raise UsageError(msg("gdb is not installed."), next_step=remedy)
    return gdb


def seen_folder(folder: Path, sandbox: Sandbox, *, untrusted: bool) -> Path:
    """Return what gdb calls the folder with its socket and its commands."""
    return sandbox.seen(folder, "/gdb") if untrusted else folder


def seen_elf(elf: Path, sandbox: Sandbox, *, untrusted: bool) -> Path:
    """Return what gdb calls the image."""
    return sandbox.seen(elf, "/boot/vmm.elf") if untrusted else elf


def attach(
    elf: Path, commands: str, folder: Path, root: Path, sandbox: Sandbox, *, untrusted: bool
) -> int:
    """Run gdb on this terminal and return its exit code.

    Args:
        elf: the image with its debug information.
        commands: what gdb executes first.
        folder: with the socket that it connects to.
        root: the folder that it starts in, with the sources.
        sandbox: where it runs if the image is not trusted.
        untrusted: it is another person's image.

    Raises:
        UsageError: gdb is not installed.
    """
    gdb = gdb_path()
    seen = seen_folder(folder, sandbox, untrusted=untrusted)
    (folder / "commands.gdb").write_text(commands, encoding="utf-8")
    shutil.copyfile(_HELPERS, folder / _HELPERS.name)
    files = [*("-x", str(seen / "commands.gdb")), *("-x", str(seen / _HELPERS.name))]
    words = [gdb, "-q", "-d", str(root), *files, str(elf)]
    if untrusted:
        words = _sandboxed_gdb(sandbox, gdb, elf, root, folder)
    with ExitStack() as stack:
        stack.enter_context(terminal_kept())
        debugger = subprocess.Popen(words, cwd="/" if untrusted else root)
        stack.callback(kill_tree if untrusted else _end, debugger)
        # Ctrl-C is for gdb, to which a sandbox's terminal does not send it.
        forward = partial(_interrupt, debugger.pid) if untrusted else signal.SIG_IGN
        before = signal.signal(signal.SIGINT, forward)
        stack.callback(signal.signal, signal.SIGINT, before)
        return debugger.wait()


def helper_commands(say: Reader) -> list[str]:
    """Return the definitions of the commands that vmmlab answers itself."""
    lines = ["set pagination off", "set confirm off"]
    for name, shows in COMMANDS.items():
        lines.append(f"define {name}")
        for count, words in enumerate(("", " $arg0", " $arg0 $arg1")):
            ask = f'eval "monitor {OWN} %d {name}{words}", $_thread'
            lines += [f"if $argc == {count}", ask, "end"]
        lines.append("end")
        lines += [f"document {name}", say(shows), "end"]
    return lines


def quoted(path: Path) -> str:
    """Return a path as a word of a command of gdb's."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _sandboxed_gdb(sandbox: Sandbox, gdb: str, elf: Path, root: Path, folder: Path) -> list[str]:
    """Return the command that runs gdb on another person's image: it reads what they wrote.

    No configuration is read, and no script that the image may name or hold.
    """
    image, source, place = (
        sandbox.seen(path, name)
        for path, name in ((elf, "/boot/vmm.elf"), (root, "/src"), (folder, "/gdb"))
    )
    return sandbox.wrap(
        [
            *(gdb, "-q", "-nx", "-iex", "set auto-load off", "-d", str(source)),
            *("-x", str(place / "commands.gdb"), "-x", str(place / _HELPERS.name), str(image)),
        ],
        ro=[elf, root, *toolroots.roots(Path(gdb))],
        rw=[folder],
        cwd=source,
        limits=ResourceLimits(file_mib=64, memory_mib=_GDB_MIB),
        env={"TERM": os.environ.get("TERM", "dumb")},
        names={elf: image, root: source, folder: place},
    )


def _interrupt(pid: int, signum: int, frame: object) -> None:
    """Send SIGINT to the program that a sandbox runs: the last of its processes."""
    while found := children(pid):
        pid = found[0]
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signum)


def _gdb_commands(
    symbols: Symbols, folder: Path, what: Boot, spec: MachineSpec, say: Reader
) -> str:
    breaks = [f"hbreak {name}" for name in _BREAKPOINTS if symbols.maybe(name) is not None]
    greeting = msg(
        "{lab} on {cpus} CPUs, stopped before the first instruction.", lab=what.lab, cpus=spec.cpus
    )
    return "\n".join(
        [
            *helper_commands(say),
            f"target remote {folder / 'gdb'}",
            *breaks,
            rf"echo \n{say(greeting)}\n",
            *(rf"echo {say(line)}\n" for line in _GDB_HELP),
            r"echo \n",
            "",
        ]
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()

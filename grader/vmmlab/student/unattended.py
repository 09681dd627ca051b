"""Boots without a terminal: waits until nothing more can happen, then shows what was printed."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from vmmlab.base.errors import InfraError
from vmmlab.base.message import msg
from vmmlab.course.ids import STEP_ID
from vmmlab.host.sandbox import Sandbox
from vmmlab.i18n.translate import Reader
from vmmlab.machine import Machine, MachineSpec
from vmmlab.student.command import tell

_POLL_S: Final = 0.1
_QUIET_S: Final = 2.0
"""After a TODO, a silence this long means that the other CPUs wait for the stopped one."""
_AT_TODO: Final = re.compile(rf"^TODO\({STEP_ID.pattern}\) in ", re.MULTILINE)
"""The line that vmm_todo prints (core/todo.c)."""
_RFLAGS_IF: Final = 0x200


def boot_unattended(spec: MachineSpec, sandbox: Sandbox, timeout_s: float, say: Reader) -> int:
    """Boot a machine, show what it printed and return 0 if all its CPUs have halted.

    SIGTERM ends the machine in good order and is then delivered again.

    Args:
        spec: the machine.
        sandbox: where QEMU runs.
        timeout_s: how long to wait for the end, in seconds.
        say: the reader's language.

    Raises:
        InfraError: QEMU failed.
    """
    return _until_terminated(_boot(spec, sandbox, timeout_s, say))


def _until_terminated(work: Coroutine[Any, Any, int]) -> int:
    """Run `work`; SIGTERM ends it in good order and is then delivered to its former handler."""
    before = signal.getsignal(signal.SIGTERM)
    terminated = False

    async def run() -> int | None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with suppress(ValueError, RuntimeError):  # not the main thread
            loop.add_signal_handler(signal.SIGTERM, terminate, task)
        try:
            return await work
        except asyncio.CancelledError:
            if not terminated:
                raise  # Ctrl-C, which asyncio turns into a KeyboardInterrupt
            return None
        finally:
            with suppress(ValueError, RuntimeError):
                loop.remove_signal_handler(signal.SIGTERM)
                signal.signal(signal.SIGTERM, before)

    def terminate(task: asyncio.Task[Any]) -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    code = asyncio.run(run())
    if code is None:
        signal.raise_signal(signal.SIGTERM)
        return InfraError.exit_code
    return code


async def _boot(spec: MachineSpec, sandbox: Sandbox, timeout_s: float, say: Reader) -> int:
    """Boot until nothing more can happen or the time is over; then show what was printed.

    Nothing more happens when all CPUs have halted, the machine has reset, or a CPU has stopped at
    a TODO and the others print nothing.
    """
    async with Machine(spec, sandbox) as machine:
        await machine.gdb.resume()
        text, printed_at = "", time.monotonic()
        ends_at = printed_at + timeout_s
        ending, code = msg("still running after {timeout_s:g} s, stopped", timeout_s=timeout_s), 1
        while time.monotonic() < ends_at:
            stop = await machine.gdb.wait(_POLL_S)
            if stop is not None:
                ending = msg("the machine has stopped: {reason}", reason=stop.reason or stop.kind)
                break
            if await _all_halted(machine):
                ending, code = msg("all CPUs have halted"), 0
                break
            if (now := machine.serial()) != text:
                text, printed_at = now, time.monotonic()
            elif _AT_TODO.search(text) and time.monotonic() - printed_at > _QUIET_S:
                ending, code = msg("a CPU has stopped at a TODO, and the others wait for it"), 0
                break
        text = machine.serial()
    sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
    tell(say(ending))
    return code


async def _all_halted(machine: Machine) -> bool:
    """Return whether every CPU executed HLT with interrupts off, or was never started."""
    said = await machine.qmp.execute("human-monitor-command", {"command-line": "info registers -a"})
    states = re.findall(r"[ER]FL=([0-9a-f]+).*?HLT=(\d)", str(said), re.DOTALL)
    return len(states) == machine.spec.cpus and all(
        halted == "1" and not int(flags, 16) & _RFLAGS_IF for flags, halted in states
    )

"""An interrupt unwinds a command, but never between two steps of an import."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from vmmlab.cli.interrupts import terminable


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as Python handles it, also where a shell has started the tests with `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


CODE = "os.kill(os.getpid(), number)\nsteps.append('goes on')\nsteps.append('to the end')\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("file", "done"),
    [("<frozen importlib._bootstrap>", ["goes on", "to the end"]), ("command.py", [])],
)
def test_an_interrupt_waits_for_a_step_of_an_import(number, file, done, ctrl_c):
    steps: list[str] = []
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    ends_at = time.monotonic() + 10

    def interrupted() -> None:
        exec(compile(CODE, file, "exec"), {"os": os, "number": number, "steps": steps})
        while time.monotonic() < ends_at:
            time.sleep(0.01)

    with terminable() as came, pytest.raises(KeyboardInterrupt):
        interrupted()
    assert steps == done
    assert came == ([number] if number == signal.SIGTERM else [])
    assert {one: signal.getsignal(one) for one in before} == before


def test_where_a_shell_ignores_ctrl_c_so_does_a_command(ctrl_c):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with terminable() as came:
        os.kill(os.getpid(), signal.SIGINT)
    assert came == []

"""Boots a bare QEMU, and reads what the machine says on its serial line."""

import re
import selectors
import subprocess
import time
from typing import Final

from vmmlab.host.versions import qemu_path

PATIENCE_S: Final = 120


def serial_until(pattern: str, options: list[str]) -> str:
    """What a machine says, up to `pattern` or for PATIENCE_S seconds.

    Args:
        pattern: a regular expression.
        options: what QEMU is told besides the board and the serial line.
    """
    argv = [
        str(qemu_path()), "-M", "q35,smm=off", "-m", "128", "-display", "none", "-no-reboot",
        "-serial", "stdio", *options,
    ]  # fmt: skip
    said = ""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as machine:
        assert machine.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(machine.stdout, selectors.EVENT_READ)
            end = time.monotonic() + PATIENCE_S
            while not re.search(pattern, said) and selector.select(end - time.monotonic()):
                data = machine.stdout.read1(4096)
                if not data:
                    break
                said += data.decode(errors="replace").replace("\r", "")
        machine.kill()
    return said

"""Gives the kernel and its modules names that are the same on every host.

QEMU tells the guest the names of the files that it boots (Multiboot 0.6.96, 3.3: the command line
begins with the kernel's), and a guest may print them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vmmlab.machine.spec import MachineSpec

KERNEL: Final = Path("/boot/vmm.elf32")
"""The name of the kernel in a sandbox."""


@dataclass(frozen=True)
class BootFiles:
    """What QEMU is to open.

    Attributes:
        kernel: the name of the kernel for QEMU's command line.
        modules: the same of each module.
        paths: the files that are somewhere on the host.
        names: in a sandbox, the name of each path that is to be bound.
        data: in a sandbox, the descriptor of each file that is in no folder.
        descriptors: what QEMU, or the sandbox, must inherit.
    """

    kernel: Path
    modules: tuple[Path, ...]
    paths: tuple[Path, ...]
    names: Mapping[Path, Path]
    data: Mapping[Path, int]
    descriptors: tuple[int, ...]


def boot_files(spec: MachineSpec, renames: bool, stack: ExitStack) -> BootFiles:
    """Open what a machine boots.

    Args:
        spec: the machine.
        renames: QEMU runs in a sandbox in which files can have other names. Without one, the names
            are those of descriptors.
        stack: closes what is opened here.

    Raises:
        OSError: a file cannot be opened.
    """
    paths = [one.resolve() for one in (spec.started, *spec.modules) if isinstance(one, Path)]
    modules = [stack.enter_context(_opened(one)) for one in spec.modules]
    if not renames:
        kernel = stack.enter_context(_opened(spec.started))
        opened = [kernel.fileno(), *(one.fileno() for one in modules)]
        first, *others = (Path(f"/dev/fd/{number}") for number in opened)
        return BootFiles(first, tuple(others), tuple(paths), {}, {}, tuple(opened))
    names = {KERNEL.with_name(f"module{n}"): one.fileno() for n, one in enumerate(modules)}
    return BootFiles(
        KERNEL,
        tuple(names),
        (paths[0],),
        {paths[0]: KERNEL},
        names,
        tuple(names.values()),
    )


def _opened(content: Path | bytes) -> Any:
    """Return an open file; bytes are put into one that has no name and ends with this process."""
    if isinstance(content, Path):
        return content.open("rb")
    if hasattr(os, "memfd_create"):
        file = open(os.memfd_create("module"), "w+b")  # noqa: PTH123, SIM115
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(content)
    file.seek(0)
    return file

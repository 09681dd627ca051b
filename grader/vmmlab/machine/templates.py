"""Keeps booted firmware: UEFI takes seconds to boot, and a tenth of a second to restore.

A template is a machine in which the EFI loader waits for a VMM. It is made when it is needed for
the first time, kept in the cache, and found by all that the machine consists of. Without a place
to keep it every machine boots its firmware itself, with the same result.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from vmmlab.base.errors import InfraError
from vmmlab.base.files import cache_dir
from vmmlab.base.message import Text, msg
from vmmlab.base.notices import notify
from vmmlab.host.versions import qemu_path, version_of
from vmmlab.images.cache import Cache, digest
from vmmlab.machine import firmware
from vmmlab.machine.limits import Limits
from vmmlab.machine.loader import put_vmm, wait_for_loader
from vmmlab.machine.qemu import Launcher, Machine
from vmmlab.machine.spec import MachineSpec

COLD_VARIABLE: Final = "VMMLAB_COLD_BOOT"
"""If this environment variable is set, templates are neither made nor used."""

_LAYOUT: Final = "template 1"
"""Change it when a template is made in another way."""
_STATE: Final = "machine.state"
_BOX: Final = "box"
_SHA256: Final = "sha256"
_LOOK_S: Final = 0.05
"""How often to look whether another process has made a template; a lock sends no event."""
_PATIENCE_S: Final = 120.0
"""How long to wait for another process that makes one."""


@dataclass(frozen=True)
class Template:
    """A machine in which the loader waits.

    Attributes:
        key: its name in the cache.
        state: the file that it is restored from.
        box: physical address of the loader's box.
    """

    key: str
    state: Path
    box: int


class Templates:
    """The templates in a cache. Safe for tasks and processes.

    Args:
        directory: of the cache; None: the usual one.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._cache = Cache((directory or cache_dir()).absolute())
        self._sound: set[tuple[Path, int]] = set()
        self._useless: set[str] = set()
        """Templates that cannot be kept, or from which no machine can be restored."""

    async def template(self, spec: MachineSpec, launcher: Launcher, qemu: Path) -> Template | None:
        """Return the template of a machine, made now if there is none; None if none can be kept.

        Args:
            spec: the machine.
            launcher: the sandbox in which the firmware boots.
            qemu: the executable.

        Raises:
            InfraError: the firmware does not start the loader, or QEMU failed.
        """
        if os.environ.get(COLD_VARIABLE):
            return None
        key = await asyncio.to_thread(_key, spec, qemu)
        if key in self._useless:
            return None
        try:
            if found := await self._find(key):
                return found
            async with self._making(key):
                if found := await self._find(key):
                    return found
                notify(msg("Booting UEFI firmware for the first time, which takes some seconds."))
                return await self._make(key, spec, launcher, qemu)
        except (_NoRoom, OSError, TimeoutError) as error:
            self._useless.add(key)
            why = error.why if isinstance(error, _NoRoom) else str(error)
            notify(
                msg(
                    "Booted firmware cannot be kept, so each boot takes some seconds longer: {why}",
                    why=why or msg("another process has been making it for too long"),
                )
            )
            return None

    def repair(self, template: Template) -> None:
        """Forget a template from which no machine could be restored."""
        self._cache.drop(template.key)

    def give_up(self, template: Template) -> None:
        """Do without a template from now on."""
        self._useless.add(template.key)

    async def _find(self, key: str) -> Template | None:
        try:
            entry = self._cache.get(key)
        except InfraError as error:
            raise _NoRoom(error) from error
        if entry is None:
            return None
        path = entry.path / _STATE
        with contextlib.suppress(OSError, KeyError, TypeError, ValueError):
            version = (path, path.stat().st_mtime_ns)
            if version not in self._sound:
                if await asyncio.to_thread(_sha256, path) != entry.data[_SHA256]:
                    raise ValueError
                self._sound.add(version)
            return Template(key, path, int(entry.data[_BOX]))
        self._cache.drop(key)
        return None

    @asynccontextmanager
    async def _making(self, key: str) -> AsyncIterator[None]:
        """Exclude other makers of a template, in this process and in others."""
        folder = self._cache.directory / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / key).open("w") as lock:
            end = time.monotonic() + _PATIENCE_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise TimeoutError from None
                    await asyncio.sleep(_LOOK_S)
            yield

    async def _make(self, key: str, spec: MachineSpec, launcher: Launcher, qemu: Path) -> Template:
        quiet = replace(spec, log_guests=False, trace_io=False, log_exceptions=False)
        async with Machine(quiet, launcher, qemu=qemu, saves=True) as machine:
            box = await wait_for_loader(machine)
            try:
                with self._cache.scratch() as work:
                    state = work / _STATE
                    with state.open("wb") as file:
                        await machine.save(file)
                    data = {_BOX: box, _SHA256: await asyncio.to_thread(_sha256, state)}
                    entry = self._cache.put(key, {_STATE: state}, data)
            except InfraError as error:
                raise _NoRoom(error) from error
        return Template(key, entry.path / _STATE, box)


class _NoRoom(Exception):
    """A template cannot be kept."""

    def __init__(self, error: InfraError) -> None:
        super().__init__()
        self.why: Text = error.message


def _key(spec: MachineSpec, qemu: Path) -> str:
    """Return the name of a template: everything that the machine consists of."""
    image = Path(firmware.find(spec.firmware).image(qemu))
    program = qemu.resolve()
    made = program.stat()
    assert spec.loader is not None
    return digest(
        _LAYOUT, version_of(qemu), program, made.st_size, made.st_mtime_ns, image.read_bytes(),
        spec.loader.read_bytes(), spec.board, spec.accel, spec.cpus, spec.sockets,
        spec.memory_mib, spec.svm, spec.single_threaded,
    )  # fmt: skip


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@asynccontextmanager
async def started(
    spec: MachineSpec,
    launcher: Launcher,
    templates: Templates | None,
    *,
    limits: Limits | None = None,
    qemu: Path | None = None,
) -> AsyncIterator[Machine]:
    """Provide a paused machine whose firmware will start the VMM.

    Before its first instruction, or under UEFI firmware in the loader, with the VMM in its room.

    Args:
        spec: the machine; with UEFI firmware it has a loader.
        launcher: the sandbox.
        templates: where booted firmware is kept; None: the firmware boots in each machine.
        limits: time-outs before scaling.
        qemu: the executable; default `versions.qemu_path()`.

    Raises:
        InfraError: QEMU or the firmware failed.
    """
    if not spec.efi:
        async with Machine(spec, launcher, limits=limits, qemu=qemu) as machine:
            yield machine
        return
    async with contextlib.AsyncExitStack() as stack:
        machine, box = await _in_loader(
            spec, launcher, templates, stack, limits, qemu or qemu_path()
        )
        await put_vmm(machine.gdb, box, spec.kernel.read_bytes(), spec.guest_os)
        machine.forget_work()
        yield machine


async def _in_loader(
    spec: MachineSpec,
    launcher: Launcher,
    templates: Templates | None,
    stack: contextlib.AsyncExitStack,
    limits: Limits | None,
    qemu: Path,
) -> tuple[Machine, int]:
    """Start a machine in which the loader waits; return it with the address of the box."""
    for attempt in range(2):
        found = None if templates is None else await templates.template(spec, launcher, qemu)
        if templates is None or found is None:
            break
        machine = Machine(spec, launcher, limits=limits, qemu=qemu, template=found.state)
        try:
            return await stack.enter_async_context(machine), found.box
        except (InfraError, OSError):
            (templates.give_up if attempt else templates.repair)(found)
    machine = await stack.enter_async_context(Machine(spec, launcher, limits=limits, qemu=qemu))
    return machine, await wait_for_loader(machine)

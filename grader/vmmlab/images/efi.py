"""Builds the EFI loader: with a VMM inside, or as the one that a template of a booted firmware has.

Builds EFI test guests, too. Each is given code and a program of its own, a PE32+ file that GNU ld
makes from ordinary ELF objects. Knows neither labs nor machines.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from vmmlab.base.errors import InfraError
from vmmlab.base.files import cache_dir as default_cache_dir
from vmmlab.base.message import Text, msg
from vmmlab.host.sandbox import Sandbox
from vmmlab.images import compile, toolchain
from vmmlab.images.cache import Cache, digest
from vmmlab.images.compile import Job, Merge
from vmmlab.images.plan import Tree

NAME: Final = "loader.efi"

VMM_ROOM: Final = 0x100000
"""Bytes for a VMM in the loader of a template (boot/uefi_loader_room.S)."""

OS_ROOM: Final = 0x40000
"""Bytes for a guest's operating system in the loader of a template."""

# -fno-ident: ld would put the section .comment below the image, say so, and exit with 0.
_FLAGS = (
    *("-m64", "-std=gnu11", "-ffreestanding", "-fpie", "-fvisibility=hidden", "-fno-common"),
    *("-fno-stack-protector", "-fcf-protection=none", "-mno-red-zone", "-mgeneral-regs-only"),
    *("-fshort-wchar", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-ident"),
    *("-fno-strict-aliasing", "-fno-delete-null-pointer-checks"),
    *("-Wall", "-Wextra", "-Werror", "-O2", "-Iinclude", "-I."),
)
_LINK = (
    *("-m", "i386pep", "--subsystem", "10", "-e", "efi_start", "--image-base", "0x10000"),
    *("--no-insert-timestamp", "-s"),
)
_HOLD = "-DHOLD"
_VMM_FILE, _OS_FILE = "vmm.elf32", "os.efi"
_OPTIONS_FILE, _INITRD_FILE = "os.options", "os.initrd"


class EfiBuilder:
    """Builds EFI applications of one tree. Safe for threads; processes may share a cache.

    Args:
        tree: the pristine provided code.
        sandbox: where every tool runs.
        cache_dir: where built things are kept; default $XDG_CACHE_HOME/vmmlab.

    Raises (every method): InfraError when tools, disk or provided code are at fault.
    """

    def __init__(self, tree: Path, sandbox: Sandbox, cache_dir: Path | None = None) -> None:
        self._tree = Tree.read(tree)
        self._sandbox = sandbox.hiding(tree)
        self._cache = Cache((cache_dir or default_cache_dir()).absolute())

    def template(self) -> Path:
        """Return the loader that waits until a VMM has been written into its room."""
        return self._loader([_HOLD], {})

    def loader(
        self, vmm: bytes, guest: bytes = b"", *, options: str = "", initrd: bytes = b""
    ) -> Path:
        """Return the loader that starts a VMM at once.

        Args:
            vmm: the VMM as an ELF32 file, as for QEMU's -kernel.
            guest: an operating system for the VMM's guest, an EFI application; b"" for none.
            options: the guest's command line.
            initrd: an initial file system, for Linux; b"" for none.
        """
        carried = {_VMM_FILE: vmm, _OS_FILE: guest, _INITRD_FILE: initrd}
        carried[_OPTIONS_FILE] = f"{options}\0".encode("utf-16-le") if options else b""
        return self._loader([], carried)

    def _loader(self, flags: list[str], carried: dict[str, bytes]) -> Path:
        sources = sorted(self._tree.loader)
        if not sources:
            raise InfraError(
                msg("The EFI loader is missing in the given VMM code."),
                expected="boot/uefi_loader.c",
                next_step=msg("Check out the whole kit again."),
            )
        return self.application({**self._tree.loader, **carried}, sources, flags)

    def guest(self, name: str) -> Path:
        """Return a test guest that is an EFI application.

        Args:
            name: the file that it is made from, such as guest/efi_os.c. Files whose names begin
                like it, without the suffix, belong to it.
        """
        stem = name.rpartition(".")[0]
        files = {one: text for one, text in self._tree.guests.items() if one.startswith(stem)}
        if name not in files:
            raise InfraError(
                msg("The test guest {name} is missing in the given VMM code.", name=name),
                next_step=msg("Check out the whole kit again."),
            )
        return self.application(files, sorted(files))

    def application(
        self, files: dict[str, bytes], sources: list[str], flags: list[str] | None = None
    ) -> Path:
        """Return an EFI application that begins at efi_start.

        Args:
            files: everything it is made from but include/, by relative path.
            sources: those of them to compile.
            flags: for the compiler, besides the usual ones.
        """
        tools = toolchain.find()
        visible = {**self._tree.headers, **files}
        used = [*_FLAGS, *(flags or ())]
        key = digest(
            "efi 1", tools.identity, *used, *_LINK, *sources,
            *(part for name in sorted(visible) for part in (name, visible[name])),
        )  # fmt: skip
        with self._cache.only_once(key):
            if found := self._cache.get(key):
                return found.path / NAME
            made = "{out}/" + NAME
            objects = [f"{{out}}/{number}.o" for number in range(len(sources))]
            link = Merge([[tools.ld, *_LINK, "-o", made, *objects]])
            with self._cache.scratch() as work:
                job = Job(visible, sources, used, link)
                results = compile.compile_all(self._sandbox, tools, job, work)
                said = results.log if results.failed else results.merge_log
                if results.failed or not results.merged or said.strip():
                    results.check_killed()
                    self._cache.check_room(work, asked="No space left" in said)
                    raise _failed(said.strip() or msg("no reason given"))
                result = results.out / NAME
                if why := wrong_with(result.read_bytes()):
                    raise _failed(why)
                return self._cache.put(key, {NAME: result}, {}).path / NAME


def _failed(found: Text) -> InfraError:
    return InfraError(
        msg("An EFI application of the kit could not be built."),
        found=found,
        next_step=msg(
            "It needs GNU ld with the emulation i386pep: see `ld -V`. Otherwise check that the kit "
            "and the tools fit together: `vmmlab doctor`."
        ),
    )


def wrong_with(application: bytes) -> Text | None:
    """Return why firmware would refuse this PE32+ file; most firmware says nothing at all then.

    PE Format (Microsoft), "File Headers" and "Section Table".
    """
    try:
        (start,) = struct.unpack_from("<I", application, 0x3C)
        machine, count, size = struct.unpack_from("<4xHH12xH", application, start)
        magic, subsystem = struct.unpack_from("<H66xH", application, start + 24)
        sections = [
            struct.unpack_from("<8xIIII", application, start + 24 + size + 40 * number)
            for number in range(count)
        ]
    except struct.error:
        return msg("it is no PE file")
    if application[start : start + 4] != b"PE\0\0" or (machine, magic) != (0x8664, 0x20B):
        return msg("it is no PE32+ file for x86_64")
    if subsystem != 10:
        return msg("it is no EFI application: its subsystem is {subsystem}", subsystem=subsystem)
    end = 0
    for length, address, raw_length, raw in sorted(sections, key=lambda one: one[1]):
        if address < end:
            return msg("its sections overlap at {address:#x}", address=address)
        end = address + length
        if raw_length and raw + raw_length > len(application):
            return msg("the section at {address:#x} ends behind the file", address=address)
    return None

"""Builds a test guest: a flat binary that a VMM's guest executes from its first byte on.

Guests are given code, guest/NAME.S in the tree of a VMM. Knows neither labs nor machines.
"""

from __future__ import annotations

from dataclasses import dataclass
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

LOADED_AT: Final = 0x7C00
"""The linear address of its first byte: where a BIOS loads an MBR (include/guest.h, GUEST_MBR)."""
DATA_AT: Final = 0x9000
"""The linear address of its .bss, which is not in the file (include/guest.h, GUEST_DATA)."""

_LINK: Final = (
    *("-nostdlib", "-static", "--build-id=none", "-z", "noexecstack", "--no-warn-rwx-segments"),
    *("-e", "_start", f"-Ttext={LOADED_AT:#x}", f"-Tbss={DATA_AT:#x}"),
)
_LINK_PROGRAM: Final = (
    *("-nostdlib", "-static", "--build-id=none", "-z", "noexecstack", "-s", "-e", "_start"),
)
_ELF, _FLAT = "guest.elf", "guest.bin"


@dataclass(frozen=True)
class GuestImage:
    """A guest that was built.

    Attributes:
        elf: the file with its symbols, for a debugger.
        flat: the bytes that are loaded.
    """

    elf: Path
    flat: Path


class GuestBuilder:
    """Builds the guests of one tree. Safe for threads; processes may share a cache.

    Args:
        tree: the pristine provided code.
        sandbox: where every tool runs.
        cache_dir: where built things are kept; default $XDG_CACHE_HOME/vmmlab.
    """

    def __init__(self, tree: Path, sandbox: Sandbox, cache_dir: Path | None = None) -> None:
        self._tree = Tree.read(tree)
        self._sandbox = sandbox.hiding(tree)
        self._cache = Cache((cache_dir or default_cache_dir()).absolute())

    def build(self, name: str) -> GuestImage:
        """Return a guest.

        Args:
            name: the file that it is made from, such as guest/bios.S.

        Raises:
            InfraError: there is no such file, or tools, disk or provided code are at fault.
        """
        return self._linked(name, _LINK)

    def program(self, name: str) -> Path:
        """Return a program for Linux that needs no library.

        Args and Raises: as for `build`.
        """
        return self._linked(name, _LINK_PROGRAM).elf

    def _linked(self, name: str, link: tuple[str, ...]) -> GuestImage:
        if name not in self._tree.guests:
            raise _failed(name, msg("the file is missing"))
        tools = toolchain.find()
        visible = {**self._tree.headers, name: self._tree.guests[name]}
        flags = tools.flags(opt="-O2", strict=True)
        key = digest(
            "guest 1", tools.identity, name, *flags, *link,
            *(part for file in sorted(visible) for part in (file, visible[file])),
        )  # fmt: skip
        with self._cache.only_once(key):
            if (found := self._cache.get(key)) is None:
                with self._cache.scratch() as work:
                    made = self._made(name, visible, flags, link, work)
                    found = self._cache.put(key, made, {})
            return GuestImage(found.path / _ELF, found.path / _FLAT)

    def _made(
        self,
        name: str,
        visible: dict[str, bytes],
        flags: list[str],
        options: tuple[str, ...],
        work: Path,
    ) -> dict[str, Path]:
        tools = toolchain.find()
        elf, flat = f"{{out}}/{_ELF}", f"{{out}}/{_FLAT}"
        link = [tools.ld, "-m", "elf_x86_64", *options, "-o", elf, "{out}/0.o"]
        merge = Merge([link, [tools.objcopy, "-O", "binary", elf, flat]])
        results = compile.compile_all(
            self._sandbox, tools, Job(visible, [name], flags, merge), work
        )
        said = results.log if results.failed else results.merge_log
        if results.failed or not results.merged or said.strip():
            results.check_killed()
            self._cache.check_room(work, asked="No space left" in said)
            raise _failed(name, said.strip() or msg("no reason given"))
        if (results.out / _FLAT).stat().st_size > DATA_AT - LOADED_AT:
            raise _failed(name, msg("it is longer than {size} bytes", size=DATA_AT - LOADED_AT))
        return {one: results.out / one for one in (_ELF, _FLAT)}


def _failed(name: str, found: Text) -> InfraError:
    return InfraError(
        msg("The test guest {name} could not be built.", name=name),
        found=found,
        next_step=msg("Check that the kit and the tools fit together: `vmmlab doctor`."),
    )

"""What an image is built from: given files, a job for each part, and the keys of the cache.

Pure but for reading the provided files; starts nothing. Knows labs only as lists of files.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vmmlab.base.errors import InfraError, os_reason
from vmmlab.base.message import Text, msg
from vmmlab.images import objects, toolchain
from vmmlab.images.cache import digest, digest_files
from vmmlab.images.compile import Job, Merge
from vmmlab.images.model import (
    BuildFailed,
    BuildOptions,
    CohortLike,
    Diagnostic,
    LabLike,
    ObjectPatch,
)
from vmmlab.images.toolchain import Toolchain
from vmmlab.x86.abi import abi_of

PROVIDED_OPT = "-O2"
"""Optimisation of everything that is not the student's."""

_SOURCE = (".c", ".S")
_FIRST = "boot/entry.S"
_FAITHFUL = "-DVMM_DELAYS_FAITHFUL"
_NO_SYMBOL = "vmmlab_nobody"
_LOADER = "boot/uefi_loader"


@dataclass(frozen=True)
class Tree:
    """The provided files as they are now.

    Attributes:
        headers: include/, which every file may include.
        provided: boot/ and core/, with the headers beside them, which are for these alone.
        script: the linker script.
        loader: the EFI loader, a program of its own.
        guests: guest/, each file a program of its own.
    """

    headers: Mapping[str, bytes]
    provided: Mapping[str, bytes]
    script: bytes
    loader: Mapping[str, bytes] = field(default_factory=dict)
    guests: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> Tree:
        """Read the files below `root`.

        Raises:
            InfraError: they cannot be read, or there are none.
        """
        try:
            headers = _files(root, "include", (".h",))
            provided = {**_files(root, "boot", _SOURCE), **_files(root, "core", _SOURCE)}
            private = {**_files(root, "boot", (".h",)), **_files(root, "core", (".h",))}
            script = (root / "vmm.ld").read_bytes()
            guests = _files(root, "guest", _SOURCE)
        except OSError as error:
            raise InfraError(
                msg("The given VMM code cannot be read."),
                found=msg("{path}: {why}", path=error.filename, why=os_reason(error)),
                next_step=msg("Check out the whole kit again."),
            ) from error
        if not provided:
            raise InfraError(
                msg("The given VMM code is missing."),
                expected=msg("boot/ and core/ in {root}", root=root),
                next_step=msg("Check out the whole kit again."),
            )
        loader = {name: provided.pop(name) for name in [*provided] if name.startswith(_LOADER)}
        return cls(headers, {**provided, **private}, script, loader, guests)

    def without(self, names: Collection[str]) -> Tree:
        """Return the same tree without some of the provided files."""
        kept = {name: text for name, text in self.provided.items() if name not in names}
        return replace(self, provided=kept)

    @property
    def sources(self) -> list[str]:
        """The provided files to compile: boot/entry first, then by name."""
        names = (name for name in self.provided if name.endswith(_SOURCE))
        return sorted(names, key=lambda name: (name != _FIRST, name))


def _files(root: Path, directory: str, suffixes: tuple[str, ...]) -> dict[str, bytes]:
    found = {}
    for folder, folders, names in os.walk(root / directory):
        folders.sort()
        for name in sorted(names):
            if name.endswith(suffixes):
                path = Path(folder) / name
                found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


def contract_of(lab: LabLike) -> list[str]:
    """Return the names that a lab's contract keeps global."""
    return [name for names in lab.symbols.values() for name in names]


def own_files(title: str, lab: LabLike, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the student's files of a lab.

    Args:
        title: the lab that is built, for the error.
        lab: the lab.
        files: relative path to content; more than the lab's own are allowed.

    Raises:
        BuildFailed: files are missing or empty.
    """
    found = []
    for name in lab.files:
        wanted = ", ".join(lab.symbols.get(name, ()))
        if name not in files:
            what: Text = msg("the file is missing")
            if wanted:
                what = msg("the file is missing; it has to define {names}", names=wanted)
        elif not files[name].strip():
            what = msg("the file is empty")
            if wanted:
                what = msg("the file is empty; it has to define {names}", names=wanted)
        else:
            continue
        found.append(Diagnostic(name, 0, 0, "error", what))
    if found:
        raise BuildFailed(title, found, "".join(f"{one}\n" for one in found))
    return {name: files[name] for name in lab.files}


class Plan:
    """How the parts of one image are made: by which jobs, and under which keys they are kept.

    Args:
        tree: the provided files.
        cohort: gives cohort.h.
        options: how to build.

    Attributes:
        tools: compiler and binutils.
        provided_key: key of the objects of the provided code.
    """

    def __init__(self, tree: Tree, cohort: CohortLike, options: BuildOptions) -> None:
        self.tree = tree
        self.cohort = cohort
        self.options = options
        self.tools: Toolchain = toolchain.find(options.compiler, options.arch)
        self._cohort_header = cohort.header()
        self._common = digest(
            self.tools.identity, self.tools.arch, digest_files(tree.headers), self._cohort_header
        )
        self.provided_key = digest(
            "provided", self._common, *self._provided_flags(), digest_files(tree.provided)
        )

    @property
    def word(self) -> int:
        """Bytes of a pointer."""
        return abi_of(self.options.arch).word

    @property
    def headers(self) -> dict[str, bytes]:
        """The headers that every file may include, cohort.h among them."""
        return {**self.tree.headers, "cohort.h": self._cohort_header.encode()}

    # --- keys -------------------------------------------------------------------------------

    def own_key(self, lab: LabLike, files: Mapping[str, bytes]) -> str:
        """Return the key of a lab's merged object, made from the student's files."""
        return self._lab_key("own", lab, files, self._own_flags())

    def reference_key(self, lab: LabLike, files: Mapping[str, bytes]) -> str:
        """Return the key of a lab's prebuilt object, made from the reference's files."""
        return self._lab_key("reference 2", lab, files, self._reference_flags())

    def _lab_key(
        self, kind: str, lab: LabLike, files: Mapping[str, bytes], flags: Sequence[str]
    ) -> str:
        contract = [f"{file}:{','.join(names)}" for file, names in lab.symbols.items()]
        return digest(
            kind, self._common, lab.name, *flags, "contract", *contract, digest_files(files)
        )

    def image_key(
        self, own: Sequence[str], others: Sequence[str], patch: ObjectPatch | None
    ) -> str:
        """Return the key of the image.

        Args:
            own: keys of the student's objects.
            others: keys of the prebuilt objects.
            patch: what is changed in the student's objects, if anything.
        """
        return digest(
            "image",
            self.provided_key,
            *own,
            *others,
            self.tree.script,
            self.options.extra_asm,
            self.options.extra_replaces,
            self.options.link_order_seed,
            *(["without initfuncs"] if self.options.no_initfuncs else []),
            *([patch] if patch else []),
        )

    # --- jobs -------------------------------------------------------------------------------

    def provided_job(self) -> Job:
        """Return the job that compiles the provided code."""
        visible = {**self.headers, **self.tree.provided}
        return Job(visible, self.tree.sources, self._provided_flags())

    def own_job(self, lab: LabLike, files: Mapping[str, bytes]) -> Job:
        """Return the job that makes out/lab.o from the student's files."""
        return self._lab_job(lab, files, self._own_flags(), strip=False)

    def reference_job(self, lab: LabLike, files: Mapping[str, bytes]) -> Job:
        """Return the job that makes out/lab.o from the reference's files."""
        return self._lab_job(lab, files, self._reference_flags(), strip=True)

    def _lab_job(
        self, lab: LabLike, files: Mapping[str, bytes], flags: list[str], *, strip: bool
    ) -> Job:
        """Compile a lab and merge it into out/lab.o, where only contract symbols are global."""
        numbered = [f"{{out}}/{number}.o" for number in range(len(lab.files))]
        keep = [f"--keep-global-symbol={name}" for name in (*contract_of(lab), _NO_SYMBOL)]
        drop = [
            f"--remove-section={prefix}{name}"
            for name in objects.DROPPED
            for prefix in ("", ".rela")
        ]
        if strip:
            drop += ["--strip-unneeded", "--discard-all"]
        commands = [
            self.tools.merge_argv(numbered, "{out}/all.o"),
            [self.tools.objcopy, *keep, *drop, "{out}/all.o", "{out}/lab.o"],
        ]
        return Job({**self.headers, **files}, tuple(lab.files), flags, Merge(commands))

    def _provided_flags(self) -> list[str]:
        flags = self.tools.flags(opt=PROVIDED_OPT, strict=True)
        return [*flags, _FAITHFUL] if self.options.delays == "faithful" else flags

    def _own_flags(self) -> list[str]:
        return self.tools.flags(opt=self.options.opt, strict=False)

    def _reference_flags(self) -> list[str]:
        return self.tools.flags(opt=PROVIDED_OPT, strict=True)

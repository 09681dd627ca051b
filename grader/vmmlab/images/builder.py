"""Builds images: from a student's files to an image that boots, every part kept in the cache."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from vmmlab.base.errors import InfraError, UsageError, os_reason
from vmmlab.base.files import cache_dir as default_cache_dir
from vmmlab.base.files import staged
from vmmlab.base.message import msg
from vmmlab.host.sandbox import Sandbox
from vmmlab.images import toolchain
from vmmlab.images.cache import Cache
from vmmlab.images.link import Linker
from vmmlab.images.model import (
    BuildOptions,
    CohortLike,
    CourseLike,
    Diagnostic,
    Image,
    LabLike,
    ObjectPatch,
)
from vmmlab.images.parts import Parts
from vmmlab.images.plan import Plan, Tree, own_files
from vmmlab.images.sources import MANIFEST, PrebuiltSource, manifest
from vmmlab.images.symbols import Symbols


class Builder:
    """Builds images of one tree and course. Safe for threads; several processes may share a cache.

    Args:
        tree: the pristine provided code: boot/, core/, include/, vmm.ld.
        course: its labs with their files and contract symbols.
        sandbox: where every tool runs.
        cache_dir: where built things are kept; default $XDG_CACHE_HOME/vmmlab.
        source: where the prebuilt objects of the other labs come from.
    """

    def __init__(
        self,
        tree: Path,
        course: CourseLike,
        sandbox: Sandbox,
        cache_dir: Path | None,
        source: PrebuiltSource,
    ) -> None:
        self._root = tree
        self._labs = course.labs
        self._sandbox = sandbox.hiding(source.directory, tree)
        # Absolute: tools run in other working directories.
        self._cache = Cache((cache_dir or default_cache_dir()).absolute())
        self._parts = Parts(self._cache, self._sandbox, source)
        self._patch: ObjectPatch | None = None

    def patched(self, patch: ObjectPatch | None) -> Builder:
        """Return the same builder, which applies this to a student's object before the link."""
        other = copy.copy(self)
        other._patch = patch
        return other

    def close(self) -> None:
        """Delete the large things that were built; their images cannot be used any more."""
        self._cache.drop_large()

    def build(
        self,
        lab: str,
        files: Mapping[str, bytes],
        cohort: CohortLike,
        options: BuildOptions | None = None,
    ) -> Image:
        """Return the image in which `lab` is the student's and the others that it has are prebuilt.

        Args:
            lab: such as "lab3"; its `links` says which labs the image has.
            files: relative path to content; only the lab's own are used.
            cohort: gives cohort.h.
            options: how to build.

        Raises:
            BuildFailed: the student's files do not make an image.
            UsageError: no such lab, compiler or prebuilt object, or none for this architecture.
            InfraError: tools, disk or provided code are at fault.
        """
        if lab not in self._labs:
            raise UsageError(
                msg("There is no lab {lab!r}.", lab=lab), expected=", ".join(self._labs)
            )
        return self._image(lab, (self._labs[lab],), self._linked(lab), files, cohort, options)

    def build_own(
        self,
        files: Mapping[str, bytes],
        cohort: CohortLike,
        options: BuildOptions | None = None,
        held_back: Collection[str] = (),
        of: str = "",
    ) -> Image:
        """Return the image in which every lab is the student's and nothing is prebuilt.

        Args:
            files: as for `build`.
            cohort: as for `build`.
            options: as for `build`.
            held_back: labs that the student cannot have written yet; they are prebuilt.
            of: the lab whose image it is; "": the last one that is not held back.

        Raises: as for `build`.
        """
        arch = (options or BuildOptions()).arch
        open_labs = [
            name
            for name, lab in self._labs.items()
            if name not in held_back and arch in lab.built_for
        ]
        linked = self._linked(of or next(reversed(open_labs), list(self._labs)[-1]))
        own = tuple(lab for lab in linked if lab.name in open_labs)
        return self._image("all", own, linked, files, cohort, options)

    def build_reference(
        self, lab: str, cohort: CohortLike, options: BuildOptions | None = None
    ) -> Image:
        """Return the image of a lab in which every lab is prebuilt: what it shows is the kit's.

        Args and raises as for `build`.
        """
        return self._image("reference", (), self._linked(lab), {}, cohort, options)

    def merged(
        self,
        lab: str,
        files: Mapping[str, bytes],
        cohort: CohortLike,
        options: BuildOptions | None = None,
    ) -> bytes:
        """Return the one object that the student's files of a lab become, unpatched.

        Args and raises as for `build`.
        """
        one = self._labs[lab]
        own = own_files(lab, one, files)
        entry = self._parts.own(self._plan(cohort, options), lab, one, own)
        return (entry.path / "lab.o").read_bytes()

    def make_prebuilt(
        self, out_dir: Path, cohort: CohortLike, options: BuildOptions | None = None
    ) -> tuple[Path, ...]:
        """Write labN.o for each lab of an architecture, to be shipped; return their paths.

        Needs the reference.

        Args:
            out_dir: made if missing.
            cohort: gives cohort.h.
            options: only architecture and compiler count.

        Raises:
            InfraError: there is no reference, it does not compile, or nothing can be written.
        """
        plan = self._plan(cohort, options)
        made = []
        try:
            out_dir.mkdir(parents=True, exist_ok=True)
            for lab in self._labs.values():
                if lab.files and plan.options.arch in lab.built_for:
                    entry = self._parts.prebuilt(plan, lab)
                    made.append(out_dir / f"{lab.name}.o")
                    _write(made[-1], (entry.path / "lab.o").read_bytes())
            text = json.dumps(manifest(plan.options.arch, cohort))
            _write(out_dir / MANIFEST, text.encode() + b"\n")
        except OSError as error:
            raise InfraError(
                msg("The prebuilt objects could not be written to {out_dir}.", out_dir=out_dir),
                found=msg("{path}: {why}", path=error.filename, why=os_reason(error)),
                next_step=msg(
                    "Free some space or make the folder writable, then run the command again."
                ),
            ) from error
        return tuple(made)

    def versions(self, options: BuildOptions | None = None) -> dict[str, str]:
        """Return the version of each tool, for reports."""
        options = options or BuildOptions()
        return toolchain.find(options.compiler, options.arch).versions()

    def _plan(
        self,
        cohort: CohortLike,
        options: BuildOptions | None,
        without: Collection[str] = (),
    ) -> Plan:
        return Plan(Tree.read(self._root).without(without), cohort, options or BuildOptions())

    def _linked(self, lab: str) -> list[LabLike]:
        """Return the labs whose objects an image of `lab` has, in order."""
        names = list(self._labs)
        return [self._labs[name] for name in names[: names.index(self._labs[lab].links) + 1]]

    def _left_out(self, linked: Sequence[LabLike]) -> set[str]:
        """Return the provided files that come with the labs which an image does not have."""
        there = {lab.name for lab in linked}
        return {file for lab in self._labs.values() if lab.name not in there for file in lab.given}

    def _image(
        self,
        title: str,
        labs: Sequence[LabLike],
        linked: Sequence[LabLike],
        files: Mapping[str, bytes],
        cohort: CohortLike,
        options: BuildOptions | None,
    ) -> Image:
        own = {lab.name: own_files(title, lab, files) for lab in labs if lab.files}
        others = [one for one in linked if one.files and one.name not in own]
        plan, parts = self._plan(cohort, options, self._left_out(linked)), self._parts
        _check_arch(plan.options.arch, linked)
        key = plan.image_key(
            [plan.own_key(self._labs[name], content) for name, content in own.items()],
            [parts.prebuilt_key(plan, lab) for lab in others],
            self._patch,
        )
        with self._cache.only_once(key):
            entry = self._cache.get(key)
            if entry is None:
                # The student's files first: their errors are the ones worth waiting for.
                mine = {
                    name: parts.own(plan, title, self._labs[name], content)
                    for name, content in own.items()
                }
                linker = Linker(
                    plan,
                    title,
                    provided=parts.provided(plan),
                    own=mine,
                    prebuilt={lab.name: parts.prebuilt(plan, lab) for lab in others},
                )
                names = [name for content in own.values() for name in content]
                entry = linker.link(key, self._cache, self._sandbox, self._patch, names)
        return Image(
            elf=entry.path / "vmm.elf",
            kernel=entry.path / "vmm.elf32",
            symbols=Symbols(entry.path / "lines", entry.data["symbols"]),
            warnings=tuple(Diagnostic(*one) for one in entry.data["warnings"]),
            uses=frozenset(entry.data["uses"]),
            lab=title,
            cohort=cohort.name,
            options=plan.options,
            key=key,
        )


def _check_arch(arch: str, linked: Sequence[LabLike]) -> None:
    """Raise UsageError unless every lab of an image is built for its architecture."""
    for lab in linked:
        if arch not in lab.built_for:
            raise UsageError(
                msg("{lab} is not built for {arch}.", lab=lab.name, arch=arch),
                expected=", ".join(lab.built_for),
            )


def _write(path: Path, content: bytes) -> None:
    with staged(path, content) as put_in_place:
        put_in_place()

"""From a student's files to an image that boots.

Given code and stand-ins are compiled once and kept; the student's files of a lab are compiled in
one sandbox call and merged into one object in which only contract symbols stay global; another
sandbox call links. Every step is cached by the content of what goes into it. Knows no checks.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmmlab.base import files
from vmmlab.base.errors import InfraError, UsageError
from vmmlab.host.sandbox import MIB, Limits, Sandbox
from vmmlab.images import compile, diagnostics, linemap, objects, symbols, toolchain
from vmmlab.images.cache import Cache, Entry, digest, digest_files
from vmmlab.images.compile import Compiled, Job, Merge, Results
from vmmlab.images.model import (
    BuildFailed,
    BuildOptions,
    CohortLike,
    CourseLike,
    Diagnostic,
    Image,
    LabLike,
    ObjectPatch,
)
from vmmlab.images.prebuilt import MANIFEST, FromReference, StandInSource, manifest
from vmmlab.images.symbols import Symbols
from vmmlab.images.toolchain import Toolchain

_GIVEN_OPT = "-O2"
_SOURCE = (".c", ".S")
_FIRST = "boot/entry.S"
_LINK_LIMITS = Limits(file_mib=64, cpu_s=20, memory_mib=1024)
_LINK_WALL_S = 120.0
_NO_EXTRA, _NO_LINK, _NO_KERNEL = 41, 42, 43
_FAITHFUL = "-DVMM_DELAYS_FAITHFUL"
_NOBODY = "vmmlab_nobody"


@dataclass(frozen=True)
class _Tree:
    """The given files as they are now."""

    headers: Mapping[str, bytes]
    given: Mapping[str, bytes]
    script: bytes

    @classmethod
    def read(cls, root: Path) -> _Tree:
        try:
            headers = _files(root, "include", (".h",))
            given = {**_files(root, "boot", _SOURCE), **_files(root, "core", _SOURCE)}
            # Headers that lie beside the given sources are for these alone.
            private = {**_files(root, "boot", (".h",)), **_files(root, "core", (".h",))}
            script = (root / "vmm.ld").read_bytes()
        except OSError as error:
            raise InfraError(
                "The given VMM code cannot be read.",
                found=f"{error.filename}: {error.strerror}",
                next_step="Check out the whole kit again.",
            ) from error
        if not given:
            raise InfraError(
                "The given VMM code is missing.",
                expected=f"boot/ and core/ in {root}",
                next_step="Check out the whole kit again.",
            )
        return cls(headers, {**given, **private}, script)

    @property
    def sources(self) -> list[str]:
        """The given files to compile: boot/entry first, then by name."""
        names = (name for name in self.given if name.endswith(_SOURCE))
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


class Builder:
    """Builds images of one tree and course. Safe for threads; several processes may share a cache.

    Args:
        tree: the pristine given code: boot/, core/, include/, vmm.ld.
        course: its labs with their files and contract symbols.
        sandbox: where every tool runs.
        cache_dir: where built things are kept; default $XDG_CACHE_HOME/vmmlab.
        standins: where the other labs come from.
    """

    def __init__(
        self,
        tree: Path,
        course: CourseLike,
        sandbox: Sandbox,
        cache_dir: Path | None,
        standins: StandInSource,
    ) -> None:
        self._root = tree
        self._labs = course.labs
        self._sandbox = sandbox.hiding(standins.directory, tree)
        # Absolute: tools run in other working directories.
        self._cache = Cache((cache_dir or files.cache_dir()).absolute())
        self._standins = standins
        self._patch: ObjectPatch | None = None

    def patched(self, patch: ObjectPatch | None) -> Builder:
        """The same builder, but this is changed in a student's object before the link."""
        other = copy.copy(self)
        other._patch = patch
        return other

    def build(
        self,
        lab: str,
        files: Mapping[str, bytes],
        cohort: CohortLike,
        options: BuildOptions | None = None,
    ) -> Image:
        """The image in which `lab` is the student's and every other lab a stand-in.

        Args:
            lab: such as "lab3".
            files: relative path to content; only the lab's own are looked at.
            cohort: gives cohort.h.
            options: how to build.

        Raises:
            BuildFailed: the student's files do not make an image.
            UsageError: no such lab, compiler or stand-in.
            InfraError: tools, disk or given code are at fault.
        """
        if lab not in self._labs:
            raise UsageError(f"There is no lab {lab!r}.", expected=", ".join(self._labs))
        return self._image(lab, (self._labs[lab],), files, cohort, options or BuildOptions())

    def build_own(
        self,
        files: Mapping[str, bytes],
        cohort: CohortLike,
        options: BuildOptions | None = None,
    ) -> Image:
        """The image in which every lab is the student's; no stand-ins.

        Args and raises as for `build`.
        """
        labs = tuple(self._labs.values())
        return self._image("all", labs, files, cohort, options or BuildOptions())

    def merged(
        self,
        lab: str,
        files: Mapping[str, bytes],
        cohort: CohortLike,
        options: BuildOptions | None = None,
    ) -> bytes:
        """The one object that the student's files of a lab become, as it is linked, unpatched.

        Args and raises as for `build`.
        """
        options = options or BuildOptions()
        one = self._labs[lab]
        own = _own_files(lab, one, files)
        tools = toolchain.find(options.compiler, options.arch)
        tree = _Tree.read(self._root)
        parts = _Keys(tree, tools, cohort, options)
        entry = self._own(lab, one, own, tree, cohort, tools, options, parts)
        return (entry.path / "lab.o").read_bytes()

    def make_standins(
        self, out_dir: Path, cohort: CohortLike, options: BuildOptions | None = None
    ) -> tuple[Path, ...]:
        """Write labN.o for each lab, to be shipped. Needs the reference.

        Args:
            out_dir: made if missing.
            cohort: gives cohort.h.
            options: architecture and compiler count.

        Raises:
            InfraError: no reference, or it does not compile.
        """
        options = options or BuildOptions()
        tools = toolchain.find(options.compiler, options.arch)
        tree = _Tree.read(self._root)
        made = []
        try:
            out_dir.mkdir(parents=True, exist_ok=True)
            for lab in self._labs.values():
                if lab.files:
                    entry = self._standin(lab, tree, cohort, tools)
                    made.append(out_dir / f"{lab.name}.o")
                    _write(made[-1], (entry.path / "lab.o").read_bytes())
            _write(out_dir / MANIFEST, json.dumps(manifest(options.arch, cohort)).encode() + b"\n")
        except OSError as error:
            raise InfraError(
                f"The stand-ins could not be written to {out_dir}.",
                found=f"{error.filename}: {error.strerror}",
                next_step="Make room or make it writable, then run the command again.",
            ) from error
        return tuple(made)

    def versions(self, options: BuildOptions | None = None) -> dict[str, str]:
        """Tool to version, for reports."""
        options = options or BuildOptions()
        return toolchain.find(options.compiler, options.arch).versions()

    def _image(
        self,
        title: str,
        labs: Sequence[LabLike],
        files: Mapping[str, bytes],
        cohort: CohortLike,
        options: BuildOptions,
    ) -> Image:
        own = {lab.name: _own_files(title, lab, files) for lab in labs if lab.files}
        tools = toolchain.find(options.compiler, options.arch)
        tree = _Tree.read(self._root)
        others = [one for one in self._labs.values() if one.files and one.name not in own]
        parts = _Keys(tree, tools, cohort, options)
        key = digest(
            "image",
            parts.given,
            *(parts.own(lab, own[lab.name]) for lab in labs if lab.name in own),
            *(self._standin_key(lab, parts) for lab in others),
            tree.script,
            options.extra_asm,
            options.extra_replaces,
            options.link_order_seed,
            *([self._patch] if self._patch else []),
        )
        with self._cache.only_once(key):
            entry = self._cache.get(key)
            if entry is None:
                entry = self._link(key, title, own, others, tree, cohort, tools, options, parts)
        return Image(
            elf=entry.path / "vmm.elf",
            kernel=entry.path / "vmm.elf32",
            symbols=Symbols(entry.path / "lines", entry.data["symbols"]),
            warnings=tuple(Diagnostic(*one) for one in entry.data["warnings"]),
            uses=frozenset(entry.data["uses"]),
            lab=title,
            cohort=cohort.name,
            options=options,
            key=key,
        )

    def _link(
        self,
        key: str,
        title: str,
        own: Mapping[str, Mapping[str, bytes]],
        others: Sequence[LabLike],
        tree: _Tree,
        cohort: CohortLike,
        tools: Toolchain,
        options: BuildOptions,
        parts: _Keys,
    ) -> Entry:
        # The student's files first: their errors are the ones worth waiting for.
        mine = {
            name: self._own(title, self._labs[name], content, tree, cohort, tools, options, parts)
            for name, content in own.items()
        }
        given = self._given(tree, cohort, tools, options, parts)
        inputs = {f"given/{name}": given.path / name for name in given.data["order"]}
        inputs |= {f"student/{name}.o": entry.path / "lab.o" for name, entry in mine.items()}
        for lab in others:
            entry = self._standin(lab, tree, cohort, tools)
            inputs[f"standin/{lab.name}.o"] = entry.path / "lab.o"
        order = _order(inputs, options)
        with self._cache.scratch() as work:
            for name, path in inputs.items():
                _place(path, work / "in" / name)
            for name in mine if self._patch else ():
                _patch_in(work / "in" / "student" / f"{name}.o", self._patch)
            (work / "in" / "vmm.ld").write_bytes(tree.script)
            (work / "out").mkdir()
            steps: list[tuple[list[str], int]] = []
            if options.extra_asm is not None:
                (work / "in" / "extra").mkdir()
                (work / "in" / "extra.S").write_text(options.extra_asm)
                _write_files(work / "in", {**tree.headers, "cohort.h": cohort.header().encode()})
                command = tools.compile_argv(
                    "extra.S",
                    str(work / "out" / "extra.o"),
                    flags=tools.flags(opt=_GIVEN_OPT, strict=False),
                    directory=work / "in",
                )
                (work / "in" / "extra" / "extra.o").symlink_to(work / "out" / "extra.o")
                steps.append((command, _NO_EXTRA))
            elf, kernel = work / "out" / "vmm.elf", work / "out" / "vmm.elf32"
            map_file, line_text = work / "out" / "map", work / "out" / "lines"
            link = tools.link_argv(
                order, "vmm.ld", str(elf), str(map_file), replace=options.extra_replaces
            )
            steps += [(link, _NO_LINK), (tools.kernel_argv(str(elf), str(kernel)), _NO_KERNEL)]
            told = f"{shlex.join(tools.lines_argv(str(elf)))} > {shlex.quote(str(line_text))}"
            script = "; ".join([*(_or_exit(*step) for step in steps), f"{told} || :"])
            done = self._sandbox.run(
                ["/bin/sh", "-c", script],
                cwd=work / "in",
                ro=(work / "in", *tools.roots),
                rw=(work / "out",),
                timeout_s=_LINK_WALL_S,
                limits=_LINK_LIMITS,
                env=toolchain.ENVIRONMENT,
            )
            text = done.stderr.decode(errors="replace")
            if not done.ok:
                self._check_room(work, text)
                if done.returncode == _NO_LINK and not done.timed_out:
                    _blame(title, text, own, mine, str(work / "in"))
                raise InfraError(
                    f"{_step_name(done.returncode)} failed.",
                    found=diagnostics.last_words(text, done.returncode),
                    next_step="Check that kit and tools fit: `vmmlab doctor`.",
                )
            pieces = linemap.ranges(map_file.read_text(errors="replace"))
            data = {
                "symbols": symbols.extract(elf.read_bytes(), pieces),
                "warnings": [one for entry in mine.values() for one in entry.data["warnings"]],
                "uses": sorted({name for entry in mine.values() for name in entry.data["uses"]}),
            }
            kept = {"vmm.elf": elf, "vmm.elf32": kernel, "lines": line_text}
            return self._cache.put(key, kept, data)

    def _given(
        self,
        tree: _Tree,
        cohort: CohortLike,
        tools: Toolchain,
        options: BuildOptions,
        parts: _Keys,
    ) -> Entry:
        with self._cache.only_once(parts.given):
            if found := self._cache.get(parts.given):
                return found
            job = Job(
                {**tree.headers, **tree.given, "cohort.h": cohort.header().encode()},
                tree.sources,
                _given_flags(tools, options),
            )
            with self._cache.scratch() as work:
                results = compile.compile_all(self._sandbox, tools, job, work)
                if results.failed:
                    self._check_room(work, results.log)
                    results.check_killed()
                    raise _our_fault("The given VMM code", results)
                made = {_given_name(one.source): one.object for one in results.files}
                return self._cache.put(parts.given, made, {"order": list(made)})

    def _own(
        self,
        title: str,
        lab: LabLike,
        files: Mapping[str, bytes],
        tree: _Tree,
        cohort: CohortLike,
        tools: Toolchain,
        options: BuildOptions,
        parts: _Keys,
    ) -> Entry:
        key = parts.own(lab, files)
        with self._cache.only_once(key):
            if found := self._cache.get(key):
                return found
            flags = tools.flags(opt=options.opt, strict=False)
            job = _lab_job(lab, files, tree, cohort, tools, flags, strip=False)
            with self._cache.scratch() as work:
                results = compile.compile_all(self._sandbox, tools, job, work)
                if results.failed or not results.merged:
                    self._check_room(work, results.log + results.merge_log)
                    results.check_killed()
                if results.failed:
                    raise BuildFailed(title, results.diagnostics, results.log)
                undefined = self._judge(title, lab, results, str(work / "src"))
                data = {
                    "warnings": [
                        (one.file, one.line, one.column, one.severity, one.message)
                        for one in results.diagnostics
                    ],
                    "undefined": undefined,
                    "uses": _merged(results).undefined,
                }
                return self._cache.put(key, {"lab.o": results.out / "lab.o"}, data)

    def _judge(self, title: str, lab: LabLike, results: Results, base: str) -> dict[str, str]:
        """Refuse what may not be linked. Returns undefined name to the file that uses it."""
        read, found = _inspect(results.files)
        found += objects.missing_contract(lab.symbols, read) if not found else []
        if not found and not results.merged:
            text = results.merge_log
            found = diagnostics.parse_link(text, tuple(read), {}, base)
            found = found or [
                Diagnostic(lab.files[0], 0, 0, "error", diagnostics.last_words(text, 1))
            ]
        if not found:
            stray = objects.stray_globals(_contract(lab), _merged(results))
            found = [
                Diagnostic(lab.files[0], 0, 0, "error", f"{name} cannot be made local")
                for name in stray
            ]
        if found:
            warned = [one for one in results.diagnostics if one.severity != "error"]
            log = results.log + "".join(f"{one}\n" for one in found)
            raise BuildFailed(title, [*found, *warned], log)
        return {name: file for file, one in read.items() for name in one.undefined}

    def _standin_key(self, lab: LabLike, parts: _Keys) -> str:
        if isinstance(self._standins, FromReference):
            return parts.standin(lab, self._standins.sources(lab))
        content = self._standins.object(lab.name, parts.options.arch, parts.cohort)
        return digest("prebuilt", lab.name, content)

    def _standin(self, lab: LabLike, tree: _Tree, cohort: CohortLike, tools: Toolchain) -> Entry:
        source = self._standins
        options = BuildOptions(arch=tools.arch, compiler=tools.compiler)
        parts = _Keys(tree, tools, cohort, options)
        key = self._standin_key(lab, parts)
        with self._cache.only_once(key):
            if found := self._cache.get(key):
                return found
            with self._cache.scratch() as work:
                if not isinstance(source, FromReference):
                    copy = work / "lab.o"
                    copy.write_bytes(source.object(lab.name, tools.arch, cohort))
                    return self._cache.put(key, {"lab.o": copy}, {})
                flags = tools.flags(opt=_GIVEN_OPT, strict=True)
                files = source.sources(lab)
                job = _lab_job(lab, files, tree, cohort, tools, flags, strip=True)
                results = compile.compile_all(self._sandbox, tools, job, work)
                what = f"The reference solution of {lab.name}"
                if results.failed or not results.merged:
                    self._check_room(work, results.log + results.merge_log)
                    results.check_killed()
                    raise _our_fault(what, results)
                read, found_bad = _inspect(results.files)
                found_bad += objects.missing_contract(lab.symbols, read)
                if found_bad:
                    raise InfraError(f"{what} cannot be linked.", found=str(found_bad[0]))
                made = self._nameless(results.out / "lab.o", tools)
                return self._cache.put(key, {"lab.o": made}, {})

    def _nameless(self, made: Path, tools: Toolchain) -> Path:
        """A stand-in without the names of what is local in it: they would tell how it is done."""
        local = {
            one.name
            for one in objects.read(made.read_bytes()).symbols
            if one.bind == "STB_LOCAL" and one.name and one.type != "STT_SECTION"
        }
        names = sorted(name for name in local if not name.startswith(".L"))
        if not names:
            return made
        fresh = made.with_name("nameless.o")
        rename = [f"--redefine-sym={name}=.Lstandin{n}" for n, name in enumerate(names)]
        done = self._sandbox.run(
            [tools.objcopy, *rename, str(made), str(fresh)],
            cwd=made.parent,
            ro=tools.roots,
            rw=(made.parent,),
            timeout_s=_LINK_WALL_S,
            limits=_LINK_LIMITS,
        )
        if not done.ok:
            self._check_room(made.parent, done.stderr.decode(errors="replace"))
            raise InfraError(
                "Making a stand-in failed.",
                found=diagnostics.last_words(done.stderr.decode(errors="replace"), done.returncode),
                next_step="Run `vmmlab doctor`.",
            )
        return fresh

    def _check_room(self, work: Path, text: str) -> None:
        """A tool failed: was it for want of room?"""
        need = 32 * MIB if diagnostics.NO_SPACE.search(text) else MIB // 4
        if self._cache.full(work, need):
            raise self._cache.full_error()


class _Keys:
    """Names of everything that goes into one image."""

    def __init__(
        self, tree: _Tree, tools: Toolchain, cohort: CohortLike, options: BuildOptions
    ) -> None:
        self.options = options
        self.cohort = cohort
        self._tools = tools
        self._common = digest(
            tools.identity, tools.arch, digest_files(tree.headers), cohort.header()
        )
        self.given = digest(
            "given", self._common, *_given_flags(tools, options), digest_files(tree.given)
        )

    def own(self, lab: LabLike, files: Mapping[str, bytes]) -> str:
        """A lab's merged object, made from the student's files."""
        flags = self._tools.flags(opt=self.options.opt, strict=False)
        return self._lab("own", lab, files, flags)

    def standin(self, lab: LabLike, files: Mapping[str, bytes]) -> str:
        """A lab's stand-in, made from the reference."""
        flags = self._tools.flags(opt=_GIVEN_OPT, strict=True)
        return self._lab("standin", lab, files, flags)

    def _lab(self, kind: str, lab: LabLike, files: Mapping[str, bytes], flags: list[str]) -> str:
        contract = [f"{file}:{','.join(names)}" for file, names in lab.symbols.items()]
        return digest(
            kind, self._common, lab.name, *flags, "contract", *contract, digest_files(files)
        )


def _given_flags(tools: Toolchain, options: BuildOptions) -> list[str]:
    flags = tools.flags(opt=_GIVEN_OPT, strict=True)
    return [*flags, _FAITHFUL] if options.delays == "faithful" else flags


def _given_name(source: str) -> str:
    return source.replace("/", "@") + ".o"


def _contract(lab: LabLike) -> list[str]:
    return [name for names in lab.symbols.values() for name in names]


def _own_files(title: str, lab: LabLike, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The student's files of a lab.

    Raises:
        BuildFailed: missing or empty ones.
    """
    found = []
    for name in lab.files:
        wanted = ", ".join(lab.symbols.get(name, ()))
        task = f"; it has to define {wanted}" if wanted else ""
        if name not in files:
            found.append(Diagnostic(name, 0, 0, "error", f"the file is missing{task}"))
        elif not files[name].strip():
            found.append(Diagnostic(name, 0, 0, "error", f"the file is empty{task}"))
    if found:
        raise BuildFailed(title, found, "".join(f"{one}\n" for one in found))
    return {name: files[name] for name in lab.files}


def _lab_job(
    lab: LabLike,
    files: Mapping[str, bytes],
    tree: _Tree,
    cohort: CohortLike,
    tools: Toolchain,
    flags: list[str],
    *,
    strip: bool,
) -> Job:
    """Compile a lab and merge it into out/lab.o, where only contract symbols are global."""
    numbered = [f"{{out}}/{number}.o" for number in range(len(lab.files))]
    keep = [f"--keep-global-symbol={name}" for name in (*_contract(lab), _NOBODY)]
    drop = [
        f"--remove-section={prefix}{name}" for name in objects.DROPPED for prefix in ("", ".rela")
    ]
    if strip:
        drop += ["--strip-unneeded", "--discard-all"]
    commands = [
        tools.merge_argv(numbered, "{out}/all.o"),
        [tools.objcopy, *keep, *drop, "{out}/all.o", "{out}/lab.o"],
    ]
    visible = {**tree.headers, **files, "cohort.h": cohort.header().encode()}
    return Job(visible, tuple(lab.files), flags, Merge(commands))


def _inspect(
    files: Iterable[Compiled],
) -> tuple[dict[str, objects.ObjectFile], list[Diagnostic]]:
    read: dict[str, objects.ObjectFile] = {}
    found: list[Diagnostic] = []
    for one in files:
        try:
            read[one.source] = objects.read(one.object.read_bytes())
        except objects.BadObject as error:
            text = f"its object file is not usable: {error}"
            found.append(Diagnostic(one.source, 0, 0, "error", text))
        else:
            found += objects.refused(one.source, read[one.source])
    return read, found


def _merged(results: Results) -> objects.ObjectFile:
    return objects.read((results.out / "lab.o").read_bytes())


def _our_fault(what: str, results: Results) -> InfraError:
    errors = [str(one) for one in results.diagnostics if one.severity == "error"]
    words = diagnostics.last_words(results.merge_log, 1)
    return InfraError(
        f"{what} does not compile.",
        found=errors[0] if errors else words,
        next_step="This is not the student's fault. Check that the kit is unchanged and the "
        "compiler is a supported one (`vmmlab doctor`).",
    )


def _order(inputs: Mapping[str, Path], options: BuildOptions) -> list[str]:
    """Entry, then given, student's, stand-ins, extra; shuffled after the entry if asked for."""
    names = list(inputs)
    first, rest = names[:1], names[1:]
    if options.link_order_seed is not None:
        random.Random(options.link_order_seed).shuffle(rest)
    extra = ["extra/extra.o"] if options.extra_asm is not None else []
    if options.extra_replaces:
        return [*first, *extra, *rest]
    return [*first, *rest, *extra]


def _blame(
    title: str,
    text: str,
    own: Mapping[str, Mapping[str, bytes]],
    mine: Mapping[str, Entry],
    base: str,
) -> None:
    """A link failed: raise BuildFailed if the student's code is why."""
    names = [name for files in own.values() for name in files]
    undefined: dict[str, str] = {}
    for entry in mine.values():
        undefined.update(entry.data["undefined"])
    found = diagnostics.parse_link(text, names, undefined, base)
    found = [one for one in found if one.file]
    log = diagnostics.bounded_log(text, base)
    if not found and "student/" in text:
        found = [Diagnostic("", 0, 0, "error", diagnostics.last_words(text, 1))]
    if found:
        warned = [Diagnostic(*one) for entry in mine.values() for one in entry.data["warnings"]]
        raise BuildFailed(title, [*found, *warned], log)


def _or_exit(command: Sequence[str], status: int) -> str:
    return f"{' '.join(shlex.quote(word) for word in command)} || exit {status}"


def _step_name(status: int) -> str:
    return {
        _NO_EXTRA: "Assembling the grader's own code",
        _NO_LINK: "Linking the image",
        _NO_KERNEL: "Converting the image for QEMU",
    }.get(status, "Linking the image")


def _place(source: Path, target: Path) -> None:
    """The same file at another place: a hard link where that works."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _patch_in(path: Path, patch: ObjectPatch | None) -> None:
    """Replace a placed object by a patched copy; it may be a hard link into the cache."""
    if patch is not None:
        content = patch.applied(path.read_bytes())
        path.unlink()
        path.write_bytes(content)


def _write_files(root: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(content)
    fresh.replace(path)

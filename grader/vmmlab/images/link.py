"""Links the parts of an image in one sandbox call, and reads what the linker reports."""

from __future__ import annotations

import shlex
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vmmlab.base.choice import Choice
from vmmlab.base.errors import InfraError
from vmmlab.base.files import read_regular
from vmmlab.base.message import Text, msg
from vmmlab.host.rlimits import MIB
from vmmlab.host.sandbox import Sandbox
from vmmlab.images import diagnostics, linemap, symbols, toolchain
from vmmlab.images.cache import Cache, Entry
from vmmlab.images.compile import OUT
from vmmlab.images.model import BuildFailed, BuildOptions, Diagnostic, ObjectPatch
from vmmlab.images.plan import PROVIDED_OPT, Plan
from vmmlab.images.toolchain import BINUTILS_LIMITS, BINUTILS_WALL_S

_IN = "/vmmlab/in"
_NO_INITFUNCS = {"__initfunc_end": "__initfunc_start"}
_MAP_BYTES, _ELF_BYTES = 16 * MIB, 64 * MIB
_EXTRA_FAILED, _LINK_FAILED, _CONVERSION_FAILED, _OWN_FAILED = 41, 42, 43, 44
_STUDENTS = "student/"
_KILLED = 128 + signal.SIGKILL


class Linker:
    """Links one image.

    Args:
        plan: how to build.
        title: the lab that is built, for errors.
        provided: the objects of the provided code.
        own: the student's objects by lab.
        prebuilt: the prebuilt objects by lab.
    """

    def __init__(
        self,
        plan: Plan,
        title: str,
        *,
        provided: Entry,
        own: Mapping[str, Entry],
        prebuilt: Mapping[str, Entry],
    ) -> None:
        self._plan = plan
        self._title = title
        self._own = own
        # The link map reports these names, see `vmmlab.images.linemap`.
        self._inputs = {f"provided/{name}": provided.path / name for name in provided.data["order"]}
        self._inputs |= {f"{_STUDENTS}{name}.o": one.path / "lab.o" for name, one in own.items()}
        self._inputs |= {f"prebuilt/{name}.o": one.path / "lab.o" for name, one in prebuilt.items()}

    def link(
        self,
        key: str,
        cache: Cache,
        sandbox: Sandbox,
        patch: ObjectPatch | None,
        files: Sequence[str],
    ) -> Entry:
        """Link the image and keep it: vmm.elf, vmm.elf32, lines; "symbols", "warnings", "uses".

        Args:
            key: of the image.
            cache: where it is kept.
            sandbox: where the tools run.
            patch: what is changed in the student's objects, if anything.
            files: names of the student's files.

        Raises:
            BuildFailed: the student's code is why it cannot be linked.
            InfraError: something else is.
        """
        with cache.scratch() as work:
            given, out = sandbox.seen(work / "in", _IN), sandbox.seen(work / "out", OUT)
            self._place(work, patch, out)
            done = sandbox.run(
                ["/bin/sh", "-c", self._script(given, out)],
                cwd=given,
                ro=(work / "in", *self._plan.tools.roots),
                rw=(work / "out",),
                timeout_s=BINUTILS_WALL_S,
                limits=BINUTILS_LIMITS,
                env=toolchain.ENVIRONMENT,
                names={work / "in": given, work / "out": out},
            )
            if not done.ok:
                text = done.stderr.decode(errors="replace")
                cache.check_room(work, asked=diagnostics.wants_room(text))
                if done.returncode in (_LINK_FAILED, _OWN_FAILED) and not done.timed_out:
                    # Without the student's objects nobody notices that given code lacks a symbol.
                    sure = done.returncode == _OWN_FAILED and "undefined reference" not in text
                    self._check_own(text, files, str(given), sure=sure)
                raise InfraError(
                    msg("{step_name} failed.", step_name=_step_name(done.returncode)),
                    found=diagnostics.last_words(text, done.returncode),
                    next_step=msg(
                        "Check that the kit and the tools fit together: `vmmlab doctor`."
                    ),
                )
            kept = {name: work / "out" / name for name in ("vmm.elf", "vmm.elf32", "lines")}
            return cache.put(key, kept, self._data(work / "out"))

    def _place(self, work: Path, patch: ObjectPatch | None, out: Path) -> None:
        """Put everything that the linker reads into work/in; `out` is work/out's name inside."""
        for name, path in self._inputs.items():
            _link_or_copy(path, work / "in" / name)
        for name in self._own if patch else ():
            _patch(work / "in" / "student" / f"{name}.o", patch)
        (work / "in" / "vmm.ld").write_bytes(self._plan.tree.script)
        (work / "out").mkdir()
        if self._plan.options.extra_asm is not None:
            (work / "in" / "extra").mkdir()
            (work / "in" / "extra.S").write_text(self._plan.options.extra_asm)
            for name, content in self._plan.headers.items():
                path = work / "in" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            (work / "in" / "extra" / "extra.o").symlink_to(out / "extra.o")

    def _script(self, given: Path, out: Path) -> str:
        """Return a shell script: assemble the extra code, link, convert, list the source lines.

        What fails is tried without the student's objects: if that works, they are the reason. An
        object can end the linker with an error of its own, which names nobody.
        """
        tools, options = self._plan.tools, self._plan.options
        steps: list[tuple[list[str], int]] = []
        if options.extra_asm is not None:
            flags = tools.flags(opt=PROVIDED_OPT, strict=False)
            target = str(out / "extra.o")
            command = tools.compile_argv("extra.S", target, flags=flags, directory=given)
            steps.append((command, _EXTRA_FAILED))
        elf, others = str(out / "vmm.elf"), str(out / "others")
        inputs = _order(list(self._inputs), options)
        made = ((elf, inputs, False), (others, [i for i in inputs if not _own(i)], True))
        link, control = (
            tools.link_argv(
                objects,
                "vmm.ld",
                output,
                str(out / "map"),
                replace=options.extra_replaces,
                partly=partly,
                symbols=_NO_INITFUNCS if options.no_initfuncs else None,
            )
            for output, objects, partly in made
        )
        steps.append((link, _LINK_FAILED))
        steps.append((tools.kernel_argv(elf, str(out / "vmm.elf32")), _CONVERSION_FAILED))
        convert = tools.kernel_argv(others, str(out / "others32"))
        tried = f"{{ {shlex.join(control)} && {shlex.join(convert)}; }} >/dev/null 2>&1"
        own = f"{{ {tried} && exit {_OWN_FAILED}; }}" if self._own else "false"
        listed = f"{shlex.join(tools.lines_argv(elf))} > {shlex.quote(str(out / 'lines'))}"
        return "; ".join([*(_or_exit(*step, own) for step in steps), f"{listed} || :"])

    def _data(self, out: Path) -> dict[str, Any]:
        own = self._own.values()
        text = read_regular(out / "map", _MAP_BYTES).decode(errors="replace")
        return {
            "symbols": symbols.extract(
                read_regular(out / "vmm.elf", _ELF_BYTES), linemap.ranges(text)
            ),
            "warnings": [one for entry in own for one in entry.data["warnings"]],
            "uses": sorted({name for entry in own for name in entry.data["uses"]}),
        }

    def _check_own(self, text: str, files: Sequence[str], base: str, *, sure: bool) -> None:
        """Raise BuildFailed if the student's code is why the link failed; `sure`: it is."""
        undefined: dict[str, str] = {}
        for entry in self._own.values():
            undefined.update(entry.data["undefined"])
        found = diagnostics.parse_link(text, files, undefined, base)
        found = [one for one in found if one.file]
        log = diagnostics.bounded_log(text, base)
        if not found and (sure or _STUDENTS in text):
            found = [Diagnostic("", 0, 0, "error", diagnostics.last_words(text, 1))]
        if found:
            warned = [
                Diagnostic(*one) for entry in self._own.values() for one in entry.data["warnings"]
            ]
            raise BuildFailed(self._title, [*found, *warned], log)


def _order(names: list[str], options: BuildOptions) -> list[str]:
    """Return entry, provided, student's, prebuilt, extra; shuffled after entry if asked for."""
    first, rest = names[:1], names[1:]
    if options.link_order_seed is not None:
        rest = Choice("vmmlab link 1", options.link_order_seed).shuffled(rest)
    extra = ["extra/extra.o"] if options.extra_asm is not None else []
    if options.extra_replaces:
        return [*first, *extra, *rest]
    return [*first, *rest, *extra]


def _own(name: str) -> bool:
    return name.startswith(_STUDENTS)


def _or_exit(command: Sequence[str], status: int, first: str) -> str:
    """Return a command, and what ends the script if it fails; `first` may end it before."""
    killed = f"[ $? -eq {_KILLED} ]"  # by the system: that is nobody's fault
    return f"{shlex.join(command)} || {{ {killed} || {first}; exit {status}; }}"


def _step_name(status: int) -> Text:
    return {
        _EXTRA_FAILED: msg("Assembling the grader's own code"),
        _LINK_FAILED: msg("Linking the image"),
        _CONVERSION_FAILED: msg("Converting the image for QEMU"),
    }.get(status, msg("Linking the image"))


def _link_or_copy(source: Path, target: Path) -> None:
    """Put a file at another place, too; as a hard link where that works."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _patch(path: Path, patch: ObjectPatch | None) -> None:
    """Replace an object by a patched copy; it may be a hard link into the cache."""
    if patch is not None:
        content = patch.applied(path.read_bytes())
        path.unlink()
        path.write_bytes(content)

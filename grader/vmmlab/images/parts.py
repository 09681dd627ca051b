"""The parts of an image, each made once and kept: provided code, a student's lab, a prebuilt lab.

The student's files of a lab are compiled in one sandbox call and merged into one object in which
only contract symbols stay global; what may not be linked is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from vmmlab.base.errors import InfraError
from vmmlab.base.files import read_regular
from vmmlab.base.message import Text, msg
from vmmlab.host.sandbox import Sandbox
from vmmlab.images import compile, diagnostics, merged, objects
from vmmlab.images.cache import Cache, Entry, digest
from vmmlab.images.compile import Compiled, Results
from vmmlab.images.model import BuildFailed, Diagnostic, GivenCodeFailed, LabLike
from vmmlab.images.plan import Plan, contract_of
from vmmlab.images.sources import FromReference, PrebuiltSource
from vmmlab.images.toolchain import BINUTILS_LIMITS, BINUTILS_WALL_S, Toolchain

_OBJECT_BYTES = 64 * 1024 * 1024


class Parts:
    """Makes parts. Safe for threads.

    Args:
        cache: where they are kept.
        sandbox: where every tool runs.
        source: where prebuilt objects come from.

    Raises (every method but `prebuilt_key`): InfraError when tools, disk or provided code fail.
    """

    def __init__(self, cache: Cache, sandbox: Sandbox, source: PrebuiltSource) -> None:
        self._cache = cache
        self._sandbox = sandbox
        self._source = source

    def provided(self, plan: Plan) -> Entry:
        """Return the objects of the provided code; "order" in its data names them in link order."""
        with self._cache.only_once(plan.provided_key):
            if found := self._cache.get(plan.provided_key):
                return found
            with self._cache.scratch() as work:
                job = plan.provided_job()
                results = compile.compile_all(self._sandbox, plan.tools, job, work)
                if results.failed:
                    self._check_machine(results, work)
                    raise _not_the_students_fault(
                        msg("The given VMM code"), results, GivenCodeFailed
                    )
                made = {_object_name(one.source): one.object for one in results.files}
                return self._cache.put(plan.provided_key, made, {"order": list(made)})

    def own(self, plan: Plan, title: str, lab: LabLike, files: Mapping[str, bytes]) -> Entry:
        """Return the one object, lab.o, that the student's files of a lab become.

        Its data hold "warnings", "undefined" (name to the file that uses it) and "uses".

        Args:
            plan: how to build.
            title: the lab that is built, for the error.
            lab: the lab.
            files: its files.

        Raises:
            BuildFailed: the files cannot become part of an image.
        """
        key = plan.own_key(lab, files)
        with self._cache.only_once(key):
            if found := self._cache.get(key):
                return found
            with self._cache.scratch() as work:
                job = plan.own_job(lab, files)
                results = compile.compile_all(self._sandbox, plan.tools, job, work)
                if results.failed or not results.merged:
                    self._check_machine(results, work)
                if results.failed:
                    raise BuildFailed(title, results.diagnostics, results.log)
                base = str(self._sandbox.seen(work / "src", compile.SOURCE))
                undefined = _judge(title, lab, results, base, plan.word)
                data = {
                    "warnings": [
                        (one.file, one.line, one.column, one.severity, one.message)
                        for one in results.diagnostics
                    ],
                    "undefined": undefined,
                    "uses": _merged(results).undefined,
                }
                return self._cache.put(key, {"lab.o": results.out / "lab.o"}, data)

    def prebuilt_key(self, plan: Plan, lab: LabLike) -> str:
        """Return the key of a lab's prebuilt object.

        Raises:
            UsageError: there is none for this cohort and architecture.
        """
        if isinstance(self._source, FromReference):
            return plan.reference_key(lab, self._source.sources(lab))
        content = self._source.object(lab.name, plan.options.arch, plan.cohort)
        return digest("prebuilt", lab.name, content)

    def prebuilt(self, plan: Plan, lab: LabLike) -> Entry:
        """Return a lab's prebuilt object, lab.o.

        Raises:
            UsageError: there is none for this cohort and architecture.
        """
        source = self._source
        key = self.prebuilt_key(plan, lab)
        with self._cache.only_once(key):
            if found := self._cache.get(key):
                return found
            with self._cache.scratch() as work:
                if isinstance(source, FromReference):
                    made = self._from_reference(plan, lab, source.sources(lab), work)
                else:
                    made = work / "lab.o"
                    made.write_bytes(source.object(lab.name, plan.options.arch, plan.cohort))
                return self._cache.put(key, {"lab.o": made}, {})

    def _from_reference(
        self, plan: Plan, lab: LabLike, files: Mapping[str, bytes], work: Path
    ) -> Path:
        job = plan.reference_job(lab, files)
        results = compile.compile_all(self._sandbox, plan.tools, job, work)
        what = msg("The reference solution of {lab}", lab=lab.name)
        if results.failed or not results.merged:
            self._check_machine(results, work)
            raise _not_the_students_fault(what, results)
        read, found = _inspect(results.files)
        found += objects.missing_contract(lab.symbols, read)
        if found:
            raise InfraError(msg("{what} cannot be linked.", what=what), found=str(found[0]))
        return self._nameless(results.out / "lab.o", plan.tools)

    def _nameless(self, made: Path, tools: Toolchain) -> Path:
        """Rename all that is local in a prebuilt object: the names would tell how it is done."""
        names = {
            one.name
            for one in objects.read(read_regular(made, _OBJECT_BYTES)).symbols
            if one.bind == "STB_LOCAL" and one.name and one.type != "STT_SECTION"
        }
        if not names:
            return made
        fresh = made.with_name("nameless.o")
        rename = [f"--redefine-sym={name}=.Lprebuilt{n}" for n, name in enumerate(sorted(names))]
        seen = self._sandbox.seen(made.parent, compile.OUT)
        done = self._sandbox.run(
            [tools.objcopy, *rename, str(seen / made.name), str(seen / fresh.name)],
            cwd=seen,
            names={made.parent: seen},
            ro=tools.roots,
            rw=(made.parent,),
            timeout_s=BINUTILS_WALL_S,
            limits=BINUTILS_LIMITS,
        )
        if not done.ok:
            text = done.stderr.decode(errors="replace")
            self._cache.check_room(made.parent, asked=diagnostics.wants_room(text))
            raise InfraError(
                msg("Making a prebuilt object failed."),
                found=diagnostics.last_words(text, done.returncode),
                next_step=msg("Run `vmmlab doctor`."),
            )
        return fresh

    def _check_machine(self, results: Results, work: Path) -> None:
        """Raise InfraError if the machine, not the code, is why something did not compile."""
        text = results.log + results.merge_log
        self._cache.check_room(work, asked=diagnostics.wants_room(text))
        results.check_killed()


def _object_name(source: str) -> str:
    return source.replace("/", "@") + ".o"


def _inspect(
    files: Iterable[Compiled],
) -> tuple[dict[str, objects.ObjectFile], list[Diagnostic]]:
    """Return the objects that can be read, by source, and what must not be linked."""
    read: dict[str, objects.ObjectFile] = {}
    found: list[Diagnostic] = []
    for one in files:
        try:
            read[one.source] = objects.read(read_regular(one.object, _OBJECT_BYTES))
        except objects.BadObject as error:
            text = msg("its object file is not usable: {error}", error=str(error))
            found.append(Diagnostic(one.source, 0, 0, "error", text))
        else:
            found += objects.refused(one.source, read[one.source])
    return read, found


def _judge(title: str, lab: LabLike, results: Results, base: str, word: int) -> dict[str, str]:
    """Refuse what must not be linked; return undefined name to the file that uses it.

    The pieces come first: they know in which file it is.
    """
    read, found = _inspect(results.files)
    found += objects.missing_contract(lab.symbols, read) if not found else []
    if not found and not results.merged:
        text = results.merge_log
        found = diagnostics.parse_link(text, tuple(read), {}, base)
        found = found or [Diagnostic(lab.files[0], 0, 0, "error", diagnostics.last_words(text, 1))]
    if not found:
        whole = _merged(results)
        found = merged.refused(lab, whole, word)
        found += [
            Diagnostic(lab.files[0], 0, 0, "error", msg("{name} cannot be made local", name=name))
            for name in objects.stray_globals(contract_of(lab), whole)
        ]
    if found:
        warned = [one for one in results.diagnostics if one.severity != "error"]
        log = results.log + "".join(f"{one}\n" for one in found)
        raise BuildFailed(title, [*found, *warned], log)
    return {name: file for file, one in read.items() for name in one.undefined}


def _merged(results: Results) -> objects.ObjectFile:
    return objects.read(read_regular(results.out / "lab.o", _OBJECT_BYTES))


def _not_the_students_fault(
    what: Text, results: Results, kind: type[InfraError] = InfraError
) -> InfraError:
    errors = [str(one) for one in results.diagnostics if one.severity == "error"]
    words = diagnostics.last_words(results.merge_log, 1)
    return kind(
        msg("{what} does not compile.", what=what),
        found=errors[0] if errors else words,
        next_step=msg(
            "This is not the student's fault. Check that the kit is unchanged and the "
            "compiler is a supported one (`vmmlab doctor`)."
        ),
    )

"""Input and output of a build: layouts, options, diagnostics, images.

Plain data. Knows neither compilers nor caches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from vmmlab.base.errors import InfraError, UsageError, VmmlabError
from vmmlab.base.message import Text, msg
from vmmlab.base.text import clean_line

if TYPE_CHECKING:
    from vmmlab.images.symbols import Symbols

Severity = Literal["error", "warning", "note"]
Delays = Literal["fast", "faithful"]

OPT_LEVELS = ("-O0", "-O1", "-O2", "-O3", "-Os", "-Og")
_MESSAGE_CHARS = 400


class LabLike(Protocol):
    """What a build needs to know of a lab (`vmmlab.course.model.Lab` offers it)."""

    @property
    def name(self) -> str:
        """Such as "lab3"."""

    @property
    def files(self) -> Sequence[str]:
        """The student's files, relative: "lab3/apinit.S"."""

    @property
    def symbols(self) -> Mapping[str, Sequence[str]]:
        """File to the contract symbols that it defines."""

    @property
    def links(self) -> str:
        """The last lab whose objects an image of this one has: "lab4"."""

    @property
    def given(self) -> Sequence[str]:
        """Provided files that only images with this lab's objects have: "core/uefi.c"."""

    @property
    def built_for(self) -> Sequence[str]:
        """The architectures of the images that have its objects."""


class CourseLike(Protocol):
    """What a build needs to know of a course: its labs by name, in order."""

    @property
    def labs(self) -> Mapping[str, LabLike]:
        """Name to lab."""


class CohortLike(Protocol):
    """What a build needs to know of a cohort."""

    @property
    def name(self) -> str:
        """Such as "dev"."""

    def header(self) -> str:
        """The text of cohort.h."""


@dataclass(frozen=True)
class BuildOptions:
    """How to build.

    Args:
        arch: "x86_64" or "i386".
        compiler: "gcc" or "clang"; for provided, student's and prebuilt code alike.
        opt: optimisation of the *student's* files; everything else is always -O2.
        delays: "fast" for grading or "faithful" with BitVisor's values.
        extra_asm: GAS source of the grader's own that is linked in, or None.
        extra_replaces: globals of `extra_asm` take the place of provided ones.
        link_order_seed: shuffles the order in which objects are linked (boot/entry stays first).
        no_initfuncs: .initfunc ends where it begins, as if nothing had registered a function.
    """

    arch: str = "x86_64"
    compiler: str = "gcc"
    opt: str = "-O2"
    delays: Delays = "fast"
    extra_asm: str | None = None
    extra_replaces: bool = False
    link_order_seed: int | None = None
    no_initfuncs: bool = False

    def __post_init__(self) -> None:
        if self.opt not in OPT_LEVELS:
            raise UsageError(
                msg("There is no optimisation level {opt!r}.", opt=self.opt),
                expected=", ".join(OPT_LEVELS),
            )
        if self.delays not in ("fast", "faithful"):
            raise UsageError(
                msg("There are no delays named {delays!r}.", delays=self.delays),
                expected=msg("fast, faithful"),
            )


@dataclass(frozen=True)
class ObjectPatch:
    """Bytes that are changed in one merged object of a student's before the link.

    It serves to find out what the checks notice, and never comes from a submission or a course.

    Args:
        of: SHA-256 of the object, in hexadecimal; any other object stays as it is.
        writes: offset in the object file, and the bytes to write there.
    """

    of: str
    writes: tuple[tuple[int, bytes], ...]

    def applied(self, content: bytes) -> bytes:
        """Return the object with the patch, or as it is if the patch is for another one."""
        if hashlib.sha256(content).hexdigest() != self.of:
            return content
        changed = bytearray(content)
        for offset, data in self.writes:
            changed[offset : offset + len(data)] = data
        return bytes(changed)


@dataclass(frozen=True)
class Diagnostic:
    """One thing that a compiler, an assembler, a linker or this package reports about a file.

    Args:
        file: as the student knows it, "lab3/apinit.S"; "" if it concerns no file.
        line: 1-based; 0 if unknown.
        column: 1-based; 0 if unknown.
        severity: "error", "warning" or "note".
        message: one line without control characters.
    """

    file: str
    line: int
    column: int
    severity: Severity
    message: Text

    def __str__(self) -> str:
        """Return file, line, column and the English text."""
        return str(self.text())

    def text(self) -> Text:
        """Return file, line, column and message as one text."""
        place = self.file
        if self.line:
            place += f":{self.line}"
            if self.column:
                place += f":{self.column}"
        if not place:
            return self.message
        return msg("{place}: {message}", place=place, message=self.message)


class BuildFailed(VmmlabError):
    """The student's files do not make an image. Points lost, not a usage error (exit 1).

    Args:
        lab: such as "lab3".
        diagnostics: at least one of severity "error"; the first is the one to show.
        log: the output of the tools, bounded and without control characters.
    """

    exit_code = 1

    def __init__(
        self, lab: str, diagnostics: Sequence[Diagnostic], log: str = "", *, next_step: str = ""
    ) -> None:
        errors = [one for one in diagnostics if one.severity == "error"]
        first = errors[0].text() if errors else msg("it could not be built")
        if len(errors) > 1:
            first = msg("{error} (and {more} more)", error=first, more=len(errors) - 1)
        super().__init__(first, next_step=next_step)
        self.lab = lab
        self.diagnostics = tuple(diagnostics)
        self.log = log


class GivenCodeFailed(InfraError):
    """The given VMM code does not compile, whatever the student's files are."""


@dataclass(frozen=True)
class Image:
    """A VMM that is ready to boot.

    Args:
        elf: ELF64 with symbols and debug information, for gdb.
        kernel: ELF32 for QEMU's -kernel.
        symbols: the symbols of `elf`.
        warnings: what the compiler warned about in the student's files.
        uses: names that the student's files refer to but do not define.
        lab: the lab that is the student's own, or "all".
        cohort: name of the cohort.
        options: how it was built.
        key: identifies the content: equal keys, equal images.
    """

    elf: Path
    kernel: Path
    symbols: Symbols = field(repr=False)
    warnings: tuple[Diagnostic, ...]
    uses: frozenset[str]
    lab: str
    cohort: str
    options: BuildOptions
    key: str


def one_line(text: str) -> str:
    """Return `text` clean, on one line and of bounded length: fit for `Diagnostic.message`."""
    return clean_line(text, _MESSAGE_CHARS)

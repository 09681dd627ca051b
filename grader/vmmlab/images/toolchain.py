"""Compilers and binutils: where they are, what identifies them, and every flag in one place.

The flags below are the only ones: the provided code, the student's files and the prebuilt labs are
compiled with them, in a workspace and in the instructor's grader alike. Knows nothing of labs.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.message import msg
from vmmlab.host import toolroots
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.images.lines import READELF

COMPILERS = ("gcc", "clang")
BINUTILS_LIMITS = ResourceLimits(file_mib=64, cpu_s=10, memory_mib=512)
BINUTILS_WALL_S = 120.0

# What makes it kernel code: no library, no position-independent code, no FPU, no red zone (an
# interrupt would overwrite it), nothing that needs a run-time of its own.
_FREESTANDING = (
    "-std=gnu11",
    "-ffreestanding",
    "-fno-pic",
    "-fno-pie",
    "-fno-common",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-fcf-protection=none",
    "-mgeneral-regs-only",
)
# Physical addresses, 0 among them, are accessed through pointers made from integers.
_MEMORY = ("-fno-strict-aliasing", "-fno-delete-null-pointer-checks")
# Each function stays a function of its own name, so that a breakpoint can be set on it.
_VISIBLE = ("-fno-inline",)
_VISIBLE_GCC = ("-fno-ipa-cp", "-fno-ipa-sra", "-fno-ipa-icf", "-fno-partial-inlining")
_WARNINGS = ("-Wall", "-Wextra")
_REPRODUCIBLE = ("-Wdate-time",)

_ARCH_FLAGS = {
    "x86_64": ("-m64", "-mno-red-zone", "-mcmodel=small"),
    "i386": ("-m32", "-march=i686", "-mregparm=3"),
}
_LD_EMULATION = {"x86_64": "elf_x86_64", "i386": "elf_i386"}
_PREFIXES = ("", "x86_64-linux-gnu-", "x86_64-elf-")

# Source dates in the image would change its hash from second to second.
ENVIRONMENT = {"SOURCE_DATE_EPOCH": "1"}


def editor_flags(arch: str) -> list[str]:
    """Return the flags of a compilation that both gcc and clangd understand, for an editor."""
    flags = [*_ARCH_FLAGS[arch], *_FREESTANDING, *_MEMORY, *_VISIBLE, *_WARNINGS]
    return [*flags, "-g", "-O2", "-Iinclude", "-I."]


@dataclass(frozen=True)
class Toolchain:
    """The tools for one compiler and one architecture, as absolute paths.

    Args:
        arch: "x86_64" or "i386".
        compiler: "gcc" or "clang".
        cc: the compiler driver.
        ld: GNU ld.
        objcopy: GNU objcopy.
        readelf: GNU readelf.
        identity: changes whenever one of the tools does; part of every cache key.
        roots: directories outside /usr that the tools need; readable in the sandbox.
    """

    arch: str
    compiler: str
    cc: str
    ld: str
    objcopy: str
    readelf: str
    identity: str
    roots: tuple[Path, ...]

    def flags(self, *, opt: str, strict: bool) -> list[str]:
        """Return the flags that every file is compiled or assembled with.

        Args:
            opt: such as "-O2".
            strict: warnings are errors (provided code and reference, never a student's file).
        """
        flags = [*_ARCH_FLAGS[self.arch], *_FREESTANDING, *_MEMORY, *_VISIBLE]
        if self.compiler == "gcc":
            flags += [*_VISIBLE_GCC, "-gno-record-gcc-switches", "-fmax-errors=30", "-pipe"]
        else:
            flags += [
                "-fno-crash-diagnostics",
                "-ferror-limit=30",
                "-Wno-unused-command-line-argument",
            ]
        flags += [*_WARNINGS, *_REPRODUCIBLE, *(("-Werror",) if strict else ())]
        return [*flags, "-g", "-gdwarf-4", "-gz=none", opt, "-Iinclude", "-I."]

    def compile_argv(
        self, source: str, output: str, *, flags: list[str], directory: Path
    ) -> list[str]:
        """Return the command that compiles or assembles one file.

        Args:
            source: relative to `directory`, which also holds include/ and cohort.h.
            output: the object file.
            flags: from `flags`, with additions such as -D.
            directory: the working directory; its path does not get into the object.
        """
        mapped = f"-ffile-prefix-map={directory}=."
        headers = ("-nostdinc", "-isystem", _own_headers(self.cc, self.identity))
        return [self.cc, *flags, *headers, mapped, "-c", source, "-o", output]

    def merge_argv(self, objects: list[str], output: str) -> list[str]:
        """Return the command that merges a lab's objects and defines their common symbols."""
        return [
            self.ld,
            "-m",
            _LD_EMULATION[self.arch],
            "-r",
            "-d",
            "--no-demangle",
            "-o",
            output,
            *objects,
        ]

    def link_argv(
        self,
        objects: list[str],
        script: str,
        output: str,
        map_file: str,
        *,
        replace: bool = False,
        partly: bool = False,
        symbols: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Return the command that links the image.

        Args:
            objects: in link order.
            script: the linker script.
            output: the ELF file.
            map_file: the link map.
            replace: of several definitions of a symbol, use the first instead of failing.
            partly: symbols may be missing.
            symbols: what symbols of the script are instead, as expressions.
        """
        return [
            self.ld,
            *(
                "-m",
                _LD_EMULATION[self.arch],
                "-nostdlib",
                "-static",
                "--build-id=none",
                "--compress-debug-sections=none",
            ),
            *("-z", "max-page-size=0x1000", "-z", "noexecstack"),
            "--no-demangle",  # no C name is mangled, and some that look so take minutes
            *(("-z", "muldefs") if replace else ()),
            *(("--unresolved-symbols=ignore-all",) if partly else ()),
            *("-T", script, f"-Map={map_file}", "-o", output),
            *(f"--defsym={name}={value}" for name, value in (symbols or {}).items()),
            *objects,
        ]

    def kernel_argv(self, elf: str, output: str) -> list[str]:
        """Return the command that makes the ELF32 which QEMU's -kernel takes."""
        return [self.objcopy, "-O", "elf32-i386", "--strip-all", elf, output]

    def lines_argv(self, elf: str) -> list[str]:
        """Return the command that prints the source lines of an image."""
        return [self.readelf, *READELF, elf]

    def versions(self) -> dict[str, str]:
        """Return the first line of each tool's --version (takes about 10 ms the first time)."""
        return {
            self.compiler: _version(self.cc, self.identity),
            "ld": _version(self.ld, self.identity),
        }


def find(compiler: str = "gcc", arch: str = "x86_64") -> Toolchain:
    """Return the tools on PATH, with or without a cross prefix.

    Raises:
        UsageError: no such compiler or architecture.
        InfraError: a tool is not installed; says what to install.
    """
    if compiler not in COMPILERS:
        raise UsageError(
            msg("There is no compiler {compiler!r}.", compiler=compiler),
            expected=", ".join(COMPILERS),
        )
    if arch not in _ARCH_FLAGS:
        raise UsageError(
            msg("There is no architecture {arch!r}.", arch=arch), expected=", ".join(_ARCH_FLAGS)
        )
    cc = _tool(compiler)
    ld, objcopy, readelf = _tool("ld"), _tool("objcopy"), _tool("readelf")
    tools = (cc, ld, objcopy, readelf)
    identity = "\n".join(_stamp(Path(tool)) for tool in tools)
    roots = dict.fromkeys(root for tool in tools for root in toolroots.roots(Path(tool)))
    return Toolchain(arch, compiler, cc, ld, objcopy, readelf, identity, tuple(roots))


def _tool(name: str) -> str:
    for prefix in ("",) if name == "clang" else _PREFIXES:
        if found := shutil.which(prefix + name):
            return found
    package = "clang" if name == "clang" else "gcc binutils"
    raise InfraError(
        msg("{name} is not installed.", name=name),
        next_step=f"sudo apt-get install {package}",
    )


def _stamp(tool: Path) -> str:
    """Identify a tool without starting it: a package update changes size or time."""
    real = tool.resolve()
    stat = real.stat()
    return f"{real} {stat.st_size} {stat.st_mtime_ns}"


@functools.lru_cache(maxsize=16)
def _own_headers(cc: str, identity: str) -> str:
    """Return the folder of the compiler's own headers; no other header of the host is used."""
    del identity
    try:
        done = subprocess.run(
            [cc, "-print-file-name=include"], capture_output=True, timeout=10, check=True, text=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise InfraError(
            msg("{cc} does not work.", cc=cc),
            found=str(error),
            next_step=msg("Run `vmmlab doctor`."),
        ) from error
    return done.stdout.strip()


@functools.lru_cache(maxsize=16)
def _version(tool: str, identity: str) -> str:
    del identity
    try:
        done = subprocess.run(
            [tool, "--version"], capture_output=True, timeout=10, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    return (done.stdout.splitlines() or ["?"])[0]

"""Sources that attack the compiler, the linker and what is made of their messages."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mini
import pytest
from corpus import Attack, Defence, off
from test_build_refusals import FLAGS, SECTIONS
from test_merged import ALONE, TOGETHER

from vmmlab.host.sandbox import Sandbox
from vmmlab.images import compile as compiling
from vmmlab.images import diagnostics, merged, objects, toolchain
from vmmlab.images.builder import Builder
from vmmlab.images.compile import Job, compile_all
from vmmlab.images.model import BuildFailed
from vmmlab.images.sources import FromReference

SECRET = "SECRET OF THE HOST"
TRAMP, BETA = mini.REFERENCE["lab2/tramp.S"], mini.REFERENCE["lab2/beta.c"]


@functools.cache
def _prepared() -> Path:
    """Return a folder with a kit, and a cache in which everything but the student's code is."""
    top = Path(tempfile.mkdtemp(prefix="attacks-"))
    mini.write(top / "tree", mini.TREE)
    mini.write(top / "reference", mini.REFERENCE | {"lab1/secret.c": "#error in_the_reference\n"})
    _builder(top, top / "cache").build("lab2", mini.solution(), mini.MiniCohort())
    return top


def _builder(kit: Path, cache: Path) -> Builder:
    box = Sandbox.choose(require=False)
    return Builder(kit / "tree", mini.COURSE, box, cache, FromReference(kit / "reference"))


def _gain(folder: Path, secret: str, **changes: str) -> str:
    """Build; return what was gained: the content of a file of the host, or an image."""
    kit = _prepared()
    cache = folder / "cache"  # of its own: what is built without a defence must not stay
    shutil.copytree(kit / "cache", cache)
    try:
        image = _builder(kit, cache).build("lab2", mini.solution(**changes), mini.MiniCohort())
    except BuildFailed as error:
        said = error.log + "".join(str(one) for one in error.diagnostics)
        return "its content is in the messages" if secret and secret in said else ""
    if not secret:
        return "it is part of an image"
    return "its content is in the image" if secret.encode() in image.elf.read_bytes() else ""


# --- files of the host ----------------------------------------------------------------------------

READS = {
    "#include of a file of the host": (BETA + '#include "{path}"\n', ""),
    "#include of the reference": (BETA + '#include "{kit}/reference/lab1/secret.c"\n', ""),
    "is there such a file": (
        BETA + '#if __has_include("{path}")\n#error SECRET OF THE HOST\n#endif\n',
        "",
    ),
    ".incbin in C": (BETA + '__asm__ (".data\\n.incbin \\"{path}\\"\\n.text");\n', ""),
    ".incbin": ("", TRAMP + '\t.data\n\t.incbin "{path}"\n'),
    ".include": ("", TRAMP + '\t.include "{path}"\n'),
    "#include in assembly": ("", TRAMP + '#include "{path}"\n'),
}


def _read(name: str, folder: Path) -> str:
    kit = _prepared()
    path = folder / "secret.txt"
    path.write_text(f'#error "{SECRET}"\n.error "{SECRET}"\n')
    beta, tramp = (
        text.replace("{path}", str(path)).replace("{kit}", str(kit)) for text in READS[name]
    )
    secret = "in_the_reference" if "reference" in name else SECRET
    return _gain(folder, secret, beta_c=beta or BETA, tramp_S=tramp or TRAMP)


def _files() -> Iterator[Attack]:
    for name in READS:
        yield Attack(
            "build",
            name,
            "no such file",
            "the compiler sees its own files only",
            functools.partial(_read, name),
            shown=name in ("#include of a file of the host", ".incbin", "is there such a file"),
            full=name in ("#include in assembly", ".include", ".incbin in C"),
        )


# --- what may be linked ---------------------------------------------------------------------------


def _linked(tramp: str, beta: str, folder: Path) -> str:
    return _gain(folder, "", tramp_S=tramp, beta_c=beta)


def _refused() -> Iterator[Attack]:
    def attack(
        name: str, defence: str, tramp: str = TRAMP, beta: str = BETA, *, shown: bool = False
    ) -> Attack:
        attempt = functools.partial(_linked, tramp, beta)
        return Attack("build", name, "does not build", defence, attempt, shown, full=not shown)

    sections = "only sections that the VMM places are linked"
    for name in (".ctors", ".init_array", ".evil", ".tbss", ".hidden_stuff", ".multiboot"):
        yield attack(f"section {name}", sections, TRAMP + SECTIONS[name], shown=name == ".ctors")
    yield attack("a compressed section", sections, TRAMP + FLAGS["compressed"])
    yield attack(
        "a constructor",
        sections,
        beta=BETA + "__attribute__ ((constructor)) static void early (void) { counter = 1; }\n",
    )
    yield attack(
        "a script for gdb in the debug information",
        sections,
        TRAMP + '\t.section .debug_gdb_scripts\n\t.byte 4\n\t.asciz "x\\nprint(1)\\n"\n',
    )
    symbols = "only plain symbols are linked"
    yield attack(
        "a unique symbol",
        symbols,
        TRAMP + "\t.type uni, @gnu_unique_object\nuni:\t.long 0\n",
    )
    yield attack(
        "a versioned symbol", symbols, TRAMP + "\t.symver tramp_end, vmm_parked@@V1\n", shown=True
    )
    yield attack(
        "an indirect function",
        symbols,
        beta=BETA + "static void *pick (void) { return 0; }\n"
        'void indirect (void) __attribute__ ((ifunc ("pick")));\n',
    )
    whole = "all files are judged together, as they are linked"
    for name, (tramp, beta, _) in TOGETHER.items():
        shown = name == "a number replaces a weak label"
        yield attack(f"two files: {name}", whole, tramp, beta, shown=shown)
    room = "code and data have a limit"
    for name, (tramp, _) in ALONE.items():
        if "GB" in name:
            yield attack(name, room, tramp, shown=name == "zeroed data of 2 GB")
    yield attack(
        "120,000 records of init functions",
        "the records are counted",
        ALONE["records"][0],
        shown=True,
    )
    for name in ("an end far behind the code", "more than a segment", "an end before the start"):
        yield attack(
            name,
            "what is copied lies in one segment",
            ALONE[name][0],
            shown=name.startswith("more"),
        )


# --- what a compiler may use ----------------------------------------------------------------------

LARGE = "\t.data\n\t.fill 24 << 20\n"
ENDLESS = "\t.rept 250\n" * 3 + "\t.if 0\n\t.endif\n" + "\t.endr\n" * 3


def _compiled(more: str, folder: Path) -> compiling.Compiled:
    job = Job({"lab2/tramp.S": (TRAMP + more).encode()}, ("lab2/tramp.S",), [])
    work = folder / "work"
    work.mkdir()
    tools = toolchain.find("gcc", "x86_64")
    return compile_all(Sandbox.choose(require=False), tools, job, work).files[0]


def _writes(folder: Path) -> str:
    made = _compiled(LARGE, folder).object
    size = made.stat().st_size if made.exists() else 0
    return f"{size >> 20} MiB on the disk" if size > 16 << 20 else ""


def _computes(folder: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        if compiling.LIMITS.cpu_s == compiling.CPU_S:  # shorter, to wait less
            patch.setattr(compiling, "LIMITS", replace(compiling.LIMITS, cpu_s=1))
        return "" if _compiled(ENDLESS, folder).failed else "all the time that it wants"


# --- messages -------------------------------------------------------------------------------------


def _forges(folder: Path) -> str:
    try:
        text = BETA + '# 1 "/etc/passwd"\nint x = ;\n'
        _gain_error(folder, beta_c=text)
    except BuildFailed as error:
        return (
            "a message about /etc/passwd"
            if any("passwd" in d.file for d in error.diagnostics)
            else ""
        )
    return ""


def _paints(folder: Path) -> str:
    try:
        _gain_error(folder, beta_c=BETA + '#error "\x1b[2J\u202e"\n')
    except BuildFailed as error:
        said = error.log + "".join(str(one.message) for one in error.diagnostics)
        return "an escape sequence in a message" if "\x1b" in said or "\u202e" in said else ""
    return ""


def _shouts(folder: Path) -> str:
    try:
        _gain_error(folder, beta_c=BETA + "int x = ;\n" + "#warning long\n" * 1500)
    except BuildFailed as error:
        size = len(error.log) + len(error.diagnostics)
        return f"{size} characters of messages" if size > 80_000 else ""
    return ""


def _gain_error(folder: Path, **changes: str) -> None:
    kit = _prepared()
    shutil.copytree(kit / "cache", folder / "cache")
    _builder(kit, folder / "cache").build("lab2", mini.solution(**changes), mini.MiniCohort())


def _attacks() -> Iterator[Attack]:
    yield from _files()
    yield from _refused()
    size, time = "the size of a file is limited", "the time of a compiler is limited"
    yield Attack("build", "an object of 24 MiB", "does not build", size, _writes, shown=True)
    yield Attack(
        "build",
        "16 million repetitions",
        "stopped",
        time,
        _computes,
        shown=True,
        full=True,
    )
    names = "messages name files of the submission only"
    yield Attack("build", "a line marker of /etc/passwd", "not named", names, _forges, shown=True)
    clean = "messages are cleaned"
    yield Attack("build", "escape sequences in #error", "shown as text", clean, _paints, shown=True)
    short = "messages have a limit"
    yield Attack("build", "1,500 warnings", "the rest is left out", short, _shouts, shown=True)


ATTACKS = tuple(_attacks())


def _everywhere(patch: pytest.MonkeyPatch, **limits: int) -> None:
    patch.setattr(compiling, "LIMITS", replace(compiling.LIMITS, **limits))


_parse = diagnostics.parse


def _unclean(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(diagnostics, "clean", lambda text, **more: text)
    patch.setattr(diagnostics, "one_line", lambda text: text)


def _unbounded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(diagnostics, "LOG_CHARS", 1 << 30)


DEFENCES = (
    Defence(
        "the compiler sees its own files only",
        off(Sandbox, "choose", classmethod(lambda cls, require: cls.none())),
    ),
    Defence(
        "only sections that the VMM places are linked",
        off(objects, "_refused_section", lambda section: ""),
    ),
    Defence("only plain symbols are linked", off(objects, "_refused_symbol", lambda symbol: "")),
    Defence(
        "all files are judged together, as they are linked",
        off(merged, "refused", lambda lab, whole, word: []),
    ),
    Defence("code and data have a limit", off(objects, "MAX_PLACED_BYTES", 1 << 40)),
    Defence("the records are counted", off(merged, "MOST_RECORDS", 1 << 30)),
    Defence("what is copied lies in one segment", off(merged, "MOST_SPAN", 1 << 30)),
    Defence("the size of a file is limited", lambda patch: _everywhere(patch, file_mib=64)),
    Defence("the time of a compiler is limited", lambda patch: _everywhere(patch, cpu_s=90)),
    Defence(
        "messages name files of the submission only",
        off(diagnostics, "parse", lambda *texts, known=None: _parse(*texts)),
    ),
    Defence("messages are cleaned", _unclean),
    Defence("messages have a limit", _unbounded),
)

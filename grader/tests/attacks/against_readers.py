"""Texts and archives that attack what reads them: by their words, by their size, by their numbers.

What a compiler or a linker says is a student's text as well: names, `#error`, places. Nothing in it
may pass for the machine's fault, stop the grader, or take time or memory with the square of it.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import re
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mini
import pytest
from against_build import BETA, TRAMP, _builder, _prepared
from corpus import Attack, Defence, off

pytest.importorskip("copydetect")

from vmmlab.base import archive
from vmmlab.base.box import BoxError
from vmmlab.classroom import similar
from vmmlab.classroom.similar import compare
from vmmlab.grading import plain
from vmmlab.images import diagnostics, lines
from vmmlab.images.model import BuildFailed

MIB = 1 << 20
NAME = 12_000  # letters: what takes a second with the square of it
DIGITS = "9" * 5000  # Python reads no number with so many


def _built(folder: Path, **changes: str) -> str:
    """Build; return what kind of an end it has that is not the student's, or how long it takes."""
    kit, cache = _prepared(), folder / "cache"
    began = time.process_time()
    try:
        image = _builder(kit, cache).build("lab2", mini.solution(**changes), mini.MiniCohort())
        image.symbols.next_line(0)  # reads all lines
    except BuildFailed:
        pass
    except Exception as error:
        return f"{type(error).__name__}, which is not the student's fault"
    spent = time.process_time() - began
    return f"{spent:.1f} s" if spent > 0.8 else ""


_TRUNCATED = "\t.code32\n\t.loc 1 5\n\tmovw $tramp_end, %ax\n\tnop\n"
_LOCATED = "\t.loc 1 5\n\tnop\n\t.loc 1 6\n\tnop\n"
_KILLED = "gcc: fatal error: Killed signal terminated program as"
_SIGNALS = "only a status tells of a signal"
_NUMBERS = "numbers in messages have a limit"
_PIECES = "patterns see a piece of a line"
_ROWS = "rows of source lines are read word by word"

SAYS = {
    "#error says that the compiler was killed": (
        _SIGNALS, {"beta_c": BETA + "#error x: Killed\n"},
    ),
    ".error says so in a line of its own": (
        _SIGNALS, {"tramp_S": TRAMP + f'\t.error "x\\n{_KILLED}"\n'},
    ),
    "#error says that the disk is full": (
        _SIGNALS, {"beta_c": BETA + "#error No space left on device\n"},
    ),
    "a line marker with 5,000 digits": (
        _NUMBERS,
        {"beta_c": BETA + f'# 1 "x\\nlab2/beta.c:{DIGITS}:1: error: y\\n"\n#error x\n'},
    ),
    "a .file with 5,000 digits, which the linker prints": (
        _NUMBERS,
        {
            "tramp_S": "\t.file 1 \"foo:1: multiple definition of `x'; lab2/beta.c:"
            f'{DIGITS}: first defined"\n' + TRAMP + _TRUNCATED
        },
    ),
    "a missing name with 12,000 letters": (
        _PIECES, {"tramp_S": TRAMP + f"\tcall {'a' * NAME}\n"},
    ),
    "a .file with 12,000 blanks": (
        _ROWS, {"tramp_S": f'\t.file 1 "x{" " * NAME}y"\n' + TRAMP + _LOCATED},
    ),
    "the linker's words begin like those of the sandbox": (
        _SIGNALS, {"tramp_S": '\t.file 1 "bwrap: x"\n' + TRAMP + _TRUNCATED},
    ),
}  # fmt: skip
SHOWN = ("#error says that the compiler was", "a line", "a missing", "a .file with 12,000")


# --- archives -------------------------------------------------------------------------------------


def _memory(make: Callable[[], bytes], folder: Path) -> str:
    """Return the memory that reading an archive takes, if it is more than 24 MiB."""
    data = make()
    tracemalloc.start()
    try:
        archive.read(data)
    except BoxError:
        pass
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return f"{most // MIB} MiB for {len(data)} bytes" if most > 24 * MIB else ""


def _bzip2() -> bytes:
    """A zip with a file of 64 MiB that is said to have 100 bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_BZIP2) as box:
        box.writestr("lab1/vmm_main.c", bytes(64 * MIB))
    data = bytearray(out.getvalue())
    for mark, place in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = data.index(mark) + place
        data[at : at + 4] = (100).to_bytes(4, "little")
    return bytes(data)


def _tar(*members: tuple[bytes, bytes]) -> bytes:
    out = io.BytesIO()
    for kind, data in members:
        info = tarfile.TarInfo("lab1/vmm_main.c")
        info.type, info.size = kind, len(data)
        out.write(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))
    return gzip.compress(out.getvalue() + bytes(1024), 1)


def _records(count: int) -> bytes:
    return b"".join(b"13 k%06d=1\n" % number for number in range(count))


def _record(key: str, value: str) -> bytes:
    length = len(key) + len(value) + 3
    return f"{length + len(str(length + 2))} {key}={value}\n".encode()


def _sparse() -> bytes:
    more = _record("GNU.sparse.major", "1") + _record("GNU.sparse.minor", "0")
    return _tar(
        (tarfile.XHDTYPE, more), (tarfile.REGTYPE, b"400000\n" + b"1\n" * 800_000)
    )  # fmt: skip


def _old_sparse() -> bytes:
    """A sparse file in GNU's first format, whose map goes on and on."""
    entry = b"00000000001\x0000000000001\x00"
    extended = entry * 21 + b"\1" + bytes(7)
    head = bytearray(tarfile.TarInfo("lab1/vmm_main.c").tobuf(tarfile.GNU_FORMAT))
    head[156:157], head[482] = tarfile.GNUTYPE_SPARSE, 1
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return gzip.compress(bytes(head) + extended * 26_000 + bytes(1024), 1)


def _endless(key: str, value: str, folder: Path) -> str:
    """Read a tar with a file that is said to end far behind the archive: who looks for the end?"""
    data = _tar((tarfile.XHDTYPE, _record(key, value)), (tarfile.REGTYPE, b"x"))
    began = time.process_time()
    with contextlib.suppress(BoxError):
        archive.read(data)
    spent = time.process_time() - began
    return f"{spent:.1f} s" if spent > 0.2 else ""


_MAPS = "no map of a sparse file is read"
_HEADERS = "the headers of a tar have a limit"
HEAVY = {
    "zip: 64 MiB in bzip2 that are said to be 100 bytes": (
        "what zipfile unpacks without a limit is refused",
        _bzip2,
    ),
    "tar: 20,000 global headers for 200 files": (
        _HEADERS,
        lambda: _tar((tarfile.XGLTYPE, _records(20_000)), *[(tarfile.REGTYPE, b"")] * 200),
    ),
    "tar: 250,000 headers of one file": (
        _HEADERS,
        lambda: _tar((tarfile.XHDTYPE, _records(250_000)), (tarfile.REGTYPE, b"")),
    ),
    "tar: a name of 16 MiB": (
        _HEADERS,
        lambda: _tar((tarfile.GNUTYPE_LONGNAME, b"x" * (16 * MIB)), (tarfile.REGTYPE, b"")),
    ),
    "tar: a sparse file with 400,000 pieces": (_MAPS, _sparse),
    "tar: the same in GNU's first format": (_MAPS, _old_sparse),
}


# --- a comparison ---------------------------------------------------------------------------------


def _compares(text: str, folder: Path) -> str:
    """Compare an attack with two copies; return what is wrong with that."""
    honest = BETA * 5
    sources = [similar.Source(name, honest) for name in ("ada", "bob")]
    began = time.process_time()
    found = list(similar.compared("a.c", [similar.Source("eve", text), *sources], [], 0.8))
    if [(one.left.name, one.right.name) for one in found] != [("ada", "bob")]:
        return "the copies are not found"
    spent = time.process_time() - began
    return f"{spent:.1f} s" if spent > 3 else ""


def _prints(text: str, folder: Path) -> str:
    """Compare two boots of a VMM that prints something."""
    boots: Any = [SimpleNamespace(serial=text, all_parked=True, cpus=(0, 1), scenario="x")] * 2
    began = time.process_time()
    told = list(plain._compared(boots[0], boots[1:]))
    spent = time.process_time() - began
    return f"{told or f'{spent:.1f} s'}" if told or spent > 0.3 else ""


def _attacks() -> Iterator[Attack]:
    for name, (defence, changes) in SAYS.items():
        shown = name.startswith(SHOWN)
        attempt = functools.partial(_built, **changes)
        expected = "does not build" if "blanks" not in name else "no source lines of it"
        yield Attack("build", name, expected, defence, attempt, shown, full=not shown)
    for name, (defence, make) in HEAVY.items():
        shown = not name.startswith(("tar: 20,000", "tar: a name"))
        tries = functools.partial(_memory, make)
        yield Attack(
            "archive", name, "refused", defence, tries, shown, full="GNU" in name or ",000 " in name
        )
    for name, value in {
        "6 GiB": str(6 << 30),
        "10 to the power of 4,000 bytes": "9" * 4000,
        "less than nothing": "-1024",
    }.items():
        attempt = functools.partial(_endless, "size", value)
        end = "a tar has an end"
        shown = "GiB" in name
        yield Attack("archive", f"tar: a file of {name}", "refused", end, attempt, shown)
    for name, text in {
        "10,000 digits in a line": "1" * 10_000 + "g",
        "60,000 letters of numbers in a line": "0x" + "a" * 60_000,
        "numbers side by side": "1 0x1f 2b " * 6_000,
    }.items():
        attempt, once = functools.partial(_prints, text), "no word that is printed is read twice"
        yield Attack("boot", f"it prints {name}", "no time", once, attempt, "digits" in name)
    comparison = "a comparison has a limit"
    for name, text in {
        "similar: 9,000 blanks in a line": "int" + " " * 9000 + "\n",
        "similar: 9,000 comments in a row": "int" + "/**/" * 9000 + "\n",
    }.items():
        tries = functools.partial(_compares, text)
        left = "left out; the others are compared"
        yield Attack("export", name, left, comparison, tries, "blanks" in name, full=True)


ATTACKS = tuple(_attacks())

_ROW = re.compile(r"[^ ].*? +(?P<line>[0-9]+|-) +(?P<address>0x[0-9a-f]+)(?: .*)?")


def _by_pattern(text: str) -> tuple[str, int] | None:
    row = _ROW.fullmatch(text)
    return (row["line"], int(row["address"], 16)) if row else None


def _with_maps(patch: pytest.MonkeyPatch) -> None:
    for name in ("_proc_sparse", "_proc_gnusparse_10"):
        patch.setattr(archive._Header, name, getattr(tarfile.TarInfo, name))


DEFENCES = (
    Defence(_SIGNALS, off(diagnostics, "_COMPLAINS", ())),
    Defence(_NUMBERS, off(diagnostics, "_DIGITS", 1 << 30)),
    Defence(_PIECES, off(diagnostics, "_NEAR", 1 << 30)),
    Defence(_ROWS, off(lines, "_row", _by_pattern)),
    Defence(
        "what zipfile unpacks without a limit is refused",
        off(archive, "_METHODS", (*archive._METHODS, zipfile.ZIP_BZIP2)),
    ),
    Defence(_HEADERS, off(archive, "_ADDED_MOST", 1 << 40)),
    Defence(
        "no word that is printed is read twice",
        off(plain, "_NUMBER", re.compile(r"\b(0x)?[0-9a-f]*[0-9][0-9a-f]*\b", re.IGNORECASE)),
    ),
    Defence(_MAPS, _with_maps),
    Defence("a tar has an end", off(archive, "_ENDS_MOST", 1 << 60)),
    Defence("a comparison has a limit", off(compare, "_SECONDS", 600.0)),
)

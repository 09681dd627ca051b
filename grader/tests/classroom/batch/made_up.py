"""A made-up class: right solutions, mutants, unfinished work, forgeries, attacks and garbage.

As a program: `python made_up.py FOLDER COUNT LAB...` writes one.
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

from vmmlab.course.load import load_course
from vmmlab.course.model import Course

ROOT: Final = Path(__file__).parents[4]
VERDICTS: Final = ROOT / "grader" / "bench" / "verdicts.py"
NAMES: Final = ("sato", "suzuki", "ito", "ada", "ben", "chen", "diaz", "eve", "fay", "山田")


def make(folder: Path, count: int, labs: Sequence[str], seed: int = 1) -> dict[str, str]:
    """Write the submissions of a class; return what kind each student's is.

    Args:
        folder: where to.
        count: how many students.
        labs: what they hand in.
        seed: another class.
    """
    course = load_course(ROOT)
    known = _known(course, labs)
    draw = random.Random(seed)
    kinds: dict[str, str] = {}
    for number in range(count):
        student = f"{draw.choice(NAMES)}{number:03}"
        kinds[student] = draw.choices(
            ("right", "mutant", "steps", "starter", "forgery", "attack", "garbage"),
            (30, 32, 14, 6, 5, 6, 7),
        )[0]
        for lab in labs:
            _hand_in(folder / student, lab, kinds[student], known, course, draw, number)
    return kinds


def _hand_in(
    folder: Path,
    lab: str,
    kind: str,
    known: Mapping[tuple[str, str], list[Mapping[str, bytes]]],
    course: Course,
    draw: random.Random,
    number: int,
) -> None:
    choices = known.get((lab, kind)) or known[lab, "right"]
    if kind == "garbage":
        draw.choice(GARBAGE)(folder, course.lab(lab).files)
        return
    chosen = draw.choice(choices)
    if kind == "attack":
        chosen = _attacked(chosen, draw)
    for name, data in chosen.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mark = f"\n/* {number} */\n".encode()  # no two are in the cache of built things
        path.write_bytes(data + mark if name.endswith((".c", ".S")) else data)


def _known(course: Course, labs: Sequence[str]) -> dict[tuple[str, str], list[Mapping[str, bytes]]]:
    kinds = {"reference": "right", "correct": "right"}
    found: dict[tuple[str, str], list[Mapping[str, bytes]]] = {}
    for entry, files in _verdicts().submissions(course):
        if entry.lab in labs and entry.arch == "x86_64" and entry.cohort == course.cohort:
            kind = entry.name.partition("/")[0]
            found.setdefault((entry.lab, kinds.get(kind, kind)), []).append(files)
    return found


def _verdicts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verdicts_of_the_bench", VERDICTS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# --- attacks --------------------------------------------------------------------------------------

APPENDED: Final = (
    '#include "/etc/passwd"',
    '__asm__ (".data; .incbin \\"/etc/passwd\\"; .text");',
    "__attribute__ ((constructor)) static void early (void) {}",
    "char big[1ul << 31] = { 1 };",
    '#error "\x1b[2J"',
    '# 1 "/etc/passwd"\nint x = ;',
    '__asm__ (".section .hidden, \\"ax\\"; nop; .text");',
    '__asm__ (".comm huge, 0x7fffffff");',
)
"""What stands at the end of a C file that does not build."""
BEGUN: Final = (
    "for (;;);",
    'asm volatile ("cli; 1: hlt; jmp 1b");',
    'asm volatile ("lidt %0; ud2" : : "m" (*(char (*)[16])"\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0"));',
    'for (;;) asm volatile ("outb %%al, %%dx" : : "a" (65), "d" (0x3F8));',
    'asm volatile ("outb %%al, %%dx" : : "a" (0x10), "d" (0xF4));',
)
"""With what the first function of a C file begins: nothing in it is reached."""
_BODY: Final = "\n{\n"  # where a function begins, in most files


def _attacked(files: Mapping[str, bytes], draw: random.Random) -> dict[str, bytes]:
    """Return files of which one attacks the build or the boot."""
    name = draw.choice([name for name in files if name.endswith(".c")])
    text = files[name].decode()
    if draw.random() < 0.5 or _BODY not in text:
        text = f"{text}\n{draw.choice(APPENDED)}\n"
    else:
        text = text.replace(_BODY, f"{_BODY}\t{draw.choice(BEGUN)}\n", 1)
    return {**files, name: text.encode()}


# --- garbage --------------------------------------------------------------------------------------


def _nothing(folder: Path, files: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.txt").write_text("My dog ate it.")


def _binary(folder: Path, files: Sequence[str]) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(range(256)) * 4)


def _links(folder: Path, files: Sequence[str]) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to("/etc/passwd")


def _one_file(folder: Path, files: Sequence[str]) -> None:
    (folder / files[0]).parent.mkdir(parents=True, exist_ok=True)
    (folder / files[0]).write_text("int x;\n")


def _pipe(folder: Path, files: Sequence[str]) -> None:
    (folder / files[0]).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(folder / files[0])


def _huge(folder: Path, files: Sequence[str]) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("/* long */\n" * 100_000)


def _prose(folder: Path, files: Sequence[str]) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("#include </etc/passwd>\nこんにちは\n" * 3)


GARBAGE: Final[tuple[Callable[[Path, Sequence[str]], None], ...]] = (
    _nothing, _binary, _links, _one_file, _pipe, _huge, _prose,
)  # fmt: skip


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])

"""What two harmless files of a lab become together: judged as it is linked."""

from __future__ import annotations

import time
from collections.abc import Callable

import mini
import pytest

from vmmlab.images import merged, objects
from vmmlab.images.model import BuildFailed, Image

Build = Callable[..., Image]
Fail = Callable[..., BuildFailed]
BETA = mini.REFERENCE["lab2/beta.c"]
TRAMP = mini.REFERENCE["lab2/tramp.S"]


def asm(*lines: str) -> str:
    """C text that holds these lines of assembly."""
    return BETA + "".join(f'__asm__ ("{line}");\n' for line in lines)


WEAK_END = TRAMP.replace(
    "\t.globl\ttramp_start, tramp_end,", "\t.weak tramp_end\n\t.globl tramp_start,"
)
TOGETHER = {
    "a number replaces a weak label": (
        WEAK_END,
        asm(".globl tramp_end", "tramp_end = 0x7fffffff"),
        "tramp_end is a plain number",
    ),
    "a label of another section replaces a weak one": (
        WEAK_END,
        asm(".data", ".globl tramp_end", ".skip 64", "tramp_end: .byte 0", ".text"),
        "tramp_start is in section .text, tramp_end in .data",
    ),
    "a label far behind its section replaces a weak one": (
        WEAK_END,
        asm(".text", ".globl tramp_end", "here: nop", ".set tramp_end, here + 0x7fffffff"),
        "bytes from the beginning of its section",
    ),
    "a common symbol replaces a weak label": (
        TRAMP.replace("tramp_start, tramp_end, tramp_count", "tramp_start, tramp_end").replace(
            "tramp_count:\n", "\t.weak tramp_count\ntramp_count:\n"
        ),
        asm(".comm tramp_count, 64"),
        "tramp_count",
    ),
    "a function becomes data": (
        TRAMP + "\t.data\n\t.globl gamma_ray\n\t.type gamma_ray, @function\ngamma_ray: .long 0\n",
        BETA.replace("int\ngamma_ray", "__attribute__ ((weak)) int\ngamma_ray"),
        "gamma_ray is data",
    ),
    "zeroed data": (
        TRAMP + "\t.bss\n\t.skip 0x300000\n",
        asm(".bss", ".skip 0x300000", ".text"),
        "all files together: its code and data need",
    ),
    "common symbols": (
        TRAMP + "\t.comm one, 0x300000\n",
        asm(".comm two, 0x300000"),
        "all files together: its code and data need",
    ),
    "debug information": (
        TRAMP + '\t.section .debug_x, ""\n\t.skip 300000\n',
        asm('.section .debug_y, \\"\\"', ".skip 300000", ".text"),
        "all files together: its debug information has",
    ),
    "records": (
        TRAMP + '\t.section .initfunc, "aw"\n\t.skip 24 * 150\n',
        asm('.section .initfunc, \\"aw\\"', ".skip 24 * 150", ".text"),
        "300 records of init functions; at most 256 are allowed",
    ),
}
MOST = "at most 4194304 are allowed"
ALONE = {
    "a common symbol of 2 GB": (
        TRAMP + "\t.comm huge, 0x7fffffff\n",
        MOST,
    ),
    "zeroed data of 2 GB": (TRAMP + "\t.bss\n\t.skip 0x7fffffff\n", MOST),
    "zeroed data of 1 EB": (TRAMP + "\t.bss\n\t.skip 1 << 60\n", ""),
    "an aligned common symbol": (
        TRAMP + "\t.comm odd, 4, 0x40000000\n",
        "odd is aligned to 1073741824 bytes",
    ),
    "an aligned section": (
        TRAMP + '\t.section .bss.x, "aw", @nobits\n\t.balign 0x100000\n\t.long 0\n',
        "section .bss.x is aligned to 1048576 bytes",
    ),
    "an end before the start": (
        TRAMP.replace("tramp_end:\n", "").replace("tramp_start:", "tramp_end: nop\ntramp_start:"),
        "from tramp_start to tramp_end there are -1 bytes",
    ),
    "nothing to copy": (
        TRAMP.replace("tramp_end:\n", "").replace("tramp_start:", "tramp_start: tramp_end:"),
        "there are 0 bytes",
    ),
    "more than a segment": (
        TRAMP.replace("tramp_end:\n", "\t.skip 0x10000\ntramp_end:\n"),
        "1 to 65536 can be copied",
    ),
    "a label outside of what is copied": (
        TRAMP.replace("tramp_end:\n", "").replace("tramp_count:", "tramp_end:\ntramp_count:"),
        "tramp_count is not between tramp_start and tramp_end",
    ),
    "an end far behind the code": (
        TRAMP.replace("tramp_end:\n", "\t.set tramp_end, tramp_start + 0x70000000\n"),
        "tramp_end is 0x70000000 bytes from the beginning of its section",
    ),
    "an end that is a negative distance away": (
        TRAMP.replace("tramp_end:\n", "\t.set tramp_end, tramp_start - 0x100\n"),
        "tramp_end is 0xff",
    ),
    "records": (
        TRAMP + '\t.section .initfunc, "aw"\n\t.skip 24 * 120000\n',
        "120000 records of init functions",
    ),
    "code that fills a disk": (TRAMP + "\t.fill 0x7fffffff, 1, 0x90\n", ""),
    "code that begins far away": (TRAMP + "\t.org 0x7ffffff0\n\tnop\n", ""),
}


def only(error: BuildFailed) -> list[str]:
    """The lines of the errors."""
    return [str(one) for one in error.diagnostics if one.severity == "error"]


@pytest.mark.parametrize(("tramp", "beta", "said"), TOGETHER.values(), ids=TOGETHER)
def test_two_files_that_break_the_rules_together(
    fail: Fail, tramp: str, beta: str, said: str
) -> None:
    said_of = only(fail("lab2", tramp_S=tramp, beta_c=beta))
    assert len(said_of) == 1, said_of
    assert said in said_of[0]


@pytest.mark.parametrize(("tramp", "said"), ALONE.values(), ids=ALONE)
def test_one_file_that_asks_for_too_much(fail: Fail, tramp: str, said: str) -> None:
    began = time.process_time()
    said_of = only(fail("lab2", tramp_S=tramp))
    assert said_of
    assert any(said in one for one in said_of), said_of
    assert time.process_time() - began < 5, "the grader works no harder than for any other file"


@pytest.mark.parametrize("name", ["a number replaces a weak label", "records", "zeroed data"])
def test_judged_in_pieces_alone_they_would_pass(
    build: Build, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(merged, "refused", lambda *what: [])
    tramp, beta, _ = TOGETHER[name]
    assert build("lab2", tramp_S=tramp, beta_c=beta).elf.is_file()


def test_limits_are_kept_to_the_byte(build: Build, fail: Fail) -> None:
    most = TRAMP + '\t.section .initfunc, "aw"\n\t.skip 24 * 256\n'
    assert build("lab2", tramp_S=most).elf.is_file()
    assert "257 records" in str(fail("lab2", tramp_S=most + "\t.skip 24\n"))
    size = next(
        one.size
        for one in objects.read(build("lab2").elf.read_bytes()).sections
        if one.name == ".text"
    )
    assert size < merged.MOST_SPAN


def test_a_weak_symbol_that_stays_what_it_is_costs_nothing(build: Build) -> None:
    assert build("lab2", tramp_S=WEAK_END).symbols.addr("tramp_end")

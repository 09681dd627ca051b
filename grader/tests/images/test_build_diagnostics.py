"""Output of gcc, clang, GNU as and GNU ld as diagnostics. Starts no compiler."""

from __future__ import annotations

import pytest

from vmmlab.images.diagnostics import bounded_log, killed, last_words, parse, parse_link, stopped
from vmmlab.images.model import BuildFailed, Diagnostic, one_line

OWN = ("lab3/apinit.S", "lab3/ap_start.c")
BASE = "/home/x/.cache/vmmlab/tmp/abc/src"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "lab3/ap_start.c: In function 'ap_start':\n"
            "lab3/ap_start.c:42:9: error: expected ';' before '}' token\n   42 |   x\n",
            Diagnostic("lab3/ap_start.c", 42, 9, "error", "expected ';' before '}' token"),
        ),
        (
            "lab3/apinit.S: Assembler messages:\n"
            "lab3/apinit.S:10: Error: no such instruction: `lgtd foo'\n",
            Diagnostic("lab3/apinit.S", 10, 0, "error", "no such instruction: `lgtd foo'"),
        ),
        (
            "lab3/apinit.S:10: Warning: value 0x12345 truncated to 0x2345\n",
            Diagnostic("lab3/apinit.S", 10, 0, "warning", "value 0x12345 truncated to 0x2345"),
        ),
        (
            "lab3/ap_start.c:1:10: fatal error: nothing.h: No such file or directory\n",
            Diagnostic("lab3/ap_start.c", 1, 10, "error", "nothing.h: No such file or directory"),
        ),
        (
            f"{BASE}/lab3/ap_start.c:7:1: warning: unused [-Wunused]\n",
            Diagnostic("lab3/ap_start.c", 7, 1, "warning", "unused [-Wunused]"),
        ),
        (
            "In file included from lab3/ap_start.c:3:\n"
            "include/bsp.h:12:1: error: unknown type name 'u32'\n",
            Diagnostic(
                "lab3/ap_start.c", 3, 0, "error", "unknown type name 'u32' (in include/bsp.h:12)"
            ),
        ),
        (
            "In file included from include/ap.h:2,\n                 from lab3/ap_start.c:5:\n"
            "include/types.h:9:1: error: boo\n",
            Diagnostic("lab3/ap_start.c", 5, 0, "error", "boo (in include/types.h:9)"),
        ),
        (
            "In file included from lab3/ap_start.c:3:\nlab3/ap_start.c: In function 'f':\n"
            "include/bsp.h:12:1: error: no member 'a'\n   12 | #define M\n"
            "lab3/ap_start.c:30:3: note: in expansion of macro 'M'\n",
            Diagnostic("lab3/ap_start.c", 30, 0, "error", "no member 'a' (in include/bsp.h:12)"),
        ),
        (
            "{standard input}: Assembler messages:\n{standard input}:42: Error: bad register\n",
            Diagnostic("lab3/ap_start.c", 0, 0, "error", "bad register"),
        ),
        (
            "<instantiation>:2:1: error: invalid instruction\n",
            Diagnostic("lab3/ap_start.c", 0, 0, "error", "invalid instruction"),
        ),
    ],
)
def test_one_message(text: str, expected: Diagnostic) -> None:
    assert parse(text, OWN, BASE, "lab3/ap_start.c") == [expected]


def test_a_header_error_of_one_chain_is_not_given_to_the_next() -> None:
    text = (
        "In file included from lab3/ap_start.c:3:\ninclude/bsp.h:1:1: error: one\n"
        "lab3/ap_start.c:9:1: error: two\nIn file included from lab3/ap_start.c:10:\n"
        "include/ap.h:2:1: error: three\n"
    )
    assert [(one.line, str(one.message)[:3]) for one in parse(text, OWN)] == [
        (3, "one"),
        (9, "two"),
        (10, "thr"),
    ]


def test_a_header_error_outside_any_chain_stays_where_it_is() -> None:
    assert parse("include/bsp.h:1:1: error: one\n", OWN)[0].file == "include/bsp.h"


def test_a_character_that_is_not_ascii_is_reported_once_and_explained() -> None:
    text = "".join(
        f"lab3/ap_start.c:{line}:{column}: error: stray '\\{byte}' in program\n"
        for line, column, byte in ((7, 1, "302"), (7, 2, "240"), (9, 1, "343\\200\\200"))
    )
    found = parse(text, OWN)
    assert [one.line for one in found] == [7, 9]
    assert all("full-width" in str(one.message) for one in found)
    assert "\\343\\200\\200" in str(found[-1].message)


def test_another_stray_character_is_not() -> None:
    (found,) = parse("lab3/ap_start.c:7:1: error: stray '@' in program\n", OWN)
    assert found.message == "stray '@' in program"


def test_flood_is_bounded() -> None:
    assert len(parse("lab3/ap_start.c:1:1: error: x\n" * 5000, OWN)) == 60
    assert len(bounded_log("x" * 10_000_000)) < 70_000
    assert len(one_line("x" * 10_000)) == 400


def test_prose_that_looks_like_nothing() -> None:
    assert parse("cc1: all warnings being treated as errors\n   12 | error: no\n", OWN) == []


KILLED = "gcc: fatal error: Killed signal terminated program cc1"


@pytest.mark.parametrize(
    ("text", "code", "kind"),
    [
        (
            "gcc: internal compiler error: CPU time limit exceeded signal terminated program cc1",
            4,
            "cpu",
        ),
        ("gcc: fatal error: File size limit exceeded signal terminated program as", 4, "size"),
        ("gcc: fatal error: Killed signal terminated program cc1", 4, ""),
        ("Stack dump:\nclang: error: unable to execute command: Killed", 254, "cpu"),
        ("cc1: out of memory allocating 65536 bytes after a total of 9 bytes", 1, "memory"),
        ("as: memory exhausted", 1, "memory"),
        ("LLVM ERROR: out of memory", 134, "memory"),
        ("", 128 + 24, "cpu"),
        ("", 128 + 25, "size"),
        ("", 128 + 9, ""),
        ("lab3/ap_start.c:1:1: error: Killed by love", 1, ""),
        ("", 1, ""),
    ],
)
def test_stopped_by_a_limit(text: str, code: int, kind: str) -> None:
    assert stopped(text, code, {"cpu": "cpu", "size": "size", "memory": "memory"}) == kind


@pytest.mark.parametrize(
    ("text", "code", "short", "expected"),
    [
        (f"{KILLED}\ncompilation terminated.", 1, True, True),
        (f"x86_64-elf-{KILLED}", 1, True, True),
        (f"lab3/apinit.S:1: Error: x\n{KILLED}", 1, False, False),  # a student's words
        (f"lab3/ap_start.c:1:1: error: {KILLED}", 1, True, False),
        (KILLED, 4, False, True),
        ("", 128 + 9, False, True),
        ("lab3/ap_start.c:1:1: error: Killed by love", 1, True, False),
        ("", 1, True, False),
    ],
)
def test_killed_from_outside(text: str, code: int, short: bool, expected: bool) -> None:
    assert killed(text, code, out_of_memory=short) is expected


def test_last_words() -> None:
    assert last_words("something\nas: error: boo\nend\n", 1) == "as: error: boo"
    assert last_words("one\ntwo\n", 1) == "two"
    assert "status 3" in str(last_words("\n", 3))


@pytest.mark.parametrize(
    ("text", "file", "line", "words"),
    [
        (
            "ld: student/lab3.o: in function `ap_start':\n"
            "./lab3/ap_start.c:42: undefined reference to `foo'\n",
            "lab3/ap_start.c",
            42,
            "undefined reference to foo",
        ),
        (
            "ld: student/lab3.o: in function `ap_start':\n"
            f"{BASE}/lab3/ap_start.c:42: undefined reference to `foo'\n",
            "lab3/ap_start.c",
            42,
            "undefined reference to foo",
        ),
        (
            "ld: student/lab3.o:(.data+0x0): undefined reference to `foo'\n",
            "lab3/apinit.S",
            0,
            "undefined reference to foo",
        ),
        (
            "ld: /x/out/1.o: in function `twice':\n./lab3/ap_start.c:18: multiple definition of "
            "`twice'; /x/out/0.o:./lab3/apinit.S:14: first defined here\n",
            "lab3/ap_start.c",
            18,
            "twice is defined twice, first in lab3/apinit.S:14",
        ),
        (
            "ld: student/lab3.o: in function `spin':\n./lab3/apinit.S:20:(.text+0x12): "
            "relocation truncated to fit: R_X86_64_16 against `.text'\n",
            "lab3/apinit.S",
            20,
            "the address of .text does not fit here",
        ),
        (
            "ld: ./lab3/apinit.S:7:(.text+0x2): relocation truncated to fit: R_X86_64_16 against "
            "symbol `foo' defined in .text section in student/lab3.o\n",
            "lab3/apinit.S",
            7,
            "the address of foo does not fit here",
        ),
    ],
)
def test_linker(text: str, file: str, line: int, words: str) -> None:
    (found,) = parse_link(text, OWN, {"foo": "lab3/apinit.S"}, BASE)
    assert (found.file, found.line, found.severity) == (file, line, "error")
    assert words in str(found.message)


def test_linker_about_given_code_is_not_the_students() -> None:
    text = (
        "ld: provided/core@bsp.c.o: in function `f':\n./core/bsp.c:1: undefined reference to `g'\n"
    )
    assert [one.file for one in parse_link(text, OWN, {}, BASE)] == [""]


def test_build_failed_shows_the_first_error() -> None:
    warning = Diagnostic("lab3/ap_start.c", 1, 1, "warning", "meh")
    errors = [Diagnostic("lab3/ap_start.c", n, 2, "error", "boo") for n in (5, 6, 7)]
    error = BuildFailed("lab3", [warning, *errors], "log")
    assert str(error) == "lab3/ap_start.c:5:2: boo (and 2 more)"
    assert str(Diagnostic("", 0, 0, "error", "boo")) == "boo"

"""The page that answers the memo's questions: no cell is empty, and what it says to type is so."""

import re
from collections.abc import Callable

import pytest
from book_pages import DOCS, tables, twin
from workspace_shell import needs_vmmlab, workspace_and_shell

PAGE = DOCS / "memo-questions.md"
CODE = re.compile(r"`([^`]+)`((?: twice| four times)?)")
TIMES = {"": 1, " twice": 2, " four times": 4}
GDB = re.compile(r"(hbreak|delete|continue|finish|bt|info|p|p/x|x/\w+)( .+)?")
SHELL = re.compile(r"(grep|make) .+")

# How a question begins, and what its last cell must bring to light: a list in this order, a set in
# any.
EXPECTED: dict[str, list[str] | set[str]] = {
    "Is `vmm_main` the first": ["0x000000000010000c", "vmm_main"],
    "What does `initfunc_init`": ['"global4"', '"global1"'],
    "Are the functions called": ["mm_init", "vga_init", "banner"],
    "Does it allocate a stack": ["0x8000", "0x0"],
    "Is `sync_lock`": ["<sync_lock>", "Switching to Thread", "<sync_lock>", "CPU#3"],
    "Is `ap_lock`": ["<ap_lock>", "apinitproc1", "<ap_lock>", "ap_wait"],
    "Does `alloc_realmodemem`": ["ap_start ()", "false"],
    "Does it start all APs": {f"Processor {number} (AP)" for number in range(1, 8)},
    "Where does the `ljmpw`": ["0xea", "0x0f", "= 0xf000", "= 0xf000"],
    "Does `mapmem_hphys`": ["Value returned is $1", "ap_wait", "0xea", "0x40000000:", "0xea"],
    "Does the h in": ["host-physical", "np_map (u64 gpa, u64 hpa"],
    "Does `mapmem` reserve": ["Value returned", "0xc00"],
    "Does it work for both": ["= 3"],
    "`asmlinkage` makes": ["#define asmlinkage", "regparm (0)"],
    "`mi_arg` is copied": ["mm_init", "<mi>"],
    "`start_all_processors` starts": ["uefi_booted", "UEFI"],
    "a `while` loop": ["alloc_realmodemem", "+ 15", "align_apinit_addr (addr)"],
    "after the APs have started": ["bsp_proc", "0x40000000:", "0x00"],
}

pytestmark = [pytest.mark.slow, needs_vmmlab]


def rows() -> list[list[str]]:
    """The rows of the page's tables: question, answer, BitVisor, what to type."""
    return [row for table in tables(PAGE.read_text(encoding="utf-8")) for row in table[1:]]


def typed(cell: str) -> tuple[list[str], list[str]]:
    """What a last cell wants typed: into gdb, and into the shell."""
    gdb: list[str] = []
    shell: list[str] = []
    for text, times in CODE.findall(cell):
        if SHELL.fullmatch(text):
            shell.append(text)
        elif GDB.fullmatch(text):
            gdb += [text] * TIMES[times]
    return gdb, shell


def of(question: str, above: dict[str, list[str]]) -> list[str]:
    """The lines for gdb; a row that says 'the same' begins with those of the row above."""
    row = next(row for row in rows() if row[0].startswith(question))
    gdb, _ = typed(row[3])
    if "the same, again" in row[3] or "then the same command again" in row[3]:
        gdb.append(next(line for line in gdb if line.startswith("p ")))
    if row[3].startswith("the same breakpoint"):
        gdb = above["Does `mapmem` reserve"][:3] + gdb
    return gdb


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A fresh workspace with lab 0 built, and how to run a line in it."""
    _, run = workspace_and_shell(tmp_path_factory.mktemp("home"))
    run("make lab0")
    return run


def absent(wanted: list[str] | set[str], printed: str) -> list[str]:
    """What is wanted and not printed, of a list in that order."""
    flat = " ".join(printed.split())
    if isinstance(wanted, set):
        return sorted(one for one in wanted if one not in flat)
    at = 0
    for number, text in enumerate(wanted):
        found = flat.find(text, at)
        if found < 0:
            return wanted[number:]
        at = found + len(text)
    return []


def test_no_cell_is_empty():
    for page in (PAGE, twin(PAGE)):
        for table in tables(page.read_text(encoding="utf-8")):
            assert all(len(row) == 4 and all(row) for row in table), table


def test_every_row_is_tried():
    questions = [row[0] for row in rows()]
    assert len(questions) == len(EXPECTED)
    for question, start in zip(questions, EXPECTED, strict=True):
        assert question.startswith(start)


def test_both_languages_have_the_same_to_type():
    theirs = [row for table in tables(twin(PAGE).read_text(encoding="utf-8")) for row in table[1:]]
    for ours, other in zip(rows(), theirs, strict=True):
        assert re.findall(r"`([^`]+)`", ours[3]) == re.findall(r"`([^`]+)`", other[3])
        assert re.findall(r"`([^`]+)`", ours[2]) == re.findall(r"`([^`]+)`", other[2])


@pytest.mark.parametrize(
    "question",
    [
        pytest.param(one, marks=[] if number in (1, 8, 10) else [pytest.mark.full])
        for number, one in enumerate(EXPECTED)
    ],
)
def test_a_row_shows_what_it_says(question, shell):
    row = next(row for row in rows() if row[0].startswith(question))
    above = {name: typed(r[3])[0] for name in EXPECTED for r in rows() if r[0].startswith(name)}
    gdb, lines = of(question, above), typed(row[3])[1]
    assert gdb or lines
    printed = "".join(shell(line) for line in lines)
    if gdb:
        printed += shell("make gdb LAB=0", "".join(f"{line}\n" for line in (*gdb, "quit")))
    assert absent(EXPECTED[question], printed) == [], printed
    assert "Undefined command" not in printed, printed
    assert "No symbol" not in printed, printed


def test_what_is_absent_is_noticed():
    assert absent({"a", "b"}, "x b\ny a") == []
    assert absent({"a", "b"}, "x b") == ["a"]
    assert absent(["a", "b"], "x a\ny b") == []
    assert absent(["b", "a"], "x a\ny b") == ["a"]
    assert typed("`hbreak x`, `continue` twice: `vmm_main`. `grep -n a b`") == (
        ["hbreak x", "continue", "continue"],
        ["grep -n a b"],
    )

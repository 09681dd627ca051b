"""Pages of the book against each other and against the code: nothing here builds or boots."""

import re

import pytest
from book_pages import (
    DOCS,
    ROOT,
    Command,
    commands,
    handouts,
    missing_output,
    own_pages,
    shown,
    tables,
    twin,
)

from vmmlab import probes
from vmmlab.base.markdown import headings
from vmmlab.checks.declaring import declared_in
from vmmlab.course.labpackage import LabPackage
from vmmlab.course.load import load_course
from vmmlab.probes import make_probe, probe_names

PAGES = [*own_pages(), *handouts()]
TREE = ROOT / "vmm-skeleton" / "{{cookiecutter.slug}}"

# What the memo names, in its order: headings and identifiers.
MEMO = [
    "asmlinkage", "BSP", "AP", "vmm_main", "mi_arg", "uefi_booted", "multiboot_info",
    "initfunc_init", "INITFUNC", "call_initfunc", "start_all_processors", "bsp_proc", "ap_proc",
    "initproc_bsp", "initproc_ap", "bsp_continue", "bspinitproc1", "alloc", "VMM_STACKSIZE",
    "currentcpu", "stackaddr", "asm_wrrsp_and_jmp", "EBP", "spinlock_init", "sync_lock",
    "sync_id", "sync_count", "num_of_processors", "ap_lock", "apinit_addr", "alloc_realmodemem",
    "APINIT_SIZE", "APINIT_OFFSET", "localapic_delayed_ap_start", "panic", "ap_start",
    "apinit_segment", "mapmem_hphys", "mapmem", "mapped_gphys_addr", "cpuinit_start",
    "APINIT_POINTER", "apinit_procs", "apinitlock", "apinit_lock", "ap_start_addr",
    "ap_start_loopcond", "spinlock_lock", "spinlock_unlock", "usleep", "unmapmem", "ap_started",
    "ljmpw",
]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_page_has_a_twin_with_the_same_sections(page):
    other = twin(page)
    assert other.is_file(), f"{shown(page)} is not there in Japanese"
    ours, theirs = (headings(one.read_text(encoding="utf-8")) for one in (page, other))
    assert [level for level, _ in ours] == [level for level, _ in theirs]
    japanese = [text for _, text in theirs if re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", text)]
    assert japanese, "the headings of the Japanese page are not Japanese"


def test_a_section_that_one_language_lacks_is_noticed():
    both = "# A\n\n## B\n\n```console\n# no heading\n```\n"
    assert headings(both) == [(1, "A"), (2, "B")]
    assert headings(both) != headings(both + "\n## C\n")


@pytest.mark.parametrize("page", own_pages(), ids=shown)
def test_both_languages_show_the_same_commands(page):
    ours, theirs = ([c.text for c in commands(one)] for one in (page, twin(page)))
    assert ours == theirs


# --- crosswalk -------------------------------------------------------------------------------


def crosswalk(name="crosswalk.md"):
    """Rows of the page: in the memo, lab, here, BitVisor, check."""
    found = tables((DOCS / name).read_text(encoding="utf-8"))
    rows = [row for table in found for row in table[1:]]
    assert all(len(row) == 5 for row in rows)
    return rows


def test_the_crosswalk_has_all_that_the_memo_names():
    words = " ".join(row[0] for row in crosswalk())
    absent = [name for name in MEMO if not re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", words)]
    assert not absent


def test_the_crosswalk_has_no_empty_cell():
    for row in crosswalk():
        assert all(row), row
        lab = row[1]
        assert re.fullmatch(r"given|lab\d+|planned: lab\d+", lab), row
        if not lab.startswith("planned"):
            assert "planned" not in "".join(row), row


def mistakes_in(row, checks):
    """What a row says that is not so."""
    _, lab, here, bitvisor, check = row
    found = []
    if not here.startswith("planned"):
        file, name = re.fullmatch(r"`(.+)`: `(.+)`", here).groups()
        of_lab = file.startswith("lab")
        path = (ROOT / "reference" if of_lab else TREE) / file
        if not path.is_file():
            found.append(f"no file {file}")
        elif not re.search(rf"\b{re.escape(name)}\b", path.read_text(encoding="utf-8")):
            found.append(f"no {name} in {file}")
        if lab.startswith("lab") and file.split("/")[0] != lab:
            found.append(f"{file} is not of {lab}")
    if not re.fullmatch(r"`(include/)?core/[\w/]+\.[chs]`: `\w+`", bitvisor):
        found.append(f"not a place in BitVisor: {bitvisor}")
    if not check.startswith("planned") and check.strip("`") not in checks:
        found.append(f"no check {check}")
    return found


def test_the_crosswalk_is_true():
    checks = {one for lab in load_course(ROOT).labs.values() for one in lab.checks}
    assert [text for row in crosswalk() for text in mistakes_in(row, checks)] == []


@pytest.mark.parametrize(
    ("column", "text"),
    [(2, "`lab1/vmm_main.c`: `nothing`"), (2, "`lab9/x.c`: `x`"), (3, "`ap.c`"), (4, "`lab1.no`")],
)
def test_a_wrong_row_of_the_crosswalk_is_noticed(column, text):
    checks = {one for lab in load_course(ROOT).labs.values() for one in lab.checks}
    row = list(crosswalk()[3])
    assert mistakes_in(row, checks) == []
    row[column] = text
    assert mistakes_in(row, checks)


def test_the_japanese_crosswalk_says_the_same():
    words = {"given": "与えられる"}
    for ours, theirs in zip(crosswalk(), crosswalk("crosswalk.ja.md"), strict=True):
        for a, b in zip(ours[1:], theirs[1:], strict=True):
            assert words.get(a, a.replace("planned:", "予定:")) == b


# --- probes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["probes.md", "probes.ja.md"])
def test_every_probe_has_a_section(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    on_page = {found.strip("`") for level, found in headings(text) if level == 3}
    assert on_page == set(probe_names())


def test_every_probe_is_in_the_table_of_the_package():
    table = re.search(r"^=+ =+$(.*)^=+ =+$", probes.__doc__, re.MULTILINE | re.DOTALL).group(1)
    rows = re.findall(r"^(\S+) +\S", table, re.MULTILINE)
    assert set(rows) == set(probe_names())


@pytest.mark.parametrize("name", ["probes.md", "probes.ja.md"])
def test_the_lines_that_ask_for_a_probe_are_right(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    lines = re.findall(r"^[A-Z_]+ = ([a-z_]+\(.+\))$", text, re.MULTILINE)
    made = [eval(line, dict(vars(probes))) for line in lines]
    assert {one.probe for one in made} == set(probe_names())
    for one in made:
        make_probe(one.probe, {"cpus": one.cpus, **dict(one.options)})


def test_every_probe_is_used_by_a_lab():
    used = set()
    for file in ROOT.glob("labs/lab*/test_*.py"):
        lab = LabPackage(file.parent.name, file.parent)
        with lab.scope.in_use():
            checks = declared_in(lab.load(file))
        used |= {one.probe for check in checks for one in check.scenarios}
        lab.unload()
    assert used >= set(probe_names())  # the others are a lab's own


# --- commands --------------------------------------------------------------------------------


def test_output_that_a_command_does_not_print_is_noticed():
    shown_output = ("made  a", "…", "b … points")
    command = Command("page", 1, "x", shown_output, True)
    assert missing_output(command, "made a\nmore\nb 3/3 points\n") is None
    assert missing_output(command, "b 3/3 points\nmade a\n") == "b … points"
    assert missing_output(command, "made a\nb 3/3\n") == "b … points"

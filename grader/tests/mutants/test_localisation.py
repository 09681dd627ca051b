"""Whether a message leads to the place to change."""

from pathlib import Path

import pytest

from vmmlab.author import mutants
from vmmlab.author.mutants import Edit, Mutant, localisation
from vmmlab.author.mutants.localisation import Target
from vmmlab.course.load import load_course

ROOT = Path(__file__).parents[3]
COURSE = load_course(ROOT)
ALL = {one.id: one for one in mutants.load(COURSE)}
WHERE = Target(
    frozenset({"ap_wait", "cpuinit_start"}), frozenset({"lab4.4"}), {"lab4/x.c": frozenset({7, 8})}
)


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("ap_wait+0x5 (lab4/x.c:8): it is still there", "line"),
        ("TODO(lab4.4)", "line"),
        ("ap_wait+0x5 (lab4/x.c:9)", "function"),
        ("In ap_wait: lock, read, unlock", "function"),
        ("trampoline+0x3 (lab3/x.S:8)", "function"),
        ("spinlock_lock+0x10 (core/spinlock.c:8)", ""),
        ("ap_waits for somebody", ""),
        ("TODO(lab4.41)", ""),
        ("", ""),
    ],
)
def test_only_the_line_and_the_function_count(message, named):
    assert localisation.named(WHERE, message) == named


def test_a_region_has_its_function_its_step_and_its_lines():
    edit = Edit("lab4/handshake.c", "region", "lab4.4", 1, "\tfor (;;)\n\t\t;\n")
    where = localisation.target(COURSE, Mutant("x", "x", "lab4", (edit,), "x", "x", "dev", "x:1"))
    assert (where.functions, where.steps) == ({"ap_wait"}, {"lab4.4"})
    made = mutants.apply(COURSE, Mutant("x", "x", "lab4", (edit,), "x", "x", "dev", "x:1"))
    lines = made["lab4/handshake.c"].decode().split("\n")
    assert [lines[n - 1] for n in sorted(where.lines["lab4/handshake.c"])] == [
        "\tfor (;;)",
        "\t\t;",
    ]


def test_two_edits_of_one_file_move_each_others_lines():
    one = ALL["lab4.unlock.first-of-all"]
    where = localisation.target(COURSE, one)
    assert where.functions == {"apinitproc0", "apinitproc1"}
    lines = mutants.apply(COURSE, one)["lab4/handshake.c"].decode().split("\n")
    mine = [lines[n - 1].strip() for n in sorted(where.lines["lab4/handshake.c"])]
    code = "\n".join(edit.code for edit in one.edits).split("\n")
    assert [text for text in mine if text] == [text.strip() for text in code if text.strip()]


def test_every_mutant_changes_a_function_that_has_a_name():
    for one in ALL.values():
        assert localisation.target(COURSE, one).functions, one.id


def test_assembly_belongs_to_its_global_label():
    assert localisation.target(COURSE, ALL["lab4.enter.stops"]).functions == {"apinit_enter"}
    assert localisation.target(COURSE, ALL["lab3.real.no-pe"]).functions == {"cpuinit_start"}

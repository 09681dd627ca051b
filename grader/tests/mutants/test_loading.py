"""Files of mutants: what may be wrong in them is named with file, line and key."""

import dataclasses
import textwrap
from pathlib import Path

import pytest

from vmmlab.author import mutants
from vmmlab.author.mutants import DoesNotApply, Edit, replaced
from vmmlab.base.errors import CourseError, UsageError
from vmmlab.cli.main import main
from vmmlab.course.load import load_course
from vmmlab.course.model import Course

ROOT = Path(__file__).parents[3]

GOOD = """\
schema: 1
mutants:
  - id: lab1.main.test
    title: something is wrong
    file: lab1/vmm_main.c
    region: lab1.2
    code: |
      initfunc_init ();
    check: lab1.main.calls
    cause: global-not-called
"""


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """The real course, with a folder of mutants of its own."""
    (tmp_path / "grader" / "mutants").mkdir(parents=True)
    (tmp_path / "reference").symlink_to(ROOT / "reference")
    return dataclasses.replace(load_course(ROOT), root=tmp_path)


def load(course: Course, text: str):
    (mutants.mutants_dir(course) / "lab1.yml").write_text(textwrap.dedent(text))
    return mutants.load(course, ["lab1"])


def test_a_file_becomes_mutants(course):
    (one,) = load(course, GOOD)
    assert (one.id, one.lab, one.check) == ("lab1.main.test", "lab1", "lab1.main.calls")
    assert one.cause == "global-not-called"
    assert one.cohort == "dev"
    assert one.edits == (Edit("lab1/vmm_main.c", "region", "lab1.2", 1, "initfunc_init ();\n"),)
    assert one.source.endswith("lab1.yml:3")


def test_further_edits_are_of_the_same_file_unless_they_say(course):
    more = """\
    also:
      - region: lab1.1
        code: "uefi_booted = false;"
      - file: lab1/initfunc.c
        function: call_initfunc
        code: "void call_initfunc (const char *id) { (void)id; }"
"""
    (one,) = load(course, GOOD + more)
    assert [(edit.file, edit.kind) for edit in one.edits] == [
        ("lab1/vmm_main.c", "region"),
        ("lab1/vmm_main.c", "region"),
        ("lab1/initfunc.c", "function"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("schema: 1", "schema: 2", 1, "schema"),
        ("    title: something is wrong\n", "", 3, "mutants > 0 > title"),
        ("check: lab1", "chekc: lab1", 9, "chekc"),
        ("id: lab1.main.test", "id: lab2.main.test", 3, "lab1.topic.name"),
        ("id: lab1.main.test", "id: test", 3, "lab1.topic.name"),
        ("check: lab1.main.calls", "check: lab1.main.call", 9, "no check lab1.main.call"),
        ("cause: global", "arch: vax\n    cause: global", 10, "one of x86_64, i386"),
        ("cause: global", "arch: i386\n    cause: global", 9, "no check lab1.main.calls for i386"),
        ("cause: global-not-called", "cause: Not called", 10, "is not a cause"),
        ("file: lab1/vmm_main.c", "file: lab1/main.c", 3, "lab1 has no file lab1/main.c"),
        ("    region: lab1.2\n", "", 3, "what is replaced"),
        ("region: lab1.2", "region: lab1.2\n    function: vmm_main", 3, "what is replaced"),
        ("region: lab1.2", "nth: 0\n    region: lab1.2", 6, "nth"),
        ("mutants:", "mutants: [", 3, "node content"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_file_and_line(course, old, new, line, words):
    assert old in GOOD
    with pytest.raises(CourseError) as caught:
        load(course, GOOD.replace(old, new))
    assert f"lab1.yml:{line}:" in str(caught.value.message)
    assert words in str(caught.value.message)


def test_a_variant_says_what_it_is_right_for(course):
    top = mutants.mutants_dir(course) / "correct"
    for name in ("plain", "both", "wrong"):
        (top / name / "lab2").mkdir(parents=True)
    (top / "both" / "ARCHES").write_text("x86_64\ni386\n")
    (top / "wrong" / "ARCHES").write_text("i368\n")
    with pytest.raises(CourseError, match=r"wrong/ARCHES:1: each line must be one of x86_64, i386"):
        mutants.load_variants(course)
    (top / "wrong" / "ARCHES").write_text("i386\n")
    found = {one.name: one.arches for one in mutants.load_variants(course)}
    assert found == {"plain": ("x86_64",), "both": ("x86_64", "i386"), "wrong": ("i386",)}


def test_an_id_may_not_be_there_twice(course):
    again = GOOD[GOOD.index("  - id:") :]
    with pytest.raises(CourseError, match=r"lab1\.yml:11: .*defined twice"):
        load(course, GOOD + again)


def test_a_missing_file_is_an_error_if_it_was_asked_for(course):
    with pytest.raises(CourseError, match="no such file"):
        mutants.load(course, ["lab2"])
    assert mutants.load(course) == ()


# --- applying --------------------------------------------------------------------------------

C = """\
/* f is used below. */
static int
f (int a)
{
    return g (a);
}

void
g (int a,
   int b)
{
    /* BEGIN SOLUTION lab1.1
     * TODO(lab1.1): something.
     */
    f (a);
    /* END SOLUTION */
    /* BEGIN SOLUTION lab1.1
     * TODO(lab1.1): more.
     */
    f (b);
    /* END SOLUTION */
}
"""
S = """\
    .globl    start
start:
    cli
1:    hlt
    jmp    1b
.Lmore:
    nop
table:
    .long    0
    .section .note.GNU-stack, "", @progbits
"""


def edit(kind, name, code, nth=1, file="lab1/x.c"):
    return Edit(file, kind, name, nth, code)


def test_a_region_keeps_its_marks():
    made = replaced(C, edit("region", "lab1.1", "    f (0);\n", nth=2))
    assert made == C.replace("    f (b);", "    f (0);")


def test_a_function_goes_from_its_type_to_its_brace():
    made = replaced(C, edit("function", "f", "int\nf (int a)\n{\n\treturn a;\n}\n"))
    assert made.startswith("/* f is used below. */\nint\nf (int a)\n{\n\treturn a;\n}\n\nvoid\ng (")
    made = replaced(C, edit("function", "g", "void g (void) {}"))
    assert made.endswith("}\n\nvoid g (void) {}\n")


def test_a_label_goes_to_the_next_one():
    made = replaced(S, edit("label", "start", "start:\n    ud2", file="lab3/x.S"))
    assert made == S.replace("    cli\n1:    hlt\n    jmp    1b\n.Lmore:\n    nop\n", "    ud2\n")


@pytest.mark.parametrize(
    "wrong",
    [
        edit("region", "lab1.2", "x"),
        edit("region", "lab1.1", "x", nth=3),
        edit("function", "h", "x"),
        edit("label", "nowhere", "x"),
    ],
    ids=str,
)
def test_what_is_not_there_is_an_error(wrong):
    with pytest.raises(DoesNotApply, match="no longer exists") as caught:
        replaced(C, wrong, who="lab1.yml:3: lab1.main.test")
    assert str(caught.value.message).startswith("lab1.yml:3: lab1.main.test: ")


def test_what_changes_nothing_is_an_error():
    with pytest.raises(DoesNotApply, match="changes nothing"):
        replaced(C, edit("region", "lab1.1", "  f(a);\n"))


def test_mutants_are_chosen_by_name(course):
    other = GOOD + GOOD.split("mutants:\n")[1].replace("main.test", "main.other")
    every = load(course, other)
    assert mutants.of_names(every, ()) == every
    assert [one.id for one in mutants.of_names(every, ["*.other"])] == ["lab1.main.other"]
    assert mutants.of_names(every, ["lab1.main.test", "lab1.*"]) == every
    with pytest.raises(UsageError, match=r"no mutant lab1\.gone"):
        mutants.of_names(every, ["lab1.*", "lab1.gone"])


def test_a_mutant_is_written_as_a_submission(tmp_path, capsys):
    kit = load_course(ROOT)
    mutant = mutants.load(kit, ["lab3"])[0]
    words = ["mutants", "--out", str(tmp_path), "--course", str(ROOT)]
    assert main([*words, mutant.id, "--lab", "lab3"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / mutant.id}\n"
    found = {
        str(path.relative_to(tmp_path / mutant.id)): path.read_bytes()
        for path in tmp_path.rglob("*.[cS]")
    }
    assert found == mutants.apply(kit, mutant)
    assert main([*words, "lab3.x"]) == 2
    assert "there is no mutant lab3.x" in capsys.readouterr().err

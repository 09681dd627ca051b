"""The markup of the reference: starters, partly filled starters, malformed markup."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmmlab.base.errors import CourseError
from vmmlab.course.load import load_course
from vmmlab.course.markup import regions, starter_text

REFERENCE = """\
#include "ap.h"

void
ap_start (void)
{
\tu8 *p;

\t/* BEGIN SOLUTION lab3.1
\t * TODO(lab3.1): map physical 0, save five bytes
\t * and write the far jump there.
\t */
\tp = mapmem_hphys (0, 5, MAPMEM_WRITE);
\t{ 1; };
\t/* END SOLUTION */
\tap_wait ();
\t/* BEGIN SOLUTION lab3.7
\t * TODO(lab3.7): put it back.
\t * STARTER: (void)p;
\t *   vmm_todo ("lab3.7");
\t */
\tmemcpy (p, save, 5);
\t/* END SOLUTION */
}
"""

STARTER = """\
#include "ap.h"

void
ap_start (void)
{
\tu8 *p;

\t/* TODO(lab3.1): map physical 0, save five bytes
\t * and write the far jump there.
\t */
\tvmm_todo ("lab3.1");
\tap_wait ();
\t/* TODO(lab3.7): put it back. */
\t(void)p;
\t  vmm_todo ("lab3.7");
}
"""

SOLUTION = """\
#include "ap.h"

void
ap_start (void)
{
\tu8 *p;

\tp = mapmem_hphys (0, 5, MAPMEM_WRITE);
\t{ 1; };
\tap_wait ();
\tmemcpy (p, save, 5);
}
"""

PATH = "reference/lab3/ap_start.c"


def test_a_starter() -> None:
    assert starter_text(REFERENCE, path=PATH) == STARTER


def test_a_step_of_the_staircase() -> None:
    got = starter_text(REFERENCE, path=PATH, keep=frozenset({"lab3.1"}))
    assert "mapmem_hphys" in got
    assert 'vmm_todo ("lab3.1")' not in got
    assert 'vmm_todo ("lab3.7")' in got
    assert "memcpy" not in got


def test_the_whole_solution_has_no_markers() -> None:
    got = starter_text(REFERENCE, path=PATH, keep=frozenset({"lab3.1", "lab3.7"}))
    assert got == SOLUTION


def test_regions_know_their_lines() -> None:
    first, second = regions(REFERENCE, path=PATH)
    assert (first.step, first.begin, first.end) == ("lab3.1", 8, 14)
    assert second.starter == ("(void)p;", '  vmm_todo ("lab3.7");')


def test_several_regions_of_one_step_go_together() -> None:
    part = "/* BEGIN SOLUTION lab3.1\n * TODO(lab3.1): x\n */\ny;\n/* END SOLUTION */\n"
    text = part + part.replace("y;", "z;")
    assert starter_text(text, path=PATH, keep=frozenset({"lab3.1"})) == "y;\nz;\n"
    assert starter_text(text, path=PATH).count("vmm_todo") == 2


def test_a_todo_without_text_stands_for_the_title_of_the_step() -> None:
    part = "/* BEGIN SOLUTION lab3.1\n * TODO(lab3.1):\n * more\n */\ny;\n/* END SOLUTION */\n"
    (titled,) = regions(part, path=PATH)
    assert titled.titled
    assert titled.todo == ("TODO(lab3.1):", "more")
    assert starter_text(part, path=PATH).startswith("/* TODO(lab3.1):\n * more\n */\n")
    (other,) = regions(part.replace("TODO(lab3.1):", "TODO(lab3.1): x"), path=PATH)
    assert not other.titled


def test_an_empty_starter_leaves_no_code() -> None:
    text = (
        "/* BEGIN SOLUTION lab3.1\n * TODO(lab3.1): x\n * STARTER:\n */\ny;\n/* END SOLUTION */\n"
    )
    assert starter_text(text, path=PATH) == "/* TODO(lab3.1): x */\n"


def test_assembly_says_what_its_starter_has() -> None:
    text = (
        "cpuinit_start:\n"
        "\t/* BEGIN SOLUTION lab3.5\n"
        "\t * TODO(lab3.5): count in.\n"
        "\t * STARTER: cli\n"
        "\t * 1: hlt\n"
        "\t *\n"
        "\t * jmp 1b\n"
        "\t */\n"
        "\tlock incl %cs:4\n"
        "\t/* END SOLUTION */\n"
    )
    assert starter_text(text, path="reference/lab3/apinit.S") == (
        "cpuinit_start:\n\t/* TODO(lab3.5): count in. */\n\tcli\n\t1: hlt\n\n\tjmp 1b\n"
    )


def test_text_without_regions_is_unchanged() -> None:
    assert starter_text("int x;\n", path=PATH) == "int x;\n"


HEAD = "/* BEGIN SOLUTION lab3.1\n * TODO(lab3.1): x\n */\n"
END = "/* END SOLUTION */\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a;\n" + END, 2, "without a BEGIN"),
        ("a;\n" + HEAD + "b;\n", 2, "lab3.1 has no end"),
        (HEAD + "b;\n" + HEAD + "c;\n" + END + END, 5, "inside the region of lab3.1 (line 1)"),
        (HEAD + END, 1, "holds no solution"),
        (HEAD.replace(" * TODO(lab3.1): x\n", "") + "b;\n" + END, 1, "no TODO text"),
        (HEAD.replace("TODO(lab3.1)", "TODO(lab3.2)") + "b;\n" + END, 2, "of another step"),
        (HEAD.replace("TODO(", "say (") + "b;\n" + END, 2, "text before the TODO"),
        (HEAD.replace(" */\n", "") + "b;\n" + END, 3, "has the wrong form"),
        (HEAD.removesuffix("\n */\n"), 1, "has no end"),
        (HEAD.replace(": x\n", ": x */\n") + "b;\n" + END, 2, "has the wrong form"),
        ("// BEGIN SOLUTION lab3.1\nb;\n// END SOLUTION\n", 1, "looks like a marker"),
        ("/* BEGIN SOLUTION */\nb;\n" + END, 1, "looks like a marker"),
        ("/* BEGIN SOLUTION lab3.1 */\nb;\n" + END, 1, "looks like a marker"),
        ("/* begin solution lab3.1\n", 1, "looks like a marker"),
        ("### BEGIN SOLUTION\n", 1, "looks like a marker"),
        (HEAD + "b; /* END SOLUTION */\n", 4, "looks like a marker"),
        (HEAD + "b;\n" + "/*END SOLUTION*/\n", 5, "looks like a marker"),
    ],
)
def test_malformed_markup_names_file_and_line(text: str, line: int, words: str) -> None:
    with pytest.raises(CourseError) as caught:
        starter_text(text, path=PATH)
    assert str(caught.value).startswith(f"{PATH}:{line}: ")
    assert words in str(caught.value)


def test_assembly_without_a_starter_is_refused() -> None:
    with pytest.raises(CourseError, match=r"apinit\.S:1: .* needs STARTER lines"):
        starter_text(HEAD + "b\n" + END, path="reference/lab3/apinit.S")


@given(st.lists(st.sampled_from([HEAD, END, "b;\n", " */\n", "/* BEGIN SOLUTION lab3.2\n"])))
def test_no_marker_and_no_solution_ever_gets_through(parts: list[str]) -> None:
    secret = [part.replace("b;", "secret_of_the_region;") for part in parts]
    try:
        got = starter_text("".join(secret), path=PATH)
        inside = [line for r in regions("".join(secret), path=PATH) for line in r.solution]
    except CourseError:
        return
    assert "SOLUTION" not in got
    assert got.count("secret_of_the_region") == "".join(secret).count("secret_of_the_region") - len(
        [line for line in inside if "secret" in line]
    )


def test_the_kits_reference_is_marked_as_the_course_says() -> None:
    """All files and steps of the course are there, and every starter has something to write."""
    from pathlib import Path

    kit = load_course(Path(__file__).resolve().parents[3])
    for lab in kit.labs.values():
        for file in lab.files:
            text = (kit.reference_dir / file).read_text(encoding="utf-8")
            marked = {region.step for region in regions(text, path=f"reference/{file}")}
            assert marked == {step.id for step in lab.steps if step.file == file}
            starter = starter_text(text, path=f"reference/{file}")
            assert all(f"TODO({step})" in starter for step in marked)

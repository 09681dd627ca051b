"""Submissions that are alike: renamed copies are found, others are not, and the page is safe."""

import re
from pathlib import Path

import pytest

from vmmlab.author import mutants
from vmmlab.classroom.similar import Source, compared, page
from vmmlab.cli.main import main
from vmmlab.course import materials
from vmmlab.course.load import load_course
from vmmlab.course.reference import reference_text
from vmmlab.i18n.translate import LANGUAGES, Reader

COURSE = load_course(Path(__file__).parents[3])
FILE = "lab4/handshake.c"
VARIANTS = {one.name: one for one in mutants.load_variants(COURSE, ["lab4"])}


def given(file):
    return [materials.starter(COURSE, file, lang) for lang in LANGUAGES]


def renamed(text):
    """The same code with other names, other comments and other white space."""
    text = re.sub(r"/\*.*?\*/", "/* mine */", text, flags=re.DOTALL)
    text = re.sub(r"\b(newstack_tmp|buf|tmp|apinit)\b", r"my_\1", text)
    return text.replace("\t", "    ")


@pytest.mark.parametrize("file", [FILE, "lab3/apinit.S"])
def test_a_renamed_copy_is_found(file):
    text = reference_text(COURSE, file)
    sources = [Source("ann", text), Source("bo", renamed(text)), Source("cy", given(file)[0])]
    (pair,) = compared(file, sources, given(file), 0.8)
    assert (pair.left.name, pair.right.name) == ("ann", "bo")
    assert pair.share > 0.9
    assert all(pair.left.code[start:end].strip() for start, end in pair.left.marked)


def test_another_way_to_write_it_is_not_alike():
    file = "lab4/sync.c"
    other = mutants.variant_files(COURSE, VARIANTS["arrivals-only"])[file].decode()
    sources = [Source("ann", reference_text(COURSE, file)), Source("bo", other)]
    assert not list(compared(file, sources, given(file), 0.8))


def test_two_starters_are_not_alike():
    """What everybody has is not counted, so nothing is left to compare."""
    starter = given(FILE)[0]
    assert not list(compared(FILE, [Source("a", starter), Source("b", starter)], given(FILE), 0.1))


def test_those_of_last_year_are_not_compared_with_each_other():
    text = reference_text(COURSE, FILE)
    sources = [Source("old/a", text, False), Source("old/b", text, False), Source("ann", text)]
    found = [(one.left.name, one.right.name) for one in compared(FILE, sources, given(FILE), 0.8)]
    assert found == [("old/a", "ann"), ("old/b", "ann")]


def test_the_page_escapes_what_students_write():
    text = reference_text(COURSE, FILE) + '\nchar *x = "<script>alert (1)</script>\x1b[2J";\n'
    sources = [Source("<b>ann</b>", text), Source("bo", text)]
    made = page(list(compared(FILE, sources, given(FILE), 0.8)), 2, Reader())
    assert "<script" not in made
    assert "<b>ann" not in made
    assert "\x1b" not in made
    assert made.count("<mark>") >= 2


def test_the_command(tmp_path, capsys):
    for name, text in (("ann", reference_text(COURSE, FILE)), ("bo", given(FILE)[0])):
        path = tmp_path / "class" / name / FILE
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    out = tmp_path / "similar.html"
    words = ["similar", str(tmp_path / "class"), "--lab", "lab4", "--out", str(out)]
    assert main([*words, "--course", str(COURSE.root)]) == 0
    assert "0 pairs are alike" in capsys.readouterr().out
    assert main([*words, "--reference", "--course", str(COURSE.root)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"100% 100%  lab4/handshake\.c  ann – reference", shown)
    assert "ann" in out.read_text(encoding="utf-8")

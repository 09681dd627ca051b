"""The notebooks are what their sources say, and have what nbgrader needs."""

import re

import nbformat
import pytest
from sheet import KIT, LABS, SOLUTION, cells, notebook, role_of, run_cell, source

from vmmlab.base.errors import CourseError
from vmmlab.worksheet.source import build, render


@pytest.mark.parametrize("lab", LABS)
def test_the_notebooks_are_made_from_their_sources(lab):
    text = source(lab).read_text(encoding="utf-8")
    japanese = source(lab).with_suffix(".ja.py").read_text(encoding="utf-8")
    for made, again in ((".ipynb", render(text)), (".ja.ipynb", render(text, lab, japanese))):
        assert source(lab).with_suffix(made).read_text(encoding="utf-8") == again, (
            f"run: python -m vmmlab.worksheet.source labs/{lab}/worksheet.py"
        )


def markup(text):
    """Return what must be the same in all languages: code, heading levels, points, bold."""
    return (
        sorted(" ".join(code.split()) for code in re.findall(r"`[^`]+`", text)),
        re.findall(r"^#+", text, re.MULTILINE),
        re.findall(r"[(（]([\d.]+)[)）]$", text, re.MULTILINE),
        re.findall(r"^\*\*.\.\*\*", text, re.MULTILINE),
        text.count("\n- "),
    )


@pytest.mark.parametrize("lab", LABS)
def test_the_japanese_text_says_the_same(lab):
    own = notebook(lab)
    japanese = nbformat.read(source(lab).with_suffix(".ja.ipynb"), as_version=4)
    for one, other in zip(own.cells, japanese.cells, strict=True):
        if one.cell_type == "code":
            # The one difference is the language of the checks.
            english = other.source.replace('os.environ, lang="ja")', "os.environ)")
            assert one == {**other, "source": english}
        else:
            assert one.metadata == other.metadata
            assert markup(one.source) == markup(other.source)
            assert re.search(r"[\u3041-\u30fe]", other.source)


@pytest.mark.parametrize(
    "other",
    [
        "# %% [markdown]\n# one\n",
        '# %% [markdown]\n# a\n\n# %% [markdown] manual="x" points=2\n# b\n',
    ],
)
def test_a_translation_with_other_cells_is_refused(other):
    text = '# %% [markdown]\n# a\n\n# %% [markdown] manual="x" points=1\n# b\n'
    assert build(text, translated=text)
    with pytest.raises(CourseError, match="translation"):
        build(text, translated=other)


@pytest.mark.parametrize("lab", LABS)
def test_a_notebook_is_valid_and_holds_no_outputs(lab):
    sheet = notebook(lab)
    nbformat.validate(sheet)
    assert not any(cell.get("outputs") for cell in sheet.cells)
    assert len({cell.id for cell in sheet.cells}) == len(sheet.cells)
    for cell in sheet.cells:
        meta = cell.metadata.get("nbgrader")
        if meta:
            assert cell.id == meta.grade_id
            assert meta.grade_id.startswith(f"{lab}-")
            assert meta.schema_version == 3
            assert meta.grade == ("points" in meta)


def test_solutions_do_not_get_into_the_student_image():
    """The image has labs/ without these; `make images-test` looks into the image."""
    text = (KIT / "docker" / "student.Dockerfile").read_text()
    assert text.index("/course/labs/*/worksheet.*") > text.index("COPY labs")


def test_what_a_cell_is_for():
    made = build(
        '# %% given="q-start"\n1\n\n# %% answer="q"\n2\n\n# %% test="q" points=2\n3\n\n'
        '# %% [markdown] manual="why" points=1.5\n# text\n\n# %%\n4\n'
    )
    roles = [
        (cell.id, *(cell.metadata.nbgrader[key] for key in ("grade", "solution", "locked")))
        for cell in made.cells[:4]
    ]
    assert roles == [
        ("q-start-given", False, False, True),
        ("q-answer", False, True, False),
        ("q", True, False, True),
        ("why", True, True, False),
    ]
    assert [cell.metadata.nbgrader.points for cell in made.cells[2:4]] == [2.0, 1.5]
    assert made.cells[4].metadata == {}
    assert [cell.metadata.get("jupyter") for cell in made.cells[:2]] == [
        {"source_hidden": True},
        None,
    ]


@pytest.mark.parametrize(
    "heading",
    ['test="q"', 'answer="q" points=1', "points=1", 'test="q" answer="q" points=1', 'tset="q"'],
)
def test_a_heading_that_cannot_be_understood_is_refused(heading):
    with pytest.raises(CourseError, match="heading"):
        build(f"# %% {heading}\n1\n")


def test_an_id_that_is_there_twice_is_refused():
    with pytest.raises(CourseError, match="two cells have the id q"):
        build('# %% test="q" points=1\n1\n\n# %% test="q" points=1\n2\n')


@pytest.mark.parametrize("lab", LABS)
def test_a_japanese_worksheet_speaks_japanese_in_every_check(lab, capsys, monkeypatch):
    """Nothing is answered, so each check says which form it expects."""
    monkeypatch.setenv("VMMLAB_STUDENT", "alice")
    names = {}
    checks = 0
    for cell in nbformat.read(source(lab).with_suffix(".ja.ipynb"), as_version=4).cells:
        meta = cell.metadata.get("nbgrader")
        if cell.cell_type != "code" or not meta:
            continue
        run_cell(SOLUTION.sub("", cell.source + "\n"), names)
        said = capsys.readouterr().out.splitlines()
        if role_of(cell) == "test":
            checks += 1
            assert said, meta.grade_id
            for line in said:
                assert line.endswith("を書いてください。今の値は None です。"), line
    assert checks == len(cells(lab, "test"))


def test_a_released_japanese_worksheet_keeps_its_language_and_gets_the_class():
    pytest.importorskip("nbgrader")
    from vmmlab.worksheet.autograde import NameCohort

    sheet = nbformat.read(source("lab0").with_suffix(".ja.ipynb"), as_version=4)
    named, _ = NameCohort(cohort="it's 2026").preprocess(sheet, {"metadata": {}})
    text = "\n".join(cell.source for cell in named.cells)
    assert """worksheet.student(os.environ, cohort="it's 2026", lang="ja")""" in text

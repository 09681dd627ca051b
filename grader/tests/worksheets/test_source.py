"""The notebooks are what their sources say, and have what nbgrader needs."""

import nbformat
import pytest
from sheet import LABS, notebook, source

from vmmlab.errors import CourseError
from vmmlab.worksheet.source import build, render


@pytest.mark.parametrize("lab", LABS)
def test_the_notebook_is_made_from_its_source(lab):
    made = source(lab).with_suffix(".ipynb").read_text(encoding="utf-8")
    assert made == render(source(lab).read_text(encoding="utf-8")), (
        f"run: python -m vmmlab.worksheet.source labs/{lab}/worksheet.py"
    )


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
    with pytest.raises(CourseError, match="two cells are called q"):
        build('# %% test="q" points=1\n1\n\n# %% test="q" points=1\n2\n')

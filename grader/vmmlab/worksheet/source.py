"""Makes labs/labN/worksheet.ipynb from labs/labN/worksheet.py, the file to edit.

The source is in jupytext's percent format. The heading of a cell says what it is for:

    # %% [markdown]                             text
    # %%                                        code to play with
    # %% given="lab3-far-jump"                  the numbers of a question, locked
    # %% answer="lab3-far-jump"                 the student writes here
    # %% test="lab3-far-jump" points=3          graded by running it, locked
    # %% [markdown] manual="lab3-why" points=2  graded by reading it

Run as `python -m vmmlab.worksheet.source labs/lab*/worksheet.py`. A file worksheet.ja.py beside it
holds the text cells in Japanese, in the same order; with the code cells of worksheet.py it becomes
worksheet.ja.ipynb. There `worksheet.student` gets the language, so that checks print Japanese too.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from vmmlab.base.errors import CourseError
from vmmlab.base.message import msg
from vmmlab.i18n.translate import ENGLISH

_ROLES: Final = ("given", "answer", "test", "manual")
_WHO: Final = "worksheet.student(os.environ"


_LANGUAGE: Final = re.compile(re.escape(_WHO) + r"[^)]*\blang=\"(\w+)\"")


def language_of(code: Iterable[str]) -> str:
    """Return the language of a notebook, given the code of its cells."""
    found = next(filter(None, map(_LANGUAGE.search, code)), None)
    return found[1] if found else ENGLISH


def build(text: str, name: str = "worksheet.py", translated: str | None = None) -> Any:
    """Return the notebook of a source, solutions and hidden tests included.

    Args:
        text: the source.
        name: the name of the source in messages.
        translated: the text cells in Japanese.

    Raises:
        CourseError: the heading of a cell is wrong, two cells have the same id, or the translation
            has other text cells.
    """
    import jupytext
    import nbformat

    node: Any = nbformat.NotebookNode
    notebook = jupytext.reads(text, fmt="py:percent")
    if translated is not None:
        _translate(notebook, jupytext.reads(translated, fmt="py:percent"), name)
    seen: set[str] = set()
    for cell in notebook.cells:
        meta = _nbgrader(dict(cell.metadata), name)
        cell.metadata = node({"nbgrader": node(meta)} if meta else {})
        if meta and meta["grade_id"].endswith("-given"):
            # How the numbers are drawn is not interesting; JupyterLab folds it away.
            cell.metadata.jupyter = node({"source_hidden": True})
        digest = hashlib.sha256(cell.source.encode()).hexdigest()[:12]
        cell.id = meta["grade_id"] if meta else f"text-{digest}"
        if cell.id in seen:
            raise CourseError(msg("{name}: two cells have the id {id}.", name=name, id=cell.id))
        seen.add(cell.id)
    notebook.metadata = node(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return notebook


def _translate(notebook: Any, translated: Any, name: str) -> None:
    own = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    if [cell.metadata for cell in own] != [cell.metadata for cell in translated.cells] or any(
        cell.cell_type != "markdown" for cell in translated.cells
    ):
        raise CourseError(
            msg("{name}: the cells of its translation differ.", name=name),
            expected=msg("{own} text cells, with the same headings, and no others", own=len(own)),
            found=msg("{cells} cells", cells=len(translated.cells)),
        )
    for cell, other in zip(own, translated.cells, strict=True):
        cell.source = other.source
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = cell.source.replace(_WHO, f'{_WHO}, lang="ja"')


def _nbgrader(heading: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the nbgrader metadata (schema 3) for the heading of a cell."""
    points = heading.pop("points", None)
    roles = [role for role in _ROLES if role in heading]
    graded = roles and roles[0] in ("test", "manual")
    if len(heading) != len(roles) or len(roles) > 1 or (points is not None) != bool(graded):
        raise CourseError(
            msg("{name}: a cell's heading cannot be understood.", name=name),
            expected=msg(
                "nothing, or one of given, answer, test, manual; points with the last two"
            ),
            found=", ".join([*heading, *(["points"] if points is not None else [])]),
        )
    if not roles:
        return {}
    role = roles[0]
    question = str(heading[role])
    meta: dict[str, Any] = {
        "schema_version": 3,
        "grade_id": question if graded else f"{question}-{role}",
        "grade": bool(graded),
        "solution": role in ("answer", "manual"),
        "locked": role in ("given", "test"),
        "task": False,
    }
    if graded:
        meta["points"] = float(points)
    return meta


def render(text: str, name: str = "worksheet.py", translated: str | None = None) -> str:
    """Return the text of the .ipynb file; arguments and errors as for `build`."""
    import nbformat

    write: Any = nbformat.writes
    return str(write(build(text, name, translated))).rstrip("\n") + "\n"


def main(sources: Sequence[str]) -> None:
    """Write the notebooks beside each of the sources."""
    for name in sources:
        source = Path(name)
        text = source.read_text(encoding="utf-8")
        source.with_suffix(".ipynb").write_text(render(text, name), encoding="utf-8")
        japanese = source.with_suffix(".ja.py")
        if japanese.is_file():
            made = render(text, name, japanese.read_text(encoding="utf-8"))
            japanese.with_suffix(".ipynb").write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

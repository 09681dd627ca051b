"""What `vmmlab explore` found is on the page of the last grading, if that was of the same files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import TypeAdapter

from vmmlab.explore import Exploration
from vmmlab.i18n.translate import Reader
from vmmlab.report.html import page
from vmmlab.report.model import read_json
from vmmlab.report.runrecord import RunRecord
from vmmlab.report.schema import SAMPLE_FILE
from vmmlab.student import show

FOLDER = Path(__file__).parents[2] / "vmmlab" / "explore"
FILES = {"lab3/apinit.S": b"x\n"}


def graded(root: Path) -> None:
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    show.keep(RunRecord(report=read_json(SAMPLE_FILE), files=digests), root)


def wrong() -> Exploration:
    text = (FOLDER / "exploration.wrong.json").read_bytes()
    return TypeAdapter(Exploration).validate_json(text)


def test_a_wrong_order_is_on_the_page(tmp_path: Path) -> None:
    graded(tmp_path)
    assert 'id="explored"' not in page(show.last(tmp_path, "lab3", "x86_64"), Reader())
    assert show.keep_explored(wrong(), tmp_path, "lab3", FILES)
    assert 'id="explored"' in page(show.last(tmp_path, "lab3", "x86_64"), Reader())


def test_not_with_other_files_or_without_a_grading(tmp_path: Path) -> None:
    assert not show.keep_explored(wrong(), tmp_path, "lab3", FILES)
    graded(tmp_path)
    assert not show.keep_explored(wrong(), tmp_path, "lab3", {"lab3/apinit.S": b"y\n"})
    assert show.last(tmp_path, "lab3", "x86_64").exploration is None

"""Reports on recorded boots, with the real texts, in both languages and all formats."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from recordings import load, names, replay
from test_formats import RUNNER
from validators import VALIDATORS

from vmmlab.base.errors import UsageError
from vmmlab.course.load import load_course
from vmmlab.i18n.translate import LANGUAGES, Reader
from vmmlab.report.export import FORMATS, export

COURSE = load_course(Path(__file__).parents[3])
SOME = names()[::16]


@pytest.mark.parametrize("name", SOME)
def test_a_recorded_grading_in_every_format(name: str) -> None:
    report = replay(COURSE, load(name))
    for language in LANGUAGES:
        say = Reader(language).of(COURSE.labs_dir / report.lab)
        for form, one in FORMATS.items():
            if not report.max and form in ("prairielearn", "submitty"):
                with pytest.raises(UsageError, match="no points"):
                    export(one, [report], lambda _, say=say: say)
                continue
            text = export(one, [report], lambda _, say=say: say, environment=RUNNER)
            assert VALIDATORS[form](text) == "", (form, language)
            assert re.search(r"lab\d+\.hidden\.", text) is None
            assert str(COURSE.root) not in text

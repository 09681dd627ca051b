"""An instructor's pages in a real browser: the summary of a batch, and alike submissions.

Needs Chromium (`make test-browser` installs it).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest
from browsing import DESKTOP, PHONE

from vmmlab.classroom.batch import compare, summary
from vmmlab.classroom.similar import Source, compared, page
from vmmlab.i18n.translate import Reader

sys.path.append(str(Path(__file__).with_name("batch")))
from test_similar import COURSE, FILE, given, renamed
from test_summary import CLASS

from vmmlab.course.reference import reference_text

pytestmark = [pytest.mark.full, pytest.mark.browser]


def class_summary(language: str) -> str:
    changed = compare.Change("ccc", "lab1", ("points: 1, now 2",), "reports/ccc/lab1.html")
    told = summary.Told(remarks=("two archives",), compared=(changed,), repeated=())
    return summary.page(CLASS, told, Reader(language))


def alike(language: str) -> str:
    text = reference_text(COURSE, FILE)
    sources = [Source("ann", text), Source("bo", renamed(text)), Source("cy", text)]
    return page(list(compared(FILE, sources, given(FILE), 0.8)), 3, Reader(language))


PAGES: Final = {"summary": class_summary, "similar": alike}


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page(browser, axe, name, language, width, scheme):
    browser.show(f"{name}-{language}", PAGES[name](language), width, scheme)
    browser.unfold()
    assert browser.width() <= width
    assert browser.errors() == []
    assert browser.faults(axe) == []
    browser.picture(f"{name}-{language}-{width}")

"""The course of the clone."""

from pathlib import Path

import pytest

from vmmlab.course import model as courses

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def course():
    return courses.load(ROOT)

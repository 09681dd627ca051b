"""The course of the clone."""

from pathlib import Path

import pytest

from vmmlab.course.load import load_course

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def course():
    return load_course(ROOT)

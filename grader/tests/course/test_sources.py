"""What clang-format does not check in the C and assembly of the kit."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COLUMNS = 80
TAB = 8
SOURCES = sorted(
    path
    for folder in ("reference", "vmm-skeleton")
    for path in (ROOT / folder).rglob("*.[chS]")
    if path.name != "cohort.h"  # a template
)


def test_there_are_sources():
    assert {path.suffix for path in SOURCES} == {".c", ".h", ".S"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_lines_fit(path):
    """clang-format leaves comments as they are, and does not read assembly at all."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        assert len(line.expandtabs(TAB)) <= COLUMNS, f"line {number}: {line}"
        assert line == line.rstrip(), f"line {number} ends in white space"

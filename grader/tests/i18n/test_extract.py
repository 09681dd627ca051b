"""What Babel's extraction finds in sources, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from babel.messages.extract import extract_from_file

from vmmlab.base.errors import CourseError
from vmmlab.i18n import extract

COURSE = """
labs:
  lab3:
    title: A lab
    steps:
      - {id: lab3.1, title: the first step, file: a.c}
      - {id: lab3.2}
    checks:
      lab3.a.b: {points: 1, title: A title of its own}
      lab3.a.c: {points: 1}
    hidden:
      lab3.hidden.x: {points: 1, title: A hidden title}
  lab4: {title: Another lab}
"""
CAUSES = """
far-jump-missing:
  next: Look at {it}.
  hints:
    - "gentle"
    - >
      folded
      text
stack-shared:
  hints:
    - a hint only
"""


def found(method: object, path: Path, **options: str) -> list[tuple[object, str | None]]:
    return [
        (text, context) for _, text, _, context in extract_from_file(method, path, options=options)
    ]


def test_python() -> None:
    path = Path(__file__).with_name("sources.py")
    assert found(extract.python, path) == [
        ("CPU {cpu} waits", None),
        ("100 % of them", None),
        (("a CPU waits", "{count} CPUs wait"), None),
        (("{name}: a CPU", "{name}: CPUs"), None),
        ("two literals are one text", None),
        (", ", None),
        ("; ", None),
        (" and ", None),
        ("expected", "label"),
        ("ok", "label"),
        ("missing", "label"),
        ("FAIL", "label"),
        ("CPU {cpu} waits", None),
        ("The title of a check.", None),
        ("Make something.", None),
        ("Your name.", None),
        ("Build one lab.", None),
    ]


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ('msg(f"CPU {cpu} waits")', "not a literal"),
        ('msg("a" if x else "b")', "not a literal"),
        ("msg()", "not a literal"),
        ('msg("CPU {cpu} waits")', "differ from its values"),
        ('msg("CPU waits", cpu=1)', "differ from its values"),
        ('nmsg("a {cpu}", "{count} CPUs", count=1)', "differ from its values"),
        ('msg("CPU {} waits", cpu=1)', "cannot be read"),
        ('msg("CPU {cpu.name} waits", cpu=1)', "cannot be read"),
        ('msg("CPU {cpu waits", cpu=1)', "cannot be read"),
    ],
)
def test_a_text_that_could_not_be_found_again(tmp_path: Path, call: str, what: str) -> None:
    (tmp_path / "wrong.py").write_text(f"x = 1\n{call}\n")
    with pytest.raises(CourseError, match=rf"wrong\.py:2: .*{what}"):
        found(extract.python, tmp_path / "wrong.py")


def test_values_from_elsewhere_are_not_compared(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text('msg("CPU {cpu} waits", **values)\n')
    assert found(extract.python, tmp_path / "right.py") == [("CPU {cpu} waits", None)]


def test_titles_of_course_yml(tmp_path: Path) -> None:
    (tmp_path / "course.yml").write_text(COURSE)
    of_lab = found(extract.course, tmp_path / "course.yml", lab="lab3")
    assert [text for text, _ in of_lab] == ["A lab", "the first step", "A title of its own"]
    hidden = found(extract.course, tmp_path / "course.yml", lab="lab3", hidden="yes")
    assert [text for text, _ in hidden] == ["A hidden title"]


def test_causes(tmp_path: Path) -> None:
    (tmp_path / "causes.yml").write_text(CAUSES)
    texts = [text for text, _ in found(extract.causes, tmp_path / "causes.yml")]
    assert texts == ["Look at {it}.", "gentle", "folded text", "a hint only"]
    lines = extract_from_file(extract.causes, tmp_path / "causes.yml")
    assert [(line, comments) for line, _, comments, _ in lines] == [
        (3, ["far-jump-missing: next"]),
        (5, ["far-jump-missing: hint 1"]),
        (6, ["far-jump-missing: hint 2"]),
        (11, ["stack-shared: hint 1"]),
    ]

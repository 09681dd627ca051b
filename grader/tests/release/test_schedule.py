"""The page of a release with deadlines and how to hand in."""

from pathlib import Path

from vmmlab.author.release import schedule
from vmmlab.course.load import load_course

COURSE = """\
schema: 1
title: A course
until: lab1
labs:
  lab0: {title: Look around}
  lab1:
    title: Multiboot
    files: {lab1/vmm_main.c: [vmm_main]}
  lab3:
    title: The trampoline
    files: {lab3/ap_start.c: [ap_start]}
"""
DEADLINES = """\
deadlines:
  zone: Asia/Tokyo
  free_days: 3
  late: {per_day: 10, at_most: 50, days: 7, grace_minutes: 15}
  labs:
    lab1: {due: 2026-11-22}
    lab3: {due: "2026-12-06 12:00", late: {per_day: 20, of: maximum}}
"""


def made(folder: Path, text: str) -> dict[str, str]:
    (folder / "course.yml").write_text(text)
    return schedule.pages(load_course(folder))


def test_the_page_says_what_course_yml_says(tmp_path: Path) -> None:
    pages = made(tmp_path, COURSE + DEADLINES)
    assert list(pages) == ["SCHEDULE.md", "SCHEDULE.ja.md"]
    english = pages["SCHEDULE.md"].splitlines()
    assert english[2] == "| lab | what it is about | files to hand in | points | due |"
    assert english[5] == (
        "| [lab1](labs/lab1/README.md) | Multiboot | `lab1/vmm_main.c` | 0 | 2026-11-22 23:59 |"
    )
    assert english[6] == (
        "| lab3 | The trampoline | not open yet | 0 | 2026-12-06 12:00<br>Each late day that has "
        "begun costs 20 percent of the lab's points, at most 100 percent. |"
    )
    assert "- Times are those of Asia/Tokyo." in english
    assert (
        "- Each late day that has begun costs 10 percent of your points, at most 50 percent."
        in english
    )
    assert any("make handin LAB=3" in line for line in english)
    japanese = pages["SCHEDULE.ja.md"]
    assert "[lab1](labs/lab1/README.ja.md)" in japanese
    assert "2026-11-22 23:59" in japanese
    assert "late day" not in japanese


def test_without_deadlines_it_says_how_to_hand_in(tmp_path: Path) -> None:
    pages = made(tmp_path, COURSE.replace("title: A course", "title: A course\nlanguages: [en]"))
    assert list(pages) == ["SCHEDULE.md"]
    assert "| lab | what it is about | files to hand in | points |\n" in pages["SCHEDULE.md"]
    assert "Times are" not in pages["SCHEDULE.md"]
    assert "make handin LAB=3" in pages["SCHEDULE.md"]


def test_points_that_are_judged_later_count(tmp_path: Path) -> None:
    checks = """\
    points: 3
    steps: [{id: lab1.1, title: one, file: lab1/vmm_main.c, function: vmm_main}]
    checks:
      lab1.now.one: {points: 1, step: lab1.1}
      lab1.later.two: {points: 2, step: lab1.1, needs: lab3}
"""
    text = COURSE.replace("[vmm_main]}\n", "[vmm_main]}\n" + checks)
    page = made(tmp_path, text)["SCHEDULE.md"]
    assert "| [lab1](labs/lab1/README.md) | Multiboot | `lab1/vmm_main.c` | 3 |" in page

"""The tools in grader/bench: that they can be started, and what of them needs no boot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.mark.parametrize("tool", sorted(one.name for one in BENCH.glob("*.py")))
def test_it_starts(tool: str) -> None:
    asked = [sys.executable, str(BENCH / tool), "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout


def test_the_soak_grades_right_and_wrong_solutions_of_each_lab() -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import soak\n"
        "from vmmlab.course.load import load_course\n"
        "course = load_course(Path(sys.argv[2])); labs = soak.graded_labs(course)\n"
        "found = soak.solutions(course, labs)\n"
        "for lab in labs:\n"
        "    mine = [one for one in found if one.lab == lab]\n"
        "    kinds = [one.due if isinstance(one.due, str) else 'mutant' for one in mine]\n"
        "    print(lab, kinds.count('mutant'), 'all' in kinds, 'none' in kinds)\n"
        "print({one.lab for one in found[: len(labs)]} == set(labs))"
    )
    asked = [sys.executable, "-c", code, str(BENCH), str(BENCH.parents[1])]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    *labs, mixed = done.stdout.splitlines()
    assert mixed == "True"
    assert len(labs) >= 4
    assert {line.partition(" ")[2] for line in labs} == {"5 True True"}

"""The commands of docs/gradebook.md are run, in order, and print what the page shows.

Those of gradebook.ja.md as well, in Japanese.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vmmlab.course import markup
from vmmlab.course.load import load_course
from vmmlab.host.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[3]
ROSTER = """\
id,last_name,first_name,email,cohort
ada,Lovelace,Ada,ada@example.org,dev
ben,"Bitdiddle, Jr.",Ben,,
"""


def test_the_page_shows_this_roster() -> None:
    for name in ("gradebook.md", "gradebook.ja.md"):
        assert f"```text\n{ROSTER}```\n" in (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "locale"), [("gradebook.md", "C.UTF-8"), ("gradebook.ja.md", "ja_JP.UTF-8")]
)
def test_the_commands_of_the_page(
    name: str, locale: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "grader" / "tests" / "docs"))
    from book_pages import commands, missing_output

    if Sandbox.choose(require=False).kind == "none":
        pytest.skip("other people's code is not graded without a sandbox")
    course = load_course(ROOT)
    for student, steps in (("ada", None), ("ben", {"lab1.1"})):
        for file in course.lab("lab1").files:
            text = (ROOT / "reference" / file).read_text(encoding="utf-8")
            target = tmp_path / "class" / student / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if steps is not None:
                text = markup.starter_text(text, path=file, keep=frozenset(steps))
            target.write_text(text)
    (tmp_path / "students.csv").write_text(ROSTER)
    (tmp_path / "vmm-course").mkdir()
    (tmp_path / "vmm-course" / "nbgrader_config.py").write_text(
        'c = get_config()\nc.CourseDirectory.course_id = "vmm"\n'
    )
    for part in ("course.yml", "labs", "reference", "vmm-skeleton"):
        (tmp_path / part).symlink_to(ROOT / part)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    page = ROOT / "docs" / name
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LC_")}
    ran = 0
    for command in commands(page):
        if not command.run:
            continue
        done = subprocess.run(
            ["bash", "-c", command.text],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**clean, "PATH": path, "COLUMNS": "100", "LANG": locale},
            check=False,
        )
        where = f"{command.page}:{command.line}: {command.text}"
        assert done.returncode in (0, 1), f"{where}\n{done.stdout}{done.stderr}"
        absent = missing_output(command, done.stdout)
        assert absent is None, f"{where}\nno such line: {absent}\n{done.stdout}{done.stderr}"
        ran += 1
    assert ran >= 8

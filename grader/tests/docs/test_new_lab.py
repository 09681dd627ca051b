"""`vmmlab new-lab`: what it makes, what it leaves unchanged, what it refuses."""

import json
import re
import sys

import pytest
from book_pages import ROOT
from course_copies import copy_of_the_clone

from vmmlab.author import check_course, mutants, new_lab
from vmmlab.base.errors import CourseError, InfraError, UsageError
from vmmlab.cli.main import main
from vmmlab.course import materials
from vmmlab.course.load import load_course

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path):
    return copy_of_the_clone(tmp_path / "clone")


def everything(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_it_makes_a_lab_of_the_course(clone):
    before = everything(clone)
    made = new_lab.new_lab(load_course(clone), "lab11")
    after = everything(clone)
    assert set(after) - set(before) == set(made.files)
    assert {name for name in before if before[name] != after[name]} == {"course.yml"}
    course = load_course(clone)
    lab = course.labs["lab11"]
    assert list(course.labs)[-1] == "lab11"
    assert lab.points == 10
    assert [step.id for step in lab.steps] == ["lab11.1"]
    assert [one.check for one in mutants.load(course, ["lab11"])] == list(lab.checks)


def test_course_yml_keeps_every_byte(clone):
    before = (clone / "course.yml").read_text(encoding="utf-8")
    new_lab.new_lab(load_course(clone), "lab11")
    after = (clone / "course.yml").read_text(encoding="utf-8")
    assert after.startswith(before)
    assert before.count("#") == after.count("#") > 0


def test_no_placeholder_is_left(clone):
    made = new_lab.new_lab(load_course(clone), "lab12")
    old = (clone / "course.yml").read_text(encoding="utf-8")
    texts = [(clone / name).read_text(encoding="utf-8") for name in made.files]
    for text in [*texts, old[old.index("  lab12:") :]]:
        assert not re.search(r"labN|bspN|[Ll]ab N|LAB=N|課題 N", text)
    assert 'INITFUNC ("bsp12", lab12_start)' in (clone / "reference/lab12/start.c").read_text()


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("labs:\n  a: 1\n", "labs:\n  a: 1\nNEW\n"),
        ("labs:\n  a: 1", "labs:\n  a: 1\nNEW\n"),
        ("labs: # c\n  a: 1\n\n# end\nz: 1\n", "labs: # c\n  a: 1\nNEW\n\n# end\nz: 1\n"),
        ("labs:\n  a: 1\n# c\n  b: 1\n\n", "labs:\n  a: 1\n# c\n  b: 1\nNEW\n\n"),
    ],
)
def test_where_the_entry_goes(text, result):
    assert new_lab.with_entry(text, "NEW\n") == result


@pytest.mark.parametrize("text", ["labs: {a: 1}\n", "title: x\n", "labs:\n    a: 1\n"])
def test_another_layout_is_refused(text):
    with pytest.raises(CourseError, match=r"course\.yml"):
        new_lab.with_entry(text, "NEW\n", "lab11")


@pytest.mark.parametrize("name", ["lab", "lab09", "lab100", "9", "lab11/..", "LAB11", "lab0"])
def test_what_is_no_name_is_refused(clone, name):
    before = everything(clone)
    with pytest.raises(UsageError, match="cannot be a lab's name"):
        new_lab.new_lab(load_course(clone), name)
    assert everything(clone) == before


def test_a_lab_that_is_there_is_refused_and_a_free_name_offered(clone):
    with pytest.raises(UsageError, match="already has a lab3") as caught:
        new_lab.new_lab(load_course(clone), "lab3")
    free = next(f"lab{n}" for n in range(1, 99) if f"lab{n}" not in load_course(clone).labs)
    assert free in str(caught.value.next_step)


def test_a_file_that_is_in_the_way_is_left_alone(clone):
    (clone / "reference" / "lab11").mkdir()
    (clone / "reference" / "lab11" / "start.c").write_text("mine")
    before = everything(clone)
    with pytest.raises(UsageError, match=r"reference/lab11/start\.c already exists"):
        new_lab.new_lab(load_course(clone), "lab11")
    assert everything(clone) == before


def test_half_a_lab_is_never_left_behind(clone, monkeypatch):
    before = everything(clone)

    def full(path, text):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(new_lab, "write_atomically", full)
    with pytest.raises(InfraError, match="nothing was left behind") as caught:
        new_lab.new_lab(load_course(clone), "lab11")
    assert "No space left" in str(caught.value.found)
    assert everything(clone) == before
    assert not (clone / "labs" / "lab11").exists()


def test_it_is_refused_outside_of_a_clone(clone):
    for path in sorted((clone / "grader" / "mutants").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (clone / "grader" / "mutants").rmdir()
    with pytest.raises(UsageError, match="not a clone"):
        new_lab.new_lab(load_course(clone), "lab11")


def test_the_command(clone, capsys):
    assert main(["new-lab", "lab11", "--course", str(clone)]) == 0
    assert "created  labs/lab11/README.ja.md\n" in capsys.readouterr().out
    assert main(["new-lab", "lab11", "--course", str(clone)]) == 2
    assert "already has a lab11" in capsys.readouterr().err


def test_its_starter_stops_loudly_and_soon(clone, capsys):
    """The BSP stops while the APs wait at a barrier: the boot does not run into the time-out."""
    new_lab.new_lab(load_course(clone), "lab11")
    starter = materials.starter(load_course(clone), "lab11/start.c", "en")
    own = clone / "own"
    (own / "lab11").mkdir(parents=True)
    (own / "lab11" / "start.c").write_text(starter)
    words = ["lab11", "--submission", str(own), "--course", str(clone)]

    assert main(["run", *words, "--timeout", "120"]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("TODO(") == 1
    line = starter[: starter.index("vmm_todo (")].count("\n") + 1
    what = f"TODO(lab11.1) in lab11/start.c:{line}, lab11_start: write what the comment there says."
    assert what in printed.out.splitlines()
    assert "a CPU has stopped at a TODO, and the others wait for it" in printed.out + printed.err

    report = clone / "report.json"
    assert main(["grade", *words, "--no-sandbox", "--json", str(report)]) == 1
    (check,) = json.loads(report.read_text())["checks"]
    assert (check["outcome"], check["cause"]) == ("fail", "not-written-yet")
    assert f"lab11/start.c:{line}" in check["observed"]["text"]


def test_its_worksheet_can_be_answered(clone, monkeypatch):
    made = new_lab.new_lab(load_course(clone), "lab11").files
    assert {f"labs/lab11/worksheet{kind}.ipynb" for kind in ("", ".ja")} <= set(made)
    monkeypatch.setenv("VMMLAB_STUDENT", "ada")
    for kind in ("", ".ja"):
        sheet = json.loads((clone / f"labs/lab11/worksheet{kind}.ipynb").read_text("utf-8"))
        code = ["".join(c["source"]) for c in sheet["cells"] if c["cell_type"] == "code"]
        for answer, points in (("", 1), ("calls = table.others", 0)):
            names = {}
            for cell in code:
                exec(f"{cell}\n{answer}" if "BEGIN SOLUTION" in cell else cell, names)
            assert names["check"].points == points
    assert materials.worksheet(load_course(clone), "lab11", "ja").name == "worksheet.ja.ipynb"


def test_without_jupytext_it_makes_the_source_of_the_worksheet(clone, monkeypatch):
    monkeypatch.setitem(sys.modules, "jupytext", None)
    made = new_lab.new_lab(load_course(clone), "lab11").files
    assert "labs/lab11/worksheet.py" in made
    assert not [name for name in made if name.endswith(".ipynb")]


def test_its_templates_are_as_the_kit_wants_its_files():
    """ruff and clang-format complain about them no more than about existing labs."""
    folder = ROOT / "grader" / "vmmlab" / "author" / "new_lab_files"
    names = {path.name for path in folder.iterdir()}
    assert names == {*new_lab._PLACES, "course.yml.txt"}
    assert check_course.LEFT_OVER in (folder / "README.md.txt").read_text(encoding="utf-8")


def test_a_new_lab_speaks_japanese_from_the_start(clone, capsys):
    """With --lang ja, the author and the students of a new lab read no English."""
    words = ["--course", str(clone), "--lang", "ja"]
    assert main(["new-lab", "lab11", *words]) == 0
    made = capsys.readouterr().out
    assert "作成  labs/lab11/locale/ja.po\n" in made
    assert made.splitlines()[-1].startswith("次は vmmlab grade lab11 --submission reference")

    assert main(["grade", "lab11", "--submission", "reference", *words]) == 0
    assert (
        '合格  10/10  BSP が、グループ "lab11" の初期化関数を 1 回呼ぶ' in capsys.readouterr().out
    )
    starter = materials.starter(load_course(clone), "lab11/start.c", "ja")
    assert starter.startswith("/* lab11：この段階で扱うことを 1 行で。 */")
    assert 'TODO(lab11.1): グループ "lab11" の初期化関数を呼ぶ。' in starter
    assert "\n * すること：" in starter

    assert main(["check-course", *words]) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "直すところ：12 件"
    assert "docs/index.md：lab11 の行がない：課題の表に加える" in lines
    assert all(
        re.match(r"\S+?(:\d+)?：(まだ書いていない|lab11 の行がない)：", one) for one in lines
    )


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "course.yml",
            "lab11.group.called: {points: 10",
            "lab11.group.called: {points: 9",
            "labs > lab11 > points：配点の合計が合いません。期待は 10（ここに書いてある値）。"
            "実際は lab11 のチェックの合計は 9：課題の配点か、チェックの配点を変えてください",
        ),
        (
            "grader/mutants/lab11.yml",
            "region: lab11.1",
            "function: lab11_gone",
            "その部分はもうありません：lab11/start.c の関数 lab11_gone：直す",
        ),
        (
            "labs/lab11/causes.yml",
            "group-not-called:",
            "no-such:",
            "labs/lab11/causes.yml：原因 group-not-called のヒントがない"
            "（出どころは labs/lab11/test_lab11.py）：ヒントを並べて書く",
        ),
    ],
)
def test_what_is_forgotten_is_named_in_japanese(clone, capsys, file, old, new, said):
    new_lab.new_lab(load_course(clone), "lab11")
    path = clone / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    main(["check-course", "--course", str(clone), "--lang", "ja"])
    assert said in capsys.readouterr().out

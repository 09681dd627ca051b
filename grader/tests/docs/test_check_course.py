"""`vmmlab check-course`: each thing that a lab author can forget is named, with its file."""

import re
import shutil

import pytest
from book_pages import ROOT
from course_copies import copy_of_the_clone, finish

from vmmlab.author import catalogs, check_course, new_lab
from vmmlab.author.check_course import declared
from vmmlab.cli.main import main
from vmmlab.course.load import load_course
from vmmlab.i18n.catalog import po_file


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    """A copy of the clone with a lab 11 in which nothing is missing."""
    root = copy_of_the_clone(tmp_path_factory.mktemp("master") / "clone")
    new_lab.new_lab(load_course(root), "lab11")
    finish(root, "lab11")
    return root


@pytest.fixture
def clone(master, tmp_path):
    """A copy of that for one test."""
    return shutil.copytree(master, tmp_path / "clone", symlinks=True)


def of_lab11(root):
    return [str(one) for one in check_course.forgotten(root, ["lab11"]) if "lab11" in str(one)]


def test_nothing_is_forgotten_in_a_finished_lab(clone):
    assert of_lab11(clone) == []


def test_nothing_is_forgotten_in_this_course():
    assert [str(one) for one in check_course.forgotten(ROOT)] == []


@pytest.mark.slow
def test_a_course_in_english_needs_no_japanese(tmp_path):
    root = copy_of_the_clone(tmp_path / "clone")
    text = (root / "course.yml").read_text(encoding="utf-8")
    (root / "course.yml").write_text(
        text.replace("cohort: dev\n", "cohort: dev\nlanguages: [en]\n", 1), encoding="utf-8"
    )
    made = new_lab.new_lab(load_course(root), "lab11").files
    assert not [one for one in made if "ja" in one.replace("/", ".").split(".")]
    finish(root, "lab11", ("README.md",))
    for path in (*root.glob("labs/*/README.ja.md"), *root.glob("reference/*/contracts.ja.yml")):
        path.unlink()
    assert [str(one) for one in check_course.forgotten(root)] == []
    # and one that is in both needs it
    (root / "course.yml").write_text(text, encoding="utf-8")
    assert any("README.ja.md" in str(one) for one in check_course.forgotten(root))


def test_a_new_lab_still_has_its_handouts_to_be_written(tmp_path):
    root = copy_of_the_clone(tmp_path / "clone")
    new_lab.new_lab(load_course(root), "lab11")
    found = of_lab11(root)
    for name in ("README.md", "README.ja.md"):
        assert sum(f"labs/lab11/{name}:" in one and "still to be" in one for one in found) == 5
    assert "docs/index.md: no row for lab11: add it to the table of labs" in found
    assert len(found) == 12


def gone(file):
    def change(root):
        (root / file).unlink()

    return change


def edited(file, old, new):
    def change(root):
        text = (root / file).read_text(encoding="utf-8")
        assert old in text
        (root / file).write_text(text.replace(old, new), encoding="utf-8")

    return change


def broken(file):
    def change(root):
        (root / file).write_text("- a list\n", encoding="utf-8")

    return change


HANDOUT, JAPANESE = "labs/lab11/README.md", "labs/lab11/README.ja.md"
TESTS, HINTS = "labs/lab11/test_lab11.py", "labs/lab11/causes.yml"
MESSAGES, COMMENTS = "labs/lab11/locale/ja.po", "reference/lab11/contracts.ja.yml"
SOLUTION, MUTANTS = "reference/lab11/start.c", "grader/mutants/lab11.yml"

FORGOTTEN = {
    "no handout": (gone(HANDOUT), f"{HANDOUT}: the English handout is missing: write it"),
    "no Japanese handout": (gone(JAPANESE), f"{JAPANESE}: the Japanese handout is missing"),
    "a section in one language": (
        edited(JAPANESE, "## 手順", "手順"),
        f"{JAPANESE}: its headings differ from those of README.md",
    ),
    "no row for a check": (
        edited(HANDOUT, "| `lab11.group.called`", "| it"),
        f"{HANDOUT}: no row for the check lab11.group.called",
    ),
    "other points in the handout": (
        edited(JAPANESE, "`lab11.group.called` | 10", "`lab11.group.called` | 8"),
        "lab11.group.called has 8 points here, but 10 in course.yml",
    ),
    "a row for no check": (
        edited(HANDOUT, "|---|---|---|\n", "|---|---|---|\n| `lab11.group.gone` | 3 | x |\n"),
        "course.yml has no check lab11.group.gone",
    ),
    "a step with another text than in course.yml": (
        edited("course.yml", 'call the init functions of group "lab11"', "call them"),
        f"{HANDOUT}:26: the heading of lab11.1 differs from its title in course.yml. "
        "Expected call them.",
    ),
    "a step with another text than in the catalog": (
        edited(JAPANESE, '：グループ "lab11" の初期化関数を呼ぶ', "：呼ぶ"),
        f"{JAPANESE}:26: the heading of lab11.1 differs from its title in course.yml",
    ),
    "no heading for a step": (
        edited(HANDOUT, "### lab11.1:", "### Step 1:"),
        f"{HANDOUT}: no heading for the step lab11.1",
    ),
    "a heading for no step": (
        edited(HANDOUT, "### lab11.1:", "### lab11.2: more\n\n### lab11.1:"),
        f"{HANDOUT}:26: course.yml has no step lab11.2",
    ),
    "no tests": (gone(TESTS), f"{TESTS}: the tests are missing"),
    "tests that are not Python": (edited(TESTS, "def ", "fed "), f"{TESTS}:10: invalid Python"),
    "a check without a test": (
        edited("course.yml", "lab11.group.called:", "lab11.group.other:"),
        "no test defines lab11.group.other",
    ),
    "a test without points": (
        edited(TESTS, '@check("lab11.group.called"', '@check("lab11.group.new"'),
        "lab11.group.new is not in course.yml",
    ),
    "a check for i386 without a test": (
        edited(
            "course.yml",
            "    points: 10\n    checks:\n      lab11",
            "    points: 10\n    points_i386: 2\n    checks:\n"
            "      lab11.i386.x: {points: 2, step: lab11.1, arch: i386}\n      lab11",
        ),
        "no test defines lab11.i386.x",
    ),
    "points that do not add up": (
        edited("course.yml", "lab11.group.called: {points: 10", "lab11.group.called: {points: 9"),
        "the points do not add up",
    ),
    "a firmware that is not registered": (
        edited(
            "course.yml",
            "    points: 10\n    checks:\n      lab11",
            "    firmware: [qboot, coreboot]\n    points: 10\n    checks:\n      lab11",
        ),
        "lab11: there is no firmware 'coreboot'. Expected qboot or seabios",
    ),
    "a step that earns nothing": (
        edited(
            "course.yml",
            "    points: 10\n    checks:\n      lab11",
            "      - id: lab11.2\n        title: more\n        file: lab11/start.c\n"
            "        function: lab11_start\n    points: 10\n    checks:\n      lab11",
        ),
        "no check gives points for the step lab11.2",
    ),
    "a step without a region": (
        edited(SOLUTION, "lab11.1", "lab11.2"),
        f"{SOLUTION}: nothing is marked as the solution of lab11.1",
    ),
    "a region without a step": (
        edited(SOLUTION, "lab11.1", "lab11.2"),
        f"{SOLUTION}:16: course.yml has no step lab11.2",
    ),
    "broken markup": (edited(SOLUTION, "/* END SOLUTION */", ""), f"{SOLUTION}:16: the region of"),
    "no reference": (gone(SOLUTION), f"{SOLUTION}: the reference solution is missing"),
    "a function that is not there": (
        edited("course.yml", "[lab11_start]", "[lab11_start, lab11_more]"),
        f"{SOLUTION}: lab11_more is not defined in it",
    ),
    "no mutant": (gone(MUTANTS), f"{MUTANTS}: no mutant must be caught by lab11.group.called"),
    "a mutant that no longer fits": (
        edited(MUTANTS, "region: lab11.1", "function: lab11_gone"),
        "the part to replace no longer exists",
    ),
    "a mutant of no check": (
        edited(MUTANTS, "check: lab11.group.called", "check: lab11.no.such"),
        "lab11 has no check lab11.no.such",
    ),
    "no hint for a cause of a check": (
        edited(HINTS, "group-not-called:", "group-never-called:"),
        f"{HINTS}: no hints for the cause group-not-called (used by {TESTS})",
    ),
    "no hint for a cause of a mutant": (
        edited(MUTANTS, "cause: group-not-called", "cause: bsp-panic"),
        f"{HINTS}: no hints for the cause bsp-panic",
    ),
    "a new hint, not in Japanese": (
        edited(HINTS, "The group's name", "The name of the group"),
        f"{MESSAGES}: 'The name of the group stands in the contract above the",
    ),
    "no hints": (gone(HINTS), f"{HINTS}: no hints for the cause not-written-yet"),
    "hints that are no list": (
        edited(HINTS, 'written-yet:\n  hints:\n    - "', 'written-yet:\n  hints:\n    "'),
        "the hints must be a list",
    ),
    "a step's new title, not in Japanese": (
        edited("course.yml", 'title: call the init functions of group "lab11"', "title: do it"),
        f"{MESSAGES}: 'do it' is missing; it is in ",
    ),
    "a check's new title, not in Japanese": (
        edited(TESTS, '"""The BSP calls', '"""The boot processor calls'),
        f"{MESSAGES}: 'The boot processor calls the init functions",
    ),
    "what a check says, not in Japanese": (
        edited(TESTS, "no such call", "it was not called"),
        f"{MESSAGES}: 'it was not called' is missing; it is in ",
    ),
    "what a check says with values in it, not in Japanese": (
        edited(TESTS, "{count} calls, on", "{count} calls by"),
        f"{MESSAGES}: '{{count}} calls by CPU {{cpus}}' is missing; it is in ",
    ),
    "nothing in Japanese": (gone(MESSAGES), f"{MESSAGES}: 'no such call' is missing"),
    "a catalog that is none": (broken(MESSAGES), f"{MESSAGES}:1: "),
    "the starter's comments not in Japanese": (
        gone(COMMENTS),
        f"{COMMENTS}: the comments of lab11/start.c are not translated into Japanese",
    ),
    "a comment that has changed": (
        edited(SOLUTION, "Says what", "Tells what"),
        f"{COMMENTS}:9: lab11/start.c: the English comment has changed",
    ),
    "one more comment": (
        edited(SOLUTION, "void\nlab11_start", "/* one more */\nvoid\nlab11_start"),
        f"{COMMENTS}:4: lab11/start.c has a different number of comments. Expected 3. Found 2",
    ),
    "no row in the book": (
        edited("docs/index.ja.md", "labs/lab11/README", "x"),
        "docs/index.ja.md: no row for lab11",
    ),
}


@pytest.mark.parametrize("what", FORGOTTEN)
def test_what_is_forgotten_is_named(clone, what):
    change, said = FORGOTTEN[what]
    change(clone)
    found = of_lab11(clone)
    assert any(said in one for one in found), found
    for one in found:
        assert re.match(r"(course\.yml|(labs|reference|grader|docs)/\S+?)(:\d+)?: .+: .+", one)


@pytest.mark.slow
def test_a_lab_that_course_yml_does_not_know_is_named(clone):
    (clone / "labs" / "lab77").mkdir()
    (clone / "grader" / "mutants" / "lab78.yml").write_text("")
    found = [str(one) for one in check_course.forgotten(clone)]
    assert "labs/lab77: course.yml has no such lab: add it, or move this" in found
    assert any(one.startswith("grader/mutants/lab78.yml: ") for one in found)


def test_causes_are_found_where_they_are_named(tmp_path):
    file = tmp_path / "test_lab11.py"
    file.write_text(
        "def blame(boot, cause, **what): fail(cause, **what)\n"
        "def other(name): pass\n"
        "def test_a(boot):\n"
        "    cause = 'one-a' if boot else 'one-b'\n"
        "    blame(boot, 'two', cpu=1)\n"
        "    fail('three' if boot else 'four', observed='no cause')\n"
        "    blame(boot, cause='five')\n"
        "    missing('six', cpu=0)\n"
        "    expect('seven', 1, 2, what='CR3')\n"
        "    other('not-this')\n"
    )
    assert set(declared.named_causes(file)) == {
        *("one-a", "one-b", "two", "three", "four", "five", "six", "seven")
    }


def test_the_command(clone, capsys, monkeypatch):
    monkeypatch.chdir(clone)
    monkeypatch.setenv("VMMLAB_OWN", str(clone))
    edited(HINTS, "group-not-called:", "group-never-called:")(clone)
    assert main(["check-course"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"{HINTS}: no hints for the cause group-not-called") for line in out)
    assert re.fullmatch(r"\d+ problems", out[-1])


def test_the_command_for_one_lab(clone, capsys, monkeypatch):
    monkeypatch.chdir(clone)
    monkeypatch.setenv("VMMLAB_OWN", str(clone))
    gone(HINTS)(clone)
    assert main(["check-course", "lab0"]) == 0
    assert main(["check-course", "lab11"]) == 1
    capsys.readouterr()
    assert main(["check-course", "lab12"]) == 2
    assert "no lab called 'lab12'" in capsys.readouterr().err


def test_the_command_when_nothing_is_forgotten(clone, capsys, monkeypatch):
    monkeypatch.setattr(check_course, "forgotten", lambda root, labs: ())
    assert main(["check-course", "--course", str(clone)]) == 0
    assert capsys.readouterr().out == "nothing is missing\n"


# --- hidden checks -----------------------------------------------------------------------------


def with_hidden(root):
    """Give lab 11 the hidden check that the guide shows; return the lines of the guide."""
    page = (ROOT / "docs/lab-author.md").read_text(encoding="utf-8")
    shown = next(one for one in page.split("```") if "lab11.hidden.more" in one).removeprefix(
        "python\n"
    )
    (root / "labs/lab11/hidden").mkdir()
    (root / "labs/lab11/hidden/test_hidden.py").write_text(shown, encoding="utf-8")
    path = root / "course.yml"
    text = path.read_text(encoding="utf-8").rstrip("\n")
    before, lab11 = text.split("\n  lab11:")
    lab11 = re.sub(r"\n    points: .*", r"\g<0>\n    hidden_points: 2", lab11, count=1)
    hidden = "\n    hidden:\n      lab11.hidden.more: {points: 2, step: lab11.1}\n"
    path.write_text(f"{before}\n  lab11:{lab11}{hidden}", encoding="utf-8")
    sentences = root / "labs/lab11/contract.yml"
    text = sentences.read_text(encoding="utf-8")
    sentences.write_text(text.replace("group.called]", "group.called, lab11.hidden.more]"))
    _, place = catalogs.of_lab(root, "lab11")
    catalogs.update(place, "ja")
    catalog = po_file(place.folder, "ja")
    title = "CPU が 12 個でも、グループは BSP から 1 回呼ばれる"
    head, _, rest = catalog.read_text(encoding="utf-8").rpartition('msgstr ""')
    catalog.write_text(f'{head}msgstr "{title}"{rest}', encoding="utf-8")


def test_a_hidden_check_is_forgotten_in_course_yml_or_in_its_file(clone):
    with_hidden(clone)
    assert of_lab11(clone) == []
    path = clone / "labs/lab11/hidden/test_hidden.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("hidden.more", "hidden.less"), encoding="utf-8")
    found = of_lab11(clone)
    assert any("lab11.hidden.more: write it in labs/lab11/hidden/" in f for f in found)
    assert any("lab11.hidden.less is not in course.yml: give it" in f for f in found)
    assert len(found) == 2


def test_a_hidden_check_judges_a_sentence_of_the_contract_too(clone):
    with_hidden(clone)
    edited("labs/lab11/contract.yml", ", lab11.hidden.more]", "]")(clone)
    (found,) = of_lab11(clone)
    assert "lab11.hidden.more judges no sentence of the contract" in found


def test_the_hidden_check_of_the_guide_is_graded(clone, capsys):
    with_hidden(clone)
    words = ["grade", "lab11", "--course", str(clone), "--submission", "reference", "--hidden"]
    assert main(words) == 0
    assert "lab11  10/10 points  hidden checks 2/2" in capsys.readouterr().out

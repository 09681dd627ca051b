"""course.yml: how it is read, and that every mistake names its file, line and key."""

from importlib import metadata
from pathlib import Path

import pytest

from vmmlab import __version__
from vmmlab.base.errors import CourseError, UsageError
from vmmlab.course import find
from vmmlab.course.defined import check_defined
from vmmlab.course.find import find_course
from vmmlab.course.load import load_course
from vmmlab.course.model import Course

ROOT = Path(__file__).resolve().parents[3]

GOOD = """\
schema: 1
title: A course
labs:
  lab0:
    title: Look around
  lab3:
    title: The trampoline
    files:
      lab3/apinit.S: [cpuinit_start]
      lab3/ap_start.c: [ap_start, ap_start_addr]
    steps:
      - {id: lab3.1, title: the far jump, file: lab3/ap_start.c, function: ap_start}
      - {id: lab3.2, title: real mode, file: lab3/apinit.S, function: cpuinit_start}
    points: 10
    checks:
      lab3.ljmpw.target: {points: 6, step: lab3.1}
      lab3.ladder.real: {points: 4, step: lab3.2, title: in real mode}
      lab3.speed.boots: {points: 0}
"""


def read(tmp_path: Path, text: str) -> Course:
    (tmp_path / "course.yml").write_text(text, encoding="utf-8")
    return load_course(tmp_path)


def line_of(text: str, part: str) -> int:
    return next(n for n, line in enumerate(text.split("\n"), 1) if part in line)


def test_a_good_course(tmp_path: Path) -> None:
    got = read(tmp_path, GOOD)
    lab = got.lab("lab3")
    assert (got.title, got.cohort, list(got.labs)) == ("A course", "dev", ["lab0", "lab3"])
    assert lab.files == ("lab3/apinit.S", "lab3/ap_start.c")
    assert lab.symbols["lab3/ap_start.c"] == ("ap_start", "ap_start_addr")
    assert lab.step("lab3.2").function == "cpuinit_start"
    assert {name: c.points for name, c in lab.checks.items()} == {
        "lab3.ljmpw.target": 6,
        "lab3.ladder.real": 4,
        "lab3.speed.boots": 0,
    }
    assert (lab.points, lab.cpus, lab.firmware) == (10, (4,), ("qboot",))
    assert got.labs["lab0"].files == ()
    with pytest.raises(KeyError):
        lab.step("lab3.9")


def test_what_an_image_of_a_lab_has(tmp_path: Path) -> None:
    text = GOOD.replace("Look around\n", "Look around\n    links: lab3\n    given: [core/np.c]\n")
    got = read(tmp_path, text)
    assert (got.labs["lab0"].links, got.labs["lab0"].given) == ("lab3", ("core/np.c",))
    assert (got.labs["lab3"].links, got.labs["lab3"].given) == ("lab3", ())


def test_the_architectures_that_labs_are_built_for(tmp_path: Path) -> None:
    more = """\
  lab4:
    title: After it
  lab5:
    title: The last one
"""
    i386 = "      lab3.i386.jump: {points: 1, step: lab3.1, arch: i386}\n"
    text = GOOD.replace("    points: 10\n", "    points: 10\n    points_i386: 1\n    links: lab4\n")
    got = read(tmp_path, text + i386 + more)
    both = ("x86_64", "i386")
    assert {name: lab.built_for for name, lab in got.labs.items()} == {
        "lab0": both,
        "lab3": both,
        "lab4": both,
        "lab5": ("x86_64",),
    }


def test_a_course_cannot_be_changed(tmp_path: Path) -> None:
    got = read(tmp_path, GOOD)
    with pytest.raises(AttributeError):
        got.title = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        got.labs["lab9"] = got.labs["lab0"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("old", "new", "at", "words"),
    [
        (
            "    points: 10",
            "    links: lab0\n    points: 10",
            "links: lab0",
            ["neither this lab nor a later one", "one of lab3"],
        ),
        (
            "    points: 10",
            "    given: [include/np.h]\n    points: 10",
            "given:",
            ["not a valid given file", "core/NAME.c", "include/np.h"],
        ),
        (
            "    points: 10",
            "    given: [core/np.c, core/np.c]\n    points: 10",
            "given:",
            ["listed for two labs"],
        ),
        ("title: A course", "titel: A course", "titel", ["titel", "unknown key", "mean title?"]),
        ("    points: 10", "    poinst: 10", "poinst", ["labs > lab3 > poinst", "mean points?"]),
        (
            "{points: 6, step: lab3.1}",
            "{points: 6, stepp: lab3.1}",
            "stepp",
            ["labs > lab3 > checks > lab3.ljmpw.target > stepp", "mean step?"],
        ),
        (
            "function: cpuinit_start}",
            "function: cpuinit_start, hint: no}",
            "hint",
            ["labs > lab3 > steps > 1 > hint", "id, title, file, function"],
        ),
        ("title: A course\n", "", "schema", ["title", "missing"]),
        ("schema: 1", "schema: 2", "schema", ["schema", "expected: 1", "found:    2"]),
        ("points: 10", "points: 11", "points: 11", ["lab3 > points", "add up", "11", "10"]),
        ("points: 10", "points: '10'", "points: '10'", ["a whole number", "'10'"]),
        ("points: 10", "points: true", "points: true", ["a whole number", "True"]),
        ("{points: 6,", "{points: -6,", "-6", ["at least 0", "-6"]),
        ("{points: 6,", "{points: 2.5,", "2.5", ["a whole number", "2.5"]),
        ("{points: 6, step: lab3.1}", "{points: 6}", "points: 6", ["needs the step"]),
        ("step: lab3.1}", "step: lab3.7}", "lab3.7", ["no such step", "lab3.1, lab3.2", "lab3.7"]),
        ("id: lab3.2", "id: lab3.3", "id: lab3.3", ["in order", "lab3.2", "lab3.3"]),
        ("file: lab3/apinit.S", "file: lab3/apint.S", "apint.S", ["no such file", "apinit.S?"]),
        ("function: ap_start}", "function: ap_stat}", "ap_stat", ["contract", "mean ap_start?"]),
        ("lab3.ljmpw.target:", "lab3.ljmpw:", "lab3.ljmpw:", ["not a valid id of a check"]),
        ("lab3.ljmpw.target:", "lab2.ljmpw.target:", "lab2.", ["not a valid id of a check"]),
        ("  lab3:", "  stage3:", "stage3", ["not a valid name of a lab"]),
        ("lab3/ap_start.c: [", "../ap_start.c: [", "../", ["not a valid file of this lab"]),
        ("lab3/ap_start.c: [", "lab3/../../etc/x.c: [", "etc", ["not a valid file of this lab"]),
        ("lab3/ap_start.c: [", "lab3/conftest.py: [", "conftest", ["not a valid file of this lab"]),
        ("[cpuinit_start]", "[]", "apinit.S: []", ["no name to define"]),
        ("[cpuinit_start]", "[2fast, cpuinit_start]", "2fast", ["not a valid C name", "2fast"]),
        ("[cpuinit_start]", "[cpuinit_start, ap_start]", "ap_start.c: [", ["two files"]),
        ("title: A course", "title: A course\ncohort: 'a b'", "cohort", ["letters", "'a b'"]),
        ("title: A course", "title: A course\ncohort: 7", "cohort", ["in quotes", "7"]),
        ("title: A course", "title: A course\ncohort: 2026-10-01", "cohort", ["text, in quotes"]),
        ("title: A course", "title: A course\ncohort: true", "cohort", ["text, in quotes"]),
        ("    points: 10", "    points: 10\n    cpus: [0]", "cpus", ["at least 1", "0"]),
        ("    points: 10", "    points: 10\n    cpus: []", "cpus", ["at least one"]),
        ("    points: 10", "    points: 10\n    firmware: [7]", "firmware", ["text", "7"]),
        ("    title: Look around", "    title:", "    title:", ["lab0 > title", "text", "nothing"]),
        ("  lab0:\n    title: Look around", "  lab0: 7", "lab0: 7", ["keys and values", "7"]),
    ],
)
def test_a_mistake_names_file_line_and_key(
    tmp_path: Path, old: str, new: str, at: str, words: list[str]
) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    with pytest.raises(CourseError) as caught:
        read(tmp_path, text)
    said = str(caught.value)
    assert f"course.yml:{line_of(text, at)}: " in said
    for word in words:
        assert word in said


def test_the_lines_of_further_mistakes_are_named(tmp_path: Path) -> None:
    text = GOOD.replace("title: A course\n", "").replace("points: 10", "poinst: 10")
    with pytest.raises(CourseError) as caught:
        read(tmp_path, text)
    assert "course.yml:1: title: this key is missing" in str(caught.value)
    assert f"look at line {line_of(text, 'poinst')}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("schema: 1\ntitle: [a\nlabs: {}\n", 3, ["fix the YAML"]),
        ("schema: 1\n\ttitle: a\n", 2, ["fix the YAML"]),
        ("schema: 1\ntitle: a\ntitle: b\n", 3, ["duplicate key", "keep one"]),
        ("", 1, ["not a course", "nothing"]),
        ("- a\n- b\n", 1, ["not a course", "a list"]),
        ("schema: 1\ntitle: a\nlabs: {}\n", 3, ["labs", "at least one entry"]),
    ],
)
def test_what_is_not_a_course_at_all(
    tmp_path: Path, text: str, line: int, words: list[str]
) -> None:
    with pytest.raises(CourseError) as caught:
        read(tmp_path, text)
    said = str(caught.value)
    assert f"course.yml:{line}: " in said
    for word in words:
        assert word in said


def test_a_course_may_name_the_versions_that_grade_it(tmp_path: Path) -> None:
    of_ours = f'title: A course\nvmmlab: ">={__version__}"'
    assert read(tmp_path, GOOD.replace("title: A course", of_ours, 1)).labs
    of_others = 'title: A course\nvmmlab: ">=99"\na_key_of_99: 1'
    with pytest.raises(CourseError) as caught:
        read(tmp_path, GOOD.replace("title: A course", of_others, 1))
    said = str(caught.value)
    for word in ("course.yml:3: ", "another version", ">=99", f"found:    {__version__}"):
        assert word in said
    with pytest.raises(CourseError, match="names no versions"):
        read(tmp_path, GOOD.replace("title: A course", "title: A course\nvmmlab: new", 1))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="no such file"):
        load_course(tmp_path)
    (tmp_path / "course.yml").write_bytes(b"schema: 1\ntitle: \xff\n")
    with pytest.raises(CourseError, match=r"course\.yml:2: this is not UTF-8"):
        load_course(tmp_path)
    (tmp_path / "course.yml").unlink()
    (tmp_path / "course.yml").mkdir()
    with pytest.raises(CourseError, match="cannot be read"):
        load_course(tmp_path)


def test_an_unknown_lab_names_the_nearest(tmp_path: Path) -> None:
    got = read(tmp_path, GOOD)
    with pytest.raises(UsageError, match="did you mean lab3"):
        got.lab("lab33")


def test_checks_and_course_must_agree(tmp_path: Path) -> None:
    lab = read(tmp_path, GOOD).lab("lab3")
    ids = list(lab.checks)
    check_defined(lab, ids)
    with pytest.raises(CourseError) as caught:
        check_defined(lab, ["lab3.ljmpw.targets", *ids[1:]])
    assert f"course.yml:{line_of(GOOD, 'lab3.ljmpw.target')}: " in str(caught.value)
    assert 'most similar one there is @check("lab3.ljmpw.targets")' in str(caught.value)
    where = {name: f"labs/lab3/test_lab3.py:{n}" for n, name in enumerate([*ids, "lab3.new.one"])}
    with pytest.raises(CourseError) as caught:
        check_defined(lab, where)
    assert str(caught.value).startswith("labs/lab3/test_lab3.py:3: the check lab3.new.one is not")
    assert f"course.yml:{line_of(GOOD, '  lab3:')}: " in str(caught.value)


def with_i386(points: int) -> str:
    return GOOD.replace("    points: 10\n", f"    points: 10\n    points_i386: {points}\n") + (
        "      lab3.i386.paging: {points: 5, step: lab3.2, arch: i386}\n"
    )


def test_checks_for_another_architecture_have_a_sum_of_their_own(tmp_path: Path) -> None:
    got = read(tmp_path, with_i386(5))
    lab = got.lab("lab3")
    assert lab.arches == ("x86_64", "i386")
    assert "lab3.i386.paging" not in lab.checks
    assert list(lab.checks_of("i386")) == ["lab3.i386.paging"]
    assert (lab.points, lab.points_of("x86_64"), lab.points_of("i386")) == (10, 10, 5)
    check_defined(lab, [*lab.checks, "lab3.i386.paging"])
    with pytest.raises(CourseError, match="no test defines this check"):
        check_defined(lab, list(lab.checks))


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (with_i386(4), "points_i386", "the checks of lab3 for i386 add up to 5"),
        (with_i386(5).replace("points: 10", "points: 15"), "points: 15", "add up to 10"),
        (with_i386(5).replace("arch: i386", "arch: arm"), "arch: arm", "'i386'"),
        (with_i386(5).replace("arch: i386", "arhc: i386"), "arhc", "did you mean arch?"),
        (with_i386(5).replace("points_i386: 5", "point_i386: 5"), "point_i386", "points_i386"),
    ],
)
def test_a_mistake_about_architectures(tmp_path: Path, text: str, line: str, said: str) -> None:
    with pytest.raises(CourseError) as caught:
        read(tmp_path, text)
    assert f"course.yml:{line_of(text, line)}: " in str(caught.value)
    assert said in str(caught.value)


def test_which_labs_are_graded_for_an_architecture(tmp_path: Path) -> None:
    got = read(tmp_path, with_i386(5))
    assert got.graded_for("lab3", "i386").name == "lab3"
    assert got.graded_for("lab0", "x86_64").name == "lab0"
    with pytest.raises(UsageError, match=r"lab0 is not graded for i386") as caught:
        got.graded_for("lab0", "i386")
    assert "one of lab3: they have checks for i386" in str(caught.value)
    with pytest.raises(UsageError, match="no architecture 'i368'") as caught:
        got.graded_for("lab3", "i368")
    assert "did you mean i386?" in str(caught.value)


def test_finding_the_course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMMLAB_OWN", str(tmp_path / "kit"))
    kit = tmp_path / "kit"
    deep = kit / "labs" / "lab3"
    deep.mkdir(parents=True)
    (kit / "course.yml").write_text(GOOD)
    assert find_course(deep) == kit
    assert find_course(tmp_path, explicit=kit) == kit
    assert find_course(tmp_path, explicit=kit / "course.yml") == kit
    with pytest.raises(UsageError, match="is not a course"):
        find_course(deep, explicit=tmp_path)


def test_a_course_yml_of_somebody_else_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMMLAB_OWN", str(tmp_path / "kit"))
    inner = tmp_path / "kit" / "elsewhere"
    inner.mkdir(parents=True)
    (tmp_path / "kit" / "labs").mkdir()
    (tmp_path / "kit" / "course.yml").write_text(GOOD)
    (inner / "course.yml").write_text("not: ours\n")
    assert find_course(inner) == tmp_path / "kit"


def test_without_any_the_kit_of_the_package_is_used(tmp_path: Path) -> None:
    assert find_course(tmp_path) == ROOT


@pytest.mark.parametrize(
    ("note", "used"),
    [
        ('{"url": "file://KIT", "dir_info": {}}', True),  # pip install DIR
        ('{"url": "file://KIT/vmmlab.whl", "archive_info": {}}', False),
        ('{"url": "https://example.org/KIT", "dir_info": {}}', False),
        ("{", False),
        (None, False),
    ],
)
def test_the_folder_that_pip_installed_from_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: str | None, used: bool
) -> None:
    """The package itself is copied; the course beside it is not."""
    kit, site = tmp_path / "a release", tmp_path / "site-packages"
    (kit / "labs").mkdir(parents=True)
    (kit / "course.yml").write_text(GOOD)
    told = note and note.replace("KIT", str(kit).replace(" ", "%20"))

    class Installed:
        def read_text(self, name: str) -> str | None:
            return told if name == "direct_url.json" else None

        def locate_file(self, name: str) -> Path:
            return site / name

    monkeypatch.setattr(metadata, "distribution", lambda name: Installed())
    monkeypatch.setattr(find, "_INSTALLED", ())
    find._installed_from.cache_clear()
    monkeypatch.setattr(find, "_PACKAGE", site / "vmmlab")
    for start in (tmp_path, kit):
        if used:
            assert find_course(start) == kit
        else:
            with pytest.raises(UsageError, match="no course was found"):
                find_course(start)
    find._installed_from.cache_clear()
    monkeypatch.setattr(find, "_PACKAGE", tmp_path / "elsewhere")  # another vmmlab is running
    with pytest.raises(UsageError, match="no course was found"):
        find_course(tmp_path)
    find._installed_from.cache_clear()


def test_the_kits_own_course() -> None:
    got = load_course(ROOT)
    assert list(got.labs) == [f"lab{number}" for number in range(len(got.labs))]
    assert len(got.labs) > 5
    assert got.labs["lab0"].points == 0
    for lab in got.labs.values():
        assert {s.file for s in lab.steps} == set(lab.files), "each file is written in some step"
        for arch in lab.arches:
            worth = {c.step for c in lab.checks_of(arch).values() if c.points}
            assert worth == {s.id for s in lab.steps}, "each step is worth something"
    i386 = {name: points for name, lab in got.labs.items() if (points := lab.points_of("i386"))}
    assert i386 == {"lab2": 10, "lab3": 20}
    early = {"lab0", "lab1", "lab2", "lab3", "lab4"}
    assert {name for name, lab in got.labs.items() if lab.links == "lab4"} == early
    assert {name for name, lab in got.labs.items() if "i386" in lab.built_for} == early


LATER = GOOD.replace(
    "lab3.ladder.real: {points: 4,", "lab3.ladder.real: {points: 4, needs: lab4,"
).rstrip("\n")
LATER += "\n  lab4:\n    title: The handshake\n"


def test_a_check_that_needs_a_later_lab_is_judged_later_while_that_is_held_back(
    tmp_path: Path,
) -> None:
    whole = read(tmp_path, LATER)
    assert (whole.held_back, whole.lab("lab3").points, whole.lab("lab3").later) == ((), 10, {})
    until = read(tmp_path, LATER.replace("labs:", "until: lab3\nlabs:", 1))
    lab = until.lab("lab3")
    assert until.held_back == ("lab4",)
    assert list(lab.later_of("x86_64")) == ["lab3.ladder.real"]
    assert lab.points == lab.points_of("x86_64") == 6
    assert "lab3.ladder.real" not in lab.all_checks
    check_defined(lab, ["lab3.ljmpw.target", "lab3.ladder.real", "lab3.speed.boots"])
    with pytest.raises(UsageError, match="lab4 is not open yet"):
        until.lab("lab4")


@pytest.mark.parametrize("name", ["lab0", "lab3", "lab9"])
def test_a_check_needs_a_later_lab_only(tmp_path: Path, name: str) -> None:
    text = LATER.replace("needs: lab4", f"needs: {name}")
    with pytest.raises(CourseError, match="this is not a later lab") as caught:
        read(tmp_path, text)
    assert f":{line_of(text, 'needs')}:" in str(caught.value)


def test_a_course_ends_with_one_of_its_labs(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="until: this course has no such lab"):
        read(tmp_path, LATER.replace("labs:", "until: lab7\nlabs:", 1))

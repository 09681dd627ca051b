"""Mistakes of a lab author: each one a CourseError that names the place, none a lost point."""

from __future__ import annotations

import pytest
from vmmlab.checks.model import CheckFailed, CheckMistake

from vmmlab.base.errors import CourseError
from vmmlab.checks import Failure, Scenario, check, fail, fail_if, scenario

ONE = """
    @check("lab3.a.one", S)
    def test_one(boot):
        '''One.'''
"""

MISTAKES = {
    "the same id twice": (
        ONE + "\n    @check('lab3.a.one', S)\n    def test_b(boot):\n        '''B.'''\n",
        "test_lab3.py:8: lab3.a.one is declared twice",
    ),
    "the same function name twice": (
        ONE + "\n    @check('lab3.a.two', S)\n    def test_one(boot):\n        '''B.'''\n",
        "test_lab3.py:8: a second function called test_one",
    ),
    "no docstring": (
        "@check('lab3.a.one', S)\ndef test_one(boot): pass\n",
        "test_lab3.py:3: lab3.a.one: test_one has no docstring",
    ),
    "an empty docstring": (
        "@check('lab3.a.one', S)\ndef test_one(boot):\n    ''' '''\n",
        "has no docstring",
    ),
    "an unknown need": (
        "@check('lab3.a.one', S, needs=['lab3.a.two'])\ndef test_one(boot):\n    '''A.'''\n",
        "lab3.a.one needs lab3.a.two, which no test declares",
    ),
    "a need that comes later": (
        "@check('lab3.a.one', S, needs=['lab3.a.two'])\ndef test_one(boot):\n    '''A.'''\n"
        "@check('lab3.a.two', S)\ndef test_two(boot):\n    '''B.'''\n",
        "which comes later",
    ),
    "a need of itself": (
        "@check('lab3.a.one', S, needs=['lab3.a.one'])\ndef test_one(boot):\n    '''A.'''\n",
        "needs itself",
    ),
    "needs as a string": (
        "@check('lab3.a.one', S, needs='lab3.a.two')\ndef test_one(boot):\n    '''A.'''\n",
        "needs is not a list",
    ),
    "a bad id": (
        "@check('lab3.one', S)\ndef test_one(boot):\n    '''A.'''\n",
        "'lab3.one' cannot be a check's id",
    ),
    "an id of another lab": (
        "@check('lab4.a.one', S)\ndef test_one(boot):\n    '''A.'''\n",
        "lab4.a.one is not a check of lab3",
    ),
    "no scenario": (
        "@check('lab3.a.one')\ndef test_one(boot):\n    '''A.'''\n",
        "no scenario",
    ),
    "no boot": (
        "@check('lab3.a.one', S)\ndef test_one():\n    '''A.'''\n",
        "looks at no boot",
    ),
    "boot for two scenarios": (
        "@check('lab3.a.one', S, scenario('x'))\ndef test_one(boot):\n    '''A.'''\n",
        "there are 2 scenarios",
    ),
    "two scenarios of one name": (
        ONE + "\n    @check('lab3.a.two', scenario('ladder', cpus=2))\n    def test_two(boot):\n"
        "        '''B.'''\n",
        "two different scenarios are called ladder",
    ),
    "a name that pytest ignores": (
        "@check('lab3.a.one', S)\ndef far_jump(boot):\n    '''A.'''\n",
        "pytest would never call far_jump",
    ),
    "a method": (
        "class TestX:\n    @check('lab3.a.one', S)\n    def test_one(boot):\n        '''A.'''\n",
        "at the top of the file",
    ),
    "a test without @check": (
        ONE + "\n    def test_two():\n        pass\n",
        "test_two is not a check",
    ),
    "a scenario that can change": ("X = scenario('x', cpus=[1])\n", "parameter cpus of scenario x"),
    "a bad scenario name": ("X = scenario('Big One')\n", "cannot be a scenario's name"),
    "a syntax error": ("def test_one(:\n", "test_lab3.py:3: this test file cannot be loaded"),
    "a name error": ("\nX = Y\n", "test_lab3.py:4: this test file cannot be loaded"),
    "a missing module": ("import no_such_thing\n", "No module named 'no_such_thing'"),
    "an import that skips": ("import pytest\npytest.importorskip('nothing')\n", "cannot be loaded"),
    "an exit": ("raise SystemExit(0)\n", "cannot be loaded"),
    "a parameter that is not there": (
        "import pytest\n@check('lab3.a.one', S)\n@pytest.mark.parametrize('n', [1])\n"
        "def test_one(boot):\n    '''A.'''\n",
        "function uses no argument 'n'",
    ),
    "a check without points": (ONE, "not in course.yml", {}),
    "points without a check": (
        ONE,
        "no test defines this check",
        {"lab3.a.one": 1, "lab3.a.gone": 2},
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(kit, name, capfd):
    body, message, *points = MISTAKES[name]
    kit.write(body, points[0] if points else {"lab3.a.one": 1})
    with pytest.raises(CourseError) as caught:
        kit.grade()
    assert message in str(caught.value)
    assert kit.runner.observed == []
    assert kit.runner.closed == 1
    assert capfd.readouterr() == ("", "")


def test_a_fixture_that_does_not_exist_is_the_authors_mistake(kit):
    kit.write(
        "@check('lab3.a.one', S)\ndef test_one(boot, nothing):\n    '''A.'''\n", {"lab3.a.one": 1}
    )
    (one,) = kit.grade().checks
    assert one.outcome == "infra-error"
    assert "nothing" in one.infra


def test_a_check_that_ends_the_run(kit):
    kit.write(
        "import pytest\n@check('lab3.a.one', S)\ndef test_one(boot):\n    '''A.'''\n"
        "    pytest.exit('enough', returncode=0)\n",
        {"lab3.a.one": 1},
    )
    with pytest.raises(CourseError, match="ended the whole run"):
        kit.grade()


def test_a_lab_without_a_test_file(kit):
    kit.write(ONE, {"lab3.a.one": 1})
    (kit.tests / "test_lab3.py").unlink()
    with pytest.raises(CourseError, match="lab3 has no checks"):
        kit.grade()


def test_title_of_course_yml_wins(kit):
    kit.write(ONE, {"lab3.a.one": 1})
    path = kit.root / "course.yml"
    path.write_text(path.read_text().replace("{points: 1,", "{points: 1, title: Better,"))
    assert str(kit.grade().checks[0].title) == "Better"


HINTS_WRONG = {
    "- a list\n": "these are not hints",
    "far-jump: one text\n": "no list of hints",
    "far-jump: []\n": "no list of hints",
    "far-jump:\n  - good\n  - 12\n": "causes.yml:3: far-jump: hint 2 is not text",
    "far-jump:\n  - good\n  -\n": "hint 2 is not text",
    "far-jump:\n  - key: value\n": "hint 1 is not text",
    "12:\n  - x\n": "a cause is text",
    "far-jump: [\n": "causes.yml:2",
    "a:\n  - x\na:\n  - y\n": "duplicate key",
}


@pytest.mark.parametrize("text", HINTS_WRONG)
def test_hints_that_cannot_be_read(kit, text):
    kit.write(ONE, {"lab3.a.one": 1})
    (kit.tests / "causes.yml").write_text(text)
    with pytest.raises(CourseError) as caught:
        kit.grade()
    assert HINTS_WRONG[text] in str(caught.value)
    assert kit.runner.closed == 1


def test_hints_that_are_not_text(kit):
    kit.write(ONE, {"lab3.a.one": 1})
    (kit.tests / "causes.yml").write_bytes(b"a:\n  - \xff\n")
    with pytest.raises(CourseError, match="not UTF-8"):
        kit.grade()


@pytest.mark.parametrize(
    ("text", "hints"),
    [
        ("wrong:\n  - first\n  - second\n", ("first",)),
        ("wrong:\n  - >\n    folded\n    text\n  - second\n", ("folded text",)),
        ("other:\n  - first\n", ()),
        ("", ()),
    ],
)
def test_the_first_rung_is_given(kit, text, hints):
    kit.write(
        "@check('lab3.a.one', S)\ndef test_one(boot):\n    '''A.'''\n    fail('wrong')\n",
        {"lab3.a.one": 1},
    )
    (kit.tests / "causes.yml").write_text(text)
    assert tuple(map(str, kit.grade().checks[0].hints)) == hints


def test_scenarios_are_values():
    one = scenario("late", probe="late-ap", cpus=4)
    assert one == scenario("late", cpus=4, probe="late-ap")
    assert hash(one) == hash(scenario("late", cpus=4, probe="late-ap"))
    assert one != scenario("late", cpus=2, probe="late-ap")
    assert (one.name, one.cpus, one.probe) == ("late", 4, "late-ap")
    assert one.get("firmware", "qboot") == "qboot"
    assert str(one) == "late(cpus=4, probe=late-ap)"
    with pytest.raises(AttributeError, match="no parameter 'firmware'"):
        _ = one.firmware
    with pytest.raises(AttributeError):
        one.name = "other"  # type: ignore[misc]


def test_scenarios_can_be_copied_and_pickled():
    import copy
    import pickle

    one = scenario("late", cpus=4)
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one)) == one
    assert Scenario("late", (("cpus", 4),)) == one


@pytest.mark.parametrize("key", ["name", "params", "get"])
def test_parameters_that_would_hide_something(key):
    with pytest.raises(CourseError, match=f"parameter called {key}"):
        scenario("x", **{key: 1})


def test_fail_carries_its_arguments():
    with pytest.raises(CheckFailed, match="CPU 2, physical 0: nothing there") as caught:
        fail("far-jump-missing", cpu=2, place="physical 0", observed="nothing\nthere")
    assert caught.value.failure.cause == "far-jump-missing"
    assert not caught.value.failure.timeout


def test_fail_if_reports_what_a_diagnosis_has_found():
    found = Failure("bsp-panic", 0, "vmm_main+0x5", "it goes on", "it panicked", "read it")
    with pytest.raises(CheckFailed) as caught:
        fail_if(found)
    assert caught.value.failure == Failure(
        "bsp-panic", 0, "vmm_main+0x5", "it goes on", "it panicked", "read it"
    )
    with pytest.raises(CheckFailed) as caught:
        fail_if(found, expected="4 CPUs park")
    assert caught.value.failure.expected == "4 CPUs park"
    assert caught.value.failure.observed == "it panicked"


def test_fail_if_does_nothing_when_nothing_was_found():
    fail_if(None)
    fail_if(None, expected="4 CPUs park")


@pytest.mark.parametrize("cause", ["", "Has Spaces", "UPPER", "trailing-", 12, None])
def test_a_cause_is_an_identifier(cause):
    with pytest.raises(CheckMistake):
        fail(cause)


def test_check_returns_the_function_itself():
    def test_x(boot):
        """X."""

    test_x.__qualname__ = "test_x"
    assert check("lab3.a.x", scenario("s"))(test_x) is test_x
    del globals()["__vmmlab_checks__"]

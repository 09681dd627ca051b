"""Mistakes of a lab author: each one a CourseError that names the place, none a lost point."""

from __future__ import annotations

import textwrap

import pytest

from vmmlab.base.errors import CourseError
from vmmlab.checks import Failure, check, fail, fail_if
from vmmlab.checks.failing import CheckFailed, CheckMistake
from vmmlab.machine import firmware
from vmmlab.probes import parking

ONE = """
    @check("lab3.a.one", S)
    def one(boot):
        '''One.'''
"""

MISTAKES = {
    "the same id twice": (
        ONE + "\n    @check('lab3.a.one', S)\n    def b(boot):\n        '''B.'''\n",
        "test_lab3.py:9: lab3.a.one is declared twice",
    ),
    "the same function name twice": (
        ONE + "\n    @check('lab3.a.two', S)\n    def one(boot):\n        '''B.'''\n",
        "test_lab3.py:9: a second function called one",
    ),
    "no docstring": (
        "@check('lab3.a.one', S)\ndef one(boot): pass\n",
        "test_lab3.py:4: lab3.a.one: one has no docstring",
    ),
    "an empty docstring": (
        "@check('lab3.a.one', S)\ndef one(boot):\n    ''' '''\n",
        "has no docstring",
    ),
    "an unknown need": (
        "@check('lab3.a.one', S, after='lab3.a.two')\ndef one(boot):\n    '''A.'''\n",
        "lab3.a.one is after lab3.a.two, which no test declares",
    ),
    "a need that comes later": (
        "@check('lab3.a.one', S, after='lab3.a.two')\ndef one(boot):\n    '''A.'''\n"
        "@check('lab3.a.two', S)\ndef two(boot):\n    '''B.'''\n",
        "which comes later",
    ),
    "a need of itself": (
        "@check('lab3.a.one', S, after='lab3.a.one')\ndef one(boot):\n    '''A.'''\n",
        "is after itself",
    ),
    "a need that is no text": (
        "@check('lab3.a.one', S, after=['lab3.a.two', 3])\ndef one(boot):\n    '''A.'''\n",
        "after must be a list of ids",
    ),
    "a bad id": (
        "@check('lab3.one', S)\ndef one(boot):\n    '''A.'''\n",
        "'lab3.one' is not a valid id of a check",
    ),
    "an id of another lab": (
        "@check('lab4.a.one', S)\ndef one(boot):\n    '''A.'''\n",
        "lab4.a.one is not a check of lab3",
    ),
    "no scenario": (
        "@check('lab3.a.one')\ndef one(boot):\n    '''A.'''\n",
        "needs a scenario",
    ),
    "no boot": (
        "@check('lab3.a.one', S)\ndef one():\n    '''A.'''\n",
        "one must take the boot as its first parameter",
    ),
    "boot for two scenarios": (
        "@check('lab3.a.one', S, parking(name='x'))\ndef one(boot):\n    '''A.'''\n",
        "there are 2 scenarios",
    ),
    "two scenarios of one name": (
        ONE + "\n    @check('lab3.a.two', parking(name='ladder', cpus=2))\n    def two(boot):\n"
        "        '''B.'''\n",
        "two different scenarios are called ladder",
    ),
    "one function twice for one architecture": (
        "@check('lab3.a.one', S)\n@check('lab3.a.two', S)\ndef one(boot):\n    '''A.'''\n",
        "lab3.a.one and lab3.a.two are the same function for the same architecture",
    ),
    "cases that there are none of": (
        "@check('lab3.a.one', S, per='aps')\ndef one(boot, ap):\n    '''A.'''\n",
        "per='aps' gives no cases",
    ),
    "a CPU that nothing asks for": (
        "@check('lab3.a.one', S)\ndef one(boot, ap):\n    '''A.'''\n",
        "test_lab3.py:4: lab3.a.one: one takes ap, which no scenario or per= gives",
    ),
    "a CPU that is not taken": (
        "@check('lab3.a.one', S, per='ap')\ndef one(boot):\n    '''A.'''\n",
        "one does not take the subject that per='ap' gives",
    ),
    "a boot for each case and a CPU": (
        "@check('lab3.a.one', S, per='boot')\ndef one(boot, ap):\n    '''A.'''\n",
        "one takes ap, which no scenario or per= gives",
    ),
    "a fixture": (
        "@check('lab3.a.one', S)\ndef test_one(boot, tmp_path):\n    '''A.'''\n",
        "test_lab3.py:4: lab3.a.one: test_one takes tmp_path, which no scenario or per= gives.\n"
        "  expected: def test_one(boot):\n",
    ),
    "a fixture beside a CPU": (
        "@check('lab3.a.one', S, per='ap')\ndef one(boot, ap, capsys):\n    '''A.'''\n",
        "one takes capsys, which no scenario or per= gives",
    ),
    "an argument by name": (
        "@check('lab3.a.one', S, per='ap')\ndef one(boot, *, ap):\n    '''A.'''\n",
        "one takes ap, which no scenario or per= gives",
    ),
    "a fixture before the boot": (
        "@check('lab3.a.one', S, per='ap')\ndef one(tmp_path, boot):\n    '''A.'''\n",
        "one must take the boot as its first parameter",
    ),
    "boots for one boot at a time": (
        "@check('lab3.a.one', S, per='boot')\ndef one(boots):\n    '''A.'''\n",
        'per="boot" passes one boot at a time',
    ),
    "parameters of pytest": (
        "import pytest\n@pytest.mark.parametrize('n', [1, 2])\n@check('lab3.a.one', S)\n"
        "def test_one(boot):\n    '''A.'''\n",
        "test_lab3.py: test_one has a pytest mark",
    ),
    "a mark of pytest for all": (
        "import pytest\npytestmark = pytest.mark.skip\n" + textwrap.dedent(ONE),
        "test_lab3.py: pytestmark marks every check",
    ),
    "a fixture of its own": (
        "import pytest\n@pytest.fixture(autouse=True)\ndef late():\n    yield\n"
        + textwrap.dedent(ONE),
        "test_lab3.py: late is a pytest fixture",
    ),
    "an architecture that there is not": (
        "@check('lab3.a.one', S, arch='arm64')\ndef one(boot):\n    '''A.'''\n",
        "arch=('arm64',) is not an architecture",
    ),
    "another architecture than course.yml says": (
        "@check('lab3.a.one', S, arch='i386')\ndef one(boot):\n    '''A.'''\n",
        "lab3.a.one is declared for i386",
    ),
    "a method": (
        "class TestX:\n    @check('lab3.a.one', S)\n    def one(boot):\n        '''A.'''\n",
        "at the top level of the file",
    ),
    "a test without @check": (
        ONE + "\n    def test_two():\n        pass\n",
        "test_two is not a check",
    ),
    "a scenario that can change": (
        "X = parking(name='x', cpus=[1])\n",
        "parameter cpus of scenario x",
    ),
    "a bad scenario name": ("X = parking(name='Big One')\n", "is not a valid name of a scenario"),
    "a syntax error": ("def test_one(:\n", "test_lab3.py:4: this test file cannot be loaded"),
    "a name error": ("\nX = Y\n", "test_lab3.py:5: this test file cannot be loaded"),
    "a missing module": ("import no_such_thing\n", "No module named 'no_such_thing'"),
    "an import that skips": ("import pytest\npytest.importorskip('nothing')\n", "cannot be loaded"),
    "an exit": ("raise SystemExit(0)\n", "cannot be loaded"),
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


def test_a_check_that_ends_the_run(kit):
    kit.write(
        "import pytest\n@check('lab3.a.one', S)\ndef one(boot):\n    '''A.'''\n"
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


CAUSES_WRONG = {
    "- a list\n": "this file does not list causes",
    "far-jump: one text\n": "causes.yml:1: far-jump: nothing is said about this cause",
    "far-jump: {}\n": "nothing is said about this cause",
    "far-jump:\n  - a hint\n": "nothing is said about this cause",
    "far-jump:\n  hints: one text\n": "the hints must be a list",
    "far-jump:\n  hints: []\n": "the hints must be a list",
    "far-jump:\n  hints:\n    - good\n    - 12\n": "causes.yml:4: far-jump: hint 2 must be text",
    "far-jump:\n  hints:\n    - good\n    -\n": "hint 2 must be text",
    "far-jump:\n  hints:\n    - key: value\n": "hint 1 must be text",
    "far-jump:\n  next: 12\n": 'causes.yml:2: far-jump: "next:" must be text',
    "far-jump:\n  step: 3\n": '"step:" must be text',
    "far-jump:\n  next:\n": '"next:" must be text',
    "far-jump:\n  next: ' '\n": '"next:" must be text',
    "far-jump:\n  next: x\n  hint: y\n": "causes.yml:3: far-jump: there is no key 'hint'",
    "12:\n  next: x\n": "a cause must be text",
    "far-jump: [\n": "causes.yml:2",
    "a:\n  next: x\na:\n  next: y\n": "duplicate key",
}


@pytest.mark.parametrize("text", CAUSES_WRONG)
def test_causes_that_cannot_be_read(kit, text):
    kit.write(ONE, {"lab3.a.one": 1})
    (kit.tests / "causes.yml").write_text(text)
    with pytest.raises(CourseError) as caught:
        kit.grade()
    assert CAUSES_WRONG[text] in str(caught.value)
    assert kit.runner.closed == 1


def test_a_firmware_of_course_yml_is_one_that_is_registered(kit, fake_runner, monkeypatch):
    kit.write(ONE, {"lab3.a.one": 1})
    path = kit.root / "course.yml"
    path.write_text(path.read_text().replace("title: APs", "title: APs\n    firmware: [x86]"))
    with pytest.raises(CourseError, match="lab3: there is no firmware 'x86'"):
        kit.grade()
    mine = firmware.Firmware("x86", ("-bios", "x86.rom"), "for this test")
    monkeypatch.setitem(firmware._REGISTERED, "x86", mine)
    assert kit.grade(runner_factory=fake_runner()).points == 1


def test_causes_that_are_not_text(kit):
    kit.write(ONE, {"lab3.a.one": 1})
    (kit.tests / "causes.yml").write_bytes(b"a:\n  - \xff\n")
    with pytest.raises(CourseError, match="not UTF-8"):
        kit.grade()


@pytest.mark.parametrize(
    ("text", "hints"),
    [
        ("wrong:\n  hints:\n    - first\n    - second\n", ("first",)),
        ("wrong:\n  hints:\n    - >\n      folded\n      text\n    - second\n", ("folded text",)),
        ("wrong:\n  next: look\n", ()),
        ("other:\n  hints:\n    - first\n", ()),
        ("", ()),
    ],
)
def test_the_first_hint_level_is_given(kit, text, hints):
    kit.write(
        "@check('lab3.a.one', S)\ndef one(boot):\n    '''A.'''\n    fail('wrong')\n",
        {"lab3.a.one": 1},
    )
    (kit.tests / "causes.yml").write_text(text)
    assert tuple(map(str, kit.grade().checks[0].hints)) == hints


@pytest.mark.parametrize(
    ("said", "text", "shown"),
    [
        ("", "wrong:\n  next: look there\n", "look there"),
        (", next='here'", "wrong:\n  next: look there\n", "here"),
        ("", "wrong:\n  hints:\n    - a hint\n", ""),
    ],
)
def test_the_next_step_is_that_of_the_cause_unless_the_check_says_it(kit, said, text, shown):
    kit.write(
        f"@check('lab3.a.one', S)\ndef one(boot):\n    '''A.'''\n    fail('wrong'{said})\n",
        {"lab3.a.one": 1},
    )
    (kit.tests / "causes.yml").write_text(text)
    assert str(kit.grade().checks[0].next) == shown


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
    assert str(caught.value.failure.expected) == "4 CPUs park"
    assert str(caught.value.failure.observed) == "it panicked"


def test_fail_if_does_nothing_when_nothing_was_found():
    fail_if(None)
    fail_if(None, expected="4 CPUs park")


@pytest.mark.parametrize("cause", ["", "Has Spaces", "UPPER", "trailing-", 12, None])
def test_a_cause_is_an_identifier(cause):
    with pytest.raises(CheckMistake):
        fail(cause)


def test_check_returns_the_function_itself():
    def x(boot):
        """X."""

    x.__qualname__ = "x"
    assert check("lab3.a.x", parking(name="s"))(x) is x
    del globals()["__vmmlab_checks__"]

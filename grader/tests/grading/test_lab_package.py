"""The Python files of a lab are one package, which exists only while they are in use."""

import sys
from pathlib import Path

import pytest

from vmmlab.base.errors import CourseError
from vmmlab.course.labpackage import LabPackage


class Files:
    """A lab's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = LabPackage("lab3", folder)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def load(self, name: str):
        return self.package.load(self.folder / name)

    def refusal(self, name: str) -> CourseError:
        with pytest.raises(CourseError) as caught:
            self.load(name)
        return caught.value


@pytest.fixture
def lab(tmp_path):
    before = {*sys.modules}
    files = Files(tmp_path / "labs" / "lab3")
    yield files
    files.package.unload()
    assert [name for name in {*sys.modules} - before if name.startswith("vmmlab_")] == []


def test_a_test_file_imports_the_probes_beside_it(lab):
    lab.write("probes.py", "NUMBER = 7\n")
    lab.write("test_lab3.py", "from .probes import NUMBER\nfrom . import probes\n")
    module = lab.load("test_lab3.py")
    assert (module.NUMBER, module.probes.NUMBER) == (7, 7)


def test_a_hidden_file_imports_the_open_one_and_the_probes(lab):
    lab.write("probes.py", "NUMBER = 7\n")
    lab.write("test_lab3.py", "from .probes import NUMBER\nLOADED = []\n")
    text = (
        "from .. import test_lab3 as lab\nfrom ..probes import NUMBER\nfrom ..test_lab3 import *\n"
    )
    lab.write("hidden/test_hidden.py", text)
    open_one, hidden = lab.load("test_lab3.py"), lab.load("hidden/test_hidden.py")
    assert hidden.lab is open_one
    assert hidden.LOADED is open_one.LOADED
    assert hidden.NUMBER == 7


def test_a_hidden_file_that_is_loaded_first_loads_the_open_one(lab):
    lab.write("test_lab3.py", "LOADED = []\n")
    lab.write("hidden/test_hidden.py", "from .. import test_lab3 as lab\n")
    hidden = lab.load("hidden/test_hidden.py")
    assert lab.load("test_lab3.py") is hidden.lab


def test_a_file_is_run_once(lab):
    lab.write("test_lab3.py", "OBJECT = object()\n")
    first = lab.load("test_lab3.py")
    assert lab.load("test_lab3.py") is first
    lab.package.unload()
    assert lab.load("test_lab3.py").OBJECT is not first.OBJECT


def test_labs_do_not_see_each_other(lab, tmp_path):
    other = Files(tmp_path / "labs" / "other" / "lab3")
    for number, files in enumerate((lab, other)):
        files.write("probes.py", f"NUMBER = {number}\n")
        files.write("test_lab3.py", "from .probes import NUMBER\n")
    assert [files.load("test_lab3.py").NUMBER for files in (lab, other)] == [0, 1]
    lab.package.unload()
    assert other.load("test_lab3.py").NUMBER == 1
    other.package.unload()


def test_only_files_of_the_lab_are_in_its_package(lab):
    lab.write("test_lab3.py", "from .json import dumps\n")
    assert "ModuleNotFoundError" in str(lab.refusal("test_lab3.py").found)
    lab.write("json.py", "dumps = 7\n")
    assert lab.load("test_lab3.py").dumps == 7


@pytest.mark.parametrize(
    ("files", "where", "found"),
    [
        ({"test_lab3.py": "\n1 / 0\n"}, "test_lab3.py:2", "ZeroDivisionError: division by zero"),
        ({"test_lab3.py": "x = (\n"}, "test_lab3.py:1", "SyntaxError: '(' was never closed"),
        (
            {"test_lab3.py": "from .probes import X\n", "probes.py": "def f():\n  1 / 0\n\nf()\n"},
            "probes.py:2",
            "ZeroDivisionError: division by zero",
        ),
        (
            {"test_lab3.py": "from .probes import X\n", "probes.py": "\n)\n"},
            "probes.py:2",
            "SyntaxError: unmatched ')'",
        ),
        ({"test_lab3.py": "from .probes import X\n"}, "test_lab3.py:1", "ModuleNotFoundError: "),
        (
            {"test_lab3.py": "from .probes import X\n", "probes.py": ""},
            "test_lab3.py:1",
            "ImportError: cannot import name 'X'",
        ),
        ({"test_lab3.py": "import sys\nsys.exit(3)\n"}, "test_lab3.py:2", "SystemExit: 3"),
        (
            {"test_lab3.py": "import pytest\npytest.skip('no', allow_module_level=True)\n"},
            "test_lab3.py:2",
            "Skipped: no",
        ),
    ],
)
def test_the_line_that_cannot_be_loaded_is_named(lab, files, where, found):
    for name, text in files.items():
        lab.write(name, text)
    error = lab.refusal("test_lab3.py")
    assert str(error.message) == f"{lab.folder}/{where}: this test file cannot be loaded."
    assert str(error.found).startswith(found)
    lab.write("test_lab3.py", "NUMBER = 7  # mended\n")
    assert lab.load("test_lab3.py").NUMBER == 7


def test_an_error_that_names_its_place_itself_stays_as_it_is(lab):
    lab.write("test_lab3.py", "from vmmlab.probes import bringup\nS = bringup(name='x', cpuz=4)\n")
    message = str(lab.refusal("test_lab3.py").message)
    assert "test_lab3.py:2: scenario x: the probe ladder takes no parameter cpuz" in message


def test_an_interrupt_is_no_mistake_of_the_file(lab):
    lab.write("test_lab3.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        lab.load("test_lab3.py")

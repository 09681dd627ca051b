"""A boot in words: no name of a scenario reaches a student."""

from pathlib import Path

import pytest

from vmmlab.base.nearest import nearest_names
from vmmlab.course.labpackage import LabPackage
from vmmlab.course.load import load_course
from vmmlab.grading.selection import Selection
from vmmlab.i18n.translate import Reader
from vmmlab.probes import boot_in_words, init_functions, no_multiboot, plain, stack_switch

COURSE = load_course(Path(__file__).parents[3])
SHUFFLED = init_functions(name="shuffled", cpus=2, shuffle=1, firmware="seabios")


@pytest.mark.parametrize(
    ("scenario", "english", "japanese"),
    [
        (init_functions(), "4 CPUs", "CPU 4 個"),
        (
            no_multiboot(cpus=1),
            "1 CPU, no multiboot pointer",
            "CPU 1 個、マルチブート情報のポインタなし",
        ),
        (
            SHUFFLED,
            "2 CPUs, firmware seabios, the files are linked in another order",
            "CPU 2 個、ファームウェア seabios、リンクの順が違う",
        ),
        (stack_switch(name="s", opt="-O0"), "4 CPUs, -O0", "CPU 4 個、-O0"),
        (plain(name="one", cpus=1, acpi=False), "1 CPU, no ACPI tables", "CPU 1 個、ACPI の表なし"),
    ],
)
def test_a_boot_in_words(scenario, english, japanese):
    assert str(boot_in_words(scenario)) == english
    assert Reader("ja")(boot_in_words(scenario)) == japanese


@pytest.mark.parametrize("lab", COURSE.labs)
def test_the_words_of_a_boot_are_not_its_name(lab):
    chosen = Selection(COURSE.lab(lab), "x86_64", hidden=False, tests_dir=COURSE.labs_dir / lab)
    package = LabPackage(lab, COURSE.labs_dir / lab)
    scenarios = chosen.scenarios(package)
    assert scenarios
    for one in scenarios:
        words = str(boot_in_words(one))
        assert one.name not in words.split(", "), words
    package.unload()


def test_the_nearest_names_of_a_wrong_selection():
    known = ["lab3.ljmpw.present", "lab3.ljmpw.target", "lab4.late.cpu"]
    assert nearest_names("ljmp", known, 2) == ["lab3.ljmpw.present", "lab3.ljmpw.target"]
    assert nearest_names("lat or nosuch", known, 1) == ["lab4.late.cpu"]
    assert len(nearest_names("%", known)) == 3

"""Lab 9's exploration: the race between CLGI, the flag and the NMI, in every order."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from vmmlab.author import mutants
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.reference import reference
from vmmlab.explore import explore, load
from vmmlab.i18n.translate import Reader
from vmmlab.images.model import BuildOptions
from vmmlab.report.schedule import schedule

LAB = "lab9"
COURSE = load_course(Path(__file__).parents[3])
MUTANTS = {one.id: one for one in mutants.load(COURSE, [LAB])}
VARIANTS = {one.name: one for one in mutants.load_variants(COURSE, [LAB])}

# For each mutant: the violation, and the check and the cause that it is judged as.
WRONG = {
    "lab9.enter.look-before-clgi": ("init-lost", "lab9.race.kept", "init-lost-on-entry"),
    "lab9.enter.old-value": ("init-lost", "lab9.race.kept", "init-lost-on-entry"),
    "lab9.enter.no-second-look": ("init-lost", "lab9.race.kept", "init-lost-on-entry"),
    "lab9.enter.no-clgi": ("gif-set", "lab9.enter.runs", "gif-set"),
    "lab9.wait.cleared-late": ("init-lost", "lab9.race.kept", "init-lost-on-start"),
    "lab9.init.after-nmi": ("init-lost", "lab9.race.kept", "init-after-its-nmi"),
    "lab9.init.waits": ("never-completes", "lab9.race.kept", "sender-stops"),
    "lab9.sipi.second-wins": ("begins-elsewhere", "lab9.race.kept", "second-sipi-obeyed"),
    "lab9.sipi.all-begin": ("begins-elsewhere", "lab9.sipi.only", "begins-unasked"),
    "lab9.sipi.looks-then-stores": ("begins-elsewhere", "lab9.race.kept", "second-sipi-obeyed"),
    "lab9.sipi.nothing": ("never-completes", "lab9.race.kept", "does-not-begin"),
}
TOOLS = (("gcc", "-O2"), ("gcc", "-O0"), ("clang", "-O2"))


def of_the_lab(name):
    """Return a module of the lab."""
    spec = importlib.util.spec_from_file_location(name, COURSE.labs_dir / LAB / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def orders():
    return of_the_lab("orders")


@pytest.fixture(scope="module")
def explored(builder):
    """Return a function that builds lab 9 from files and explores it."""
    declared, cohort = load(LAB, COURSE.labs_dir / LAB), Cohort.derive("dev")

    def run(files, compiler="gcc", opt="-O2"):
        image = builder.build(LAB, files, cohort, BuildOptions(compiler=compiler, opt=opt))
        return explore(image, cohort, declared, sources=files)

    return run


def test_the_reference_is_correct_in_every_order(explored):
    found = explored(dict(reference(COURSE, [LAB]).files))
    assert [(one.scenario, one.memory, one.verdict, one.bound) for one in found.parts] == [
        ("again", "in order", "correct", ""),
        ("again", "store buffers", "correct", ""),
        ("second SIPI", "in order", "correct", ""),
        ("second SIPI", "store buffers", "correct", ""),
        ("crossed", "in order", "correct", ""),
        ("two SIPIs at once", "in order", "correct", ""),
    ]
    assert 500 < found.states < 20_000


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_order_is_found_and_judged(explored, orders, name):
    found = explored(mutants.apply(COURSE, MUTANTS[name]))
    kind, check, cause = WRONG[name]
    assert found.verdict == "wrong"
    assert found.counterexample.kind == kind
    judged = orders.judge(found.parts[-1].scenario, found.counterexample)
    assert (judged.check, judged.cause) == (check, cause)
    assert judged.step in {step.id for step in COURSE.lab(LAB).steps}


def test_the_steps_of_a_lost_init_are_in_words(explored):
    found = explored(mutants.apply(COURSE, MUTANTS["lab9.enter.look-before-clgi"]))
    told = [str(one.action) for one in found.counterexample.steps]
    assert "sends an NMI to CPU 1, whose VMM takes it at once" in told
    assert told[-1] == "no NMI comes"
    assert told.index("GIF = 0") > told.index("sends an NMI to CPU 1, whose VMM takes it at once")


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_another_right_solution_is_correct(explored, name):
    found = explored(mutants.variant_files(COURSE, VARIANTS[name]))
    assert found.verdict == "correct", found.counterexample


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(VARIANTS))
@pytest.mark.parametrize(("compiler", "opt"), TOOLS[1:])
def test_another_right_solution_is_correct_with_every_compiler(explored, name, compiler, opt):
    found = explored(mutants.variant_files(COURSE, VARIANTS[name]), compiler, opt)
    assert found.verdict == "correct", found.counterexample


def test_what_the_model_does_not_know_costs_nothing(explored, orders):
    """An instruction beside CLGI and STGI that the emulator must not run by itself."""
    files = dict(reference(COURSE, [LAB]).files)
    text = files["lab9/localapic.c"].decode()
    assert text.count("\t\tasm_clgi ();\n") == 1
    text = text.replace("\t\tasm_clgi ();\n", '\t\tasm volatile ("rdtsc" ::: "rax", "rdx");\n')
    found = explored({"lab9/localapic.c": text.encode()})
    assert found.verdict == "unsupported"
    assert "rdtsc" in str(found.parts[-1].limits[0].what)


def test_the_model_knows_struct_vcpu(tmp_path):
    module = of_the_lab("exploration")
    source = tmp_path / "vcpu.c"
    source.write_text(
        '#include "svm.h"\n'
        f"_Static_assert (offsetof (struct vcpu, apic_id) == {module._APIC_ID});\n"
        f"_Static_assert (offsetof (struct vcpu, startup) == {module._STARTUP});\n"
        f"_Static_assert (VCPU_RUNS == {module._RUNS});\n"
    )
    command = ["gcc", "-std=gnu2x", "-ffreestanding", "-fsyntax-only"]
    command += ["-I", COURSE.tree / "include", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("language", ["en", "ja"])
def test_its_counterexample_is_drawn_as_that_of_lab_4(explored, language):
    """A lane for each CPU and a row for each step, in the report's page."""
    found = explored(mutants.apply(COURSE, MUTANTS["lab9.init.after-nmi"])).counterexample
    shown = schedule(found, Reader(language).of(COURSE.labs_dir / LAB))
    steps = [(step.number, step.cpu) for step in found.steps]
    drawn = re.findall(r'class="turn" data-step="(\d+)" data-cpu="(\d+)"', shown.svg)
    assert [(int(number), int(cpu)) for number, cpu in drawn] == steps
    assert [row.number for row in shown.rows] == [number for number, _ in steps]
    assert any("NMI" in row.what for row in shown.rows)
    assert any(row.source for row in shown.rows), "the student's line"
    assert shown.what

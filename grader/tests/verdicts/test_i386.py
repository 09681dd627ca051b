"""Grading for i386: the reference, the starter, every step; and what asmlinkage is for."""

import asyncio
import dataclasses
import shutil

import pytest

from vmmlab.author.mutants import load_variants, run_variant
from vmmlab.course.cohort import Cohort
from vmmlab.course.reference import reference
from vmmlab.grading.boots import boot
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.builder import Builder
from vmmlab.images.model import BuildOptions
from vmmlab.images.sources import FromReference
from vmmlab.observe.session import Session
from vmmlab.probes import bringup, init_functions, stack_switch

full = pytest.mark.full
STEPS = {"lab2": 3, "lab3": 7}
DEFAULT = {("lab2", 2), ("lab3", 5)}  # besides the ends
STAIRS = [
    pytest.param(lab, k, marks=() if k in (0, steps) or (lab, k) in DEFAULT else full)
    for lab, steps in STEPS.items()
    for k in range(steps + 1)
]


@pytest.mark.parametrize(("lab", "k"), STAIRS)
def test_each_step_earns_its_points(course, grade, lab, k):
    steps = frozenset(step.id for step in course.labs[lab].steps[:k])
    report = grade(lab, reference(course, [lab], steps).files, arch="i386")
    specs = course.labs[lab].checks_of("i386")
    want = {id: spec.points * (spec.step in steps) for id, spec in specs.items()}
    assert {check.id: check.points for check in report.checks} == want
    assert report.arch == "i386"
    if k < STEPS[lab]:
        assert report.first_step.id == course.labs[lab].steps[k].id
        causes = {check.cause for check in report.checks if check.outcome in ("fail", "partial")}
        assert causes == {"not-written-yet"}
    else:
        assert report.points == report.max == {"lab2": 10, "lab3": 20}[lab]


@full
@pytest.mark.parametrize("lab", STEPS)
def test_the_reference_earns_all_points_in_another_cohort(course, grade, lab):
    report = grade(lab, reference(course, [lab]).files, "autumn", arch="i386")
    assert report.points == report.max > 0


@full
@pytest.mark.parametrize("how", [{}, {"cohort": "autumn"}, {"compiler": "clang"}, {"opt": "-O0"}])
@pytest.mark.parametrize("name", ["one-cpu-at-a-time"])
def test_a_variant_for_both_is_not_accused(course, name, how):
    (variant,) = [one for one in load_variants(course) if one.name == name]
    assert variant.arches == ("x86_64", "i386")
    assert run_variant(course, variant, arch="i386", **how).accused == ()


# --- the whole VMM --------------------------------------------------------------------------------


def image_of_everything(course, tree, **options):
    source = FromReference(course.reference_dir)
    builder = Builder(tree, course, Sandbox.choose(require=False), None, source)
    labs = [lab.name for lab in course.labs.values() if lab.files]
    return builder.build_own(
        reference(course, labs).files, Cohort.derive("dev"), BuildOptions(arch="i386", **options)
    )


def seen(image, what):
    return asyncio.run(boot(image, what, Cohort.derive("dev"), 1, Sandbox.choose(require=False)))


@pytest.mark.parametrize("opt", ["-O2", "-O0"])
@pytest.mark.parametrize("compiler", ["gcc", pytest.param("clang", marks=full)])
def test_the_whole_reference_parks(course, compiler, opt):
    image = image_of_everything(course, course.tree, compiler=compiler, opt=opt)
    assert image.warnings == ()
    observed = seen(image, bringup(name="whole", cpus=4))
    assert observed.all_parked
    assert observed.arch == "i386"
    modes = {step.state.mode for ap in observed.aps for step in ap.steps}
    assert modes == {"real", "protected"}
    assert all(state.mode == "protected" for ap in observed.aps for state in [ap.end])


def test_asmlinkage_matters(course, tmp_path):
    """Without it, vmm_main looks for its argument in EAX, while boot/entry.S has pushed it."""
    tree = tmp_path / "tree"
    shutil.copytree(course.tree, tree)
    linkage = tree / "include" / "linkage.h"
    text = linkage.read_text()
    assert "regparm (0)" in text
    linkage.write_text(text.replace("__attribute__ ((regparm (0)))", ""))

    good = seen(image_of_everything(course, course.tree), init_functions(name="whole", cpus=1))
    wrong = seen(image_of_everything(course, tree), init_functions(name="whole", cpus=1))
    assert good.multiboot.copy == good.multiboot.original
    called = [one.function for one in good.multiboot.sorted if one.id.startswith("global")]
    assert [hit.place for hit in good.hits if hit.place in called] == called
    assert wrong.multiboot.copy != wrong.multiboot.original


def test_a_session_for_another_architecture_would_see_something_else(course, monkeypatch):
    """The same boot read by the conventions of x86-64: that nothing depends on them would show."""
    original = Session.__init__

    def mistaken(self, machine, symbols, inputs):
        original(self, machine, symbols, dataclasses.replace(inputs, arch="x86_64"))

    image = image_of_everything(course, course.tree)
    right = seen(image, stack_switch(name="whole", cpus=1))
    monkeypatch.setattr(Session, "__init__", mistaken)
    wrong = seen(image, stack_switch(name="whole", cpus=1))
    made = [one.address for one in right.bsp.allocations if one.size == right.stack_size]
    assert made[:1] == [right.switch.stackaddr]
    assert all(one.size != wrong.stack_size for one in wrong.bsp.allocations)

"""What counts as a kill, and what does not."""

from pathlib import Path

import pytest

from vmmlab.author import mutants
from vmmlab.author.mutants import Mutant, Variant, VariantResult, judge
from vmmlab.base.text import cells
from vmmlab.course.load import load_course
from vmmlab.i18n.translate import Reader
from vmmlab.report.model import Build, CheckReport, Diagnostic, Report

ROOT = Path(__file__).parents[3]
MUTANT = Mutant("lab1.a.b", "wrong", "lab1", (), "lab1.mi.copied", "mi-not-copied", "dev", "x:1")


def check(id, outcome, cause=None, points=0.0, **more):
    return CheckReport(
        id=id, title=id, points=points, max=4, outcome=outcome, cause=cause, scenario="s",
        again="again", **more,
    )  # fmt: skip


def report(*checks, build=None):
    return Report(
        mode="standalone",
        lab="lab1",
        cohort="dev",
        seed=1,
        arch="x86_64",
        build=build or Build(ok=True),
        checks=checks,
        points=0,
        max=4,
        duration_s=0.0,
    )


@pytest.mark.parametrize("outcome", ["fail", "partial", "timeout"])
def test_the_named_check_with_the_named_cause_kills(outcome):
    result = judge(MUTANT, report(check("lab1.mi.copied", outcome, "mi-not-copied")))
    assert result.verdict == "killed"


def test_another_cause_is_no_kill():
    result = judge(MUTANT, report(check("lab1.mi.copied", "fail", "bsp-panic")))
    assert (result.verdict, result.cause) == ("wrong cause", "bsp-panic")


@pytest.mark.parametrize("outcome", ["pass", "skipped"])
def test_another_check_is_no_kill(outcome):
    named = check("lab1.mi.copied", outcome, reason="waits for lab1.mi.uefi")
    other = check("lab1.mi.uefi", "fail", "mi-not-copied")
    result = judge(MUTANT, report(named, other))
    assert result.verdict == "survived"
    assert result.others == (("lab1.mi.uefi", "mi-not-copied"),)


def test_what_does_not_compile_is_an_error_and_no_kill():
    said = Diagnostic(file="lab1/vmm_main.c", line=7, severity="error", message="oh no")
    build = Build(ok=False, diagnostics=(said,))
    result = judge(MUTANT, report(check("lab1.mi.copied", "build-error"), build=build))
    assert result.verdict == "error"
    assert "lab1/vmm_main.c:7: oh no" in str(result.message)


def test_what_cannot_be_judged_is_an_error_and_no_kill():
    broken = check("lab1.mi.uefi", "infra-error", points=None, infra="no QEMU")
    named = check("lab1.mi.copied", "fail", "mi-not-copied")
    result = judge(MUTANT, report(named, broken))
    assert result.verdict == "error"
    assert "no QEMU" in str(result.message)


def test_a_mutant_that_does_not_apply_is_an_error_and_no_kill():
    course = load_course(ROOT)
    gone = mutants.Edit("lab1/vmm_main.c", "function", "no_such_function", 1, "x")
    broken = Mutant("lab1.a.b", "wrong", "lab1", (gone,), "lab1.mi.copied", "x", "dev", "x:1")
    result = mutants.run_mutant(course, broken)
    assert result.verdict == "error"
    assert "no longer exists" in str(result.message)


def test_the_table_has_one_line_for_each_and_a_sum():
    killed = judge(MUTANT, report(check("lab1.mi.copied", "fail", "mi-not-copied")))
    survived = judge(MUTANT, report(check("lab1.mi.copied", "pass")))
    lines = mutants.table([killed, survived])
    assert [line.startswith("| lab1.a.b") for line in lines[2:4]] == [True, True]
    assert "killed" in lines[2]
    assert "survived" in lines[3]
    assert lines[-2].startswith("1 of 2 mutants killed")
    assert lines[-1].startswith("0 of 1 messages name")


def test_the_tables_in_japanese():
    say = Reader("ja")
    killed = judge(MUTANT, report(check("lab1.mi.copied", "fail", "mi-not-copied")))
    other = judge(MUTANT, report(check("lab1.mi.copied", "fail", "mi-copied-in-part")))
    lines = mutants.table([killed, other], say)
    assert lines[0].startswith("| ミュータント | 内容")
    assert len({cells(line) for line in lines[:4]}) == 1, lines
    assert lines[2].split("|")[-2].strip() == "捕まえた"
    assert "原因が違う：mi-copied-in-part" in lines[3]
    assert lines[-2].startswith("ミュータント 2 個中 1 個を、")
    right = VariantResult(Variant("ticket-lock", "lab4", ROOT), "dev gcc", ())
    assert "満点" in mutants.variants_table([right], say)[2]


def test_the_table_of_right_solutions_names_who_is_accused():
    one = Variant("ticket-lock", "lab4", ROOT)
    good = VariantResult(one, "dev gcc", ())
    bad = VariantResult(one, "dev gcc", (("lab4.lock.exclusive", "boot-stack-shared", "both"),))
    lines = mutants.variants_table([good, bad])
    assert "all points" in lines[2]
    assert "lab4.lock.exclusive boot-stack-shared" in lines[3]
    assert lines[-1] == "1 of 2 correct solutions rejected."


def test_an_outcome_as_a_line():
    killed = judge(MUTANT, report(check("lab1.mi.copied", "fail", "mi-not-copied")))
    other = judge(MUTANT, report(check("lab1.mi.copied", "fail", "mi-copied-in-part")))
    right = VariantResult(Variant("ticket-lock", "lab4", ROOT), "dev gcc", ())
    assert [mutants.line(one) for one in (killed, other, right)] == [
        "lab1.a.b: killed",
        "lab1.a.b: wrong cause: mi-copied-in-part",
        "ticket-lock/lab4 dev gcc: all points",
    ]

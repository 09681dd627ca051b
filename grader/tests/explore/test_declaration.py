"""What a lab declares about its exploration: another subject than lab 4's, and mistakes."""

import pytest

from vmmlab.base.errors import CourseError, UsageError
from vmmlab.cli.main import main
from vmmlab.course.cohort import Cohort
from vmmlab.explore import explore, labs_with_exploration, load

# Two CPUs raise a counter of the given code once each, with a spinlock or without.
COUNTER = '''
from vmmlab.base.message import msg
from vmmlab.explore.declaration import Declaration, declare
from vmmlab.explore.surroundings import Variable
from vmmlab.explore.given import GivenCode
from vmmlab.explore.harness import Effect, Violation
from vmmlab.explore.localstate import Action, before_first_step, entering
from vmmlab.explore.program import RETURN_MARK


class Counter(GivenCode):
    """Both CPUs call sync_all_processors once."""

    name = "counter"
    title = msg("counter")
    cpus = 2

    def start(self, cpu):
        return self.model.waiting(before_first_step(cpu), Action("event", name="begin"))

    def handle(self, lid, action, ghost, read):
        local = self.model.locals[lid]
        if action.name == "begin":
            function = self.program.symbols.addr("sync_all_processors")
            stack = self.program.harness_stack(local.cpu)
            return Effect(self.model.settle(entering(local, function, stack, RETURN_MARK)), ghost)
        if action.name == "return":
            return Effect(self.model.end(local, "done"), ghost)
        return self.common(lid, action, ghost)

    def check_end(self, now, read):
        count = read(self.program.variables["sync_count"][0], 4)
        return None if count == 2 else Violation("count-lost", msg("it is {count}", count=count))


declare(
    Declaration(
        lab="LAB",
        scenarios=(Counter,),
        variables=(Variable("sync_lock", 1, lock=True), Variable("sync_count", 4)),
        expected={"count-lost": msg("both are counted")},
    )
)
'''
SYNC = """
#include "ap.h"
#include "asm.h"
void sync_all_processors (void) { %s }
"""
LOCKED = "spinlock_lock (&sync_lock); sync_count++; spinlock_unlock (&sync_lock);"


@pytest.fixture
def lab9(tmp_path):
    """Return a function that makes the folder of a lab with a declaration."""

    def make(name="lab9"):
        folder = tmp_path / "lab9"
        folder.mkdir()
        (folder / "exploration.py").write_text(COUNTER.replace("LAB", name))
        return folder

    return make


@pytest.mark.parametrize(("body", "verdict"), [(LOCKED, "correct"), ("sync_count++;", "wrong")])
def test_another_lab_explores_what_it_declares(built, solution, lab9, body, verdict):
    files = {**solution, "lab4/sync.c": (SYNC % body).encode()}
    found = explore(built(files), Cohort.derive("dev"), load("lab9", lab9()), sources=files)
    assert (found.verdict, found.parts[0].cpus, {part.scenario for part in found.parts}) == (
        verdict,
        2,
        {"counter"},
    )
    if verdict == "wrong":
        wrong = found.counterexample
        assert (wrong.kind, str(wrong.expected)) == ("count-lost", "both are counted")
        assert wrong.values == {"sync_lock": 0, "sync_count": 1}


def test_a_lab_without_a_declaration_is_told_which_labs_have_one(course, lab9, capsys):
    folders = {name: course.labs_dir / name for name in course.labs}
    assert labs_with_exploration({**folders, "lab9": lab9()}) == ["lab4", "lab9"]
    assert main(["explore", "lab3", "--submission", "reference", "--course", str(course.root)]) == 2
    shown = capsys.readouterr().err
    assert "there are no schedules to explore in lab3." in shown
    assert "one of lab4" in shown
    with pytest.raises(UsageError, match="no schedules to explore in lab3"):
        load("lab3", folders["lab3"])


def test_a_declaration_of_another_lab_is_refused(lab9):
    with pytest.raises(CourseError, match="declares no exploration of lab9"):
        load("lab9", lab9("lab8"))

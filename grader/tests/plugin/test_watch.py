"""`vmmlab watch`: a grading after each save, in one process."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Callable, Iterator

import pytest

from vmmlab.base.errors import UsageError
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.i18n.translate import Reader
from vmmlab.student import grading, watch
from vmmlab.workspace import progress

RIGHT = "jump cpu1 cpu2"


@pytest.fixture
def watched(place, monkeypatch):
    """Returns a function that saves one text after the other, and returns what each one shows."""
    monkeypatch.setenv("FAKE_LOG", str(place.fakes / "log"))
    spec = importlib.util.spec_from_file_location("fakerunner", place.fakes / "fakerunner.py")
    assert spec is not None
    assert spec.loader is not None
    fake = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        import vmmlab.grading.boots

        patch.setattr(vmmlab.grading.boots, "LabRunner", None)
        spec.loader.exec_module(fake)
    monkeypatch.setattr(grading, "LabRunner", fake.Runner)
    work = grading.OwnWork(
        place.root, load_course(place.root.parent), Cohort.derive("dev"), copied=False
    )

    def run(*saves: str | Callable[[], object], language: str = "en") -> list[str]:
        out, shown = io.StringIO(), []

        def changes(folders: object) -> Iterator[object]:
            assert folders == [place.root / "lab3"]
            for save in saves:
                shown.append(out.getvalue())
                out.seek(0)
                out.truncate()
                if callable(save):
                    save()
                else:
                    place.student("lab3", save)
                yield {"saved"}

        watch.watch(work, "lab3", Reader(language), out, changes)
        return [*shown, out.getvalue()]

    return run


def test_each_save_is_graded_and_what_changes_is_marked(watched, place):
    place.student("lab3", RIGHT)
    first, worse, other, better = watched("jump cpu1", "jump cpu2", RIGHT)
    assert "lab3  6/6 points\n" in first
    assert "▲" not in first
    assert "watching lab3/a.c · Ctrl-C ends this" in first
    assert "  ▼  part  1/2  It leads to the trampoline.\n" in worse
    assert "     pass  1/1  There is a far jump.\n" in worse
    assert "▼ worse than before\n" in worse
    assert "  •  part  1/2  It leads to the trampoline.\n" in other
    assert "  ▲  pass  2/2  It leads to the trampoline.\n" in better
    assert progress.load(place.root)[0].labs["lab3"].gradings == 4
    assert (place.root / "build" / "lab3" / "run.json.gz").is_file()


def test_a_compile_error_ends_nothing(watched, place):
    place.student("lab3", RIGHT)
    _, wrong, right = watched("syntax error", RIGHT)
    assert "lab3/a.c:3:1: syntax error" in wrong
    assert "lab3  6/6 points\n" in right
    assert "▲" not in right  # compared with the last run, not with what did not compile


def test_a_save_that_changes_nothing_is_not_graded(watched, place):
    place.student("lab3", RIGHT)
    _, same = watched(RIGHT)
    assert same == ""


def test_a_missing_file_and_trouble_of_the_grader_end_nothing(watched, place):
    place.student("lab3", RIGHT)
    _, gone, dead, right = watched((place.root / "lab3" / "a.c").unlink, "qemu dies", RIGHT)
    assert "lab3/a.c" in gone
    assert "6/6" not in gone
    assert "needs attention, no grade yet" in dead
    assert "lab3  6/6 points\n" in right


def test_ctrl_c_while_it_grades_ends_the_boots(watched, place):
    place.student("lab3", "ctrl-c")
    watched()
    log = (place.fakes / "log").read_text().splitlines()
    assert log[-1] == "close lab3"


def test_without_watchfiles_it_is_one_clear_line(watched, monkeypatch):
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(UsageError, match="watchfiles is not installed"):
        watch._changes([])


def test_saves_are_seen(place):
    """The real thing, from the kernel."""
    pytest.importorskip("watchfiles")
    saved = watch._changes([place.root / "lab3"])
    place.student("lab3", "one")  # perhaps before the kernel was asked: then it is seen in time
    assert next(saved) is not None
    saved.close()


def test_japanese(watched, place):
    place.student("lab3", RIGHT)
    _, worse = watched("jump", language="ja")
    assert "▼ 前より悪い" in worse

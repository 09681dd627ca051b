"""Lists and times that come with a class's submissions, and that students have a hand in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import classes
import pytest
from corpus import Attack, Defence, off

from vmmlab.base.errors import VmmlabError
from vmmlab.classroom.intake import gradescope, intake
from vmmlab.classroom.intake import run as taking
from vmmlab.classroom.intake.gradescope import Listed, Person
from vmmlab.classroom.intake.model import Intake
from vmmlab.classroom.roster import Entry

LAB1: Final = "lab1/vmm_main.c"
SOURCE: Final = b"/* honest */\n"
ADA: Final = "submission_1:\n  :submitters:\n  - {':name': Ada, ':sid': '0007'}\n"
ON_TIME: Final = "  :created_at: 2026-11-20 12:00:00.000000000 Z\n"
DUE: Final = classes.DEADLINES.replace("lab3", "lab1")


def _taken(folder: Path, files: Mapping[str, bytes], roster: Mapping[str, Entry]) -> Intake:
    course = classes.course(folder, DUE)
    return intake(classes.laid_out(folder / "class", files), course, folder / "into", roster=roster)


def _listed(eve: str, folder: Path) -> str:
    """Take in an export whose list has what eve has made of hers; return what became of Ada's."""
    files = {f"submission_{n}/vmm_main.c": SOURCE for n in (1, 2)}
    text = f"{ADA}{ON_TIME}submission_2:\n{eve}"
    try:
        taken = _taken(folder, {**files, gradescope.METADATA: text.encode()}, {})
    except VmmlabError:
        return ""  # a line says what is wrong with the list
    except (TypeError, OverflowError, RecursionError) as error:
        return f"nobody is graded: {type(error).__name__}"
    found = {one.student: one for one in taken.submissions}
    if "0007" not in found or found["0007"].labs != ("lab1",) or found["0007"].problem:
        return "Ada's work is lost"
    if "0008" in eve and "0008" not in found:
        return "eve has another id"
    # A name is cleaned and cut only later: what counts is what was made in memory.
    with_name = gradescope.named(text.encode())["submission_2"].people
    if any(len(one.name) > len(text) for one in with_name):
        return "a name larger than the list"
    told = any("submission_2" in str(line) for line in taken.remarks)
    return "" if len(found) == 2 or told else "eve's work is lost, and nothing says so"


def _bomb() -> str:
    lines = ["  a0: &a0 [l, l, l, l, l, l, l, l]\n"]
    lines += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 5)]
    return f"{''.join(lines)}  :submitters:\n  - {{':name': *a4, ':sid': eve}}\n"


LISTS: Final = {
    "a number in the place of people": "  :submitters: 5\n",
    "people who are a text": "  :submitters: eve\n",
    "a time before all times": "  :submitters: [{':sid': eve}]\n"
    + ON_TIME.replace("2026-11-20 12:00:00.000000000 Z", "0001-01-01 00:00:00 +14:00"),
    "an id that is a number with zeros": "  :submitters: [{':sid': 0008}]\n",
    "a name that aliases make 4,096 times as long": _bomb(),
    "an object of Python": "  :submitters: [{':sid': eve, ':name': !!python/name:os.system x}]\n",
    "lists 90,000 times in each other": f"  x: {'[' * 90_000}{']' * 90_000}\n",
}


def _composed(data: bytes) -> Mapping[str, Listed]:
    """Read a list as a YAML library does it."""
    from ruamel.yaml import YAML

    def time(value: Any) -> datetime | None:
        return value.astimezone(UTC) if isinstance(value, datetime) else None

    return {
        key: Listed(
            tuple(
                Person(*(str(one.get(name, "")) for name in (":name", ":sid", ":email")))
                for one in entry.get(":submitters") or ()
                if isinstance(one, Mapping)
            ),
            time(entry.get(":created_at")),
        )
        for key, entry in YAML(typ="safe").load(data).items()
    }


def _read_as_objects(patch: pytest.MonkeyPatch) -> None:
    from vmmlab.classroom.intake import owners

    patch.setattr(gradescope, "named", _composed)
    patch.setattr(owners, "named", _composed)


def _own_time(folder: Path) -> str:
    """A student hands in late, with nbgrader's file of times in the same upload."""
    files = {
        f"submitted/eve/{LAB1}": SOURCE,
        "submitted/eve/lab1/timestamp.txt": b"2026-11-01 00:00:00 UTC",
    }
    moodle = Entry("eve", received="Monday, 30 November 2026, 2:00 PM")
    (found,) = _taken(folder, files, {"eve": moodle}).submissions
    return "" if found.late["lab1"].status != "on-time" else "it is in time"


def _no_time(folder: Path) -> str:
    """A student spoils the time, so that nothing is late: a line must say so."""
    files = {f"submitted/eve/{LAB1}": SOURCE, "submitted/eve/lab1/timestamp.txt": b"today"}
    taken = _taken(folder, files, {})
    told = any("timestamp.txt" in str(line) for line in taken.remarks)
    return "" if told else "no penalty, and nothing says why"


def _attacks() -> Iterator[Attack]:
    as_text = "Gradescope's list is read as text"
    shown = ("a number in", "a time", "an id", "a name")
    for name, eve in LISTS.items():

        def tries(folder: Path, eve: str = eve) -> str:
            return _listed(eve, folder)

        yield Attack(
            "batch",
            f"Gradescope: {name}",
            "the others are graded, or a line says what is wrong",
            as_text,
            tries,
            shown=name.startswith(shown),
        )
    attempts: tuple[tuple[str, str, str, Callable[[Path], str]], ...] = (
        (
            "nbgrader: a timestamp.txt in the upload",
            "Moodle's time counts",
            "a platform's time counts",
            _own_time,
        ),
        (
            "nbgrader: a timestamp.txt without a time",
            "a line says so",
            "a time that cannot be read is told",
            _no_time,
        ),
    )
    for name, expected, defence, attempt in attempts:
        yield Attack("batch", name, expected, defence, attempt, shown=True)


ATTACKS = tuple(_attacks())

DEFENCES = (
    Defence("Gradescope's list is read as text", _read_as_objects),
    Defence("a platform's time counts", off(taking, "_received", lambda *found: ())),
    Defence("a time that cannot be read is told", off(taking, "_timestamps", lambda *found: {})),
)

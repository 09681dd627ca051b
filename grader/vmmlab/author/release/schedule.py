"""Writes the page that tells a class when labs are due, what lateness costs, and how to hand in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vmmlab.base.message import Message, Text, msg
from vmmlab.course.deadlines import Deadlines, Late
from vmmlab.course.model import ARCHES, Course, Lab
from vmmlab.i18n.translate import ENGLISH, Reader

NAME: Final = "SCHEDULE"
"""The file's name, without language and ending."""


def pages(course: Course) -> dict[str, str]:
    """Return the page in each language of a course, by the name of its file.

    Args:
        course: a release: labs that are held back are listed without their files.
    """
    return {
        f"{NAME}.md" if lang == ENGLISH else f"{NAME}.{lang}.md": page(course, Reader(lang))
        for lang in course.languages
    }


def page(course: Course, say: Reader) -> str:
    """Return the page in one language."""
    due = course.deadlines
    titles = [msg("lab"), msg("what it is about"), msg("files to hand in"), msg("points")]
    head = [say(one) for one in (*titles, *([msg("due")] if due else []))]
    rows = [_row(course, lab, say) for lab in course.labs.values()]
    lines = [f"# {say(msg('Schedule, and how to hand in'))}", ""]
    lines += [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    notes = [*(_rules(due) if due else ()), *_handing_in()]
    lines += ["", *(f"- {say(one)}" for one in notes)]
    return "\n".join(lines) + "\n"


def _row(course: Course, lab: Lab, say: Reader) -> list[str]:
    open_ = lab.name not in course.held_back
    readme = "README.md" if say.language == ENGLISH else f"README.{say.language}.md"
    name = f"[{lab.name}](labs/{lab.name}/{readme})" if open_ else lab.name
    title = say.of(course.labs_dir / lab.name)(Message(lab.title))
    files = "<br>".join(f"`{one}`" for one in lab.files) if open_ else say(msg("not open yet"))
    later = sum(check.points for check in lab.later_of(ARCHES[0]).values())
    row = [name, title, files, str(lab.points + later)]
    if course.deadlines:
        at = course.deadlines.labs.get(lab.name)
        row.append(f"{at.due:%Y-%m-%d %H:%M}" if at else "")
        if at and at.late:
            row[-1] += f"<br>{say(_cost(at.late))}"
    return row


def _rules(due: Deadlines) -> Iterator[Text]:
    yield msg("Times are those of {zone}.", zone=due.zone)
    yield _cost(due.late)
    if due.late.days is not None:
        yield msg(
            "Nothing counts that comes more than {days} late days after its deadline.",
            days=due.late.days,
        )
    if due.late.grace_minutes:
        yield msg("Up to {minutes} minutes late is not late.", minutes=due.late.grace_minutes)
    if due.free_days:
        yield msg(
            "You have {days} late days without a penalty, in all labs together.", days=due.free_days
        )


def _cost(late: Late) -> Text:
    if not late.per_day:
        return msg("Lateness costs no points.")
    if late.of == "maximum":
        return msg(
            "Each late day that has begun costs {per_day} percent of the lab's points, at most "
            "{most} percent.",
            per_day=late.per_day,
            most=late.at_most,
        )
    return msg(
        "Each late day that has begun costs {per_day} percent of your points, at most {most} "
        "percent.",
        per_day=late.per_day,
        most=late.at_most,
    )


def _handing_in() -> Iterator[Text]:
    yield msg("In your workspace `make handin LAB=3` packs the files of lab 3: `handin/lab3.zip`.")
    yield msg("Hand in that file. Other files are not graded.")
    yield msg("If you hand in again, the last one that came counts.")

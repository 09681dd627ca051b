"""One thing that is missing or wrong in a course, and how it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vmmlab.base.errors import VmmlabError
from vmmlab.base.message import Text, msg
from vmmlab.course.model import Course
from vmmlab.i18n.translate import Reader


@dataclass(frozen=True)
class Forgotten:
    """One thing that is missing or does not fit.

    Attributes:
        file: relative to the clone.
        line: from 1; 0 if it is about the file as a whole.
        what: what is wrong.
        do: what to do about it.
        expected: what should be there; "" if that is not known.
        found: what is there instead; "" if that is not known.
        place: the file and line that `what` begins with, if it does; they are not shown.
    """

    file: str
    line: int
    what: Text
    do: Text
    expected: Text = ""
    found: Text = ""
    place: str = ""

    def __str__(self) -> str:
        return self.shown(Reader())

    def shown(self, say: Reader) -> str:
        """Return one line in the reader's language."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        what = say(self.what)
        if self.place:
            what = what.removeprefix(self.place).lstrip(":： ")
        said = [what]
        said += [say(msg("Expected {expected}", expected=self.expected))] if self.expected else []
        said += [say(msg("Found {found}", found=self.found))] if self.found else []
        what = say.label(". ").join(" ".join(one.split()).rstrip(".。") for one in said)
        return say.label(": ").join((where, what, say(self.do)))


def of_error(error: VmmlabError, file: str) -> Forgotten:
    """Return an error as a finding, with the line that its message begins with, if any.

    Args:
        error: of another module, with a message such as `course.yml:3: ...`.
        file: the file that it is about.
    """
    place = re.match(r"\S+?:([0-9]+)(?=: )", str(error.message))
    return Forgotten(
        file,
        int(place[1]) if place else 0,
        error.message,
        error.next_step or msg("fix it"),
        expected=error.expected,
        found=error.found,
        place=place[0] if place else "",
    )


def text_of(course: Course, file: str) -> str | None:
    """Return the text of a file, relative to the clone; None if there is none."""
    path = course.root / file
    return path.read_text(encoding="utf-8") if path.is_file() else None

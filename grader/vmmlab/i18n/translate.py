"""What is shown, in the reader's language. Reports, files and programs keep their English.

Everything in the kit is written in English: a report, an error, a line of a command. On its way to
a person it is looked up in catalogs, messages.ja.yml here and in labs/labN/, which map an English
template to a Japanese one::

    "CPU {} waits as well": "CPU {} も待っています"
    "{} before {}": "{1} より {0} が先"

A text that fits a template is shown as the Japanese one, with its values in place of {}; a value
that is a known text itself is translated too, and so is a known text behind `lab3/apinit.S:7: `.
What no catalog knows is shown in English.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vmmlab.base.errors import CourseError, VmmlabError
from vmmlab.base.workspacefile import LANGUAGE_KEY, WORKSPACE_FILE, workspace_folder

if TYPE_CHECKING:
    from vmmlab.report import Report

ENGLISH: Final = "en"
LANGUAGES: Final = (ENGLISH, "ja")
"""The languages that something is shown in. English needs no catalog."""

OWN_CATALOGS: Final = Path(__file__).parent
_VARIABLES: Final = ("LC_ALL", "LC_MESSAGES", "LANG")
_HOLE: Final = "{}"
_WEAK: Final = 8
_SUMMARY: Final = re.compile(r"(CPU \d+)(?:, (.*?))?: (.*)", re.DOTALL)


def known(language: str) -> str:
    """The language of a locale such as `ja_JP.UTF-8`; English if it is none of `LANGUAGES`."""
    short = re.split(r"[_.@-]", language.strip().lower(), maxsplit=1)[0]
    return short if short in LANGUAGES else ENGLISH


def choose(wanted: str | None, environment: Mapping[str, str], remembered: str = "") -> str:
    """The language to show things in.

    Args:
        wanted: what was asked for in this very command, if anything.
        environment: variables; the first of LC_ALL, LC_MESSAGES and LANG that is set counts.
        remembered: what the workspace says, "" for nothing; it comes before the environment.
    """
    said = (wanted, remembered, *map(environment.get, _VARIABLES))
    return known(next(filter(None, said), ENGLISH))


def remembered(start: Path) -> str:
    """The language that the workspace around `start` was made in; "" if it says none."""
    folder = workspace_folder(start.absolute())
    if folder is None:
        return ""
    import tomllib  # late: most commands find none

    with suppress(OSError, ValueError):  # `vmmlab.workspace.model` says what is wrong with it
        text = (folder / WORKSPACE_FILE).read_text(encoding="utf-8")
        said = tomllib.loads(text).get(LANGUAGE_KEY)
        return said if isinstance(said, str) else ""
    return ""


@dataclass(frozen=True, slots=True)
class _Template:
    """An English template with holes, cut at them, and its translation."""

    parts: tuple[str, ...]
    translation: str

    @property
    def weight(self) -> int:
        """How much of a text it fixes."""
        return sum(map(len, self.parts))

    def values(self, text: str) -> list[str] | None:
        """What stands in the holes if `text` fits, else None."""
        first, *middle, last = self.parts
        at, end = len(first), len(text) - len(last)
        if at > end or not text.startswith(first) or not text.endswith(last):
            return None
        found = []
        for part in middle:
            here = text.find(part, at, end)
            if here < 0:
                return None
            found.append(text[at:here])
            at = here + len(part)
        return [*found, text[at:end]]


class Reader:
    """Shows texts in one language.

    Args:
        language: one of `LANGUAGES`.
        folders: where catalogs lie; nothing is read before the first text, in English nothing.
    """

    def __init__(self, language: str = ENGLISH, folders: Sequence[Path] = (OWN_CATALOGS,)) -> None:
        self.language = language
        self._folders = tuple(folders)
        self._texts: dict[str, str] | None = None
        self._templates: tuple[_Template, ...] = ()

    def of(self, *labs: Path) -> Reader:
        """A reader that also knows the texts of some labs.

        Args:
            labs: their folders, which may hold messages.ja.yml and hints.ja.yml, and
                hidden/messages.ja.yml in the instructor's copy.
        """
        if self.language == ENGLISH:
            return self
        theirs = (folder for lab in labs for folder in (lab, lab / "hidden"))
        return Reader(self.language, (*theirs, *self._folders))

    def __call__(self, text: str) -> str:
        """`text` in the reader's language, or as it is when no catalog knows it.

        Raises:
            CourseError: a catalog cannot be read.
        """
        return text if self.language == ENGLISH or not text else self._shown(text, whole=True)

    def label(self, word: str) -> str:
        """The word as the name of a row, a column or an outcome; a catalog has it as `label: `."""
        return word if self.language == ENGLISH else self._known().get(f"label: {word}", word)

    def _known(self) -> Mapping[str, str]:
        if self._texts is None:
            self._read()
        assert self._texts is not None
        return self._texts

    def _shown(self, text: str, *, whole: bool) -> str:
        exact = self._known().get(text)
        if exact is not None:
            return exact
        for template in self._templates:
            if not whole and template.weight < _WEAK:
                break  # too little to go by: "{} in {}" fits many a value
            values = template.values(text)
            if values is not None:
                filled = template.translation.format(*(self._shown(v, whole=False) for v in values))
                return _spaced(filled, text)
        place, colon, message = text.partition(": ")
        if whole and colon and (shown := self._shown(message, whole=True)) != message:
            return f"{place}{self.label(': ')}{shown}"
        return text

    def _read(self) -> None:
        self._texts = {}
        templates: dict[str, str] = {}
        for folder in reversed(self._folders):  # the first one wins
            for english, translation in catalog(folder, self.language).items():
                (templates if _HOLE in english else self._texts)[english] = translation
            self._texts.update(_hints(folder, self.language))
        made = (_Template(tuple(one.split(_HOLE)), other) for one, other in templates.items())
        self._templates = tuple(sorted(made, key=lambda template: -template.weight))


def catalog(folder: Path, language: str) -> Mapping[str, str]:
    """What `folder`/messages.LANGUAGE.yml says; nothing if there is no such file.

    Raises:
        CourseError: the file is not a mapping of texts.
    """
    from vmmlab.base import yamlfile

    path = folder / f"messages.{language}.yml"
    if not path.exists():
        return {}
    file = yamlfile.read(path)
    data = {} if file.data is None else file.data
    if not isinstance(data, dict):
        raise CourseError(f"{file.shown}:1: these are not messages.", expected='"English": "other"')
    for english, translation in data.items():
        if not (isinstance(english, str) and isinstance(translation, str)):
            raise CourseError(
                f"{file.shown}:{file.line((english,))}: this is not a text and its translation.",
                next_step="put both in quotes",
            )
    return data


def _hints(folder: Path, language: str) -> Iterable[tuple[str, str]]:
    """Each hint of a lab with its translation: the same rung for the same cause."""
    from vmmlab.checks.hints import Hints

    theirs = Hints(folder / f"hints.{language}.yml").load()
    if not theirs:
        return
    for cause, rungs in Hints(folder / "hints.yml").load().items():
        yield from zip(rungs, theirs.get(cause, ()), strict=False)


def error_text(error: VmmlabError, say: Reader) -> str:
    """An error as `str` gives it, in the reader's language."""
    lines = [say(error.message)]
    rows = {"expected": error.expected, "found": error.found, "next": error.next_step}
    labels = {name: f"{say.label(name)}{say.label(':')}" for name in rows}
    width = max(map(cells, labels.values()))
    for name, text in rows.items():
        if text:
            shown = "\n".join(f"{_indent(line)}{say(line.strip())}" for line in text.split("\n"))
            lines.append(f"  {labels[name]}{' ' * (width - cells(labels[name]))} {shown}")
    return "\n".join(lines)


def _spaced(shown: str, english: str) -> str:
    """No space behind a wide bracket, nor in front of it all if the English has none there."""
    shown = shown.replace("） ", "）")
    return shown if english.startswith(" ") else shown.lstrip(" ")


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def cells(text: str) -> int:
    """How many columns of a terminal a line takes: wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def report_for(report: Report, say: Reader) -> Report:
    """The report as it is shown to a reader; never to be written to a file or graded by.

    Args:
        report: in English, as it was made.
        say: a reader that knows the lab.
    """
    if say.language == ENGLISH:
        return report
    checks = tuple(
        check.model_copy(
            update={
                **{name: say(getattr(check, name)) for name in ("title", "expected", "next")},
                "place": say(check.place),
                "observed": say(check.observed),
                "reason": say(check.reason),
                "hints": tuple(map(say, check.hints)),
                "cases": tuple(
                    case.model_copy(
                        update={"name": say(case.name), "message": _summary(case.message, say)}
                    )
                    for case in check.cases
                ),
            }
        )
        for check in report.checks
    )
    build = report.build.model_copy(
        update={
            name: tuple(
                one.model_copy(update={"message": say(one.message)})
                for one in getattr(report.build, name)
            )
            for name in ("warnings", "diagnostics")
        }
    )
    step = report.first_step
    if step is not None:
        step = step.model_copy(update={"title": say(step.title)})
    return report.model_copy(
        update={
            "checks": checks,
            "build": build,
            "first_step": step,
            "notes": tuple(map(say, report.notes)),
        }
    )


def _summary(message: str, say: Reader) -> str:
    """A failure in one line, as `Failure.summary` makes it: its parts are texts of their own."""
    cpu, place, what = "", "", message
    if (found := _SUMMARY.fullmatch(message)) is not None:
        cpu, place, what = (part or "" for part in found.groups())
    elif say(message) == message:
        head, colon, rest = message.partition(": ")
        if colon:
            place, what = head, rest
    where = say.label(", ").join(filter(None, [cpu, say(place)]))
    return f"{where}{say.label(': ')}{say(what)}" if where else say(what)

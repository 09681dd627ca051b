"""The summary of a batch: DIR/index.html, which loads nothing, and DIR/summary.csv."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import Text, label, msg
from vmmlab.base.text import clean_line
from vmmlab.classroom.batch import csvfile, figures, sheets
from vmmlab.classroom.batch.chart import bar, histogram
from vmmlab.classroom.batch.compare import Change
from vmmlab.classroom.batch.figures import Judged
from vmmlab.classroom.batch.progress import verdict
from vmmlab.classroom.batch.record import HostRecord, Record
from vmmlab.classroom.batch.sheets import Sheet
from vmmlab.classroom.batch.store import REPORTS, Store
from vmmlab.i18n.translate import Reader
from vmmlab.report.model import read_json
from vmmlab.report.pages import templates

PAGE: Final = "index.html"
TABLE: Final = "summary.csv"
_FOLDER: Final = Path(__file__).with_name("templates")
_CHECKS: Final = 15
_CAUSES: Final = 15
_TEXT_MOST: Final = 400


@dataclass(slots=True)
class Told:
    """What a summary says besides the records.

    Attributes:
        remarks: of the intake.
        took: how long the batch took, and what it had; in words.
        caps: what the whole batch may use.
        compared: what changed since another batch; None: not asked for.
        repeated: verdicts that differ with other seeds; None: not asked for.
        labs: the folders of the labs, for their texts.
        sheets: the worksheets, if they were to be graded.
    """

    remarks: Sequence[Text] = ()
    took: Sequence[Text] = ()
    caps: Sequence[Text] = ()
    compared: Sequence[Change] | None = None
    repeated: Sequence[Change] | None = None
    labs: Sequence[Path] = ()
    sheets: tuple[Sheet, ...] = ()


def judged(store: Store, records: Sequence[Record]) -> tuple[Judged, ...]:
    """Return what was judged, with the reports; what cannot be read is left out.

    Args:
        store: the folder of the batch.
        records: what it remembers.
    """
    found = []
    for one in records:
        stem = stem_of(one)
        path = store.report_path(one.student, stem)
        try:
            report = read_json(path)
        except UsageError:
            continue
        page = store.page_path(one.student, stem)
        shown = page if page.is_file() else path
        found.append(Judged(one, report, f"{REPORTS}/{one.student}/{shown.name}"))
    return tuple(found)


def stem_of(record: Record) -> str:
    """Return the name of a lab's files."""
    return record.lab if record.arch == "x86_64" else f"{record.lab}-{record.arch}"


def write(store: Store, everything: Sequence[Judged], told: Told, say: Reader) -> Path:
    """Write the summary; return its page.

    Args:
        store: the folder of the batch.
        everything: what was judged.
        told: what else there is to say.
        say: the reader's language.

    Raises:
        InfraError: the disk is full.
    """
    store.write(TABLE, csvfile.text_of(everything))
    if told.sheets:
        store.write(sheets.TABLE, sheets.text_of(told.sheets))
    return store.write(PAGE, page(everything, told, say))


def page(everything: Sequence[Judged], told: Told, say: Reader) -> str:
    """Return the page; the arguments are those of `write`."""
    say = say.of(*told.labs)
    stems = dict.fromkeys(stem_of(one.record) for one in everything)
    labs = [
        figures.of_lab(stem, [one for one in everything if stem_of(one.record) == stem])
        for stem in stems
    ]
    line: Callable[[Text], str] = lambda text: clean_line(say(text), _TEXT_MOST)  # noqa: E731
    return (
        templates(_FOLDER)
        .get_template("batch.html.j2")
        .render(
            lang=say.language,
            words={name: say(text) for name, text in _WORDS.items()},
            labs=[(one, histogram(one.bins, one.max, say(_WORDS["points"]))) for one in labs],
            everything=everything,
            attention=[one for one in everything if one.record.verdict == "attention"],
            review=[one for one in everything if one.report.review],
            ungradable=[one for one in everything if one.record.verdict == "ungradable"],
            absent=[one for one in everything if one.record.verdict == "absent"],
            hosts=_hosts(everything),
            told=told,
            line=line,
            verdict=lambda one: line(verdict(one.record)),
            bar=bar,
            stem=lambda one: stem_of(one.record),
            checks_most=_CHECKS,
            causes_most=_CAUSES,
        )
    )


def _hosts(everything: Sequence[Judged]) -> list[tuple[HostRecord, int]]:
    """Return what each host enforced, and how much it graded."""
    found: dict[str, tuple[HostRecord, int]] = {}
    for one in everything:
        host = one.record.host
        if host is not None:
            key = repr(host)
            found[key] = (host, found.get(key, (host, 0))[1] + 1)
    return list(found.values())


_WORDS: Final[dict[str, Any]] = {
    "title": msg("Summary of the class"),
    "attention": msg("Needs attention"),
    "attention_told": msg(
        "These have no grade: the grader or its tools failed, or a person has to decide about what "
        "was handed in. To try them again, repeat the command with --resume."
    ),
    "review": msg("Worth a look"),
    "ungradable": msg("Could not be graded: 0 points, with the reason"),
    "absent": msg("Nothing was handed in: no grade"),
    "points": msg("How the points are distributed"),
    "graded": msg("judged"),
    "full": msg("with all points"),
    "mean": msg("mean"),
    "median": msg("median"),
    "checks": msg("Checks that failed most often"),
    "waiting": msg("the lighter part waits for another check, or does not build"),
    "causes": msg("What the class did not understand"),
    "cause": msg("Cause"),
    "students": msg("Students"),
    "next": msg("What they are told"),
    "examples": msg("Examples"),
    "slowest": msg("Slowest"),
    "all": msg("All students"),
    "student": label("student"),
    "lab": label("lab"),
    "verdict": msg("Verdict"),
    "seconds": msg("Seconds"),
    "report": msg("Report"),
    "hosts": msg("What each worker enforced"),
    "host": msg("Host"),
    "count": msg("Graded"),
    "limits": msg("Limits"),
    "versions": msg("Versions"),
    "compared": msg("What changed"),
    "repeated": msg("Verdicts that differ with other seeds"),
    "nothing": msg("nothing"),
    "remarks": msg("Remarks on what was handed in"),
    "hidden": msg("hidden checks"),
    "late": msg("late"),
    "sheets": msg("Worksheets"),
    "automatic": msg("Points so far"),
    "by_hand": msg("By hand"),
    "problem": msg("Problem"),
}

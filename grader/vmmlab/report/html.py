"""The report as one HTML file, drawn from the record of a grading and from nothing else.

The page loads nothing: style, script and data are in it, and a policy in it forbids everything
else. All text is escaped by the template; what is inserted as it is, is SVG of `lanes`, `stops` and
`memorymap`, and the data of the slider.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from vmmlab.base.message import Text, msg
from vmmlab.base.text import clean, clean_line
from vmmlab.i18n.translate import Reader
from vmmlab.probes.placewords import place_words
from vmmlab.report import lanes, memorymap, stops
from vmmlab.report.bootorder import failing, in_order
from vmmlab.report.groups import Group, cases_text, grouped
from vmmlab.report.guestview import GuestRow, guest_rows
from vmmlab.report.htmlwords import outcome_word, words
from vmmlab.report.model import CheckReport, Report
from vmmlab.report.pages import templates
from vmmlab.report.reduced import NONE, RightRun, RightRuns
from vmmlab.report.replay import replay
from vmmlab.report.runrecord import RecordedBoot, RunRecord
from vmmlab.report.schedule import schedule
from vmmlab.report.timeline import Lane, Point, Timeline, short_name, timeline

_FOLDER: Final = Path(__file__).with_name("templates")
_TEXT_MOST: Final = 4000
_HITS_TOLD: Final = 200
_PAGE_MOST: Final = 4 << 20
"""So many characters of boots are drawn; those that no check fails in are left out first."""


@dataclass(frozen=True)
class BootView:
    """A boot as the template needs it."""

    name: str
    title: str
    id: str
    open: bool
    checks: tuple[str, ...]
    cut: bool
    lanes: Markup
    stops: Markup
    shared: bool
    low: Markup
    high: Markup
    line: Timeline
    low_rows: Sequence[memorymap.Region]
    high_rows: Sequence[memorymap.Region]
    hits: Sequence[Any]
    compared: Sequence[tuple[str, Point | None, Point | None]]
    compared_lane: str
    replay: Markup | None
    serial: str
    guests: Sequence[GuestRow] = ()
    notes: list[str] = field(default_factory=list)


def page(record: RunRecord, say: Reader, right: RightRuns = NONE) -> str:
    """Return the report as HTML.

    Args:
        record: what the grading has seen.
        say: the reader's language, with the texts of the lab.
        right: the reduced record of the reference.
    """
    report = record.report
    groups = grouped(report.checks)
    failed = failing(record)
    boots, left_out = _boots(record, failed, say, right)
    found = record.exploration
    steps = schedule(found.counterexample, say) if found and found.counterexample else None
    return (
        templates(_FOLDER)
        .get_template("report.html.j2")
        .render(
            lang=say.language,
            report=report,
            groups=[_failure(group, record, boots, say) for group in groups],
            checks=[(check, *outcome_word(check.outcome, say)) for check in report.checks],
            boots=boots,
            left_out=left_out,
            schedule=steps,
            words=(shown := words(say)),
            page_words=_script(page_words := _page_words(shown, say)),
            modes=page_words["modes"],
            controls=_controls(shown),
            say=lambda text: clean(say(text)[:_TEXT_MOST]),
            line=lambda text: clean_line(say(text), _TEXT_MOST),
            label=say.label,
            place=lambda name: clean_line(place_words(name, say)),
            short=lambda milestone: say.label(short_name(milestone)),
            score=_score(report, say),
            facts=_facts(report, say),
            css=Markup(_file("report.css")),
            js=Markup(_file("report.js")),
        )
    )


def preload() -> None:
    """Load all templates, for a process that forks others which draw pages."""
    for name in templates(_FOLDER).list_templates(extensions=["j2"]):
        templates(_FOLDER).get_template(name)


def _page_words(shown: dict[str, str], say: Reader) -> dict[str, Any]:
    """Return the words that the script needs."""
    wanted = ("step_of", "was", "nothing", "last", "syntax_intel", "syntax_att")
    modes = {
        "real": say(msg("real mode")),
        "protected": say(msg("protected mode")),
        "long": say(msg("long mode")),
    }
    return {**{name: shown[name] for name in wanted}, "modes": modes}


def _controls(shown: dict[str, str]) -> Callable[[str], Markup]:
    """Return the function by which the template inserts a slider; the script sets its end."""
    made = templates(_FOLDER).get_template("controls.html.j2")
    return lambda name: Markup(made.render(words=shown, name=name))


@cache
def _file(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _score(report: Report, say: Reader) -> str:
    if report.points is None:
        return say(msg("no grade yet"))
    if not report.max:
        return say(msg("no points to earn"))
    return say(msg("{points:g}/{max:g} points", points=report.points, max=report.max))


def _facts(report: Report, say: Reader) -> list[str]:
    seed: Text = msg("official grading {label}", label=report.label)
    if report.seed is not None:
        seed = msg("seed {seed}", seed=report.seed)
    facts = [say(seed), say(msg("cohort {cohort}", cohort=report.cohort)), report.arch]
    facts += [f"{name} {version}" for name, version in report.versions.items()]
    return [clean_line(one, 200) for one in facts]


@dataclass(frozen=True)
class Failure:
    """A failure as the template needs it."""

    check: CheckReport
    same: Sequence[CheckReport]
    waiting: Sequence[CheckReport]
    cases: str
    hints: Sequence[Text]
    boots: Sequence[BootView]


def _failure(group: Group, record: RunRecord, boots: Sequence[BootView], say: Reader) -> Failure:
    check = group.first
    return Failure(
        check,
        group.same,
        group.waiting,
        cases_text(check, say) if check.cases else "",
        record.hints.get(check.cause or "", check.hints),
        [boot for boot in boots if check.id in boot.checks],
    )


def _boots(
    record: RunRecord, failed: set[str], say: Reader, right: RightRuns
) -> tuple[list[BootView], list[str]]:
    """Return the boots, those in which a check fails first, and the names of those left out."""
    views: list[BootView] = []
    left_out: list[str] = []
    size = 0
    for number, boot in enumerate(in_order(record, failed)):
        if size > _PAGE_MOST:
            left_out.append(clean_line(say(boot.title), 200))
            continue
        cpus = [c.cpu for c in record.report.checks if c.id in failed & {*boot.checks}]
        view = _boot(number, boot, record, say, right.runs.get(boot.name), cpus)
        size += len(view.lanes) + len(view.stops) + len(view.replay or "")
        views.append(view)
    return views, left_out


def _boot(
    number: int,
    boot: RecordedBoot,
    record: RunRecord,
    say: Reader,
    right: RightRun | None,
    cpus: Sequence[int | None],
) -> BootView:
    seen = boot.seen
    other = right.lanes() if right else ()
    line = timeline(seen, other)
    regions = memorymap.regions(seen)[: memorymap.ROWS_MOST]
    low = [one for one in regions if one.start < memorymap.LOW]
    high = [one for one in regions if one.start >= memorymap.LOW]
    lane, points = _compared(line, other, cpus)
    steps = replay(seen, record.lines, say)
    steps["first"] = next((cpu for cpu in cpus if cpu), None)
    name = f"boot{number}"
    return BootView(
        name=name,
        title=clean_line(say(boot.title), 300),
        id=clean_line(boot.name, 80),
        open=number == 0,
        checks=boot.checks,
        cut=boot.cut,
        lanes=Markup(
            lanes.svg(
                line, say, name=name, right=other, right_signals=right.signals() if right else ()
            )
        ),
        stops=Markup(stops.svg(seen, say, f"{name}s")),
        shared=bool(stops.shared(stops.holds(seen.hits))),
        low=Markup(memorymap.svg(low, say, f"{name}l", low=True)),
        high=Markup(memorymap.svg(high, say, f"{name}h", low=False)),
        line=line,
        low_rows=low,
        high_rows=high,
        hits=seen.hits[:_HITS_TOLD],
        compared=points,
        compared_lane=lane,
        replay=_script(steps) if steps["cpus"] else None,
        guests=guest_rows(seen),
        serial=clean(seen.serial[-_TEXT_MOST:], tabs=True),
    )


def _compared(
    line: Timeline, right: Sequence[Lane], cpus: Sequence[int | None]
) -> tuple[str, list[tuple[str, Point | None, Point | None]]]:
    """Return the milestones of the CPU that fails beside those of an AP of the right run."""
    wanted = {cpu for cpu in cpus if cpu}
    mine = [one for one in line.lanes if 0 not in one.cpus]
    mine = [one for one in mine if wanted & {*one.cpus}] or mine
    theirs = [one for one in right if 0 not in one.cpus]
    if not mine:
        return "", []
    lane = mine[0]
    other = next((one for one in theirs if {*one.cpus} & {*lane.cpus}), None)
    rows = []
    for column in line.columns:
        pair = lane.at(column.name), other.at(column.name) if other else None
        if any(pair):
            rows.append((short_name(column), *pair))
    return clean_line(lane.name, 60), rows


def _script(data: Any) -> Markup:
    """Return data as JSON that cannot end the script element that it is in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))

"""Renders a report as text for a terminal.

Everything that comes from the guest or from a student's file is sanitised here.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import IO, Final

from rich.cells import set_cell_size
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text as RichText

from vmmlab.base.message import Listed, Text, label, listed, msg, nmsg
from vmmlab.base.text import clean, clean_line
from vmmlab.i18n.translate import Reader
from vmmlab.report.changed import Mark, changes, legend
from vmmlab.report.console import console, show
from vmmlab.report.groups import Group, cases_text, grouped
from vmmlab.report.guide import Guide
from vmmlab.report.model import CheckReport, Diagnostic, Report
from vmmlab.report.wrapping import Wide, text_of

_WORDS: Final = {
    "pass": (label("pass"), "green"),
    "partial": (label("part"), "yellow"),
    "fail": (label("FAIL"), "bold red"),
    "timeout": (label("TIME"), "bold red"),
    "skipped": (label("wait"), "dim"),
    "build-error": (label("code"), "dim"),
    "infra-error": (label("open"), "bold magenta"),
}
_UNMARKED: Final[Mapping[str, Mark]] = MappingProxyType({})
_NOT_WRITTEN: Final = "not-written-yet"
"""The cause of `vmmlab.diagnosis.todo`: a CPU stopped at a TODO."""
_WIDTHS: Final = (40, 120)
_NAMES: Final = 8
_DIAGNOSTICS_SHOWN: Final = 8
_WARNINGS_SHOWN: Final = 5
_WAITING_SHOWN: Final = 4
_VERSIONS_NOT_SHOWN: Final = frozenset({"python", "qemu.qmp", "sandbox"})


def print_report(
    report: Report,
    file: IO[str] | None = None,
    say: Reader | None = None,
    guide: Guide | None = None,
    before: Report | None = None,
) -> None:
    """Print the report: in colour only on a terminal, and never with NO_COLOR set.

    Args:
        report: what to show.
        file: where to; standard output if it is None.
        say: the reader's language, with the texts of the lab; else English.
        guide: for a report on the reader's own work, what follows it.
        before: the report that this one is compared with.
    """

    def text(width: int, color: bool) -> str:
        return render(report, width=width, color=color, say=say, guide=guide, before=before)

    show(text, file)


def render(
    report: Report,
    *,
    width: int = 80,
    color: bool = False,
    say: Reader | None = None,
    guide: Guide | None = None,
    before: Report | None = None,
) -> str:
    """Return the report as text with line ends.

    Args:
        report: what to show.
        width: columns, limited to a readable range; a command to copy is never broken.
        color: whether to use ANSI colours.
        say: the reader's language, with the texts of the lab; else English.
        guide: for a report on the reader's own work, what follows it; hints are then given on
            request only.
        before: the report that this one is compared with: checks that end otherwise are marked.
    """
    say = Reader() if say is None else say
    out = io.StringIO()
    to = console(out, min(max(width, _WIDTHS[0]), _WIDTHS[1]), color)
    for part in _parts(report, say, guide, before):
        if isinstance(part, Wide):
            part = Padding(part, 0)  # rich would wrap it as plain text otherwise
        to.print(part, soft_wrap=isinstance(part, _Command))
    lines = (line.rstrip() for line in out.getvalue().split("\n"))
    return "\n".join(lines).rstrip("\n") + "\n"


class _Command(RichText):
    """A command to copy; it must not be wrapped."""


def _parts(
    report: Report, say: Reader, guide: Guide | None, before: Report | None
) -> Iterator[RenderableType]:
    yield _headline(report, say)
    if not report.build.ok:
        yield from _build_failure(report, say)
    else:
        yield ""
        marks = changes(report, before)
        visible = [check for check in report.checks if check.visibility == "visible"]
        yield _list(visible, say, marks)
        if marks:
            yield _line("  " + say(legend(marks)), "dim")
        if hidden := [check for check in report.checks if check.visibility == "hidden"]:
            yield ""
            head = msg("Hidden checks, for the instructor only:")
            if report.self_study:
                head = msg("The same contracts, with other inputs:")
            yield _line(say(head), "")
            yield _list(hidden, say)
        groups = grouped(report.checks)
        unwritten = [group for group in groups if group.first.cause == _NOT_WRITTEN]
        faults = [group for group in groups if group.first.cause != _NOT_WRITTEN]
        # A mistake comes first; without one, the step to write next is worth a block.
        for group in faults or unwritten[:1]:
            yield ""
            yield from _block(report, group, say, guide)
        if folded := unwritten if faults else unwritten[1:]:
            yield ""
            yield _line(say(_folded(folded)), "dim")
    if report.build.warnings:
        yield ""
        yield from _warnings(report.build.warnings, say)
    closing = _closing(report, say, guide)
    if closing:
        yield ""
        yield from closing
    yield ""
    yield from _small_print(report, say)


def _headline(report: Report, say: Reader) -> RichText:
    full = report.points == report.max
    if report.points is None:
        known = sum(check.points or 0 for check in report.checks if check.visibility == "visible")
        points, style = (
            say(msg("{known:g} of {max:g} points so far", known=known, max=report.max)),
            "bold magenta",
        )
    elif not report.max:  # a lab without points
        points, style = say(msg("no points to earn")), "bold"
    else:
        points = say(msg("{points:g}/{max:g} points", points=report.points, max=report.max))
        style = "bold green" if full else "bold yellow" if report.points else "bold"
    line = RichText.assemble((clean_line(report.lab), "bold"), "  ", (points, style))
    chosen = any(check.visibility == "hidden" for check in report.checks)
    if report.hidden_judged and (chosen or not report.partial_run):
        earned = "?" if report.hidden_points is None else f"{report.hidden_points:g}"
        score = msg("hidden checks {earned}/{max:g}", earned=earned, max=report.hidden_max)
        if report.self_study:
            score = msg("further checks {earned}/{max:g}", earned=earned, max=report.hidden_max)
        style = "green" if report.hidden_points == report.hidden_max else "yellow"
        line.append("  " + say(score), style)
    if report.mode == "own":
        line.append("  " + say(msg("all labs from your own files")))
    elif report.mode == "reference":
        line.append("  " + say(msg("the reference solution")))
    if report.partial_run:
        line.append("  " + say(msg("partial run, not a grade")), "yellow")
    if report.needs_attention:
        line.append("  " + say(msg("needs attention, no grade yet")), "bold magenta")
    if report.review:
        line.append("  " + say(msg("a person will look at it")), "bold magenta")
    return line


def _list(
    checks: Sequence[CheckReport], say: Reader, marks: Mapping[str, Mark] = _UNMARKED
) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    if marks:
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    for check in checks:
        word, style = _WORDS[check.outcome]
        title = text_of(clean_line(say(check.title)))
        if check.outcome == "skipped":  # one line is enough for what cannot be judged yet
            title.style, title.no_wrap, title.overflow = "dim", True, "ellipsis"
        mark = marks.get(check.id)
        lead = [RichText(f"  {mark.sign}" if mark else "", mark.style if mark else "")]
        indent = "" if marks else "  "
        table.add_row(
            *(lead if marks else []),
            RichText(indent + say.label(word), style),
            RichText(_points(check)),
            title,
        )
    return table


def _points(check: CheckReport) -> str:
    return f"{'?' if check.points is None else f'{check.points:g}'}/{check.max:g}"


def _folded(groups: Sequence[Group]) -> Text:
    """Return one line for the steps that are not written yet."""
    count = sum(1 + len(group.same) + len(group.waiting) for group in groups)
    return nmsg(
        "not written yet: {steps}; {count} check waits for it",
        "not written yet: {steps}; {count} checks wait for it",
        count=count,
        steps=listed(dict.fromkeys(group.first.place for group in groups)),
    )


def _block(
    report: Report, group: Group, say: Reader, guide: Guide | None
) -> Iterator[RenderableType]:
    check = group.first
    word, style = _WORDS[check.outcome]
    head = Table.grid(padding=(0, 2, 0, 0))
    head.add_row(RichText(say.label(word), style), text_of(clean_line(say(check.title)), "bold"))
    yield head
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=_NAMES, style="dim")
    table.add_column(overflow="fold")
    for name, text in _rows(report, group, say, guide):
        if (shown := say(text)).strip():
            table.add_row(say.label(name), text_of(clean(shown).strip("\n")))
    yield Padding(table, (0, 0, 0, 6))
    if check.outcome != "infra-error" and check.again:
        again = set_cell_size(say.label("again"), _NAMES + 2)
        yield _Command.assemble("      ", (again, "dim"), (clean_line(check.again), "cyan"))


def _rows(
    report: Report, group: Group, say: Reader, guide: Guide | None
) -> Iterator[tuple[str, Text]]:
    check = group.first
    if check.outcome == "infra-error":
        yield label("what"), check.reason
        yield (
            label("effect"),
            say(msg("The cause is not your code, and it costs no points. Run it again.")),
        )
        yield label("next"), say(msg("If it happens again, show your instructor this text."))
    else:
        where: list[Text] = [] if check.cpu is None else [msg("CPU {cpu}", cpu=check.cpu)]
        yield label("where"), listed([*where, check.place] if check.place else where)
        yield label("expected"), check.expected
        yield label("observed"), check.observed or (check.cause or "").replace("-", " ")
        if check.cases:
            yield label("cases"), cases_text(check, say)
        yield label("next"), check.next
        if guide is None:
            yield label("hint"), Listed(check.hints, "\n")
        else:
            yield (
                label("hint"),
                msg("if you want one: {command}", command=guide.hint_command(check.id)),
            )
        yield label("cohort"), check.numbers
        yield (
            label("step"),
            msg(
                "{step}, {seed}, cohort {cohort}",
                step=_step(check),
                seed=_seed(report),
                cohort=check.cohort or report.cohort,
            ),
        )
    yield label("also in"), ", ".join(other.id for other in group.same)
    if len(group.waiting) > _WAITING_SHOWN:
        yield (
            label("waiting"),
            msg("{count} checks wait for this one", count=len(group.waiting)),
        )
    else:
        yield label("waiting"), ", ".join(other.id for other in group.waiting)


def _step(check: CheckReport) -> Text:
    """Return the step that contains the mistake, with its function and file."""
    at = check.mistake
    if at is None:
        return check.step or "-"
    return msg("{step}: {function} in {file}", step=at.id, function=at.function, file=at.file)


def _build_failure(report: Report, say: Reader) -> Iterator[RenderableType]:
    errors = [one for one in report.build.diagnostics if one.severity == "error"]
    shown = errors[:_DIAGNOSTICS_SHOWN]
    yield ""
    yield _line(say(report.why_nothing_ran), "bold red")
    yield ""
    yield from (_diagnostic(one, "red", say) for one in shown)
    if len(errors) > len(shown):
        yield _line("  " + say(msg("and {count} more", count=len(errors) - len(shown))), "")
    yield ""
    yield _line(say(msg("Start with the first one; the others often follow from it.")), "")


def _warnings(warnings: Sequence[Diagnostic], say: Reader) -> Iterator[RenderableType]:
    text = msg("The compiler gives a warning; it costs no points.")
    if len(warnings) > 1:
        text = msg("The compiler gives {count} warnings; they cost no points.", count=len(warnings))
    yield _line(say(text), "yellow")
    yield from (_diagnostic(one, "yellow", say) for one in warnings[:_WARNINGS_SHOWN])
    if len(warnings) > _WARNINGS_SHOWN:
        more = msg("and {count} more", count=len(warnings) - _WARNINGS_SHOWN)
        yield _line("  " + say(more), "")


def _diagnostic(one: Diagnostic, style: str, say: Reader) -> RenderableType:
    place = one.file
    if place and one.line:
        place += f":{one.line}" + (f":{one.column}" if one.column else "")
    place = f"{clean_line(place)}: " if place else ""
    text = text_of(place + clean_line(say(one.message)))
    text.stylize(style, 0, len(place))
    return Padding(text, (0, 0, 0, 2))


def _closing(report: Report, say: Reader, guide: Guide | None) -> list[RenderableType]:
    """Return the last lines: praise and the next lab, or the step to begin with."""
    if not report.build.ok or not report.checks:
        return []
    if all(check.outcome == "pass" for check in report.checks):
        if report.partial_run:
            return [_line(say(msg("All of these pass. Now run the whole lab.")), "green")]
        if report.later:
            done = msg("All points so far: the rest of {lab} is judged later.", lab=report.lab)
        elif not report.max:
            done = msg("{lab} works. It has no points: go on with its questions.", lab=report.lab)
        else:
            done = msg("All points. {lab} is done, well done!", lab=report.lab)
        return [_line(say(done), "bold green"), *_next_lab(guide, say)]
    step = report.first_step
    if step is None or report.needs_attention:
        return []
    where, place = step.id, step.file
    if step.line is not None:
        where, place = f"TODO({step.id})", f"{step.file}:{step.line}"
    todo = say(
        msg(
            "{where} in {place}, function {function}: {title}",
            where=where,
            place=place,
            function=step.function,
            title=say(step.title),
        )
    )
    begins = any(check.cause == "not-written-yet" for check in report.checks)
    if report.points == 0 and step.line is not None and begins:
        start = msg("It builds, and this is where every lab begins. A good first step:")
        return [_line(say(start), "bold"), Padding(_line(todo, ""), (0, 0, 0, 2))]
    return [_line(f"{say.label('Next: ')}{todo}", "")]


def _next_lab(guide: Guide | None, say: Reader) -> list[RenderableType]:
    """Return the line that names the lab to go on with."""
    if guide is None or not guide.next_lab:
        return []
    text = msg("Next is {lab}: {handout}", lab=guide.next_lab, handout=guide.handout)
    return [_line(say(text), "")]


def _small_print(report: Report, say: Reader) -> Iterator[RenderableType]:
    for reason in report.review_reasons:
        yield _line(f"{say.label('to be looked at: ')}{say(reason)}", "bold magenta")
    for note in report.notes:
        yield _line(f"{say.label('note: ')}{say(note)}", "")
    if report.later:
        text = msg(
            "judged later, when the next labs are open: {points:g} more points ({checks})",
            points=report.later_max,
            checks=", ".join(report.later),
        )
        yield _line(say(text), "")
    if report.hidden_max and report.hidden_elsewhere and not report.hidden_judged:
        yield _line(
            say(
                msg(
                    "hidden checks: {hidden_max:g} more points, judged elsewhere",
                    hidden_max=report.hidden_max,
                )
            ),
            "",
        )
    versions = [
        f"{name} {number}"
        for name, number in report.versions.items()
        if name not in _VERSIONS_NOT_SHOWN
    ]
    facts = [
        say(_seed(report)),
        say(msg("cohort {cohort}", cohort=report.cohort)),
        report.arch,
        *versions,
    ]
    yield _line(
        " · ".join([*facts, say(msg("{duration_s:.1f} s", duration_s=report.duration_s))]), "dim"
    )


def _seed(report: Report) -> Text:
    """Return the seed, or the label of an official grading whose seed is kept."""
    if report.seed is None:
        return msg("official grading {label}", label=report.label)
    return msg("seed {seed}", seed=report.seed)


def _line(text: str, style: str) -> RichText:
    return text_of(" ".join(clean(text).splitlines()), style)

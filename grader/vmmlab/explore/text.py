"""An exploration as plain text for the terminal, in the reader's language.

Text from the student's files, such as the message of a panic, is sanitised here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from vmmlab.base.message import Message, Text, label, msg
from vmmlab.base.text import cells, clean
from vmmlab.explore.exploration import (
    Counterexample,
    Exploration,
    Limit,
    Part,
    ScheduleStep,
    Verdict,
    number_text,
)
from vmmlab.i18n.translate import Reader

_WIDTH: Final = 100
_VERDICTS: Final[Mapping[Verdict, str]] = {
    "correct": label("correct"),
    "no error found": label("no error found"),
    "wrong": label("wrong"),
    "unsupported": label("unsupported"),
    "unfinished": label("unfinished"),
}
_COLUMNS: Final = (
    label("step"),
    label("CPU"),
    label("where"),
    label("what"),
    label("holders"),
)
_BOOT_STACK: Final = "boot stack"  # a key of `ScheduleStep.holds`; the others are variables
_NAME_MOST_CELLS: Final = 72
_VERDICT_CELLS: Final = 15
_STATES_CELLS: Final = 16


def lines(found: Exploration, say: Reader | None = None) -> Iterator[str]:
    """Yield a line for each part and what it rests on, then the counterexample or a summary.

    Args:
        found: the exploration.
        say: the reader's language; None: English.
    """
    for line in _lines(found, say or Reader()):
        yield clean(line.replace("\n", " "))


def legend(say: Reader) -> Iterator[str]:
    """Yield what the rows of an exploration mean, a line for each word in them."""
    yield say(
        msg("How to read the rows: a row is one situation, in which two to four CPUs run, or more.")
    )
    explained = (
        (
            msg("without store buffers"),
            msg("the other CPUs see each store at once"),
        ),
        (
            msg("with store buffers"),
            msg("a store stays in its CPU's buffer for a while, as on a real processor"),
        ),
        (
            msg("states"),
            msg("different contents of registers and memory that the search came to"),
        ),
        (
            msg("exhaustive"),
            msg("every order of the accesses to memory was tried; else the row says which were"),
        ),
        (
            msg("one order"),
            msg(
                "the CPUs take turns; so many of them, or so many rounds, are too much for a search"
            ),
        ),
        (
            msg("included"),
            msg("the row below tries these orders as well"),
        ),
    )
    wide = max(cells(say(word)) for word, _ in explained)
    for word, meaning in explained:
        yield f"  {_left(say(word), wide)}  {say(meaning)}"


def summary(found: Exploration, say: Reader | None = None) -> str:
    """Return the verdict in one line.

    Args:
        found: the exploration.
        say: the reader's language; None: English.
    """
    say = say or Reader()
    if found.verdict == "wrong" and found.counterexample:
        return say(msg("wrong schedule found: {what}", what=found.counterexample.what))
    if found.verdict in ("correct", "no error found"):
        told = dict.fromkeys(say(part.bound) for part in found.parts if part.bound)
        single = any(part.one_order for part in found.parts)
        whole = msg("exhaustive, except for the rows with one order") if single else None
        how = "; ".join(told) or say(whole or msg("exhaustive"))
        none = say(msg("no wrong schedule found: {states:,} states", states=found.states))
        return f"{none}{say.label(', ')}{how}"
    first = _limit(next(limit for part in found.parts for limit in part.limits), say)
    if found.verdict == "unfinished":
        return f"{say(msg('not written yet'))}{say.label(': ')}{first}"
    return f"{say.label('unsupported')}{say.label(': ')}{first}"


def _lines(found: Exploration, say: Reader) -> Iterator[str]:
    wide = max((cells(say(_name(part))) for part in found.parts), default=0)
    for part in found.parts:
        yield from _part(part, say, min(wide, _NAME_MOST_CELLS))
    yield ""
    if found.counterexample:
        yield from _counterexample(found.counterexample, say)
    else:
        yield summary(found, say)


def _part(part: Part, say: Reader, wide: int) -> Iterator[str]:
    name, verdict = say(_name(part)), say.label(_VERDICTS[part.verdict])
    states = "" if part.included else say(msg("{states:,} states", states=part.states))
    how = say(part.bound or _tried(part))
    if part.limits:
        how = say(msg("explored as far as possible"))
    if part.verdict == "wrong":
        how = say(msg("stopped at the first wrong state"))
    if part.included:
        how = say(msg("included: the next line covers these orders"))
    else:
        how += f"{say.label(', ')}{say(msg('{seconds:.1f} s', seconds=part.seconds))}"
    columns = (
        _left(name, wide),
        _left(verdict, _VERDICT_CELLS),
        _right(states, _STATES_CELLS),
    )
    yield f"{'  '.join(columns)}  {how}"
    for assumption in part.assumptions:
        yield f"    {say(assumption)}"
    for limit in part.limits:
        yield f"    {verdict}{say.label(': ')}{_limit(limit, say)}"


def _tried(part: Part) -> Message:
    """Return which orders were tried, if nothing has stopped the search."""
    if part.one_order:
        return msg("one order, with {cpus} CPUs", cpus=part.cpus)
    return msg("exhaustive")


def _name(part: Part) -> Message:
    if part.memory == "in order":
        return msg("{scenario}, without store buffers", scenario=part.title)
    return msg("{scenario}, with store buffers", scenario=part.title)


def _limit(limit: Limit, say: Reader) -> str:
    what = say(limit.what)
    return f"{what} ({limit.place})" if limit.place else what


def _counterexample(found: Counterexample, say: Reader) -> Iterator[str]:
    """Yield the table of steps, the position of every CPU after them, and the variables."""
    titles = say.label("WRONG"), say.label("expected")
    wide = max(map(cells, titles))
    for title, text in zip(titles, (found.what, found.expected), strict=True):
        yield f"{_left(title, wide)}  {say(text)}"
    yield ""
    rows = [tuple(map(say.label, _COLUMNS))]
    rows += [_row(step, say) for step in found.steps]
    widths = [max(cells(row[at]) for row in rows) for at in range(4)]
    if found.doomed == 0:
        yield f"  {say(msg('Every order of the next steps ends like this:'))}"
        yield ""
    for number, row in enumerate(rows):
        columns = [(_right if at < 2 else _left)(row[at], width) for at, width in enumerate(widths)]
        yield f"  {'  '.join(columns)}  {row[4]}".rstrip()
        if number and number == found.doomed:
            yield f"        -- {say(msg('from here on, no order of steps avoids the error'))} --"
    yield ""
    for cpu in found.cpus:
        where = ", ".join(filter(None, (cpu.place, cpu.function)))
        yield f"  {cpu_name(cpu.cpu):<5}  {say(cpu.doing)}{f' ({where})' if where else ''}"
    yield ""
    line = " "
    for name, value in found.values.items():
        told = f"{name} = {number_text(value)}"
        if len(line) + len(told) > _WIDTH:
            yield line
            line = " "
        line += f" {told},"
    yield line.rstrip(",")


def _row(step: ScheduleStep, say: Reader) -> tuple[str, ...]:
    names = {_BOOT_STACK: say(msg("boot stack"))}
    holds = ", ".join(
        f"{names.get(name, name)}: {cpu_name(cpu)}" for name, cpu in step.holds.items()
    )
    place = step.place or step.function
    return str(step.number), cpu_name(step.cpu), place, _what(step, say), holds


def _what(step: ScheduleStep, say: Reader) -> str:
    """Return what a step does: the action, its target and value, then details after commas."""
    return say.label(", ").join([say(access(step)), *map(say, step.details)])


def access(step: ScheduleStep) -> Text:
    """Return the action of a step with its target and the values, as a text."""
    if not step.target:
        return step.action
    action = _action(step)
    if step.read is not None and step.written is not None:
        before, after = number_text(step.read), number_text(step.written)
        return msg("{action}: {before} -> {after}", action=action, before=before, after=after)
    value = step.read if step.written is None else step.written
    if value is None:
        return action
    return msg("{action} = {value}", action=action, value=number_text(value))


def _action(step: ScheduleStep) -> Text:
    """Return an action with its target."""
    target = step.target
    known = {
        "reads": msg("reads {target}", target=target),
        "writes": msg("writes {target}", target=target),
        "reads and writes in one access": msg(
            "reads and writes {target} in one access", target=target
        ),
        "its store becomes visible to the other CPUs": msg(
            "its store becomes visible to the other CPUs: {target}", target=target
        ),
    }.get(str(step.action))
    return known or msg("{action} {target}", action=step.action, target=target)


def _left(text: str, wide: int) -> str:
    return text + " " * (wide - cells(text))


def _right(text: str, wide: int) -> str:
    return " " * (wide - cells(text)) + text


def cpu_name(cpu: int) -> str:
    """Return what a trace calls a CPU, 0 being the BSP."""
    return f"CPU {cpu}" if cpu else "BSP"

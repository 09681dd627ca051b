"""Shows the result of a command on a terminal: points, what needs a person, what was refused."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from vmmlab.base.message import Message, label, msg, nmsg
from vmmlab.base.text import cells, clean
from vmmlab.classroom.gradebook.outcome import Result, Synced
from vmmlab.i18n.translate import Reader
from vmmlab.report.console import console, show

_SHOWN: Final = 3
_NAMED: Final = 8
_NARROWEST: Final = 20
_NUMBERS: Final = (2, 3)  # columns of numbers are flush right
_NEW: Final = msg("new submission")
_ENGLISH: Final = Reader()


def print_result(result: Result, out: IO[str] | None = None, say: Reader = _ENGLISH) -> None:
    """Print what happened: in colour only on a terminal, and never with NO_COLOR set."""
    show(lambda width, color: render(result, width=width, color=color, say=say), out)


def render(result: Result, *, width: int = 100, color: bool = False, say: Reader = _ENGLISH) -> str:
    """Return the result as text: a table of the changes, then what needs a person."""
    out = io.StringIO()
    to = console(out, max(width, 60), color)
    changed = [one for one in result.synced if one.changed]
    if changed:
        _print_table(to, out, changed, say)
    for line in _lines(result, say):
        to.print(line, soft_wrap=True)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def _print_table(to: Console, out: io.StringIO, changed: list[Synced], say: Reader) -> None:
    """Print a line for each change. A table of rich takes a millisecond a row.

    Args:
        to: for what has a style or is too long for a line.
        out: where `to` writes.
        changed: the changes.
        say: the language.
    """
    head = [say.label(word) for word in (label("student"), label("lab"), label("points"))]
    head += [say.label("before"), say(msg("what changes"))]
    rows = [_row(one, say) for one in changed]
    widths = [max(map(cells, column)) for column in zip(head, *rows, strict=True)]
    indent = sum(widths[:-1]) + 2 * len(widths[:-1])
    to.print(Text(_padded(head, widths), style="bold"), soft_wrap=True)
    for row in rows:
        if indent + cells(row[-1]) <= to.width:
            out.write(f"{_padded(row, widths)}\n")
            continue
        for piece in Text(row[-1]).wrap(to, max(to.width - indent, _NARROWEST)):
            out.write(f"{_padded([*row[:-1], piece.plain], widths)}\n")
            row = [""] * len(row)


def _row(one: Synced, say: Reader) -> list[str]:
    changes = one.changes
    what = list(changes.what)
    if _NEW in what:  # then all its scores are new
        what = [word for word in what if str(word).startswith("new ")]
    if one.file_changed and not changes.what:
        what = [msg("the files")]
    words = [say(word) for word in what[:_SHOWN]]
    if len(what) > _SHOWN:
        words.append(say(msg("{count} more", count=len(what) - _SHOWN)))
    return [
        clean(one.student),
        one.lab,
        f"{changes.after:g}{'+?' if changes.unjudged else ''}/{changes.most:g}",
        "" if changes.before is None else f"{changes.before:g}",
        clean(say.label(", ").join(words)),
    ]


def _padded(row: Sequence[str], widths: Sequence[int]) -> str:
    blank = [" " * (width - cells(word)) for word, width in zip(row, widths, strict=True)]
    parts = [
        blank[at] + word if at in _NUMBERS else word + blank[at] for at, word in enumerate(row[:-1])
    ]
    return "  ".join((*parts, row[-1]))


def _lines(result: Result, say: Reader) -> Iterator[Text]:
    if any(one.changed for one in result.synced):
        yield Text("")
    yield Text(say(_counts(result)))
    if result.enrolled:
        new = nmsg(
            "{count} student without a grade is new in the gradebook",
            "{count} students without a grade are new in the gradebook",
            count=len(result.enrolled),
        )
        yield Text(say(new))
    yield from _by_hand(result.synced, say)
    colon = say.label(": ")
    for lab, who in result.absent.items():
        why = say(msg("nothing was handed in, so no grade: {few}", few=_few(who, say)))
        yield Text(clean(f"{lab}{colon}{why}"))
    for lab, who in result.stale.items():
        few = _few(who, say)
        why = say(msg("the points of the checks have changed, but not yet for {few}", few=few))
        yield Text.assemble((say(msg("grade again")), "bold yellow"), clean(f"  {lab}{colon}{why}"))
    if result.awkward:
        few = say.label(", ").join(result.awkward[:_NAMED])
        why = say(
            msg("a comma in a name shifts the columns of nbgrader export ({few}): use", few=few)
        )
        yield Text.assemble(
            (say.label("names"), "bold yellow"),
            clean(f"  {why}\n  vmmlab gradebook export"),
        )
    for one_refused in result.refused:
        yield Text.assemble(
            (say.label("refused"), "bold red"),
            clean(f"  {one_refused.path}{colon}{one_refused.said(say)}"),
        )


def _few(who: Sequence[str], say: Reader) -> str:
    few = say.label(", ").join(who[:_NAMED])
    if len(who) <= _NAMED:
        return few
    return say(msg("{few} and {count} other students", few=few, count=len(who) - _NAMED))


def _counts(result: Result) -> Message:
    """Return how many reports change something, change nothing, and are refused."""
    changed = sum(one.changed for one in result.synced)
    same = len(result.synced) - changed
    refused = len(result.refused)
    if result.dry_run:
        return msg(
            "{changed} would change, {same} the same, {refused} refused",
            changed=changed,
            same=same,
            refused=refused,
        )
    return msg(
        "{changed} changed, {same} the same, {refused} refused",
        changed=changed,
        same=same,
        refused=refused,
    )


def _by_hand(synced: Sequence[Synced], say: Reader) -> Iterator[Text]:
    """Yield a line for each cell that needs a mark by hand, or a second look at its mark."""
    colon = say.label(": ")
    for one in synced:
        trouble = {mark.cell: mark.trouble for mark in one.marks}
        for cell in one.changes.unjudged:
            yield Text.assemble(
                (say(msg("needs to be graded by hand")), "bold magenta"),
                clean(f"  {one.student}  {cell}{colon}{say(trouble[cell])}"),
            )
        for cell in one.changes.review:
            why = say(msg("a person has given the score, and the grader's score has changed"))
            yield Text.assemble(
                (say(msg("check it again")), "bold yellow"),
                clean(f"  {one.student}  {cell}{colon}{why}"),
            )


@contextmanager
def progress(say: Reader = _ENGLISH) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr, if that is a terminal; yield the function for `run`."""
    errors = Console(stderr=True)
    columns = (TextColumn(say.label("gradebook")), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("reports")
        yield lambda done, of: bar.update(task, completed=done, total=of)

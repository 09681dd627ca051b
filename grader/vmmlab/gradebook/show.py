"""How a run reads on a terminal: who got what, what needs a person, what was refused."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from vmmlab.gradebook.sync import Result, Synced
from vmmlab.report.console import console, show
from vmmlab.report.text import clean

_SHOWN: Final = 3


def print_result(result: Result, out: IO[str] | None = None) -> None:
    """Print what happened: in colour only on a terminal, and never with NO_COLOR set."""
    show(lambda width, color: render(result, width=width, color=color), out)


def render(result: Result, *, width: int = 100, color: bool = False) -> str:
    """The result as text: a table of what changed, then whatever needs a person."""
    out = io.StringIO()
    to = console(out, max(width, 60), color)
    changed = [one for one in result.synced if one.changed]
    if changed:
        to.print(_table(changed))
    for line in _lines(result):
        to.print(line, soft_wrap=True)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def _table(changed: list[Synced]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("student")
    table.add_column("lab")
    table.add_column("points", justify="right")
    table.add_column("before", justify="right")
    table.add_column("what changes", ratio=1)
    for one in changed:
        changes = one.changes
        what = list(changes.what)
        if "new submission" in what:  # then all its scores are new
            what = [word for word in what if word.startswith("new ")]
        if one.file_changed and not changes.what:
            what = ["the files"]
        more = f", {len(what) - _SHOWN} more" if len(what) > _SHOWN else ""
        table.add_row(
            clean(one.student),
            one.lab,
            f"{changes.after:g}{'+?' if changes.unjudged else ''}/{changes.most:g}",
            "" if changes.before is None else f"{changes.before:g}",
            clean(", ".join(what[:_SHOWN]) + more),
        )
    return table


def _lines(result: Result) -> Iterator[Text]:
    changed = sum(one.changed for one in result.synced)
    same = len(result.synced) - changed
    verb = "would change" if result.dry_run else "changed"
    if changed:
        yield Text("")
    yield Text(f"{changed} {verb}, {same} the same, {len(result.refused)} refused")
    for one in result.synced:
        trouble = {mark.cell: mark.trouble for mark in one.marks}
        for cell in one.changes.unjudged:
            yield Text.assemble(
                ("needs a mark by hand", "bold magenta"),
                clean(f"  {one.student}  {cell}: {trouble[cell]}"),
            )
        for cell in one.changes.review:
            yield Text.assemble(
                ("look again", "bold yellow"),
                clean(f"  {one.student}  {cell}: a score by hand, and the grader's has changed"),
            )
    for lab, who in result.stale.items():
        few = ", ".join(who[:8]) + (f" and {len(who) - 8} more" if len(who) > 8 else "")
        yield Text.assemble(
            ("grade again", "bold yellow"),
            clean(f"  {lab}: what the checks are worth has changed, and not yet for {few}"),
        )
    if result.awkward:
        few = ", ".join(result.awkward[:8])
        yield Text.assemble(
            ("names", "bold yellow"),
            clean(
                f"  a comma in a name shifts the columns of nbgrader export ({few}): use\n"
                "  nbgrader export --exporter=vmmlab.gradebook.export.QuotedCsv"
            ),
        )
    for refused in result.refused:
        yield Text.assemble(("refused", "bold red"), clean(f"  {refused.path}: {refused.reason}"))


@contextmanager
def progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, on a terminal only; gone when it is done. Give it to `run`."""
    errors = Console(stderr=True)
    columns = (TextColumn("gradebook"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("reports")
        yield lambda done, of: bar.update(task, completed=done, total=of)

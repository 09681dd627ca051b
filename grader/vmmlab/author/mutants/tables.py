"""The kill matrix as Markdown: tables for a terminal, and the page that holds them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from vmmlab.author.mutants.runner import Result
from vmmlab.author.mutants.variants import VariantResult
from vmmlab.base.errors import UsageError
from vmmlab.base.message import Text, label, msg
from vmmlab.base.text import cells
from vmmlab.i18n.translate import Reader

_ENGLISH = Reader()
_VERDICTS: Final = {"survived": label("survived"), "error": label("error")}
_NAMED: Final = {"line": label("line"), "function": label("function"), "": "-"}


def table(results: Sequence[Result], say: Reader = _ENGLISH) -> list[str]:
    """Return the mutants as lines of a Markdown table, and lines with totals.

    Args:
        results: the outcomes of the mutants.
        say: the reader's language; the titles of mutants stay English.
    """
    rows = [
        heads(
            (
                label("mutant"),
                msg("what is wrong in it"),
                label("check"),
                label("cause"),
                msg("names the"),
                label("verdict"),
            ),
            say,
        )
    ]
    for one in results:
        words = _words(one, say)
        wrong, names = one.mutant, say.label(_NAMED[one.names])
        rows.append((wrong.id, wrong.title, wrong.check, wrong.cause, names, words))
    return [*markdown(rows), "", *totals(results, say)]


def line(result: Result | VariantResult, say: Reader = _ENGLISH) -> str:
    """Return one outcome as a line: the name, and what became of it."""
    if isinstance(result, Result):
        return f"{result.mutant.id}{say.label(': ')}{_words(result, say)}"
    return f"{result.variant} {result.how}{say.label(': ')}{_accusations(result, say)}"


def _words(result: Result, say: Reader) -> str:
    if result.verdict == "wrong cause":
        return say(msg("wrong cause: {cause}", cause=result.cause))
    if result.verdict == "killed":
        return say.label("killed")
    said = " ".join(say(result.message).split())[:200]
    return f"{say.label(_VERDICTS[result.verdict])}{say.label(': ')}{said}"


def _accusations(result: VariantResult, say: Reader) -> str:
    told = "; ".join(f"{c} {why}{say.label(': ')}{say(said)}" for c, why, said in result.accused)
    return " ".join(told.split())[:300] or say(msg("all points"))


def heads(names: Sequence[Text], say: Reader) -> tuple[str, ...]:
    """Return the names of columns in the reader's language: one word is a label."""
    return tuple(say.label(name) if isinstance(name, str) else say(name) for name in names)


def totals(results: Sequence[Result], say: Reader = _ENGLISH) -> list[str]:
    """Return how many mutants were killed, and how many messages name the place to change."""
    killed = [one for one in results if one.verdict == "killed"]
    naming = sum(bool(one.names) for one in killed)
    seconds = sum(one.seconds for one in results)
    what: dict[str, Any] = {"killed": len(killed), "total": len(results)}
    timed = all(one.seconds for one in results)  # not where results of several runs are together
    return [
        say(
            msg(
                "{killed} of {total} mutants killed by the named check with the named "
                "cause ({seconds:.0f} s of grading).",
                **what,
                seconds=seconds,
            )
            if timed
            else msg(
                "{killed} of {total} mutants killed by the named check with the named cause.",
                **what,
            )
        ),
        say(
            msg(
                "{naming} of {count} messages name the function or the line to change.",
                naming=naming,
                count=len(killed),
            )
        ),
    ]


def variants_table(results: Sequence[VariantResult], say: Reader = _ENGLISH) -> list[str]:
    """Return the right solutions as lines of a Markdown table, and a line with totals."""
    rows = [heads((label("solution"), msg("built for"), label("verdict")), say)]
    rows += [(str(one.variant), one.how, _accusations(one, say)) for one in results]
    wrong = sum(bool(one.accused) for one in results)
    return [
        *markdown(rows),
        "",
        say(msg("{wrong} of {count} correct solutions rejected.", wrong=wrong, count=len(results))),
    ]


def markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows as a Markdown table whose head is the first row; counts wide characters twice."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    wide = [max(map(cells, column)) for column in zip(*escaped, strict=True)]
    for number, row in enumerate(escaped):
        padded = (cell + " " * (size - cells(cell)) for cell, size in zip(row, wide, strict=True))
        yield f"| {' | '.join(padded)} |"
        if number == 0:
            yield f"|{'|'.join('-' * (size + 2) for size in wide)}|"


# --- the page -----------------------------------------------------------------------------------

_BLOCK = "<!-- {name}: written by `vmmlab mutants --write` -->"
_END = "<!-- end of {name} -->"


def page(
    text: str, wrong: Sequence[Result], right: Sequence[VariantResult], say: Reader = _ENGLISH
) -> str:
    """Return a page with the two tables between their marks.

    Args:
        text: the page, which has a pair of marks for `mutants` and one for `variants`.
        wrong: the outcomes of the mutants.
        right: the outcomes of the right solutions.
        say: the language of the page.

    Raises:
        UsageError: a mark is missing.
    """
    mutants = [*totals(wrong, say), ""]
    for lab in dict.fromkeys(one.mutant.lab for one in wrong):
        of_lab = [one for one in wrong if one.mutant.lab == lab]
        mutants += [f"### {lab}", "", *table(of_lab, say)[: len(of_lab) + 2], ""]
    for name, lines in (("mutants", mutants), ("variants", variants_table(right, say))):
        text = _between(text, name, lines)
    return text


def _between(text: str, name: str, lines: Sequence[str]) -> str:
    begin, end = _BLOCK.format(name=name), _END.format(name=name)
    before, found, rest = text.partition(begin)
    _, ends, after = rest.partition(end)
    if not (found and ends):
        raise UsageError(
            msg("the page has no marks for the table."),
            expected=msg("{begin} and, below it, {end}", begin=begin, end=end),
            next_step=msg("Put both lines where the table is to be written."),
        )
    body = "\n".join(lines).strip("\n")
    return f"{before}{begin}\n\n{body}\n\n{end}{after}"


def write_page(path: Path, wrong: Sequence[Result], right: Sequence[VariantResult]) -> list[Path]:
    """Write the tables into a page, and into its Japanese translation if there is one.

    Args:
        path: for example docs/kill-matrix.md; its translation is docs/kill-matrix.ja.md.
        wrong: the outcomes of the mutants.
        right: the outcomes of the right solutions.

    Returns:
        The pages that were written.

    Raises:
        UsageError: the page is not there, or has no marks.
    """
    twin = path.with_suffix(".ja.md")
    pages = {path: _ENGLISH, **({twin: Reader("ja")} if twin.is_file() else {})}
    try:
        made = {
            one: page(one.read_text(encoding="utf-8"), wrong, right, say)
            for one, say in pages.items()
        }
        for one, text in made.items():
            one.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            msg("the page cannot be written."),
            expected=msg("a page with marks for the two tables, such as docs/kill-matrix.md"),
            found=f"{error.filename}: {error.strerror}",
        ) from None
    return list(pages)


def page_rows(text: str, name: str) -> dict[str, tuple[str, ...]]:
    """Return the rows of one table of a page: first cell to the others.

    Args:
        text: the page.
        name: `mutants` or `variants`.
    """
    part = text.partition(_BLOCK.format(name=name))[2].partition(_END.format(name=name))[0]
    rows = {}
    lines = part.splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("| ") and not below.startswith("|--"):
            first, *rest = (cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|")))
            rows[first] = tuple(cell.replace("\\|", "|") for cell in rest)
    return rows

"""The kill matrix as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from vmmlab.errors import UsageError
from vmmlab.mutants.running import Result, VariantResult


def table(results: Sequence[Result]) -> list[str]:
    """The kill matrix as lines of a Markdown table, and lines that sum it up."""
    rows = [("mutant", "what is wrong in it", "check", "cause", "names the", "verdict")]
    for one in results:
        verdict = one.verdict
        if verdict == "wrong cause":
            words = f"wrong cause: {one.cause}"
        elif verdict == "killed":
            words = "killed"
        else:
            words = f"{verdict}: {' '.join(one.message.split())[:200]}"
        wrong = one.mutant
        rows.append((wrong.id, wrong.title, wrong.check, wrong.cause, one.names or "-", words))
    return [*markdown(rows), "", *totals(results)]


def totals(results: Sequence[Result]) -> list[str]:
    """How many mutants were killed, and how many messages name the place to change."""
    killed = [one for one in results if one.verdict == "killed"]
    naming = sum(bool(one.names) for one in killed)
    seconds = sum(one.seconds for one in results)
    return [
        f"{len(killed)} of {len(results)} mutants killed by the named check with the named cause "
        f"({seconds:.0f} s of grading).",
        f"{naming} of {len(killed)} messages name the function or the line to change.",
    ]


def variants_table(results: Sequence[VariantResult]) -> list[str]:
    """The right solutions as lines of a Markdown table, and a line that sums it up."""
    rows = [("solution", "built for", "verdict")]
    for one in results:
        told = "; ".join(f"{c} {why}: {said}" for c, why, said in one.accused)
        rows.append((str(one.variant), one.how, " ".join(told.split())[:300] or "all points"))
    wrong = sum(bool(one.accused) for one in results)
    return [*markdown(rows), "", f"{wrong} of {len(results)} right solutions accused."]


def markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as a Markdown table; the first one is the head."""
    wide = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = (cell.replace("|", "\\|").ljust(size) for cell, size in zip(row, wide, strict=True))
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            yield f"|{'|'.join('-' * (size + 2) for size in wide)}|"


# --- the page -----------------------------------------------------------------------------------

_BLOCK = "<!-- {name}: written by `vmmlab mutants --write` -->"
_END = "<!-- end of {name} -->"


def page(text: str, wrong: Sequence[Result], right: Sequence[VariantResult]) -> str:
    """A page with the two tables put between their marks.

    Args:
        text: the page, which has a pair of marks for `mutants` and one for `variants`.
        wrong: what came of the mutants.
        right: what came of the right solutions.

    Raises:
        UsageError: a mark is missing.
    """
    mutants = [*totals(wrong), ""]
    for lab in dict.fromkeys(one.mutant.lab for one in wrong):
        of_lab = [one for one in wrong if one.mutant.lab == lab]
        mutants += [f"### {lab}", "", *table(of_lab)[: len(of_lab) + 2], ""]
    for name, lines in (("mutants", mutants), ("variants", variants_table(right))):
        text = _between(text, name, lines)
    return text


def _between(text: str, name: str, lines: Sequence[str]) -> str:
    begin, end = _BLOCK.format(name=name), _END.format(name=name)
    before, found, rest = text.partition(begin)
    _, ends, after = rest.partition(end)
    if not (found and ends):
        raise UsageError(
            "the page has no place for the table.",
            expected=f"{begin} and, below it, {end}",
            next_step="Put both lines where the table is to stand.",
        )
    body = "\n".join(lines).strip("\n")
    return f"{before}{begin}\n\n{body}\n\n{end}{after}"


def write_page(path: Path, wrong: Sequence[Result], right: Sequence[VariantResult]) -> list[Path]:
    """Put the tables into a page, and into its Japanese twin if there is one.

    Args:
        path: for example docs/kill-matrix.md; the twin is docs/kill-matrix.ja.md.
        wrong: what came of the mutants.
        right: what came of the right solutions.

    Returns:
        The pages that were written.

    Raises:
        UsageError: the page is not there, or has no marks.
    """
    pages = [one for one in (path, path.with_suffix(".ja.md")) if one == path or one.is_file()]
    try:
        made = {one: page(one.read_text(encoding="utf-8"), wrong, right) for one in pages}
        for one, text in made.items():
            one.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            "the page cannot be written.",
            expected="a page with marks for the two tables, such as docs/kill-matrix.md",
            found=f"{error.filename}: {error.strerror}",
        ) from None
    return pages


def page_rows(text: str, name: str) -> dict[str, tuple[str, ...]]:
    """The rows of one table of a page: first cell to the others.

    Args:
        text: the page.
        name: `mutants` or `variants`.
    """
    part = text.partition(_BLOCK.format(name=name))[2].partition(_END.format(name=name))[0]
    rows = {}
    for line in part.splitlines():
        if line.startswith("| ") and not line.startswith(("| mutant ", "| solution ")):
            first, *rest = (cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|")))
            rows[first] = tuple(cell.replace("\\|", "|") for cell in rest)
    return rows

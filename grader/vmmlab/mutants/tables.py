"""The kill matrix as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vmmlab.mutants.running import Result, VariantResult


def table(results: Sequence[Result]) -> list[str]:
    """The kill matrix as lines of a Markdown table, and a line that sums it up."""
    rows = [("mutant", "what is wrong in it", "check", "cause", "verdict")]
    for one in results:
        verdict = one.verdict
        if verdict == "wrong cause":
            words = f"wrong cause: {one.cause}"
        elif verdict == "killed":
            words = "killed"
        else:
            words = f"{verdict}: {' '.join(one.message.split())[:200]}"
        rows.append((one.mutant.id, one.mutant.title, one.mutant.check, one.mutant.cause, words))
    killed = sum(one.verdict == "killed" for one in results)
    seconds = sum(one.seconds for one in results)
    return [
        *_markdown(rows),
        "",
        f"{killed} of {len(results)} mutants killed by the named check with the named cause "
        f"({seconds:.0f} s of grading).",
    ]


def variants_table(results: Sequence[VariantResult]) -> list[str]:
    """The right solutions as lines of a Markdown table, and a line that sums it up."""
    rows = [("solution", "built for", "verdict")]
    for one in results:
        told = "; ".join(f"{c} {why}: {said}" for c, why, said in one.accused)
        rows.append((str(one.variant), one.how, " ".join(told.split())[:300] or "all points"))
    wrong = sum(bool(one.accused) for one in results)
    return [*_markdown(rows), "", f"{wrong} of {len(results)} right solutions accused."]


def _markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    wide = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = (cell.replace("|", "\\|").ljust(size) for cell, size in zip(row, wide, strict=True))
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            yield f"|{'|'.join('-' * (size + 2) for size in wide)}|"

"""The session of docs/learning.md: fail, hint, replay, debug, fix, pass; recorded from a real run.

`python grader/tests/docs/recorded_session.py` runs it and writes it into both pages.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from book_pages import DOCS, ROOT
from workspace_shell import workspace_and_shell

PAGES: Final = (DOCS / "learning.md", DOCS / "learning.ja.md")
_BEGIN: Final = "```text\n"
_FIRST: Final = "$ pytest lab3\n"
_END: Final = "\n```"
LEFT_OUT: Final = "…"


@dataclass(frozen=True)
class Line:
    """A command line of the session.

    Attributes:
        text: what is typed.
        keep: the parts of its output that are shown, as the first and the last line of each.
        typed: what is typed into gdb.
    """

    text: str
    keep: Sequence[tuple[str, str]]
    typed: Sequence[str] = ()


SESSION: Final = (
    Line(
        "pytest lab3",
        (
            (r"lab3  21/40 points", r"lab3  21/40 points"),
            (r"  FAIL  0/2  Every AP sets", r"  wait  0/1  One locked"),
            (r"FAIL  Every AP sets", r"      cases "),
            (r"      next ", r"      again "),
        ),
    ),
    Line("vmmlab hint", ((r"lab3\.ladder\.protected", r"The next hint"),)),
    Line("vmmlab hint", ((r"lab3\.ladder\.protected", r"The next hint"),)),
    Line("vmmlab show lab3 --text", ((r"4 CPUs \(ladder\)", r"CPU 3 "),)),
    Line(
        "vmmlab debug ladder.protected",
        ((r"CPU 1 is about to", r"=> "), (r"\(gdb\) physmem 0xb0", r"\(gdb\) quit")),
        ("physmem 0xb0 8", "physmem 0xf0b0 8", "quit"),
    ),
    Line("$EDITOR lab3/apinit.S        # lgdt gets the right segment", ()),
    Line(
        "pytest lab3",
        ((r"lab3  40/40 points", r"lab3  40/40 points"), (r"All points\.", r"Next is lab4")),
    ),
    Line("vmmlab progress", ((r"lab  ", r"Its handout"),)),
)


def recorded() -> str:
    """Return the session as it runs now, in a fresh workspace."""
    with tempfile.TemporaryDirectory() as home:
        here, run = workspace_and_shell(Path(home))
        right = {
            path: path.read_text() for path in sorted((ROOT / "reference/lab3").glob("*.[cS]"))
        }
        for path, text in right.items():
            wrong = text.replace("lgdtl\t%cs:", "lgdtl\t")
            (here / "lab3" / path.name).write_text(wrong)
        told: list[str] = []
        for line in SESSION:
            if line.text.startswith("$EDITOR"):
                for path, text in right.items():
                    (here / "lab3" / path.name).write_text(text)
                said = ""
            else:
                typed = "".join(f"{one}\n" for one in line.typed)
                said = run(f"COLUMNS=80 {line.text} 2>&1", typed)
            told += [f"$ {line.text}", *kept(echoed(said, line.typed).splitlines(), line.keep), ""]
        return "\n".join(told).rstrip() + "\n"


def echoed(said: str, typed: Sequence[str]) -> str:
    """Return gdb's output with what was typed behind each prompt, as a terminal shows it."""
    before, *parts = said.split("(gdb) ")
    pairs = zip(parts, typed, strict=False)
    return before + "".join(f"(gdb) {line}\n{part}" for part, line in pairs)


def kept(lines: Sequence[str], keep: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield the parts of an output that are shown, and a mark for each that is left out."""
    at = 0
    for first, last in keep:
        start = next(n for n in range(at, len(lines)) if re.match(first, lines[n]))
        if any(lines[at:start]):
            yield LEFT_OUT
        at = 1 + next(n for n in range(start, len(lines)) if re.match(last, lines[n]))
        yield from (one.rstrip() for one in lines[start:at])
    if keep and any(lines[at:]):
        yield LEFT_OUT


def parts(text: str) -> tuple[str, str, str]:
    """Return what a page has before its session, the session, and what is behind it."""
    before, _, rest = text.partition(_BEGIN + _FIRST)
    session, _, after = rest.partition(_END)
    return before + _BEGIN, _FIRST + session + "\n", _END.lstrip() + after


def shown(page: Path) -> str:
    """Return the session of a page."""
    return parts(page.read_text(encoding="utf-8"))[1]


def shape(session: str) -> str:
    """Return a session without its numbers, its line breaks, and where a CPU happened to be."""
    session = re.sub(r"running: .*", "running", session)
    return " ".join(re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{2}\b|\d+", "#", session).split())


if __name__ == "__main__":
    now = recorded()
    for one in PAGES:
        before, _, after = parts(one.read_text(encoding="utf-8"))
        one.write_text(before + now + after, encoding="utf-8")

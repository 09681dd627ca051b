"""How far a run of mutants is: a bar on a terminal, a line every so often elsewhere."""

import io

from rich.text import Text

from vmmlab.author.mutants.jobs import run_all
from vmmlab.author.mutants.progress import EVERY_S, progress
from vmmlab.base.message import msg
from vmmlab.i18n.translate import Reader


class Clock:
    """A time that goes on by as much as each piece of work takes."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(takes: list[float], language: str = "en") -> str:
    """What is said, without a terminal, of work that takes so many seconds."""
    clock, out = Clock(), io.StringIO()

    def one(seconds: float) -> None:
        clock.now += seconds

    with progress(msg("mutants"), Reader(language), to=out, clock=clock) as watch:
        run_all(one, takes, 1, None, watch)
    return out.getvalue()


def test_what_is_quick_says_nothing():
    assert told([]) == told([1.0] * 5) == told([EVERY_S * 2]) == ""


def test_a_line_every_so_often():
    lines = told([EVERY_S / 2] * 6).splitlines()
    assert lines == ["mutants: 2/6, about 60 s left", "mutants: 4/6, about 30 s left"]
    assert len(told([EVERY_S] * 20).splitlines()) == 19
    assert told([EVERY_S, 300]) == "mutants: 1/2, about 30 s left\n"


def test_the_line_in_japanese():
    assert told([EVERY_S] * 10, "ja").splitlines()[0] == "ミュータント：1/10、残り約 4 分"


def test_a_bar_on_a_terminal_that_is_gone_when_it_is_done(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    with progress(msg("mutants"), to=out) as watch:
        run_all(lambda one: one, [1, 2, 3], 1, None, watch)
    shown = out.getvalue()
    assert "3/3" in Text.from_ansi(shown).plain
    assert shown.rstrip("\n").endswith(("\x1b[2K", "\x1b[?25h"))


def test_the_watch_hears_of_the_beginning_and_of_each_piece():
    heard = []
    run_all(lambda one: one, "ab", 1, None, lambda done, of: heard.append((done, of)))
    assert heard == [(0, 2), (1, 2), (2, 2)]

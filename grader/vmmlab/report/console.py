"""Writes text that rich has laid out, in one go, to a terminal or a file.

Colour is for a terminal only, and never with NO_COLOR set; what the encoding cannot hold is shown
as escapes. What the text says is not known here.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable
from typing import IO, Final

from rich.console import Console

WIDTH_OF_A_FILE: Final = 100
"""Columns where there is no terminal."""


def show(render: Callable[[int, bool], str], file: IO[str] | None = None) -> None:
    """Write what `render` makes.

    Args:
        render: gets the columns there are and whether to use colour, and returns the text.
        file: where to; standard output if it is None.
    """
    out = sys.stdout if file is None else file
    terminal = out.isatty()
    color = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    text = render(shutil.get_terminal_size().columns if terminal else WIDTH_OF_A_FILE, color)
    encoding = getattr(out, "encoding", None) or "utf-8"
    out.write(text.encode(encoding, "backslashreplace").decode(encoding))
    out.flush()


def console(out: io.StringIO, width: int, color: bool) -> Console:
    """A console that writes into `out`, whatever the environment says.

    Args:
        out: where the text goes.
        width: columns.
        color: whether to use ANSI colours.
    """
    return Console(
        file=out,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        _environ={},
    )

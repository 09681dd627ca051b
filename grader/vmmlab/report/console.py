"""Writes text that rich has laid out to a terminal or a file, in one call.

Uses colour on a terminal only, and never with NO_COLOR set; characters that the encoding does not
have become escapes. Knows nothing of what the text says.
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
"""Columns of output that does not go to a terminal."""


def show(render: Callable[[int, bool], str], file: IO[str] | None = None) -> None:
    """Write the text that `render` returns.

    Args:
        render: called with the number of columns and whether to use colour.
        file: the file to write to; None: standard output.
    """
    out = sys.stdout if file is None else file
    terminal = out.isatty()
    color = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    text = render(shutil.get_terminal_size().columns if terminal else WIDTH_OF_A_FILE, color)
    encoding = getattr(out, "encoding", None) or "utf-8"
    out.write(text.encode(encoding, "backslashreplace").decode(encoding))
    out.flush()


def console(out: io.StringIO, width: int, color: bool) -> Console:
    """Return a console that writes into `out` and ignores the environment.

    Args:
        out: receives the text.
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

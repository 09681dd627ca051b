"""Errors as text on stderr, in the reader's language."""

from __future__ import annotations

import sys
import tempfile
import traceback
from typing import Any

import typer

from vmmlab import __version__
from vmmlab.base.errors import VmmlabError
from vmmlab.base.message import msg, nmsg
from vmmlab.cli import usage
from vmmlab.i18n import translate
from vmmlab.i18n.translate import Reader

_MAX_DIAGNOSTICS = 20


def complain(text: str) -> None:
    """Write one complaint."""
    typer.echo(f"vmmlab: {text}", err=True)


def explain(error: VmmlabError, say: Reader, lab: str = "") -> None:
    """Write what an error says; for a failed build, the compiler's messages first.

    Args:
        error: the error.
        say: the reader.
        lab: the lab that the error is about, if several are graded.
    """
    diagnostics = getattr(error, "diagnostics", ())
    for one in diagnostics[:_MAX_DIAGNOSTICS]:
        place = ":".join(str(part) for part in (one.file, one.line, one.column) if part)
        where = f"{place}: " if place else ""
        typer.echo(f"{where}{one.severity}: {say(one.message)}", err=True)
    text = translate.error_text(error, say)
    if diagnostics:  # they are the error; its own text would repeat the first one
        errors = sum(one.severity == "error" for one in diagnostics)
        text = say(
            nmsg(
                "It does not compile: {count} error.",
                "It does not compile: {count} errors. Start with the first one.",
                count=errors,
            )
        )
        if error.next_step:
            text = f"{text} {say(error.next_step)}"
    complain(f"{lab}: {text}" if lab else text)


def explain_usage(error: Any, say: Reader) -> None:
    """Write what is wrong with the words of a command.

    Args:
        error: typer's error.
        say: the reader.
    """
    if say.language == translate.ENGLISH:
        error.message = str(usage.none_of(error) or error.message)
        error.show()
        return
    if getattr(error, "ctx", None) is not None:
        typer.echo(error.ctx.get_usage(), err=True)
    complain(say(usage.message(error)))


def explain_bug(error: Exception, say: Reader) -> None:
    """Write one line for the reader, and the traceback into a file for the developers."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="vmmlab-bug-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(f"vmmlab {__version__}\n{sys.argv}\n\n{text}")
        where = msg("the traceback is in {file}", file=file.name)
    except OSError:
        where = msg("the traceback follows\n{text}", text=text)
    kind = " ".join(traceback.format_exception_only(error)[-1].split())
    complain(
        say(
            msg(
                "this is a bug in vmmlab, not in your work: {kind}; {where}",
                kind=kind[:200],
                where=where,
            )
        )
    )

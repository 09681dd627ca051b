"""The command `vmmlab`: its subcommands, and errors turned into exit codes.

Exit codes: 0 all points; 1 points lost; 2 wrong usage or an unusable submission; 3 the grader or
its tools failed; 130 stopped by Ctrl-C. With several labs the worst of 3 > 2 > 1 > 0.
"""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vmmlab import __version__
from vmmlab.base.errors import UsageError, VmmlabError, os_reason
from vmmlab.base.importpath import no_modules_from_here
from vmmlab.base.message import msg
from vmmlab.base.notices import listening
from vmmlab.cli import (
    author,
    batch,
    export,
    gradebook,
    help,
    instructor,
    learning,
    official,
    pictures,
    returns,
    similar,
    student,
    workspace,
)
from vmmlab.cli.complaints import complain, explain, explain_bug, explain_usage
from vmmlab.cli.interrupts import terminable
from vmmlab.cli.options import GROUP, LangOption, current_workspace
from vmmlab.i18n import translate
from vmmlab.i18n.translate import Reader

# Newer versions of typer include their own copy of click: take the class from typer.
_ClickError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

STOPPED: Final = 130
_FAILED: Final = 3
_READER_GONE: Final = 128 + signal.SIGPIPE
_LOOP: Final = re.compile(r"Symlink loop from '(.*)'")
_OF_PLACES: Final = (
    *(errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EMFILE, errno.ENFILE),
)
"""What the system says of a place: that it is so is no bug of ours."""

app = typer.Typer(
    name="vmmlab",
    add_completion=True,
    pretty_exceptions_enable=False,
    **GROUP,
    help="Write the SMP bring-up of a real x86 VMM, and have it graded from outside the machine.",
)


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    lang: LangOption = None,
) -> None:
    if version:
        typer.echo(f"vmmlab {__version__}")
        raise typer.Exit


# In the order of --help.
app.command(name="new")(student.new)
app.command(name="adopt")(student.adopt)
app.command(name="grade")(instructor.grade)
app.command(name="batch")(batch.batch)
app.command(name="similar")(similar.similar)
app.command(name="show")(pictures.show)
app.command(name="hint")(learning.hint)
app.command(name="progress")(learning.progress)
app.command(name="watch")(learning.watch)
app.command(name="debug")(learning.debug)
app.command(name="mutants")(author.mutants)
app.command(name="explore")(student.explore)
app.command(name="build")(student.build)
app.command(name="run")(student.run)
app.command(name="handout")(workspace.handout)
app.command(name="worksheet")(workspace.worksheet)
app.command(name="handin")(workspace.handin)
app.command(name="update")(workspace.update)
app.command(name="solution")(workspace.solution)
app.command(name="linux")(student.linux)
app.command(name="new-lab")(author.new_lab)
app.command(name="release")(author.release)
app.command(name="wheel")(author.wheel)
app.command(name="check-course")(author.check_course)
app.command(name="iso")(student.iso)
app.command(name="doctor")(student.doctor)
app.command(name="export")(export.export)
app.command(name="moodle")(returns.moodle)
app.command(name="canvas")(returns.canvas)
app.add_typer(gradebook.gradebook, name="gradebook")
app.add_typer(official.commands, name="secret")


_AUTHORS: Final = ("mutants", "new-lab", "release", "wheel", "check-course")
"""The commands for which a course needs its reference solutions."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every error becomes text on stderr."""
    no_modules_from_here(sys.path, os.environ)
    _streams_are_open()
    with terminable() as signals:
        code = _run(sys.argv[1:] if argv is None else list(argv))
    return 128 + signals[0] if signals else code


def _streams_are_open() -> None:
    """Open what whoever called us has closed, `vmmlab … >&-`: no file may get the number of one."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _run(words: list[str]) -> int:
    say = Reader(_language(words))
    try:
        if words == ["--version"]:
            _top(version=True)  # without setting up the other commands: 0.1 s less
        with listening(lambda text: complain(say(text))):
            command = _command(say, words)
            result = command(args=words, prog_name="vmmlab", standalone_mode=False, obj=say)
        sys.stdout.flush()
        code = result if isinstance(result, int) else 0
        if code == STOPPED:  # typer has swallowed a Ctrl-C
            complain(say(msg("interrupted")))
        return code
    except typer.Exit as end:
        return end.exit_code
    except _ClickError as error:
        explain_usage(error, say)
        return 2
    except VmmlabError as error:
        explain(error, say)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        complain(say(msg("interrupted")))
        return STOPPED
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer has swallowed it
            return _READER_GONE
        raise
    except BrokenPipeError:
        # Python would report the error again when it flushes stdout at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_GONE
    except Exception as error:
        host = _of_the_host(error)
        if host is not None:
            explain(host, say)
        else:
            explain_bug(error, say)
        return _FAILED


def _of_the_host(error: Exception) -> UsageError | None:
    """Return what is wrong with the disk or the folders of this machine; None: it is a bug."""
    if isinstance(error, MemoryError):
        return UsageError(
            msg("there is not enough memory"),
            next_step=msg("Run it again when less is running on this machine."),
        )
    if isinstance(error, RuntimeError) and (loop := _LOOP.match(str(error))):  # pathlib's own
        error = OSError(errno.ELOOP, os.strerror(errno.ELOOP), loop[1])
    if not isinstance(error, OSError):
        return None
    place = error.filename2 or error.filename
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        full = msg("the disk is full ({place})", place=place) if place else msg("the disk is full")
        return UsageError(full, next_step=msg("free some space, then run this again"))
    if not place or error.errno not in _OF_PLACES:
        return None
    return UsageError(
        msg("{path}: cannot be used: {reason}.", path=place, reason=os_reason(error)),
        next_step=msg("see what is at this place, and who may read and write there"),
    )


def _language(words: Sequence[str]) -> str:
    """Return the language for one call: it is needed before the words are parsed."""
    said = [word.partition("=")[2] for word in words if word.startswith("--lang=")]
    said += [value for word, value in pairwise(words) if word == "--lang"]
    wanted = said[-1] if said else None
    remembered = "" if wanted else translate.remembered(Path.cwd())
    return translate.choose(wanted, os.environ, remembered)


def _command(say: Reader, words: Sequence[str]) -> Any:
    """Return the command with all subcommands, their help in the reader's language.

    Students do not see the commands of authors, which they cannot use.
    """
    command: Any = typer.main.get_command(app)
    if words[:1] in ([], ["-h"], ["--help"]) and not _for_authors():
        for name in _AUTHORS:
            command.commands[name].hidden = True
    if say.language != translate.ENGLISH:
        if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that cannot show all characters
            sys.stdout.reconfigure(errors="backslashreplace")
        help.translate(command, say)
    return command


def _for_authors() -> bool:
    """Return whether the course at hand is one that authors work on, or there is none."""
    from vmmlab.course.find import find_course

    try:
        here = current_workspace()
        course = find_course(Path.cwd(), None, here.course if here else None)
        return (course / "reference").is_dir()
    except VmmlabError:
        return True


if __name__ == "__main__":
    sys.exit(main())

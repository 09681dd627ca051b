"""Turns the output of gcc, clang, GNU as and GNU ld into `Diagnostic`s that help a student.

Pure functions of text. Relative paths are those that the student knows; absolute ones are made
relative to the directory of the build.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import cast

from vmmlab.base.message import Text, msg
from vmmlab.base.text import clean
from vmmlab.images.model import Diagnostic, Severity, one_line

MAX_DIAGNOSTICS = 60
LOG_CHARS = 64 * 1024

_LINE = re.compile(
    r"(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?:(?P<column>\d+):)? "
    r"(?P<severity>fatal error|[Ee]rror|[Ww]arning|[Nn]ote|Info|Fatal error): (?P<message>.*)"
)
_INCLUDED = re.compile(r"(?:In file included|\s+) from (?P<file>[^:\n]+):(?P<line>\d+)[:,]")
_EXPANSION = re.compile(r"in expansion of macro|expanded from macro|in definition of macro")
_SIGNAL = re.compile(
    r"(?:^|: )(?P<what>CPU time limit exceeded|File size limit exceeded|Killed)"
    r"(?: \(core dumped\))?(?: signal terminated program \S+)?$"
)
_MEMORY = re.compile(
    r"out of memory allocating|virtual memory exhausted|memory exhausted|std::bad_alloc"
    r"|LLVM ERROR: out of memory|Cannot allocate memory"
)
_NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded")
_SIGNAL_NAMES = {
    137: "Killed",
    152: "CPU time limit exceeded",
    153: "File size limit exceeded",
}
_COMPLAINS = (0, 1)  # so a compiler ends, and its driver unless a limit's signal has ended one
_DRIVER_KILLED = re.compile(r"\S*gcc\S*: fatal error: Killed signal terminated program \S+")
_DIGITS = 9
_NEAR, _MOST_SAID = 300, 200

_STRAY = re.compile(r"stray '(?:\\[23][0-7]{2})+' in program")


def parse(
    text: str,
    own: Collection[str],
    base: str = "",
    source: str = "",
    known: Collection[str] | None = None,
) -> list[Diagnostic]:
    """Return what a compiler reports, in its order, at most `MAX_DIAGNOSTICS`.

    An error or warning inside a provided header is moved to the student's line that included it or
    used its macro, because the header itself is right; the message keeps the place.

    Args:
        text: standard error of one compiler run.
        own: the student's files, relative.
        base: directory of the build, taken off absolute paths.
        source: the file being compiled; reports about the assembly made from it become its own, and
            those about files that are not known: `#line` and `# 1 "file"` can name any.
        known: the files that the compiler can see; None: any.
    """
    found: list[Diagnostic] = []
    chain: tuple[str, int] | None = None
    fresh_chain = False
    in_header: Diagnostic | None = None
    for line in text.splitlines():
        if included := _INCLUDED.match(line):
            place = _relative(included["file"], base)
            if not fresh_chain:
                chain, fresh_chain = None, True
            if place in own:
                chain = (place, _number(included["line"]))
            continue
        match = _LINE.match(line)
        if not match:
            continue
        fresh_chain = False
        one = _diagnostic(match, base)
        file = one.file
        if one.severity == "note":
            # gcc: the error is in a macro's definition in a header; this is the use of the macro.
            if in_header and file in own and _EXPANSION.search(str(one.message)):
                found[-1] = _moved(in_header, file, one.line)
            continue
        unknown = known is not None and file not in known
        if source and (unknown or one.file.startswith(("{standard input}", "<"))):
            one = replace(one, file=source, line=0, column=0)
        in_header = None
        if len(found) >= MAX_DIAGNOSTICS:
            continue
        if file in own:
            chain = None
        else:
            in_header = one
            if chain is not None:
                one = _moved(one, *chain)
        if _STRAY.fullmatch(match["message"]) and found and _another_byte(one, found[-1]):
            continue
        found.append(one)
    return found


def _another_byte(one: Diagnostic, before: Diagnostic) -> bool:
    """Return whether gcc says of a line once more that there is such a character, or half of it."""
    same = (one.file, one.line) == (before.file, before.line) and one.line
    return bool(same) and str(before.message).startswith("stray '\\")


def _diagnostic(match: re.Match[str], base: str) -> Diagnostic:
    return Diagnostic(
        _relative(match["file"], base),
        _number(match["line"]),
        _number(match["column"]),
        _severity(match["severity"]),
        _said(match["message"]),
    )


def _said(words: str) -> Text:
    """Return what a compiler says; of a character that is no part of C, what it probably is."""
    said = one_line(words)
    if not _STRAY.fullmatch(words):
        return said
    return msg(
        "{said}: a character here is not ASCII, maybe a blank or a quote from a document, or a "
        "full-width one; type it again",
        said=said,
    )


def stopped(text: str, code: int, limits_text: Mapping[str, Text]) -> Text:
    """Return why a compiler was stopped by a limit, or "" if it was not.

    Args:
        text: its standard error.
        code: its status; 128 + N after signal N.
        limits_text: the texts for "cpu", "size" and "memory".
    """
    said = _ended_by(text, code)
    if said.startswith("CPU time"):
        return limits_text["cpu"]
    if said.startswith("File size"):
        return limits_text["size"]
    if _MEMORY.search(text):
        return limits_text["memory"]
    # clang prints so much about SIGXCPU that it reaches the hard limit meanwhile.
    if said == "Killed" and "Stack dump" in text:
        return limits_text["cpu"]
    return ""


def killed(text: str, code: int, *, out_of_memory: bool) -> bool:
    """Return whether the system has ended a compiler, as it does when memory runs out.

    After SIGKILL gcc ends with status 1 as after any error, and a student's .error can print the
    same line. Then it counts only if Linux was short of memory meanwhile.

    Args:
        text: its standard error.
        code: its status; 128 + N after signal N.
        out_of_memory: whether Linux has ended a process for want of memory, or may have.
    """
    if code in _COMPLAINS:
        return out_of_memory and any(map(_DRIVER_KILLED.fullmatch, text.splitlines()))
    return _ended_by(text, code) == "Killed"


def _ended_by(text: str, code: int) -> str:
    """Return the signal that has ended a compiler; "" if none has.

    Only a driver's status tells that there was one: a student's #error says what it likes. The
    driver names it behind everything that the compiler has said.
    """
    if code in _COMPLAINS:
        return ""
    said = [found["what"] for line in text.splitlines() if (found := _SIGNAL.search(line))]
    return _SIGNAL_NAMES.get(code, said[-1] if said else "")


def wants_room(text: str) -> bool:
    """Return whether a tool reports that the disk is full."""
    return _NO_ROOM.search(text) is not None


def last_words(text: str, code: int) -> Text:
    """Return one line for a failure that no pattern explains."""
    lines = [line for line in text.splitlines() if line.strip()]
    for line in lines:
        if re.search(r"error|Error", line):
            return one_line(line)
    return (
        one_line(lines[-1])
        if lines
        else msg("the compiler ended with status {code} and no message", code=code)
    )


def bounded_log(text: str, base: str = "") -> str:
    """Return `text` fit for showing: clean, without paths of this machine, of bounded length."""
    if base:
        text = text.replace(base.rstrip("/") + "/", "")
    text = clean(text, tabs=True)
    if len(text) > LOG_CHARS:
        text = text[:LOG_CHARS] + "\n…\n"
    return text


def _number(digits: str | None) -> int:
    """Return a number of a message; 0 if it is none that a line or a column can have."""
    return int(digits) if digits and len(digits) <= _DIGITS else 0


def _about(text: str, words: str) -> Iterator[str]:
    """Yield what stands around some words, in the first lines that have them.

    Names can have any length, and the patterns below take time with the square of it.
    """
    found = (line for line in text.splitlines() if words in line)
    for line in itertools.islice(found, _MOST_SAID):
        at = line.index(words)
        yield line[max(0, at - _NEAR) : at + _NEAR]


_UNDEFINED = re.compile(
    r"(?:(?P<where>[^\s(][^()\n]*?):(?P<line>\d+)|(?P<section>[^()\n]*\([^)\n]*\))): "
    r"(?:more )?undefined reference(?:s)? to [`'](?P<name>[^']+)'"
)
_MULTIPLE = re.compile(
    r"(?P<where>[^\n]*?): multiple definition of [`'](?P<name>[^']+)'; "
    r"(?P<first>[^\n]*?): first defined"
)
_TRUNCATED = re.compile(
    r"(?:(?P<where>[^\s(][^()\n]*?):(?P<line>\d+):)?(?:[^()\n]*\([^)\n]*\))?:? "
    r"(?P<message>relocation truncated to fit: (?P<kind>\w+) against (?:symbol )?"
    r"[`'](?P<name>[^']+)')"
)


def parse_link(
    text: str, own: Collection[str], undefined: dict[str, str], base: str = ""
) -> list[Diagnostic]:
    """Return what GNU ld reports about the student's objects.

    Args:
        text: standard error of ld.
        own: the student's files, relative.
        undefined: undefined name to the student's file that uses it, for when ld gives no line.
        base: directory of the build.
    """
    found: dict[str, Diagnostic] = {}

    def place(match: re.Match[str], fallback: str) -> tuple[str, int]:
        where = (match["where"] or "").removeprefix("ld: ")
        where = where.rpartition(": ")[2]
        file = _relative(where, base)
        return (file, _number(match["line"])) if file in own else (fallback, 0)

    def said(pattern: re.Pattern[str], words: str) -> Iterator[re.Match[str]]:
        return (found for one in _about(text, words) for found in pattern.finditer(one))

    for match in said(_UNDEFINED, "undefined reference"):
        file, line = place(match, undefined.get(match["name"], ""))
        message = msg(
            "undefined reference to {name}: there is no such function or variable",
            name=match["name"],
        )
        found.setdefault(match["name"], Diagnostic(file, line, 0, "error", message))
    for match in said(_MULTIPLE, "multiple definition"):
        file, line = _where(match["where"], own, base)
        first, first_line = _where(match["first"], own, base)
        message = msg("{name} is defined twice", name=match["name"])
        if first and (first, first_line) != (file, line):
            message = msg(
                "{name} is defined twice, first in {place}",
                name=match["name"],
                place=f"{first}:{first_line}" if first_line else first,
            )
        found.setdefault(match["name"], Diagnostic(file, line, 0, "error", message))
    for match in said(_TRUNCATED, "relocation truncated"):
        file, line = place(match, "")
        if file:
            message = msg(
                "the address of {name} does not fit here ({why})",
                name=match["name"],
                why=one_line(match["message"]),
            )
            if match["kind"] in ("R_X86_64_16", "R_386_16"):
                message = msg(
                    "the address of {name} does not fit here ({why}): 16-bit code can hold its "
                    "distance from the start of the trampoline",
                    name=match["name"],
                    why=one_line(match["message"]),
                )
            found.setdefault(f"{file}:{line}", Diagnostic(file, line, 0, "error", message))
    return list(found.values())[:MAX_DIAGNOSTICS]


def _where(text: str, own: Collection[str], base: str) -> tuple[str, int]:
    for candidate in own:
        if match := re.search(rf"(?<![\w.-]){re.escape(candidate)}(?::(\d+))?", text):
            return candidate, _number(match[1])
    return "", 0


def _moved(one: Diagnostic, file: str, line: int) -> Diagnostic:
    inside = f"{one.file}:{one.line}"
    return replace(one, file=file, line=line, column=0, message=f"{one.message} (in {inside})")


def _severity(word: str) -> Severity:
    lower = word.lower()
    if "error" in lower:
        return "error"
    return cast("Severity", "note" if lower == "info" else lower)


def _relative(path: str, base: str) -> str:
    path = path.strip()
    if base and path.startswith(base.rstrip("/") + "/"):
        path = path[len(base.rstrip("/")) + 1 :]
    return clean(posixpath.normpath(path))

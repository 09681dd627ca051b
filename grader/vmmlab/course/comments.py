"""C and assembly with comments in another language; the code stays byte for byte.

reference/labN/contracts.LANGUAGE.yml holds, for each file, the translations of the comments that
its starter has, in their order. vmm-skeleton/comments.LANGUAGE.yml does the same for the given
code::

    lab3/ap_start.c:
      - of: apic_send_init
        english: 5d1f0c2a
        text: |
          自分以外の全 CPU に INIT を送る。
          ...

`of` names what the comment is about (a function, a label, `file`, or the step of a TODO). `english`
is the checksum of the English comment: when that changes, its translation is refused. A TODO that
stands for the title of its step is filled in by `with_titles`; if it says no more, it has no entry.
"""

from __future__ import annotations

import re
import textwrap
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vmmlab.base import yamlfile
from vmmlab.base.errors import CourseError
from vmmlab.base.message import Text, msg
from vmmlab.base.text import cells
from vmmlab.base.yamlfile import YamlFile
from vmmlab.course.ids import STEP_ID

_COMMENT: Final = re.compile(
    r"^([ \t]*)/\*(?! clang-format (?:on|off) \*/)((?:[^*]|\*(?!/))*)\*/[ \t]*$", re.MULTILINE
)
_TODO: Final = re.compile(rf"TODO\(({STEP_ID.pattern})\):")
_WIDTH: Final = 80
_TAB: Final = 8


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment that stands on lines of its own.

    Attributes:
        start: index of its first character, which belongs to the indentation.
        end: index after its last character.
        indent: the white space before the comment.
        lines: its text, without the comment marks.
        closed_below: whether the end mark is on a line of its own.
    """

    start: int
    end: int
    indent: str
    lines: tuple[str, ...]
    closed_below: bool

    @property
    def checksum(self) -> str:
        """Eight hexadecimal digits that depend on the words, but not on the line breaks."""
        return f"{zlib.crc32(' '.join(' '.join(self.lines).split()).encode()):08x}"

    @property
    def step(self) -> str:
        """The step of a TODO; "" for another comment."""
        found = _TODO.match(" ".join(self.lines).strip())
        return found.group(1) if found else ""

    @property
    def titled(self) -> bool:
        """Whether it is a TODO whose first line stands for the title of its step."""
        return bool(_TODO.fullmatch(self.lines[0].strip()))


def comments(text: str) -> tuple[Comment, ...]:
    """Return the comments of a file that stand on lines of their own, in order."""
    return tuple(
        Comment(
            found.start(),
            found.end(),
            found.group(1),
            tuple(re.sub(r"^[ \t]*\*? ?", "", line).rstrip() for line in _body(found.group(2))),
            closed_below=not found.group(2).rpartition("\n")[2].strip() and "\n" in found.group(2),
        )
        for found in _COMMENT.finditer(text)
    )


def translatable(text: str) -> tuple[Comment, ...]:
    """Return the comments that need a translation: all but those that are only a step's title."""
    return tuple(one for one in comments(text) if not one.titled or len(one.lines) > 1)


def with_titles(text: str, titles: Mapping[str, str], stop: str = ".") -> str:
    """Return a starter with the titles of the steps in its TODOs.

    Args:
        text: the starter, in any language.
        titles: the titles by step, in that language.
        stop: the full stop of that language.
    """
    parts: list[str] = []
    at = 0
    for one in comments(text):
        if one.titled and one.step in titles:
            said = f"{one.lines[0].strip()} {titles[one.step]}{stop}"
            room = _WIDTH - len(one.indent.expandtabs(_TAB)) - len("/*  */")
            lines = _wrapped(said, room)
            closed_below = one.closed_below or len(lines) > 1
            parts += [text[at : one.start], _shown(one, (*lines, *one.lines[1:]), closed_below)]
            at = one.end
    return "".join([*parts, text[at:]])


def _wrapped(text: str, room: int) -> list[str]:
    """Wrap a line; Japanese, which has no spaces between its words, behind its commas only."""
    if text.isascii():
        return textwrap.wrap(text, room, break_on_hyphens=False)
    lines = [""]
    for piece in re.findall("[^、]*、|[^、]+", text):
        if lines[-1] and cells(lines[-1] + piece) > room:
            lines.append("")
        lines[-1] += piece
    return lines


def code(text: str) -> str:
    """Return a file without the comments that stand on lines of their own."""
    return _COMMENT.sub("", text)


def _body(inside: str) -> Iterator[str]:
    lines = inside.split("\n")
    if len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    yield from lines


def translated(starter: str, path: str, folder: Path, language: str) -> str:
    """Return a starter with its comments in `language`; unchanged if it has no translations.

    Args:
        starter: the English starter.
        path: its name, for example `lab3/ap_start.c`.
        folder: the lab's folder of the reference.
        language: for example `ja`.

    Raises:
        CourseError: the translations do not fit the comments; the message names file and line.
    """
    catalog = folder / f"contracts.{language}.yml"
    return _translated(starter, path, yamlfile.read(catalog)) if catalog.exists() else starter


def translated_too(text: str, starter: str, path: str, folder: Path, language: str) -> str:
    """Return a file with those comments in `language` that its starter has, too.

    Args:
        text: the file, for example the solution, in English.
        starter: its starter, in English.
        path: its name, for example `lab3/ap_start.c`.
        folder: the lab's folder of the reference.
        language: for example `ja`.

    Raises: as for `translated`.
    """
    here, there = comments(starter), comments(translated(starter, path, folder, language))
    known = {one.lines: other.lines for one, other in zip(here, there, strict=True)}
    parts: list[str] = []
    at = 0
    for one in comments(text):
        if one.lines in known:
            parts += [text[at : one.start], _shown(one, known[one.lines], one.closed_below)]
            at = one.end
    return "".join([*parts, text[at:]])


def translate_files(directory: Path, catalog: Path) -> None:
    """Translate the files in `directory` that `catalog` names, if there is a catalog.

    Raises:
        CourseError: the translations do not fit the comments; the message names file and line.
    """
    if not catalog.exists():
        return
    file = yamlfile.read(catalog)
    for path in file.data:
        target = directory / path
        text = target.read_text(encoding="utf-8")
        target.write_text(_translated(text, path, file), encoding="utf-8")


def _translated(text: str, path: str, file: YamlFile) -> str:
    entries = (file.data or {}).get(path)
    if not isinstance(entries, list):
        raise CourseError(
            msg("{file}:1: no entry for {path}.", file=file.shown, path=path),
            expected=msg("{path}: and a list", path=path),
        )
    found = translatable(text)
    if len(entries) != len(found):
        raise CourseError(
            msg(
                "{file}:{line}: {path} has a different number of comments.",
                file=file.shown,
                line=file.line((path,)),
                path=path,
            ),
            expected=str(len(found)),
            found=str(len(entries)),
        )
    parts: list[str] = []
    at = 0
    for number, (comment, entry) in enumerate(zip(found, entries, strict=True)):
        lines = _lines(file, path, number, entry, comment)
        parts += [text[at : comment.start], _shown(comment, lines, comment.closed_below)]
        at = comment.end
    return "".join([*parts, text[at:]])


def _lines(file: YamlFile, path: str, number: int, entry: Any, comment: Comment) -> tuple[str, ...]:
    where = f"{file.shown}:{file.line((path, number))}: {path}"
    if not isinstance(entry, dict) or set(entry) != {"of", "english", "text"}:
        raise CourseError(
            msg("{where}: this entry is not a translation.", where=where),
            expected=msg("of, english and text"),
        )
    if str(entry["english"]) != comment.checksum:
        raise CourseError(
            msg("{where}: the English comment has changed.", where=where),
            expected=msg(
                "english: {checksum!r}, and a translation of the new comment",
                checksum=comment.checksum,
            ),
            found=f"english: {entry['english']!r}",
        )
    lines = tuple(str(entry["text"]).rstrip().split("\n"))
    todo = _TODO.match(lines[0])
    if (
        (todo.group(1) if todo else "") != comment.step
        or bool(_TODO.fullmatch(lines[0])) != comment.titled
        or any("*/" in line for line in lines)
    ):
        raise CourseError(
            msg("{where}: this text cannot replace the English comment.", where=where),
            expected=_beginning(comment),
            found=lines[0],
        )
    return lines


def _beginning(comment: Comment) -> Text:
    if not comment.step:
        return msg("text without TODO")
    return f"TODO({comment.step}):" if comment.titled else f"TODO({comment.step}): …"


def _shown(comment: Comment, lines: Sequence[str], closed_below: bool) -> str:
    indent = comment.indent
    first, *rest = lines
    text = "\n".join([f"{indent}/* {first}", *(f"{indent} * {one}".rstrip() for one in rest)])
    return f"{text}\n{indent} */" if rest and closed_below else f"{text} */"

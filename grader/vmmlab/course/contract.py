"""The contract of a lab: the sentences of its comments, and which checks judge each of them.

The text stands once, in the comment above each function or label of reference/labN/, from where it
goes into the starter. labs/labN/contract.yml gives each sentence an id and names its checks::

    lab3/ap_start.c:
      apic_send_init:
        entry: {says: the BSP, given: ap_start calls it so}
        word: {says: send INIT, judged_by: [lab3.ipi.init, lab3.i386.init]}

`says` is the beginning of the sentence, without "On entry:" and "Must:". The id is made of the lab,
the name that the comment is about, and the word: `lab3.c.apic_send_init.word`. The file belongs to
the lab's author and is in no release, so that it may name hidden checks. This module does not know
what the checks do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vmmlab.base import yamlfile
from vmmlab.base.errors import CourseError
from vmmlab.base.message import msg
from vmmlab.base.yamlfile import YamlFile
from vmmlab.course.comments import Comment, comments

CONTRACT_FILE: Final = "contract.yml"

_JUDGED_BY: Final = "judged_by"
_GIVEN: Final = "given"
_NOT_JUDGED: Final = "not_judged"
_WORD: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LABEL: Final = re.compile(r"(?:On entry|Must): ")
# A full stop ends a sentence if white space follows, perhaps behind a bracket that it closes.
_OWN_FUNCTION: Final = re.compile(r"\s*static [^;({]*\n(\w+) \(")
_ENGLISH_END: Final = re.compile(r"(?:(?<=[.?!])|(?<=[.?!]\)))\s+")
_JAPANESE_END: Final = re.compile(r"(?<=。)(?!）)|(?<=。）)")


@dataclass(frozen=True, slots=True)
class Clause:
    """What contract.yml says about one sentence.

    Attributes:
        id: such as `lab3.c.ap_start.restored`.
        says: the beginning of the sentence.
        judged_by: the checks that judge it; empty if none does.
        line: its line in contract.yml, from 1.
    """

    id: str
    says: str
    judged_by: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class CommentClauses:
    """What contract.yml says about one comment.

    Attributes:
        file: the file with the comment, for example `lab3/ap_start.c`.
        about: the function or label that the comment is about.
        clauses: one for each sentence, in their order.
        line: its line in contract.yml, from 1.
    """

    file: str
    about: str
    clauses: tuple[Clause, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Contract:
    """The contract above one function or label.

    Attributes:
        about: the function or label; "" if none follows the comment.
        sentences: without the labels "On entry:" and "Must:".
        text: the comment as it stands in the file.
    """

    about: str
    sentences: tuple[str, ...]
    text: str


def contracts(text: str, symbols: Sequence[str]) -> tuple[Contract, ...]:
    """Return the contracts of a starter in order.

    They are all comments on lines of their own, but for TODOs and for the first paragraph of the
    file, which is its heading.

    Args:
        text: the starter, in English.
        symbols: the functions and labels that the file must define.
    """
    found: list[Contract] = []
    every = comments(text)
    for number, one in enumerate(every):
        end = every[number + 1].start if number + 1 < len(every) else len(text)
        paragraphs = paragraphs_of(one.lines)[1 if number == 0 else 0 :]
        if paragraphs and not one.step:
            found.append(
                Contract(
                    _first_of(symbols, text[one.end : end]),
                    tuple(s for paragraph in paragraphs for s in english_sentences(paragraph)),
                    text[one.start : one.end],
                )
            )
    return tuple(found)


def paragraphs_of(lines: Sequence[str]) -> list[str]:
    """Return the paragraphs of a comment, each on one line."""
    parts = re.split(r"\n\s*\n", "\n".join(lines).strip())
    return [" ".join(part.split()) for part in parts if part.strip()]


def english_sentences(paragraph: str) -> tuple[str, ...]:
    """Return the sentences of an English paragraph, without the labels of a contract."""
    return tuple(_LABEL.sub("", one, count=1) for one in _ENGLISH_END.split(paragraph) if one)


def japanese_sentences(paragraph: str) -> tuple[str, ...]:
    """Return the sentences of a Japanese paragraph."""
    return tuple(one for one in map(str.strip, _JAPANESE_END.split(paragraph)) if one)


def read(path: Path, lab: str) -> tuple[CommentClauses, ...]:
    """Return what labs/labN/contract.yml says, in its order.

    Args:
        path: the file.
        lab: for example `lab3`.

    Raises:
        CourseError: it cannot be read, or has another form; the message names the line.
    """
    file = yamlfile.read(path)
    found: list[CommentClauses] = []
    for name, of_file in _mapping(file, ()).items():
        for about in _mapping(file, (name,)) if of_file else ():
            at = (name, about)
            clauses = tuple(_clause(file, (*at, word), lab) for word in _mapping(file, at))
            found.append(CommentClauses(name, about, clauses, file.line(at)))
    return tuple(found)


def _mapping(file: YamlFile, at: Sequence[str]) -> dict[str, Any]:
    data = file.data
    for key in at:
        data = data[key]
    if isinstance(data, dict) and all(isinstance(key, str) for key in data):
        return data
    raise CourseError(
        msg("{file}:{line}: this is not a mapping.", file=file.shown, line=file.line(at)),
        expected=msg("files, in them functions, in them words, each with its sentence"),
    )


def _clause(file: YamlFile, at: Sequence[str], lab: str) -> Clause:
    _, about, word = at
    data = _mapping(file, at)
    kinds = data.keys() - {"says"}
    right = len(kinds) == 1 and all(data.values()) and isinstance(data.get("says"), str)
    if right and kinds == {_JUDGED_BY}:
        checks = data[_JUDGED_BY]
        right = isinstance(checks, list) and all(isinstance(one, str) for one in checks)
    elif right:
        right = kinds <= {_GIVEN, _NOT_JUDGED} and all(isinstance(data[one], str) for one in kinds)
    if not right or not _WORD.fullmatch(word):
        raise CourseError(
            msg(
                "{file}:{line}: {word}: this does not say what judges a sentence.",
                file=file.shown,
                line=file.line(at),
                word=word,
            ),
            expected=msg(
                "a word in small letters, with `says`, the beginning of the sentence, and one of: "
                "`judged_by`, a list of checks; `given`, who sees to it; `not_judged`, why not"
            ),
        )
    checks = tuple(data.get(_JUDGED_BY, ()))
    return Clause(f"{lab}.c.{about}.{word}", data["says"], checks, file.line(at))


def _first_of(symbols: Sequence[str], code: str) -> str:
    """Return the symbol that `code` names first, or a function of the file's own that it defines.

    It is "" if there is neither.
    """
    places = {one: re.search(rf"\b{re.escape(one)}\b", code) for one in symbols}
    named = {one: found.start() for one, found in places.items() if found}
    if own := _OWN_FUNCTION.match(code):
        return own[1]
    return min(named, key=lambda one: named[one], default="")


def differing_paragraphs(english: Comment, japanese: str) -> Iterator[tuple[int, int, int]]:
    """Yield each paragraph whose translation has another number of sentences.

    Yields:
        The number of the paragraph, from 1, and the numbers of its sentences in both languages. A
        paragraph that is in one language only has none in the other.
    """
    left = [len(english_sentences(one)) for one in paragraphs_of(english.lines)]
    right = [len(japanese_sentences(one)) for one in paragraphs_of(japanese.split("\n"))]
    for number in range(max(len(left), len(right))):
        one, other = (side[number] if number < len(side) else 0 for side in (left, right))
        if one != other:
            yield number + 1, one, other

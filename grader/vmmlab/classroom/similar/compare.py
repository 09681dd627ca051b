"""Compares all sources of a file with each other; knows nothing of pages."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.classroom.similar.model import Alike, Side

_NOISE: Final = 25
"""Characters, after names have become one letter each: shorter matches are chance."""
_SURE: Final = 30
"""A match of so many characters is always found."""
_LANGUAGES: Final = {".c": "c", ".h": "c", ".S": "gas"}
"""What Pygments calls the language of a file."""


@dataclass(frozen=True)
class Source:
    """One text.

    Attributes:
        name: whose it is, for people.
        code: the text.
        compared: whether it is of this class. Others, of last year or the reference, are compared
            with this class only.
    """

    name: str
    code: str
    compared: bool = True


def compared(
    file: str, sources: Sequence[Source], given: Sequence[str], least: float
) -> Iterator[Alike]:
    """Yield the pairs that are alike, in the order of the sources.

    Args:
        file: the path in a submission, which tells the language.
        sources: the texts.
        given: texts that everybody has, such as the starters.
        least: the least share of one of the two, 0 to 1.

    Raises:
        UsageError: copydetect is not installed.
    """
    library = _copydetect()
    language = next((name for end, name in _LANGUAGES.items() if file.endswith(end)), None)

    def fingerprint(code: str, boilerplate: Any) -> Any:
        return library.CodeFingerprint(
            file, _NOISE, _SURE - _NOISE + 1, boilerplate, True, language, io.StringIO(code)
        )

    known: set[int] = set()
    for text in given:
        known |= set(fingerprint(text, []).hashes)
    prints = [(one, fingerprint(one.code, list(known))) for one in sources]
    for (left, first), (right, second) in combinations(prints, 2):
        if not (left.compared or right.compared) or not (first.hashes and second.hashes):
            continue
        _, shares, slices = library.compare_files(first, second)
        if max(shares) >= least:
            yield Alike(
                file,
                Side(left.name, min(1.0, float(shares[0])), left.code, _marked(slices[0])),
                Side(right.name, min(1.0, float(shares[1])), right.code, _marked(slices[1])),
            )


def _copydetect() -> Any:
    try:
        from copydetect import detector
    except ImportError as error:
        raise UsageError(
            msg("the comparison needs copydetect: {error}.", error=str(error)),
            next_step="pip install 'vmmlab[similar]'",
        ) from None
    return detector


def _marked(slices: Any) -> tuple[tuple[int, int], ...]:
    """Return starts and ends of passages, from copydetect's two rows of numbers."""
    if not len(slices):
        return ()
    return tuple((int(start), int(end)) for start, end in zip(slices[0], slices[1], strict=True))

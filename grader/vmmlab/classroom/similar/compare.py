"""Compares all sources of a file with each other; knows nothing of pages."""

from __future__ import annotations

import contextlib
import io
import signal
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
_SECONDS: Final = 2.0
"""Of processor time, for one text or one pair; a lab's file takes 0.01."""


class _TooSlow(Exception):
    """Pygments takes time with the square of a row of blanks or comments."""


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
    file: str,
    sources: Sequence[Source],
    given: Sequence[str],
    least: float,
    too_slow: list[str] | None = None,
) -> Iterator[Alike]:
    """Yield the pairs that are alike, in the order of the sources.

    Args:
        file: the path in a submission, which tells the language.
        sources: the texts.
        given: texts that everybody has, such as the starters.
        least: the least share of one of the two, 0 to 1.
        too_slow: gets the names of texts, or of pairs, that cannot be compared in time.

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
    slow = [] if too_slow is None else too_slow
    prints = []
    for one in sources:
        try:
            with _limited():
                prints.append((one, fingerprint(one.code, list(known))))
        except _TooSlow:
            slow.append(one.name)
    for (left, first), (right, second) in combinations(prints, 2):
        if not (left.compared or right.compared) or not (first.hashes and second.hashes):
            continue
        try:
            with _limited():
                _, shares, slices = library.compare_files(first, second)
        except _TooSlow:
            slow.append(f"{left.name} – {right.name}")
            continue
        if max(shares) >= least:
            yield Alike(
                file,
                Side(left.name, min(1.0, float(shares[0])), left.code, _marked(slices[0])),
                Side(right.name, min(1.0, float(shares[1])), right.code, _marked(slices[1])),
            )


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Limit the processor time of a block; the main thread has to run it.

    Raises:
        _TooSlow: it has taken more.
    """

    def stop(number: int, frame: object) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


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

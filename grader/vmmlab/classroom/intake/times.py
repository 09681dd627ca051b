"""Times as Moodle writes them for people: `userdate` with the format `strftimedaydatetime`.

Sources: lang/en/langconfig.php of moodle/moodle, langconfig.php of its Japanese language pack. They
are in the downloader's zone, which they do not name.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_ENGLISH: Final = re.compile(
    r"\w+,\s+(?P<day>\d{1,2})\s+(?P<month>[A-Za-z]+)\s+(?P<year>\d{4}),\s+"
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?"
)
_JAPANESE: Final = re.compile(
    r"(?P<year>\d{4})年\s*(?P<month>\d{1,2})月\s*(?P<day>\d{1,2})日\s*"
    r"(?:[(（][^)）]*[)）])?\s*(?P<hour>\d{1,2}):(?P<minute>\d\d)"
)

_YEAR: Final = re.compile(r"(?<!\d)\d{4}(?!\d)")


def local_time(text: str) -> datetime | None:
    """Return the time that a text names, without a zone; None: it names none, as "-" does."""
    text = text.strip()
    return _time(_ENGLISH.fullmatch(text) or _JAPANESE.fullmatch(text))


def time_in(text: str) -> datetime | None:
    """Return the last time that a text names among other words; None: it names none."""
    found = [*_ENGLISH.finditer(text), *_JAPANESE.finditer(text)]
    return _time(max(found, key=lambda one: one.start())) if found else None


def unread(text: str, *, inside: bool = False) -> bool:
    """Return whether a text names a time, since it has a year, that is not understood.

    Args:
        text: the text.
        inside: the time stands among other words.
    """
    return _YEAR.search(text) is not None and (time_in if inside else local_time)(text) is None


def _time(match: re.Match[str] | None) -> datetime | None:
    if match is None:
        return None
    fields = match.groupdict()
    month = fields["month"].lower()
    hour = int(fields["hour"])
    if half := fields.get("half"):
        hour = hour % 12 + (12 if half in "Pp" else 0)
    try:
        return datetime(
            int(fields["year"]),
            _MONTHS.index(month) + 1 if month in _MONTHS else int(month),
            int(fields["day"]),
            hour,
            int(fields["minute"]),
        )
    except ValueError:
        return None

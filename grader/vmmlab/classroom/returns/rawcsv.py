"""A CSV table in which single cells change and every other byte stays.

Platforms read their own tables again, and people compare them: quoting, line ends, the encoding and
its mark must not change because one cell does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.base.errors import UsageError, os_reason
from vmmlab.base.message import msg
from vmmlab.classroom.roster import decoded, separator

_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)


@dataclass(slots=True)
class _Cell:
    """One cell as it stands in the file."""

    raw: str

    @property
    def value(self) -> str:
        """What it says."""
        if self.raw.startswith('"'):
            return self.raw[1:-1].replace('""', '"')
        return self.raw


class RawTable:
    """A table, the first row of which has the headers.

    Args:
        data: the file.
        name: the file's name, for messages.

    Raises:
        UsageError: it is no text, or no table.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self._mark, self._encoding = next(
            ((mark, encoding) for mark, encoding in _MARKS if data.startswith(mark)),
            (b"", "utf-8"),
        )
        text = decoded(data)
        if text is None:
            raise UsageError(
                msg("{path}: this is neither UTF-8 nor UTF-16 nor Shift-JIS text.", path=name),
                next_step=msg("download it again"),
            )
        if not self._mark and text.encode("utf-8") != data:
            self._encoding = next(
                one for one in ("cp932", "utf-16-le", "utf-16-be") if _same(text, one, data)
            )
        self.between = separator(text)
        self._rows, self._ends = _split(text, self.between, name)
        if not self._rows:
            raise UsageError(
                msg("{path}: this table is empty.", path=name), next_step=msg("download it again")
            )

    @property
    def header(self) -> Sequence[str]:
        """The first row."""
        return [cell.value for cell in self._rows[0]]

    def __len__(self) -> int:
        """Return the number of rows below the first."""
        return len(self._rows) - 1

    def cells(self, row: int) -> int:
        """Return how many cells a row below the header has."""
        return len(self._rows[row + 1])

    def value(self, row: int, column: int) -> str:
        """Return a cell below the header; "" if the row is too short for it.

        Args:
            row: from 0, the first one below the header.
            column: from 0.
        """
        cells = self._rows[row + 1]
        return cells[column].value if column < len(cells) else ""

    def put(self, row: int, column: int, value: str) -> None:
        """Change a cell, unless it says this already; the quotes around it stay if it has some."""
        cells = self._rows[row + 1]
        if self.value(row, column) == value:
            return
        cells += [_Cell("") for _ in range(column + 1 - len(cells))]
        quoted = cells[column].raw.startswith('"') or re.search(
            rf'["\r\n{re.escape(self.between)}]|^\s|\s$', value
        )
        escaped = value.replace('"', '""')
        cells[column] = _Cell(f'"{escaped}"' if quoted else value)

    def data(self) -> bytes:
        """Return the file."""
        rows = (self.between.join(cell.raw for cell in row) for row in self._rows)
        text = "".join(f"{row}{end}" for row, end in zip(rows, self._ends, strict=True))
        # A name may have letters that an older encoding lacks; a question mark is what it shows.
        return self._mark + text.encode(self._encoding, "replace")


def read_table(path: Path) -> RawTable:
    """Read a table.

    Raises:
        UsageError: it cannot be read, or is no table.
    """
    try:
        return RawTable(path.read_bytes(), path.name)
    except OSError as error:
        raise UsageError(
            msg("{path}: cannot be read: {reason}.", path=path, reason=os_reason(error))
        ) from None


def _same(text: str, encoding: str, data: bytes) -> bool:
    try:
        return text.encode(encoding) == data
    except UnicodeEncodeError:
        return encoding == "cp932"


def _split(text: str, between: str, name: str) -> tuple[list[list[_Cell]], list[str]]:
    """Return the cells of each row as they stand there, and the line end of each row."""
    other = rf"[^{re.escape(between)}\r\n]"
    cell = re.compile(rf'"(?:[^"]|"")*"|(?!"){other}*')
    line_end = re.compile(r"\r\n|\r|\n|\Z")
    rows: list[list[_Cell]] = []
    ends: list[str] = []
    at = 0
    while at < len(text):
        row: list[_Cell] = []
        while True:
            match = cell.match(text, at)
            if match is None:
                break
            row.append(_Cell(match[0]))
            at = match.end()
            if not text.startswith(between, at):
                break
            at += len(between)
        end = line_end.match(text, at)
        if match is None or end is None:
            raise UsageError(
                msg(
                    "{path}:{line_num}: a quote is not closed, or stands inside a cell.",
                    path=name,
                    line_num=text.count("\n", 0, at) + 1,
                ),
                next_step=msg("download it again"),
            )
        at = end.end()
        rows.append(row)
        ends.append(end[0])
    return rows, ends

"""Reads the list of a class, as this kit, nbgrader, spreadsheets and learning platforms write it.

Known are: the CSV file of `nbgrader db student import`; Moodle's participants, grader report and
grading worksheet, in English and Japanese; Canvas' gradebook; Gradescope's roster. Fields are
separated by commas, semicolons or tabs; the text is UTF-8, UTF-16 or Shift-JIS.

Sources of the headers: Moodle's lang/en/moodle.php, mod/assign/lang/en/assign.php and the Japanese
language pack; lib/gradebook_exporter.rb of instructure/canvas-lms.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from vmmlab.base.errors import UsageError, os_reason
from vmmlab.base.message import Text, msg
from vmmlab.base.notices import notify
from vmmlab.base.text import clean_line

_ID: Final = re.compile(r"\w[\w.@-]{0,99}")
_NOT_IN_IDS: Final = re.compile(r"[^\w.@-]+")
_NUMBER: Final = re.compile(r"(\d+)\s*$")
_HINT: Final = re.compile(r"sep=([,;\t])\r?\n")  # Excel's own, above the header
_SEPARATORS: Final = (",", ";", "\t")
_NO_TEXT: Final = re.compile("[\0\x80\uf8f0-\uf8f3]")  # what cp932 makes of stray bytes
_NOT_CP932: Final = re.compile(
    "[\ue000-\uf8ff]|[a-z][\u3400-\u9fff\uff61-\uff9f]|[\uff61-\uff9f][A-Za-z]"
)
"""What cp932 makes of letters with accents in other encodings: Möller, François, Élise."""

_EMPTY: Final = ",;\t\r\n "  # what an empty line of a table has
_SHOWN: Final = 60
_BLIND: Final = ("participant", "参加者")
_FAMILY_FIRST: Final = re.compile(r"[\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]+")
"""A name in Chinese characters, kana or Hangul: the family name is written first."""

_CANVAS_OWN: Final = ("Points Possible", "Student, Test")  # a row of points; a trial student

Kind = Literal["plain", "worksheet", "canvas"]

_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "id": ("id", "student_id", "student id", "student number", "学籍番号", "学生番号"),
        "user": ("username", "user name", "ユーザ名", "ユーザー名", "sid"),
        "idnumber": ("id number", "idnumber", "idナンバー", "idナンバ", "識別番号"),
        "sis": ("sis login id", "sis user id"),
        "first": ("first_name", "first name", "firstname", "名"),
        "last": ("last_name", "last name", "lastname", "surname", "姓"),
        "name": (
            *("name", "full name", "fullname", "student"),
            *("フルネーム", "氏名", "姓名", "名前", "姓/名", "名/姓"),
        ),
        "email": ("email", "email address", "e-mail", "mail", "メールアドレス"),
        "cohort": ("cohort", "コホート"),
        "group": ("group", "groups", "group name", "グループ", "班"),
        "received": ("last modified (submission)", "最終更新日時 (提出)"),
        "status": ("status", "ステータス"),
    }
)
"""For each field of an entry the headers that it can have, in lower case, the best first."""

WORKSHEET_HEADERS: Final = ("last modified (grade)", "最終更新日時 (評定)", "最終更新日時 (評点)")
"""A column with one of these headers makes a table Moodle's grading worksheet."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One student of the roster; what it does not say is "".

    Attributes:
        id: the student's id in nbgrader, and the name of folders.
        first_name: as the roster has it.
        last_name: as the roster has it.
        email: as the roster has it.
        cohort: the cohort to grade for.
        name: the whole name, if the roster has it in one column.
        group: the name of the student's group.
        number: the number that the learning platform has for the student in this assignment.
        received: when the submission was received, as Moodle's worksheet says it.
        status: how Moodle's worksheet describes the submission; an extension is named in it.
    """

    id: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    cohort: str = ""
    name: str = ""
    group: str = ""
    number: str = ""
    received: str = ""
    status: str = ""

    @property
    def shown(self) -> str:
        """The name for people; the id if there is none."""
        parts = [one for one in (self.first_name, self.last_name) if one]
        if all(map(_FAMILY_FIRST.fullmatch, parts)):
            parts.reverse()
        return with_number(self.name, self.number) or " ".join(parts) or self.id


@dataclass(frozen=True, slots=True)
class _Header:
    """The first line of a roster: the kind of table, and the column of each field."""

    kind: Kind
    columns: Mapping[str, tuple[str, ...]]
    first: str

    def value(self, row: Mapping[str | None, str | None], key: str) -> str:
        """Return a field of a row: the first column that says something."""
        found = ((row.get(column) or "").strip() for column in self.columns.get(key, ()))
        return next(filter(None, found), "")


@dataclass(slots=True)
class _Reading:
    """A roster that is being read."""

    path: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    alike: dict[str, str] = field(default_factory=dict)

    def add(self, entry: Entry, line: int) -> None:
        """Take an entry, unless its id is there already: then say so, and keep the first one."""
        first = self.lines.setdefault(entry.id, line)
        if first == line:
            self.entries[entry.id] = entry
            self._compare(entry.id, line)
            return
        notify(
            msg(
                "{path}:{line_num}: {entry} appears twice; line {first} counts.",
                path=self.path,
                line_num=line,
                entry=entry.id,
                first=first,
            )
        )

    def _compare(self, student: str, line: int) -> None:
        """Say so if another id looks the same: these are two students."""
        other = self.alike.setdefault(unicodedata.normalize("NFKC", student).casefold(), student)
        if other != student:
            notify(
                msg(
                    "{path}:{line_num}: {entry} and {other} differ in case or width only, "
                    "and count as two students.",
                    path=self.path,
                    line_num=line,
                    entry=student,
                    other=other,
                )
            )


def person(entry: Entry) -> tuple[str, str]:
    """Return the first and the last name; a name in one column is split as its script has it.

    With blind marking there is none.
    """
    name = " ".join(entry.name.split())
    if entry.first_name or entry.last_name or not name or with_number(name, "1") != name:
        return entry.first_name, entry.last_name
    if "," in name:
        last, _, first = name.partition(",")
        return first.strip(), last.strip()
    words = name.split(" ")
    if len(words) == 2 and all(map(_FAMILY_FIRST.fullmatch, words)):
        words.reverse()
    return " ".join(words[:-1]), words[-1]


def with_number(name: str, number: str) -> str:
    """Return a name for people: with blind marking all have the same one but for the number."""
    return f"{name} {number}" if name.casefold() in _BLIND and number else name


def valid_id(text: str) -> bool:
    """Return whether a text can be a student's id: the name of a folder and part of a glob."""
    return _ID.fullmatch(text) is not None


def made_id(name: str, number: str = "") -> str:
    """Return an id made of a name and the platform's number for it; "" if nothing is left of it."""
    text = unicodedata.normalize("NFKC", name)
    parts = (_NOT_IN_IDS.sub("_", text).strip("_.-@")[:60], number)
    return "-".join(filter(None, parts))


def read_roster(path: Path) -> Mapping[str, Entry]:
    """Return the students of a class by id.

    A column with ids is required, or one with e-mail addresses; columns that are not known are
    ignored. An id that comes again is reported as a notice; its first line counts.

    Raises:
        UsageError: the file cannot be read or is no roster; the message names the line.
    """
    try:
        text = decoded(path.read_bytes())
    except OSError as error:
        raise UsageError(
            msg("{path}: cannot be read: {reason}.", path=path, reason=os_reason(error))
        ) from None
    if text is None:
        raise UsageError(
            msg("{path}: this is neither UTF-8 nor UTF-16 nor Shift-JIS text.", path=path),
            next_step=msg("save the roster as CSV UTF-8"),
        )
    reading = _Reading(path)
    lines = io.StringIO(text, newline="")
    above = _above(lines, text)
    reader = csv.DictReader(lines, delimiter=separator(text), strict=True)
    try:
        header = _header(path, tuple(reader.fieldnames or ()))
        for row in reader:
            line = above + reader.line_num
            if _is_student(header, row):
                reading.add(_entry(header, row, f"{path}:{line}"), line)
    except csv.Error as error:
        raise UsageError(
            msg("{path}: the table cannot be read.", path=path),
            expected=msg("a quote that opens a cell closes it, and a quote in a cell is doubled"),
            found=_unreadable(str(error), above + reader.line_num),
            next_step=msg("save the roster as CSV UTF-8"),
        ) from None
    if not reading.entries:
        raise UsageError(
            msg("{path}: there is no student in it.", path=path),
            expected=msg("a line for each student, below the first line"),
        )
    return MappingProxyType(reading.entries)


def _unreadable(error: str, line: int) -> Text:
    if "unexpected end" in error:
        return msg("after line {line_num}: a quote that nothing closes", line_num=line)
    if "limit" in error:
        return msg("after line {line_num}: a cell that is too long", line_num=line)
    return msg("after line {line_num}: a quote inside of a cell", line_num=line)


def _above(lines: io.StringIO, text: str) -> int:
    """Skip what a spreadsheet has put above the header, and return how many lines that were."""
    count = 1 if _HINT.match(text) and lines.readline() else 0
    while (line := lines.readline()) and not line.strip(_EMPTY):
        count += 1
    lines.seek(lines.tell() - len(line))
    return count


def decoded(data: bytes) -> str | None:
    """Return the text of a file that a spreadsheet or a platform wrote; None: no such encoding."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif data[1:2] == b"\0":
        encodings = ["utf-16-le"]
    elif data[:1] == b"\0":
        encodings = ["utf-16-be"]
    else:
        encodings = ["utf-8-sig", "cp932"]
    for encoding in encodings:
        text = _text(data, encoding)
        if text is None:
            continue
        if _NO_TEXT.search(text) or (encoding == "cp932" and _is_another(data, text)):
            return None
        return text
    return None


def _is_another(data: bytes, text: str) -> bool:
    """Return whether this need not be Shift-JIS: almost any bytes are, and names would be lost."""
    return _text(data, "euc_jp") is not None or _NOT_CP932.search(text) is not None


def _text(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def separator(text: str) -> str:
    """Return what separates the fields of a table, by its first line."""
    if match := _HINT.match(text):
        return match[1]
    first = re.sub(r'"[^"]*"', "", text.lstrip(_EMPTY).split("\n", 1)[0])
    return max(_SEPARATORS, key=lambda one: first.count(one))


def plain_header(text: str) -> str:
    """Return a header in the form in which headers are compared."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def _header(path: Path, fields: tuple[str, ...]) -> _Header:
    plain = {name: plain_header(name) for name in fields}
    kind: Kind = "plain"
    if set(plain.values()) & set(WORKSHEET_HEADERS):
        kind = "worksheet"
    elif {"student", "lastname"} & set(list(plain.values())[:1]) and "section" in plain.values():
        kind = "canvas"
    columns = {
        key: tuple(name for one in known for name in fields if plain[name] == one)
        for key, known in _COLUMNS.items()
    }
    if kind != "plain":
        columns["number"] = fields[:1] if kind == "worksheet" else columns["id"]
        columns["id"] = ()
    if kind != "worksheet" and not any(columns[key] for key in ("id", "user", "idnumber", "sis")):
        if columns["email"]:
            columns["id"] = columns["email"]
        else:
            raise UsageError(
                msg("{path}:1: the roster has no column id.", path=path),
                expected="id,first_name,last_name,email,cohort",
                found=clean_line(",".join(fields), _SHOWN),
            )
    return _Header(kind, columns, fields[0] if fields else "")


def _is_student(header: _Header, row: Mapping[str | None, str | None]) -> bool:
    """Return whether a row is one of a student: blank lines and Canvas' second header are not."""
    if not any((value or "").strip() for value in row.values() if not isinstance(value, list)):
        return False
    if header.kind != "canvas":
        return True
    first = (row.get(header.first) or "").strip()
    return bool(first) and first not in _CANVAS_OWN


def _entry(header: _Header, row: Mapping[str | None, str | None], place: str) -> Entry:
    if row.get(None) is not None:
        raise UsageError(
            msg("{place}: more fields than the first line has.", place=place),
            next_step=msg("quote a name that contains a comma"),
        )

    def value(key: str) -> str:
        return header.value(row, key)

    name, number = value("name"), value("number")
    if header.kind == "worksheet":
        found = _NUMBER.search(number)
        name = name or number[: found.start()].strip() if found else name
        number = found[1] if found else number
    student = next(filter(None, map(value, ("id", "user", "idnumber", "sis"))), "")
    if header.kind != "plain" and not student:  # Canvas hides logins from some teachers
        email = value("email")
        student = email if valid_id(email) else made_id(name, number)
    if not valid_id(student):
        raise UsageError(
            msg("{place}: {student!r} cannot be a student's id.", place=place, student=student),
            expected=msg("letters, digits and . _ @ -, beginning with a letter or a digit"),
        )
    return Entry(
        student,
        value("first"),
        value("last"),
        value("email"),
        value("cohort"),
        name,
        value("group"),
        number,
        value("received"),
        value("status") if header.kind == "worksheet" else "",
    )


def names_of(entry: Entry) -> Iterator[str]:
    """Yield the ways in which a platform may write a student's name."""
    if entry.name:
        yield entry.name
    if entry.first_name and entry.last_name:
        yield f"{entry.first_name} {entry.last_name}"
        yield f"{entry.last_name} {entry.first_name}"

"""Takes a class's submissions in: who has handed in, which files, when, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from vmmlab.base.box import Box, BoxError, Unusable
from vmmlab.base.errors import UsageError
from vmmlab.base.message import EMPTY, Text, listed, msg
from vmmlab.base.text import clean_line
from vmmlab.classroom.intake import times
from vmmlab.classroom.intake.matching import Index
from vmmlab.classroom.intake.model import Intake, Platform, Submission, left
from vmmlab.classroom.intake.owners import Owner, owners_of, wrapped
from vmmlab.classroom.intake.source import Source, opened, opened_pieces
from vmmlab.classroom.intake.store import store
from vmmlab.classroom.lateness import Lateness, judge, moment
from vmmlab.classroom.roster import Entry, made_id, valid_id
from vmmlab.classroom.students import timestamp
from vmmlab.course.deadlines import Extension
from vmmlab.course.digest import digests
from vmmlab.course.likeness import instead_of
from vmmlab.course.model import Course
from vmmlab.course.upload import WORKSHEETS, Upload, files_of

_SHOWN: Final = 80
_LEFT_OUT: Final = 200
_NAMED: Final = 3
_SUBMITTED: Final = "submitted"  # nbgrader's folder for submissions
_TIMESTAMP: Final = "timestamp.txt"
_TIMESTAMP_MOST: Final = 1000  # bytes
_NOTHING: Final = Upload({}, {}, (), ())


@dataclass(frozen=True, slots=True)
class _Claim:
    """A submission, and the student whose it seems to be."""

    owner: Owner
    student: str
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class _Taken:
    """What was found in one submission."""

    upload: Upload
    problem: Text
    attention: bool
    received: Mapping[str, datetime]


def intake(
    source: Path,
    course: Course,
    into: Path,
    *,
    labs: Sequence[str] = (),
    roster: Mapping[str, Entry] | None = None,
) -> Intake:
    """Take a class's submissions in.

    Args:
        source: a folder, or a zip or tar file: one folder or archive for each student, nbgrader's
            `submitted`, an export of Gradescope, a download of Moodle or Canvas.
        course: what is asked for, and the deadlines.
        into: where copies are kept: `into`/STUDENT/LAB/FILE. Made if it is not there.
        labs: only these; all open ones if it is empty.
        roster: the class, of `read_roster`. A worksheet of Moodle says when files were received.

    Raises:
        UsageError: there is no such source, it holds one submission only, or a lab is unknown.
        BoxError: an archive cannot be read, or is too large.
        InfraError: copies cannot be written.
    """
    wanted = tuple(labs) or tuple(lab.name for lab in course.open_labs)
    for name in wanted:
        course.lab(name)
    roster = roster or {}
    platform: Platform | None = None
    if (source / _SUBMITTED).is_dir():
        source = source / _SUBMITTED
    if source.is_dir() and source.name == _SUBMITTED:
        platform = "nbgrader"
    with opened(source) as whole:
        top = wrapped(whole, _asked(course))
        _must_be_a_class(top, source, course)
        owners = owners_of(top, platform)
        claims, remarks = _claims(owners.owners, Index(roster))
        remarks += [one.line for one in owners.others]
        found = [
            _submission(top, course, into, wanted, student, group, owners.platform, remarks)
            for student, group in claims.items()
        ]
    absent = sorted(roster.keys() - claims.keys())
    found += [_nothing(roster[student], into) for student in absent]
    if roster and (strangers := sorted(claims.keys() - roster.keys())):
        remarks.append(msg("not in the roster: {students}", students=listed(strangers)))
    remarks += _unread_times(roster.values())
    remarks += _unknown_times(found)
    return Intake(
        platform=owners.platform,
        submissions=tuple(sorted(found, key=lambda one: one.student)),
        remarks=tuple(remarks),
    )


def _asked(course: Course) -> set[str]:
    """Return names that the top of one student's submission can have."""
    files = {path for lab in course.labs.values() for path in lab.files}
    return {*course.labs, *(path.partition("/")[2] for path in files), *WORKSHEETS}


def _must_be_a_class(top: Source, source: Path, course: Course) -> None:
    like = [name for name in top.top if name in _asked(course)]
    if like:
        raise UsageError(
            msg("{path}: this is one submission: it has {name}.", path=source, name=like[0]),
            expected=msg("a folder for each student"),
            next_step=msg("give the folder above it, or use vmmlab grade"),
        )
    if not top.top and not top.refused:
        raise UsageError(
            msg("{path}: there are no submissions in it.", path=source),
            expected=msg("a folder for each student, or the download of a learning platform"),
        )


# --- whose is it ---------------------------------------------------------------------------------


def _claims(owners: Sequence[Owner], index: Index) -> tuple[dict[str, list[_Claim]], list[Text]]:
    """Return for each student what may be the student's submission, and remarks."""
    claims: dict[str, list[_Claim]] = {}
    remarks: list[Text] = []
    for owner in owners:
        match = index.student(owner)
        members = () if match.entries else index.members(owner.name)
        if members:
            for entry in members:
                claim = _Claim(replace(owner, group=owner.key), entry.id, entry)
                claims.setdefault(entry.id, []).append(claim)
            continue
        found = match.entry
        if len(match.entries) > 1:
            remarks.append(
                msg(
                    "{name} can be each of {students}; it stays under its own name",
                    name=clean_line(owner.name, _SHOWN),
                    students=listed(one.id for one in match.entries),
                )
            )
        student = found.id if found else _own_id(owner)
        claims.setdefault(student, []).append(_Claim(owner, student, found))
    return claims, remarks


def _own_id(owner: Owner) -> str:
    """Return the id of a student who is in no roster."""
    known = [hint for hint in owner.hints if valid_id(hint)]
    return known[0] if known else made_id(owner.name, owner.number) or made_id(owner.key) or "0"


# --- one student -----------------------------------------------------------------------------


def _submission(
    top: Source,
    course: Course,
    into: Path,
    labs: Sequence[str],
    student: str,
    claims: Sequence[_Claim],
    platform: Platform,
    remarks: list[Text],
) -> Submission:
    """Return the entry of one student, who may have handed in several times."""
    claim, remark = _counting(claims)
    if remark:
        remarks.append(remark)
    owner, entry = (claim or claims[0]).owner, claims[0].entry
    if claim is None:
        taken = _Taken(_NOTHING, remark, True, {})
    else:
        taken = _taken(top, course, owner, entry, labs, platform, remarks)
    upload, files = taken.upload, taken.upload.files
    store(into / student, files)
    got = {name.partition("/")[0] for name in files if not name.endswith(WORKSHEETS)}
    sheets = {name.partition("/")[0] for name in files if name.endswith(WORKSHEETS)}
    return Submission(
        student=student,
        name=clean_line(entry.shown if entry else owner.shown or student, _SHOWN),
        cohort=entry.cohort if entry else "",
        group=owner.group,
        origin=clean_line(owner.key, _SHOWN),
        number=entry.number if entry and entry.number else owner.number,
        folder=into / student,
        labs=tuple(lab for lab in labs if lab in got),
        worksheets=tuple(lab for lab in labs if lab in sheets),
        digests=digests(files),
        received=taken.received,
        late=_late(course, student, owner, entry, {*got, *sheets}, taken.received),
        problem=taken.problem,
        attention=taken.attention,
        refused=left(upload.refused),
        left_out=tuple(clean_line(name, _SHOWN) for name in upload.left_out[:_LEFT_OUT]),
        renamed={ours: clean_line(name, _SHOWN) for ours, name in upload.renamed.items()},
    )


def _counting(claims: Sequence[_Claim]) -> tuple[_Claim | None, Text]:
    """Return the submission that counts, the last one, and a remark if there are several.

    None counts if it is unknown which is the last one.
    """
    if len(claims) == 1:
        return claims[0], EMPTY
    names = listed(clean_line(one.owner.key, _SHOWN) for one in claims)
    times_known = [one.owner.received for one in claims if one.owner.received is not None]
    if len(times_known) == len(claims) and len(set(times_known)) == len(claims):
        last = max(claims, key=lambda one: one.owner.received or datetime.min.replace(tzinfo=UTC))
        return last, msg(
            "several submissions of {student}: {names}; the last one counts, {last}",
            student=claims[0].student,
            names=names,
            last=clean_line(last.owner.key, _SHOWN),
        )
    return None, msg(
        "several submissions of {student}: {names}; none counts: keep one",
        student=claims[0].student,
        names=names,
    )


def _taken(
    top: Source,
    course: Course,
    owner: Owner,
    entry: Entry | None,
    labs: Sequence[str],
    platform: Platform,
    remarks: list[Text],
) -> _Taken:
    if owner.problem:
        return _Taken(_NOTHING, msg("it {why}", why=owner.problem), True, {})
    if not owner.pieces:
        return _Taken(_NOTHING, msg("no files were handed in"), False, {})
    try:
        with opened_pieces(top, owner.pieces) as box:
            upload = files_of(box, course, labs)
            received = dict(_received(course, owner, entry, upload))
            if platform == "nbgrader":  # a student can write such a file: what Moodle says counts
                received = _timestamps(box, owner.key, remarks) | received
    except BoxError as error:
        return _Taken(_NOTHING, error.message, True, {})
    if damaged := [one for one in upload.refused if one.damaged]:
        why = msg("it is damaged, maybe on its way here: {first}", first=damaged[0].line)
        return _Taken(upload, why, True, received)
    if upload.files:
        return _Taken(upload, EMPTY, False, received)
    if upload.refused:
        first = upload.refused[0]
        why = msg("nothing of it can be used: {first}", first=first.line)
        return _Taken(upload, why, True, received)
    if not upload.left_out:
        return _Taken(upload, msg("it is empty"), False, received)
    return _Taken(upload, _nothing_asked_for(course, labs, upload.left_out), False, received)


def _nothing_asked_for(course: Course, labs: Sequence[str], there: Sequence[str]) -> Text:
    """Return that nothing was asked for of what is there; name what could have been meant."""
    for path in (path for lab in labs for path in course.lab(lab).files):
        if found := instead_of(path, there):
            return msg(
                "none of the files that were asked for is in it; {path} is missing; {found}",
                path=path,
                found=found,
            )
    names = [clean_line(name, _SHOWN) for name in there]
    if len(names) > _NAMED:
        return msg(
            "none of the files that were asked for is in it, but {names} and {count} more",
            names=listed(names[:_NAMED]),
            count=len(names) - _NAMED,
        )
    return msg("none of the files that were asked for is in it, but {names}", names=listed(names))


def _received(
    course: Course, owner: Owner, entry: Entry | None, upload: Upload
) -> Iterator[tuple[str, datetime]]:
    """Yield for each lab that was handed in when it was received, if the platform says so."""
    at = owner.received
    if at is None and entry is not None and (local := times.local_time(entry.received)):
        zone = course.deadlines.zone if course.deadlines else "UTC"
        at = moment(local, ZoneInfo(zone))
    if at is not None:
        for lab in dict.fromkeys(name.partition("/")[0] for name in upload.files):
            yield lab, at


def _timestamps(box: Box, student: str, remarks: list[Text]) -> dict[str, datetime]:
    """Return the times that nbgrader has written: LAB/timestamp.txt."""
    found: dict[str, datetime] = {}
    for name in box.names:
        lab, _, file = name.partition("/")
        if file == _TIMESTAMP:
            try:
                at = timestamp(box.read(name)[:_TIMESTAMP_MOST].decode("utf-8-sig").strip())
            except (Unusable, UnicodeDecodeError):
                at = None
            if at is not None:
                found[lab] = at
                continue
            file_name = clean_line(f"{student}/{name}", _SHOWN)
            remarks.append(msg("{path}: this is not a time.", path=file_name))
    return found


def _late(
    course: Course,
    student: str,
    owner: Owner,
    entry: Entry | None,
    labs: set[str],
    received: Mapping[str, datetime],
) -> dict[str, Lateness]:
    deadlines = course.deadlines
    if deadlines is None:
        return {}
    if entry is not None and (until := times.time_in(entry.status)):  # an extension in Moodle
        more = [Extension(student=student, lab=lab, due=until) for lab in sorted(labs)]
        deadlines = deadlines.model_copy(update={"extensions": [*deadlines.extensions, *more]})
    found = dict(judge(deadlines, student, {lab: received.get(lab) for lab in labs}))
    if owner.late is False:  # the platform says so; it does not say when
        found = {
            lab: replace(one, status="on-time") if one.status == "unknown" else one
            for lab, one in found.items()
        }
    return found


def _unread_times(entries: Iterable[Entry]) -> Iterator[Text]:
    """Yield a remark if Moodle's worksheet has times, or extensions, in an unknown language."""
    entries = tuple(entries)
    found = [one.received for one in entries if times.unread(one.received)]
    found += [one.status for one in entries if times.unread(one.status, inside=True)]
    if found:
        yield msg(
            "times that are not understood: {count}, such as {first}; set Moodle to English or "
            "Japanese, and download the worksheet again",
            count=len(found),
            first=f"'{clean_line(found[0], _SHOWN)}'",
        )


def _unknown_times(submissions: Sequence[Submission]) -> Iterator[Text]:
    """Yield a remark if there is no penalty for the only reason that no time is known."""
    who = [
        one.student
        for one in submissions
        if any(late.status == "unknown" for late in one.late.values())
    ]
    if who:
        yield msg(
            "no penalty for late work, because there is no time of receipt: {students}",
            students=listed(who),
        )


def _nothing(entry: Entry, into: Path) -> Submission:
    store(into / entry.id, {})
    return Submission(
        student=entry.id,
        name=clean_line(entry.shown, _SHOWN),
        cohort=entry.cohort,
        group=entry.group,
        number=entry.number,
        folder=into / entry.id,
        problem=msg("nothing was handed in"),
    )

"""Intake: every layout, every student exactly once, nothing silent, nothing of others."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from classes import DEADLINES, FLAT, LAB3, course, laid_out, under, zipped

from vmmlab.base.errors import UsageError, VmmlabError
from vmmlab.classroom.intake import Intake, Submission, intake, read_intake
from vmmlab.classroom.roster import Entry, read_roster

DATA = Path(__file__).with_name("data")
Packer = Callable[[Path, Mapping[str, bytes]], Path]


def as_zip(folder: Path, files: Mapping[str, bytes]) -> Path:
    path = folder / "download.zip"
    path.write_bytes(zipped(files))
    return path


def as_tar(folder: Path, files: Mapping[str, bytes]) -> Path:
    there = laid_out(folder / "to-pack", files)
    with tarfile.open(folder / "download.tar.gz", "w:gz") as archive:
        archive.add(there, "class")
    return folder / "download.tar.gz"


def as_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    return laid_out(folder / "class", files)


PACKERS: dict[str, Packer] = {"zip": as_zip, "tar": as_tar, "folder": as_folder}
packers = pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)


def roster(*entries: Entry) -> dict[str, Entry]:
    return {one.id: one for one in entries}


def take(
    tmp_path: Path, source: Path, entries: Mapping[str, Entry] | None = None, more: str = ""
) -> Intake:
    return intake(source, course(tmp_path, more), tmp_path / "into", roster=entries)


def by_id(taken: Intake) -> dict[str, Submission]:
    found = {one.student: one for one in taken.submissions}
    assert len(found) == len(taken.submissions), "one entry for each student"
    return found


def kept(one: Submission) -> dict[str, bytes]:
    return {
        path.relative_to(one.folder).as_posix(): path.read_bytes()
        for path in sorted(one.folder.rglob("*"))
        if path.is_file()
    }


def lines(one: Submission) -> list[str]:
    return [str(each.line) for each in one.refused]


# --- layouts -----------------------------------------------------------------------------------


@packers
def test_a_folder_for_each_student(tmp_path: Path, pack: Packer) -> None:
    files = {
        **under("ada", LAB3),
        **under("bob/my work", LAB3),
        **under("eve", FLAT),
        **{f"dan/{name}": data for name, data in LAB3.items() if name.endswith("c")},
        "fay.zip": zipped(LAB3),
        "gil/upload.zip": zipped(under("gil", LAB3)),
    }
    taken = take(tmp_path, pack(tmp_path, files))
    assert taken.platform == "folder"
    found = by_id(taken)
    assert sorted(found) == ["ada", "bob", "dan", "eve", "fay", "gil"]
    for name in ("ada", "bob", "eve", "fay", "gil"):
        assert kept(found[name]) == dict(sorted(LAB3.items())), name
        assert (found[name].labs, found[name].problem) == (("lab3",), "")
    assert list(kept(found["dan"])) == ["lab3/ap_start.c"]
    assert found["ada"].digest("lab3") == found["gil"].digest("lab3") != ""
    assert found["dan"].digest("lab3") != found["ada"].digest("lab3")
    assert found["eve"].renamed == {"lab3/apinit.S": "apinit.S", "lab3/ap_start.c": "ap_start.c"}


@packers
@pytest.mark.parametrize("end", ["", "_"])
def test_moodle(tmp_path: Path, pack: Packer, end: str) -> None:
    files = {
        **under(f"山田 太郎_123_assignsubmission_file{end}", LAB3),
        **under(f"Ann O'Neil_7_assignsubmission_file{end}", {"lab3.zip": zipped(LAB3)}),
        f"Ann O'Neil_7_assignsubmission_onlinetext{end}/onlinetext.html": b"see file",
        f"Only Text_8_assignsubmission_onlinetext{end}/onlinetext.html": b"int main;",
    }
    taken = take(tmp_path, pack(tmp_path, files))
    assert taken.platform == "moodle"
    found = by_id(taken)
    assert sorted(found) == ["Ann_O_Neil-7", "Only_Text-8", "山田_太郎-123"]
    assert kept(found["山田_太郎-123"]) == kept(found["Ann_O_Neil-7"]) == dict(sorted(LAB3.items()))
    assert str(found["Only_Text-8"].problem) == "no files were handed in"
    assert (found["山田_太郎-123"].number, found["山田_太郎-123"].name) == ("123", "山田 太郎")


@packers
def test_moodle_without_folders_and_blind(tmp_path: Path, pack: Packer) -> None:
    files = {f"参加者_12_assignsubmission_file_{n}": d for n, d in FLAT.items()}
    files |= {f"Participant_13_assignsubmission_file_{n}": d for n, d in FLAT.items()}
    found = by_id(take(tmp_path, pack(tmp_path, files)))
    assert sorted(found) == ["Participant-13", "参加者-12"]
    assert all(kept(one) == dict(sorted(LAB3.items())) for one in found.values())


@packers
def test_canvas(tmp_path: Path, pack: Packer) -> None:
    files = {
        "yamadataro_501_9001_apinit.S": FLAT["apinit.S"],
        "yamadataro_501_9002_ap_start-1.c": FLAT["ap_start.c"],
        "山田花子_LATE_502_9003_lab3.zip": zipped(LAB3),
        "o_neil_503_9004_notes.txt": b"",
        "texter_504_text.html": b"",
    }
    taken = take(tmp_path, pack(tmp_path, files), more=DEADLINES)
    assert taken.platform == "canvas"
    found = by_id(taken)
    assert sorted(found) == ["o_neil-503", "texter-504", "yamadataro-501", "山田花子-502"]
    assert kept(found["yamadataro-501"]) == kept(found["山田花子-502"])
    assert found["yamadataro-501"].late["lab3"].status == "on-time"
    assert found["山田花子-502"].late["lab3"].status == "unknown"
    assert "none of the files" in str(found["o_neil-503"].problem)
    assert str(found["texter-504"].problem) == "no files were handed in"


def test_canvas_without_names(tmp_path: Path) -> None:
    files = {f"anon_aB3d{n}_900{n}_ap_start.c": b"x" for n in range(3)}
    files["LATE_anon_zz_9009_ap_start.c"] = b"y"
    found = by_id(take(tmp_path, as_zip(tmp_path, files)))
    assert sorted(found) == ["anon_aB3d0", "anon_aB3d1", "anon_aB3d2", "anon_zz"]


GRADESCOPE = """\
submission_11:
  :submitters:
  - :name: Taro Yamada
    :sid: '0123'
    :email: taro@example.jp
  :created_at: 2026-11-22 15:00:00.123456789 Z
  :score: 0.0
submission_12:
  :submitters:
  - :name: Pair One
    :sid: s2
    :email: one@example.jp
  - :name: Pair Two
    :sid:
    :email: two@example.jp
  :created_at: 2026-11-22 23:30:00.000000000 +09:00
submission_13:
  :submitters:
  - :name: Gone
    :sid: s4
"""


@packers
def test_gradescope(tmp_path: Path, pack: Packer) -> None:
    files = {
        **under("submission_11", LAB3),
        **under("submission_12", LAB3),
        "submission_99/x.c": b"",
        "submission_metadata.yml": GRADESCOPE.encode(),
    }
    taken = take(tmp_path, pack(tmp_path, under("assignment_5_export", files)), more=DEADLINES)
    assert taken.platform == "gradescope"
    found = by_id(taken)
    assert sorted(found) == ["0123", "s2", "s4", "two@example.jp"]
    assert found["s2"].group == found["two@example.jp"].group == "submission_12"
    assert found["0123"].received["lab3"] == datetime(2026, 11, 22, 15, 0, 0, 123456, UTC)
    assert (found["0123"].late["lab3"].days, found["s2"].late["lab3"].days) == (1, 0)
    assert str(found["s4"].problem) == "no files were handed in"
    assert any("submission_99" in str(remark) for remark in taken.remarks)


def test_gradescope_with_a_broken_list(tmp_path: Path) -> None:
    for broken in ("a: [", "- 1\n", ""):
        source = laid_out(tmp_path / "x", {"submission_metadata.yml": broken.encode()})
        with pytest.raises(UsageError, match=r"submission_metadata\.yml"):
            take(tmp_path, source)


def test_nbgraders_submitted_folder(tmp_path: Path) -> None:
    files = {
        "submitted/s1/lab3/worksheet.ipynb": b"{}",
        "submitted/s1/lab3/timestamp.txt": b"2026-11-24 00:30:00 +0900",
        "submitted/s1/lab1/vmm_main.c": b"x",
        "submitted/s1/lab1/timestamp.txt": b"2026-11-01 12:00:00 JST",
        **under("submitted/s2", LAB3),
    }
    source = laid_out(tmp_path / "nb", files)
    for where in (source, source / "submitted"):
        taken = take(tmp_path, where, more=DEADLINES)
        assert taken.platform == "nbgrader"
        one = by_id(taken)["s1"]
        assert (one.labs, one.worksheets) == (("lab1",), ("lab3",))
        assert one.received == {"lab3": datetime(2026, 11, 23, 15, 30, tzinfo=UTC)}
        assert one.late["lab3"].days == 2
    forged = as_folder(tmp_path, {"s1/lab3/timestamp.txt": b"2026-11-01 12:00:00 Z"})
    laid_out(forged, under("s1", LAB3))
    assert not by_id(take(tmp_path, forged))["s1"].received, "only nbgrader's own word counts"


# --- the roster ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folder",
    [
        *("s1", "S1", "taro@example.jp", "taro", "山田 太郎", "山田太郎", "太郎 山田"),
        *("山田　太郎", "s1 山田 太郎", "山田太郎(s1)", "s1_山田", "山田, 太郎"),
    ],
)  # fmt: skip
def test_folders_are_matched_by_the_roster(tmp_path: Path, folder: str) -> None:
    entries = roster(
        Entry("s1", "太郎", "山田", "taro@example.jp", "spring"),
        Entry("s2", "花子", "山田", "hanako@example.jp"),
    )
    found = by_id(take(tmp_path, as_folder(tmp_path, under(folder, LAB3)), entries))
    assert sorted(found) == ["s1", "s2"]
    assert (found["s1"].cohort, found["s1"].labs) == ("spring", ("lab3",))
    assert str(found["s2"].problem) == "nothing was handed in"
    assert not found["s2"].attention


def test_names_that_two_students_have(tmp_path: Path) -> None:
    entries = roster(Entry("s1", "Ann", "Lee"), Entry("s2", "Ann", "Lee"), Entry("s3", "Bo", "Lee"))
    source = as_folder(tmp_path, {**under("Ann Lee", LAB3), **under("Bo Lee", LAB3)})
    taken = take(tmp_path, source, entries)
    found = by_id(taken)
    assert sorted(found) == ["Ann_Lee", "s1", "s2", "s3"]
    assert found["s3"].labs == ("lab3",)
    assert "Ann Lee can be each of s1, s2" in " ".join(map(str, taken.remarks))


def test_students_that_the_roster_does_not_know_are_kept(tmp_path: Path) -> None:
    source = as_folder(tmp_path, {**under("s1", LAB3), **under("x9", LAB3)})
    taken = take(tmp_path, source, roster(Entry("s1")))
    assert by_id(taken)["x9"].labs == ("lab3",)
    assert "not in the roster: x9" in map(str, taken.remarks)


def test_a_moodle_worksheet_as_the_roster(tmp_path: Path) -> None:
    entries = roster(
        Entry("s1", name="山田 太郎", number="123", received="2026年 11月 23日(月曜日) 08:00"),
        Entry("s2", name="Ann O'Neil", number="7", received="Sunday, 22 November 2026, 11:59 PM"),
        Entry("s3", name="No Time", number="9", received="-"),
    )
    files = {
        **under("Somebody Else_123_assignsubmission_file", LAB3),
        **under("Ann O'Neil_7_assignsubmission_file", LAB3),
        **under("No Time_9_assignsubmission_file", LAB3),
    }
    found = by_id(take(tmp_path, as_zip(tmp_path, files), entries, DEADLINES))
    assert [found[s].late["lab3"].status for s in ("s1", "s2", "s3")] == [
        "late",
        "on-time",
        "unknown",
    ]


def test_groups_of_moodle(tmp_path: Path) -> None:
    entries = roster(
        Entry("s1", group="Group A"), Entry("s2", group="Group A"), Entry("s3", group="Group B")
    )
    source = as_zip(tmp_path, under("Group A_4_assignsubmission_file", LAB3))
    found = by_id(take(tmp_path, source, entries))
    assert found["s1"].digest("lab3") == found["s2"].digest("lab3") != ""
    assert found["s1"].group == found["s2"].group == "4"
    assert str(found["s3"].problem) == "nothing was handed in"


# --- bad input -----------------------------------------------------------------------------------


def test_two_submissions_of_one_student(tmp_path: Path) -> None:
    source = as_folder(tmp_path, {**under("s1", LAB3), "S1.zip": zipped(LAB3), **under("s2", LAB3)})
    taken = take(tmp_path, source, roster(Entry("s1"), Entry("s2")))
    one = by_id(taken)["s1"]
    assert "several submissions of s1: S1.zip, s1; none counts" in str(one.problem)
    assert one.attention
    assert not kept(one)
    assert by_id(taken)["s2"].labs == ("lab3",), "the rest goes on"
    assert len(taken.remarks) == 1


def test_of_two_submissions_with_times_the_last_one_counts(tmp_path: Path) -> None:
    meta = """\
submission_1:
  :submitters: [{":name": A, ":sid": s1}]
  :created_at: 2026-11-02 15:00:00 Z
submission_2:
  :submitters: [{":name": A, ":sid": s1}]
  :created_at: 2026-11-02 23:30:00 +09:00
"""
    files = {
        **under("submission_1", LAB3),
        "submission_2/ap_start.c": b"older, by its zone",
        "submission_metadata.yml": meta.encode(),
    }
    taken = take(tmp_path, as_zip(tmp_path, files))
    assert kept(by_id(taken)["s1"]) == dict(sorted(LAB3.items()))
    assert "the last one counts" in str(taken.remarks[0])


def test_an_empty_class(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no submissions in it"):
        take(tmp_path, tmp_path / "empty")
    with pytest.raises(VmmlabError, match="no submissions in it"):
        take(tmp_path, as_zip(tmp_path, {}))


def test_empty_folders_and_the_wrong_files(tmp_path: Path) -> None:
    source = as_folder(tmp_path, {"s2/report.pdf": b"%PDF", "s3/AP_START.C": b"x"})
    (source / "s1").mkdir()
    found = by_id(take(tmp_path, source))
    assert str(found["s1"].problem) == "it is empty"
    assert "none of the files that were asked for" in str(found["s2"].problem)
    assert found["s2"].left_out == ("report.pdf",)
    assert found["s3"].left_out == ("AP_START.C",)
    assert "AP_START.C is there, but upper and lower" in str(found["s3"].problem)


def test_one_submission_is_no_class(tmp_path: Path) -> None:
    for source in (as_folder(tmp_path, LAB3), as_zip(tmp_path, FLAT)):
        with pytest.raises(UsageError, match="this is one submission"):
            take(tmp_path, source)


def test_a_class_of_one(tmp_path: Path) -> None:
    for pack in PACKERS.values():
        assert sorted(by_id(take(tmp_path, pack(tmp_path, under("ada", LAB3))))) == ["ada"]


def test_what_is_not_there_or_no_archive(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder or file"):
        take(tmp_path, tmp_path / "nothing")
    (tmp_path / "x.zip").write_text("hello")
    with pytest.raises(VmmlabError, match="it is no archive"):
        take(tmp_path, tmp_path / "x.zip")


def test_odd_names_of_folders(tmp_path: Path) -> None:
    odd = ["a\nb", 'c"d', "e'f", "-rf", "名 前", "g;h", "\x1b[31m", "=cmd|x"]
    source = as_folder(tmp_path, {f"{name}/lab3/ap_start.c": b"x" for name in odd})
    found = by_id(take(tmp_path, source))
    assert len(found) == len(odd)
    for one in found.values():
        assert one.labs == ("lab3",)
        assert one.folder.parent == tmp_path / "into"
        assert one.name.isprintable()


def test_names_that_lead_out_of_a_class_archive(tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../../evil/lab3/ap_start.c", "/abs/lab3/ap_start.c", "ada/../../x.c"):
            archive.writestr(name, "x")
        for name, data in under("ada", LAB3).items():
            archive.writestr(name, data)
    before = sorted(tmp_path.rglob("*"))
    taken = take(tmp_path, path)
    assert sorted(by_id(taken)) == ["ada"]
    assert sum("leads out" in str(remark) for remark in taken.remarks) >= 1
    said = [*map(str, taken.remarks), *lines(by_id(taken)["ada"])]
    assert sum("leads out" in line or "absolute" in line for line in said) == 3
    new = [path for path in tmp_path.rglob("*") if path not in before]
    assert all(p.is_relative_to(tmp_path / "into") or "course" in p.parts for p in new)


def test_links_and_pipes(tmp_path: Path) -> None:
    secret = tmp_path / "secret.c"
    secret.write_text("secret")
    source = as_folder(tmp_path, {**under("ada", LAB3), "bob/lab3/apinit.S": b"x"})
    (source / "bob" / "lab3" / "ap_start.c").symlink_to(secret)
    (source / "eve").symlink_to(source / "ada")
    (source / "mal" / "lab3").mkdir(parents=True)
    os.mkfifo(source / "mal" / "lab3" / "ap_start.c")
    found = by_id(take(tmp_path, source))
    assert sorted(found) == ["ada", "bob", "eve", "mal"]
    assert lines(found["bob"]) == ["lab3/ap_start.c: is a symbolic link"]
    assert list(kept(found["bob"])) == ["lab3/apinit.S"]
    assert str(found["eve"].problem) == "it is a symbolic link"
    assert "special file" in str(found["mal"].problem)
    assert all(found[name].attention for name in ("eve", "mal"))


@packers
def test_two_folders_of_one_person_of_moodle_are_two_submissions(
    tmp_path: Path, pack: Packer
) -> None:
    first = under("Ada L_101_assignsubmission_file_", FLAT)
    second = under("Ada L_101_assignsubmission_file", {"ap_start.c": b"other"})
    found = by_id(take(tmp_path, pack(tmp_path, {**first, **second})))
    (ada,) = found.values()
    assert "several submissions" in str(ada.problem)
    assert ada.attention
    assert kept(ada) == {}


def test_a_student_of_whom_an_archive_has_nothing_usable_is_there(tmp_path: Path) -> None:
    path = tmp_path / "class.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in under("ada", LAB3).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("bob/lab3/ap_start.c")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = by_id(take(tmp_path, path))
    assert sorted(found) == ["ada", "bob"]
    assert str(found["bob"].problem) == (
        "nothing of it can be used: lab3/ap_start.c: is a symbolic link"
    )
    assert found["bob"].attention


@packers
def test_a_hundred_thousand_files_of_one_student(
    tmp_path: Path, pack: Packer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from vmmlab.base import box
    from vmmlab.classroom.intake import source as sources

    small = replace(box.SUBMISSION, members=30)  # a hundred thousand would take a minute to make
    monkeypatch.setattr(sources, "SUBMISSION", small)
    files = {f"eve/{n}.txt": b"" for n in range(40)}
    found = by_id(take(tmp_path, pack(tmp_path, {**files, **under("ada", LAB3)})))
    assert found["ada"].labs == ("lab3",)
    assert "more than 30 files" in str(found["eve"].problem)
    assert found["eve"].attention


def test_bombs_and_damaged_archives_of_students(tmp_path: Path) -> None:
    files = {
        "bomb.zip": zipped({"lab3/ap_start.c": bytes(20 << 20), "lab3/apinit.S": b"x"}),
        "cut.zip": zipped(LAB3)[:-30],
        "big/ap_start.c": b"x" * (300 << 10),
        **under("ada", LAB3),
    }
    found = by_id(take(tmp_path, as_folder(tmp_path, files)))
    assert found["ada"].labs == ("lab3",)
    assert "larger than 8 MiB" in lines(found["bomb"])[0]
    assert "archive cannot be read" in str(found["cut"].problem)
    assert "larger than 256 KiB" in str(found["big"].problem)


def test_a_file_that_is_damaged_in_the_archive_is_not_the_students_fault(tmp_path: Path) -> None:
    data = bytearray(zipped({**under("ada", LAB3), **under("ben", LAB3)}))
    data[data.index(b"ada/lab3/") + len("ada/lab3/apinit.S") + 8] ^= 0xFF
    (tmp_path / "class.zip").write_bytes(data)
    found = by_id(take(tmp_path, tmp_path / "class.zip"))
    assert found["ada"].attention
    assert "cannot be unpacked" in str(found["ada"].problem)
    assert not found["ben"].problem


def test_an_archive_in_an_archive_in_an_archive_is_not_opened(tmp_path: Path) -> None:
    inner = zipped({"again.zip": zipped(LAB3)})
    one = by_id(take(tmp_path, as_folder(tmp_path, {"s1/all.zip": zipped({"in.zip": inner})})))[
        "s1"
    ]
    assert not one.labs
    assert "all.zip: in.zip: is an archive in an archive" in lines(one)[0]


# --- which file -------------------------------------------------------------------------------


def test_files_that_could_be_meant_twice(tmp_path: Path) -> None:
    files = {
        **under("old/a", LAB3),
        **under("old/b", LAB3),
        **under("deep", LAB3),
        **under("deep/backup", {"lab3/ap_start.c": b"old"}),
        "num/ap_start-1.c": b"1",
        "num/ap_start (2).c": b"2",
        "num/apinit.S": b"S",
        "new/ap_start.c": b"right",
        "new/ap_start-1.c": b"other",
        "sheet/worksheet.ipynb": b"{}",
    }
    found = by_id(take(tmp_path, as_folder(tmp_path, files)))
    assert not found["old"].labs
    assert "more than once" in str(found["old"].problem)
    assert kept(found["deep"]) == dict(sorted(LAB3.items()))
    assert lines(found["deep"]) == ["backup/lab3/ap_start.c: is another copy, and not used"]
    assert list(kept(found["num"])) == ["lab3/apinit.S"]
    assert len(lines(found["num"])) == 2
    assert kept(found["new"]) == {"lab3/ap_start.c": b"right"}
    assert "could be of several labs" in str(found["sheet"].problem)


def test_only_some_labs(tmp_path: Path) -> None:
    source = as_folder(
        tmp_path, {**under("s1", LAB3), "s1/lab1/vmm_main.c": b"x", "s1/worksheet.ipynb": b"{}"}
    )
    one = by_id(intake(source, course(tmp_path), tmp_path / "into", labs=["lab3"]))["s1"]
    assert (one.labs, one.worksheets) == (("lab3",), ("lab3",))
    assert one.left_out == ("lab1/vmm_main.c",)
    with pytest.raises(UsageError, match="no lab called"):
        intake(source, course(tmp_path), tmp_path / "into", labs=["lab9"])


def test_what_was_there_before_is_gone(tmp_path: Path) -> None:
    laid_out(tmp_path / "into" / "ada", {"lab1/vmm_main.c": b"stale", "lab3/ap_start.c": b"stale"})
    (tmp_path / "into" / "bob").symlink_to(tmp_path)
    source = as_folder(tmp_path, {**under("ada", LAB3), **under("bob", LAB3)})
    found = by_id(take(tmp_path, source))
    assert kept(found["ada"]) == kept(found["bob"]) == dict(sorted(LAB3.items()))
    assert not (tmp_path / "into" / "bob").is_symlink()
    before = (found["ada"].folder / "lab3" / "ap_start.c").stat()
    again = by_id(take(tmp_path, source))["ada"]
    assert (again.folder / "lab3" / "ap_start.c").stat().st_ino == before.st_ino, "left alone"


def test_what_was_taken_can_be_read_again(tmp_path: Path) -> None:
    files = {**under("ada", LAB3), "eve/x": b"", **under("山田", FLAT)}
    taken = take(tmp_path, as_folder(tmp_path, files), roster(Entry("zed")), DEADLINES)
    taken.write(tmp_path / "intake.json")
    assert read_intake(tmp_path / "intake.json") == taken
    (tmp_path / "broken.json").write_text('{"schema": "vmmlab/intake/9"}')
    with pytest.raises(UsageError, match="not what `vmmlab batch` wrote"):
        read_intake(tmp_path / "broken.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_intake(tmp_path / "nothing.json")


# --- names and times of Moodle -------------------------------------------------------------------

MOODLE = """\
Identifier,"Full name",Status,Grade,"Maximum grade","Grade can be changed",\
"Last modified (submission)","Last modified (grade)","Feedback comments"
Participant 1,A,"Submitted for grading - {until}",,20,Yes,"Monday, 23 November 2026, 8:00 AM",-,
Participant 2,B,"Submitted for grading - ",,20,Yes,"Monday, 23 November 2026, 8:00 AM",-,
"""


@pytest.mark.parametrize(
    "until",
    [
        "Extension granted until: Monday, 23 November 2026, 11:59 PM",
        "延長許可日時: 2026年 11月 23日(月曜日) 23:59",
    ],
)
def test_an_extension_in_moodles_worksheet_counts(tmp_path: Path, until: str) -> None:
    path = tmp_path / "worksheet.csv"
    path.write_text(MOODLE.format(until=until), encoding="utf-8-sig")
    files = {
        **under("A_1_assignsubmission_file", LAB3),
        **under("B_2_assignsubmission_file", LAB3),
    }
    taken = take(tmp_path, as_zip(tmp_path, files), read_roster(path), DEADLINES)
    found = {one.name: one.late["lab3"] for one in taken.submissions}
    assert (found["A"].status, found["A"].extended) == ("on-time", True)
    assert (found["B"].status, found["B"].percent) == ("late", 10)  # the known-wrong case


def test_blind_participants_differ_in_their_numbers(tmp_path: Path) -> None:
    files = {
        **under("Participant_301_assignsubmission_file_", LAB3),
        **under("参加者_302_assignsubmission_file_", LAB3),
    }
    taken = take(tmp_path, as_zip(tmp_path, files))
    assert [one.name for one in taken.submissions] == ["Participant 301", "参加者 302"]


def test_blind_participants_of_a_worksheet_differ_in_their_numbers(tmp_path: Path) -> None:
    roster = read_roster(DATA / "moodle.blind.before.csv")
    files = under("Participant_302_assignsubmission_file", LAB3)
    taken = take(tmp_path, as_zip(tmp_path, files), roster)
    shown = [one.name for one in taken.submissions]
    assert sorted(shown) == ["Participant 301", "Participant 302", "Participant 303"]


def test_who_has_no_penalty_for_want_of_a_time_is_told(tmp_path: Path) -> None:
    source = as_folder(tmp_path, {**under("s1", LAB3), **under("s2", LAB3)})
    told = "no penalty for late work, because there is no time of receipt: s1, s2"
    assert told in map(str, take(tmp_path, source, more=DEADLINES).remarks)
    assert take(tmp_path, source).remarks == ()


def test_japanese_names_begin_with_the_family(tmp_path: Path) -> None:
    shown = [
        Entry("s1", "太郎", "山田").shown,
        Entry("s2", "Ada", "Lovelace").shown,
        Entry("s3", "ハナコ", "佐々木").shown,
        Entry("s4", "Taro", "山田").shown,
        Entry("s5", "", "高橋").shown,
    ]
    assert shown == ["山田 太郎", "Ada Lovelace", "佐々木 ハナコ", "Taro 山田", "高橋"]

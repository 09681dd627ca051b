"""Rosters of this kit, nbgrader, spreadsheets, Moodle, Canvas and Gradescope, in every encoding."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmmlab.base.errors import UsageError
from vmmlab.base.notices import listening
from vmmlab.classroom.roster import Entry, made_id, person, read_roster, valid_id

TARO = ("Taro", "山田", "taro@example.jp")


@pytest.mark.parametrize("good", ["alice", "s1234567", "a.b-c_d", "me@example.org", "花子", "0"])
def test_ids(good: str) -> None:
    assert valid_id(good)


@pytest.mark.parametrize(
    "bad", ["", ".", "..", "-rf", "a/b", "a b", "a*", "a[1]", "a+b", "a\nb", "{x}", "x" * 101]
)
def test_ids_that_would_be_paths_or_globs(bad: str) -> None:
    assert not valid_id(bad)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("山田 太郎", "太郎", "山田"),
        ("髙橋　ハナコ", "ハナコ", "髙橋"),
        ("Taro Yamada", "Taro", "Yamada"),
        ("Ludwig van Beethoven", "Ludwig van", "Beethoven"),
        ("O'Neil, Jr., Ann", "Jr., Ann", "O'Neil"),
        ("Yamada, Taro", "Taro", "Yamada"),
        ("花子", "", "花子"),
        ("Participant", "", ""),
        ("", "", ""),
    ],
)
def test_a_name_in_one_column_becomes_two(name: str, first: str, last: str) -> None:
    assert person(Entry("s1", name=name)) == (first, last)
    assert person(Entry("s1", "Ada", "Lovelace", name=name)) == ("Ada", "Lovelace")


@pytest.mark.parametrize(
    ("name", "number", "made"),
    [
        ("山田 太郎", "123", "山田_太郎-123"),
        ("../../etc", "", "etc"),
        ("Ｔａｒｏ\n", "", "Taro"),
        ("***", "7", "7"),
        ("O'Brien, Ann", "", "O_Brien_Ann"),
        ("?", "", ""),
    ],
)
def test_ids_that_are_made_of_names(name: str, number: str, made: str) -> None:
    assert made_id(name, number) == made
    assert not made or valid_id(made)


def read(tmp_path: Path, data: str | bytes) -> list[Entry]:
    path = tmp_path / "roster.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(read_roster(path).values())


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp932", "utf-16", "utf-16-le", "utf-16-be"]
)
@pytest.mark.parametrize("between", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_separators(tmp_path: Path, encoding: str, between: str, end: str) -> None:
    lines = ["id,first_name,last_name,email", "s1,Taro,山田,taro@example.jp"]
    text = end.join(line.replace(",", between) for line in lines) + end
    assert read(tmp_path, text.encode(encoding)) == [Entry("s1", *TARO)]


def test_excel_says_what_separates(tmp_path: Path) -> None:
    assert read(tmp_path, "sep=;\nid;last_name\ns1;a,b,c\n") == [Entry("s1", "", "a,b,c")]
    with pytest.raises(UsageError, match=r"roster\.csv:3: '' cannot"):
        read(tmp_path, "sep=;\nid;last_name\n;x\n")


def test_our_own(tmp_path: Path) -> None:
    text = '\ufeffid,last_name,first_name,cohort,lms_user_id\nalice,"Liddell, A.",Alice,spring,7\n'
    assert read(tmp_path, text) == [Entry("alice", "Alice", "Liddell, A.", "", "spring")]


def test_quotes_line_breaks_and_blank_lines(tmp_path: Path) -> None:
    text = 'id,first_name,last_name\n\ns1,"A ""Al""","B\nC"\n,,\ns2,D\u2028E,F\n'
    assert [(one.id, one.first_name, one.last_name) for one in read(tmp_path, text)] == [
        ("s1", 'A "Al"', "B\nC"),
        ("s2", "D\u2028E", "F"),
    ]


MOODLE_EN = """\
"First name","Last name","ID number",Institution,Department,"Email address",Groups
Taro,山田,s1,,,taro@example.jp,"Group A"
"""
MOODLE_JA = """\
名,姓,IDナンバー,所属組織,部署,メールアドレス,グループ
Taro,山田,s1,,,taro@example.jp,Group A
"""


@pytest.mark.parametrize("text", [MOODLE_EN, MOODLE_JA])
def test_moodles_participants(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == [Entry("s1", *TARO, group="Group A")]


def test_without_an_id_the_address_is_one(tmp_path: Path) -> None:
    text = "First name,Last name,Email address\nTaro,山田,taro@example.jp\n"
    assert read(tmp_path, text) == [Entry("taro@example.jp", *TARO)]


def test_moodles_grading_worksheet(tmp_path: Path) -> None:
    english = (
        'Identifier,"Full name","Email address",Status,Grade,"Maximum grade",'
        '"Grade can be changed","Last modified (submission)","Last modified (grade)"\n'
        '"Participant 12","Taro 山田",taro@example.jp,"Submitted for grading - ",,40.00,Yes,'
        '"Sunday, 22 November 2026, 11:12 PM",-\n'
    )
    (one,) = read(tmp_path, english)
    assert (one.id, one.number, one.name) == ("taro@example.jp", "12", "Taro 山田")
    assert one.received == "Sunday, 22 November 2026, 11:12 PM"
    japanese = (
        "ID,ステータス,評点,最大評点,評点変更可,最終更新日時 (提出),最終更新日時 (評定)\n"
        "参加者12,評定のために提出済み - ,,40.00,Yes,2026年 11月 22日(日曜日) 23:12,-\n"
    )
    (one,) = read(tmp_path, japanese)  # blind marking
    assert (one.id, one.number, one.name) == ("参加者-12", "12", "参加者")


def test_canvas_gradebook(tmp_path: Path) -> None:
    text = (
        "Student,ID,SIS User ID,SIS Login ID,Section,lab3 (77)\n"
        ",,,,,Manual Posting\n"
        "    Points Possible,,,,,40\n"
        '"山田, Taro",501,u1,s1,Class A,\n'
    )
    (one,) = read(tmp_path, text)
    assert (one.id, one.number, one.name) == ("s1", "501", "山田, Taro")


def test_gradescope(tmp_path: Path) -> None:
    text = "Name,SID,Email,Role,Sections\nTaro 山田,s1,taro@example.jp,Student,\n"
    assert read(tmp_path, text) == [Entry("s1", email="taro@example.jp", name="Taro 山田")]


def test_an_id_that_comes_twice_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    with listening(lambda text: said.append(str(text))):
        found = read(tmp_path, "id,last_name\ns1,A\ns1,B\ns2,C\n")
    assert [(one.id, one.last_name) for one in found] == [("s1", "A"), ("s2", "C")]
    (line,) = said
    assert line.endswith("roster.csv:3: s1 appears twice; line 2 counts.")


@pytest.mark.parametrize("other", ["ADA", "Ada", "\uff21\uff44\uff41"])
def test_ids_that_look_the_same_are_said(tmp_path: Path, other: str) -> None:
    said: list[str] = []
    with listening(lambda text: said.append(str(text))):
        found = read(tmp_path, f"id,last_name\nada,A\n{other},B\neva,C\n")
    assert [one.id for one in found] == ["ada", other, "eva"]
    (line,) = said
    assert f"roster.csv:3: {other} and ada differ in case or width only" in line


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("山田 太郎", "euc_jp"),
        ("Möller", "latin-1"),
        ("François", "latin-1"),
        ("Élise", "latin-1"),
        ("Muñoz", "cp1252"),
    ],
)
def test_another_encoding_does_not_pass_for_shift_jis(
    tmp_path: Path, name: str, encoding: str
) -> None:
    with pytest.raises(UsageError, match="neither UTF-8 nor UTF-16 nor Shift-JIS"):
        read(tmp_path, f"id,last_name\ns1,{name}\n".encode(encoding))


@pytest.mark.parametrize(
    "name", ["ﾔﾏﾀﾞ ﾀﾛｳ", "山田A", "1年A組 髙橋", "Ａｎｎ　Ｌｅｅ", "Taro ヤマダ", "㈱ 﨑"]
)
def test_names_in_shift_jis(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, f"id,last_name\ns1,{name}\n".encode("cp932")) == [
        Entry("s1", "", name.strip())
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,last_name\n", "roster.csv: there is no student in it"),
        ("id,last_name\n,\n\n", "roster.csv: there is no student in it"),
        ("name\nalice\n", "roster.csv:1: the roster has no column id"),
        ("", "roster.csv:1: the roster has no column id"),
        ("id\n../x\n", "roster.csv:2: '../x' cannot be"),
        ("id,last_name\nalice,Liddell, A.\n", "roster.csv:2: more fields than"),
        ('id,last_name\nalice,"Liddell\n', "nothing closes"),
        ('id,last_name\nalice,"Liddell,A\nb,"C",D\n', "a quote that opens a cell closes it"),
    ],
)
def test_a_roster_that_is_wrong_names_the_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)


def test_a_roster_that_is_not_text_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither UTF-8"):
        read(tmp_path, b"id\n\x80\xff\xa0\n")
    with pytest.raises(UsageError, match="neither UTF-8"):
        read(tmp_path, b"PK\x03\x04\x00\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        read_roster(tmp_path / "nothing")

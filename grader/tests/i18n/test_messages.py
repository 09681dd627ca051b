"""`make messages`: catalogs follow their sources, and what they lack is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmmlab.author import catalogs
from vmmlab.author.catalogs import Place, TextFile, problems, update
from vmmlab.i18n.catalog import po_file
from vmmlab.i18n.translate import OWN_CATALOGS

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("place", catalogs.everywhere(ROOT), ids=lambda one: one.folder.name)
def test_the_catalogs_of_the_kit_are_complete(place: Place) -> None:
    found = [f"{one.file}:{one.line}: {one.what}: {one.do}" for one in problems(place, "ja")]
    assert found == []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "a.py").write_text(
        'msg("the disk is full")\nmsg("{a} before {b:#x}", a=1, b=2)\nsay.label("pass")\n'
        'nmsg("one", "{count} CPUs", count=2)\n'
    )
    return Place(tmp_path, (TextFile(tmp_path / "a.py"),))


def po(place: Place) -> str:
    return po_file(place.folder, "ja").read_text(encoding="utf-8")


def translate(place: Place, **strings: str) -> None:
    """Give the entries whose texts begin so their translations."""
    lines = po(place).split("\n")
    for at, line in enumerate(lines):
        for begin, string in strings.items():
            if line.startswith(("msgid", "#~ msgid")) and begin in line:
                step = 2 if lines[at + 1].startswith("msgid_plural") else 1
                head = lines[at + step].split('"')[0]
                lines[at + step] = f'{head}"{string}"'
    po_file(place.folder, "ja").write_text("\n".join(lines), encoding="utf-8")


ALL = {
    "disk": "ディスクが満杯",
    "before": "{b:#x} より {a} が先",
    "pass": "合格",
    "one": "{count} 個",
}


def wrong(place: Place) -> list[str]:
    return [str(one.what) for one in problems(place, "ja")]


def test_a_new_catalog(place: Place) -> None:
    assert update(place, "ja")
    assert po(place) == (
        'msgid ""\n'
        'msgstr ""\n'
        '"Language: ja\\n"\n'
        '"MIME-Version: 1.0\\n"\n'
        '"Content-Type: text/plain; charset=utf-8\\n"\n'
        '"Content-Transfer-Encoding: 8bit\\n"\n'
        '"Plural-Forms: nplurals=1; plural=0;\\n"\n'
        "\n"
        'msgid "the disk is full"\n'
        'msgstr ""\n'
        "\n"
        "#, python-brace-format\n"
        'msgid "{a} before {b:#x}"\n'
        'msgstr ""\n'
        "\n"
        'msgctxt "label"\n'
        'msgid "pass"\n'
        'msgstr ""\n'
        "\n"
        "#, python-brace-format\n"
        'msgid "one"\n'
        'msgid_plural "{count} CPUs"\n'
        'msgstr[0] ""\n'
    )
    assert not update(place, "ja")
    assert wrong(place) == [
        "'the disk is full': it is not translated",
        "'{a} before {b:#x}': it is not translated",
        "'pass': it is not translated",
        "'one': it is not translated",
    ]
    translate(place, **ALL)
    assert wrong(place) == []
    assert not update(place, "ja")


def test_what_was_added_changed_and_removed(place: Place) -> None:
    update(place, "ja")
    translate(place, **ALL)
    po_file(place.folder, "ja").write_text("# Which style to use.\n" + po(place), encoding="utf-8")
    source = place.sources[0].path
    source.write_text(source.read_text().replace("the disk is full", "no room is left"))
    missing, gone = wrong(place)
    assert missing.startswith("'no room is left' is missing; it is in ")
    assert missing.endswith("a.py:1")
    assert gone == "'the disk is full': no source contains this text any more"
    assert update(place, "ja")
    assert wrong(place) == [
        "'no room is left': it is not translated",
        "'the disk is full' is obsolete",
    ]
    assert po(place).startswith("# Which style to use.\nmsgid")
    assert po(place).endswith('\n#~ msgid "the disk is full"\n#~ msgstr "ディスクが満杯"\n')
    source.write_text(source.read_text().replace("no room is left", "the disk is full"))
    update(place, "ja")
    assert wrong(place) == []  # it has come back


@pytest.mark.parametrize(
    ("begin", "string", "what"),
    [
        ("before", "{a} が先", "the translation has other fields: {a} が先"),
        ("before", "{b:x} より {a} が先", "other fields"),
        ("before", "{b:#x} より {a} と {c} が先", "other fields"),
        ("before", "{} より {a} が先", "cannot be read"),
        ("before", "{a より", "cannot be read"),
        ("disk", "full disk", "the translation is not Japanese"),
        ("one", "{name} 個", "other fields"),
    ],
)
def test_a_wrong_translation(place: Place, begin: str, string: str, what: str) -> None:
    update(place, "ja")
    translate(place, **{**ALL, begin: string})
    (only,) = wrong(place)
    assert what in only


def test_a_guess_is_no_translation(place: Place) -> None:
    update(place, "ja")
    translate(place, **ALL)
    text = po(place).replace('msgid "the disk', '#, fuzzy\nmsgid "the disk')
    po_file(place.folder, "ja").write_text(text, encoding="utf-8")
    assert wrong(place) == ["'the disk is full': the translation is a guess"]


def test_a_lab_does_not_repeat_what_the_package_has(tmp_path: Path) -> None:
    lab = tmp_path / "labs" / "lab9"
    (lab / "hidden").mkdir(parents=True)
    (tmp_path / "course.yml").write_text(
        "labs:\n  lab9:\n    title: A lab\n    hidden:\n      lab9.hidden.a: {title: Hidden}\n"
    )
    (lab / "test_lab9.py").write_text('msg("CPU {cpu}", cpu=1)\nmsg("of the lab")\n')
    (lab / "worksheet.py").write_text('msg("of a worksheet")\n')
    (lab / "causes.yml").write_text("a-cause:\n  hints:\n    - a hint\n")
    (lab / "hidden" / "test_hidden.py").write_text('msg("of the lab")\nmsg("of nobody else")\n')
    own, hidden = catalogs.of_lab(tmp_path, "lab9")
    assert hidden.known == (lab, OWN_CATALOGS)
    update(own, "ja")
    update(hidden, "ja")
    assert [entry.id for entry in catalogs.read(po_file(lab, "ja")) or () if entry.id] == [
        "A lab",
        "of the lab",
        "a hint",
    ]
    found = catalogs.read(po_file(lab / "hidden", "ja")) or ()
    assert [entry.id for entry in found if entry.id] == ["Hidden", "of nobody else"]


def test_the_command(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: object) -> None:
    monkeypatch.setattr(catalogs, "everywhere", lambda root: (place,))
    assert catalogs.main(place.folder) == 1
    translate(place, **ALL)
    assert catalogs.main(place.folder) == 0
    place.sources[0].path.write_text("msg(x)")
    assert catalogs.main(place.folder) == 2

"""Starters with Japanese comments: the same code, the same TODOs, a twin for every comment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmmlab.base.errors import CourseError
from vmmlab.base.message import Message
from vmmlab.base.text import cells
from vmmlab.course import comments as contracts
from vmmlab.course.comments import comments, translatable, translated, with_titles
from vmmlab.course.load import load_course
from vmmlab.course.markup import starter_text
from vmmlab.course.materials import starter as material
from vmmlab.i18n.translate import Reader
from vmmlab.student.solution import solution

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "reference"
COURSE = load_course(ROOT)
FILES = [path for lab in COURSE.labs.values() for path in lab.files]


def starter(path: str) -> str:
    return starter_text((REFERENCE / path).read_text(encoding="utf-8"), path=path)


def japanese(path: str) -> str:
    return translated(starter(path), path, (REFERENCE / path).parent, "ja")


def code(text: str) -> list[str]:
    """What is left without the comments, line by line."""
    return [line for line in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).split("\n") if line]


@pytest.mark.parametrize("path", FILES)
def test_only_the_comments_differ(path: str) -> None:
    english, other = starter(path), japanese(path)
    assert code(other) == code(english)
    assert [one.step for one in comments(other)] == [one.step for one in comments(english)]
    assert english != other


@pytest.mark.parametrize("path", FILES)
def test_every_comment_has_its_twin(path: str) -> None:
    text = material(COURSE, path, "ja")
    for comment in comments(text):
        assert re.search(r"[ぁ-んァ-ヶ一-龠]", " ".join(comment.lines)), comment.lines
    for line in text.split("\n"):
        assert cells(line.expandtabs(8)) <= 90, line


def twins() -> Iterator[tuple[str, str, str]]:
    """What each translation says it is about, and the code that follows it in the starter."""
    from vmmlab.base import yamlfile

    for path in FILES:
        entries = yamlfile.read((REFERENCE / path).parent / "contracts.ja.yml").data[path]
        text = japanese(path)
        for entry, comment in zip(entries, translatable(text), strict=True):
            yield path, entry["of"], (comment.step or text[comment.end : comment.end + 200])


def test_translations_stand_above_what_they_are_about() -> None:
    for path, about, follows in twins():
        assert about == "file" or re.search(rf"\b{re.escape(about)}\b", follows), (path, about)


CATALOG = """\
lab9/a.c:
  - of: f
    english: "{checksum}"
    text: |
      {text}
"""


@pytest.mark.parametrize(
    ("english", "entry", "said"),
    [
        (
            "/* Does it. */\n",
            {"text": "TODO(lab9.1): する。"},
            "cannot replace the English comment",
        ),
        ("/* TODO(lab9.1): do it. */\n", {"text": "する。"}, "cannot replace the English comment"),
        ("/* Does it. */\n", {"text": "する。 */ evil ();"}, "cannot replace the English comment"),
        ("/* Does it. */\n", {"checksum": "00000000", "text": "する。"}, "has changed"),
        ("/* Does it. */\n/* And that. */\n", {"text": "する。"}, "a different number of comments"),
        ("int i;\n", {"text": "する。"}, "a different number of comments"),
    ],
)
def test_a_translation_that_does_not_fit_is_refused(
    tmp_path: Path, english: str, entry: dict[str, str], said: str
) -> None:
    checksum = next((one.checksum for one in comments(english)), "")
    text = CATALOG.format(**{"checksum": checksum, **entry})
    (tmp_path / "contracts.ja.yml").write_text(text, encoding="utf-8")
    with pytest.raises(CourseError, match=said) as caught:
        translated(english, "lab9/a.c", tmp_path, "ja")
    assert re.search(r"contracts\.ja\.yml:[12]: lab9/a\.c", str(caught.value))


TITLED = "\t/* TODO(lab9.1): */\n\t/* TODO(lab9.2):\n\t * Twice. */\n\t/* TODO(lab9.3): y. */\n"


def test_titles_of_steps_are_filled_in() -> None:
    long = " ".join(["word"] * 20)
    titles = {"lab9.1": "do it", "lab9.2": long, "lab9.3": "not this"}
    first, *lines = with_titles(TITLED, titles).splitlines()
    assert first == "\t/* TODO(lab9.1): do it. */"
    assert all(len(line.expandtabs(8)) <= 80 for line in lines)
    text = [" ".join(one.lines) for one in comments("\n".join(lines))]
    assert text == [f"TODO(lab9.2): {long}. Twice.", "TODO(lab9.3): y."]


def test_a_title_in_japanese_is_broken_behind_a_comma_only() -> None:
    word = "とても長い" * 6
    told = with_titles(TITLED, {"lab9.1": f"{word}、{word}"}, "。")
    assert told.startswith(f"\t/* TODO(lab9.1): {word}、\n\t * {word}。\n\t */\n")
    told = with_titles(TITLED, {"lab9.1": word * 2}, "。")
    assert told.startswith(f"\t/* TODO(lab9.1): {word * 2}。 */\n")


def test_only_what_a_todo_says_besides_the_title_is_translated(tmp_path: Path) -> None:
    checksum = translatable(TITLED)[0].checksum
    assert [one.step for one in translatable(TITLED)] == ["lab9.2", "lab9.3"]
    text = CATALOG.format(checksum=checksum, text="TODO(lab9.2):\n      二度。")
    (tmp_path / "contracts.ja.yml").write_text(text, encoding="utf-8")
    titled = TITLED.replace("\t/* TODO(lab9.3): y. */\n", "")
    assert translated(titled, "lab9/a.c", tmp_path, "ja") == titled.replace("Twice.", "二度。")
    bad = text.replace("TODO(lab9.2):", "TODO(lab9.2): する")
    (tmp_path / "contracts.ja.yml").write_text(bad, encoding="utf-8")
    with pytest.raises(CourseError, match="cannot replace the English comment"):
        translated(titled, "lab9/a.c", tmp_path, "ja")


@pytest.mark.parametrize("lang", ["", "ja"])
def test_every_step_stands_in_its_starter_as_in_the_course(lang: str) -> None:
    """For the labs with ids of their contracts: the others are still being written."""
    say = Reader(lang or "en")
    for lab in COURSE.labs.values():
        if not (COURSE.labs_dir / lab.name / "contract.yml").is_file():
            continue
        told = say.of(COURSE.labs_dir / lab.name)
        words = {path: _squeezed(material(COURSE, path, lang)) for path in lab.files}
        for step in lab.steps:
            title = "".join(told(Message(step.title)).split())
            assert f"TODO({step.id}):{title}" in words[step.file], step.id


def _squeezed(text: str) -> str:
    """The comments of a file without their line breaks and spaces."""
    return "".join("".join(" ".join(one.lines).split()) for one in comments(text))


def test_without_a_catalog_the_starter_stays_as_it_is(tmp_path: Path) -> None:
    assert contracts.translated("/* a */\n", "lab9/a.c", tmp_path, "ja") == "/* a */\n"


def test_words_change_the_checksum_and_line_breaks_do_not() -> None:
    one, two, three = (
        comments(text)[0].checksum for text in ("/* a b */", "/* a\n * b\n */", "/* a c */")
    )
    assert one == two != three


@pytest.mark.parametrize("lab", sorted({path.partition("/")[0] for path in FILES}))
def test_a_solution_has_the_contracts_of_its_starter_in_japanese(lab: str) -> None:
    english = solution(COURSE, lab)
    for path, text in solution(COURSE, lab, "ja").items():
        assert code(text) == code(english[path])
        shown = {one.lines for one in comments(text)}
        theirs = {one.lines for one in comments(japanese(path)) if not one.step}
        assert theirs
        assert theirs <= shown, path

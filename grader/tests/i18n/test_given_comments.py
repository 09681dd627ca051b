"""The given code with Japanese comments: a twin for every comment, and the same machine code.

Line numbers of the given code may differ between the languages, so debug information does too.
Nothing that is graded depends on it: the grader builds the given code as the template has it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from vmmlab.base import yamlfile
from vmmlab.course import materials
from vmmlab.course.cohort import Cohort
from vmmlab.course.comments import code, comments, translate_files
from vmmlab.course.load import load_course
from vmmlab.host.sandbox import Sandbox
from vmmlab.i18n.translate import cells
from vmmlab.images.builder import Builder
from vmmlab.images.model import BuildOptions
from vmmlab.images.sources import FromReference
from vmmlab.student.build import _changed

ROOT = Path(__file__).resolve().parents[3]
COURSE = load_course(ROOT)
CATALOG = materials.given_comments(COURSE, "ja")
ENTRIES = yamlfile.read(CATALOG).data
FILES = sorted(
    path.relative_to(COURSE.tree).as_posix()
    for path in COURSE.tree.rglob("*")
    if path.suffix in (".c", ".h", ".S", ".ld")
)
COLUMNS = 90


@pytest.fixture(scope="module")
def translated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the given code with its comments in Japanese."""
    tree = tmp_path_factory.mktemp("given") / "tree"
    shutil.copytree(COURSE.tree, tree)
    translate_files(tree, CATALOG)
    return tree


def text_of(path: str, tree: Path = COURSE.tree) -> str:
    return (tree / path).read_text(encoding="utf-8")


def without_comments(text: str) -> str:
    """The same as `code`, found in another way: from one sign of a comment to the next."""
    kept, inside = [], False
    for line in text.split("\n"):
        opens = line.lstrip().startswith("/*") and "clang-format" not in line
        if not inside and not opens:
            kept.append(line)
        inside = (inside or opens) and not line.rstrip().endswith("*/")
    return "\n".join(kept)


def test_every_file_with_comments_is_in_the_catalog() -> None:
    assert sorted(ENTRIES) == [path for path in FILES if comments(text_of(path))]


@pytest.mark.parametrize("path", FILES)
def test_only_the_comments_differ(translated: Path, path: str) -> None:
    english, japanese = text_of(path), text_of(path, translated)
    assert without_comments(japanese) == without_comments(english)
    assert code(japanese) == code(english)
    assert english != japanese or not comments(english)


@pytest.mark.parametrize("path", sorted(ENTRIES))
def test_every_comment_has_its_twin(translated: Path, path: str) -> None:
    """In Japanese, in lines that are not too long, and above what it is about."""
    text = text_of(path, translated)
    for entry, comment in zip(ENTRIES[path], comments(text), strict=True):
        assert re.search(r"[ぁ-んァ-ヶ一-龠]", " ".join(comment.lines)), comment.lines
        follows = text[comment.end : comment.end + 200]
        about = re.search(rf"\b{re.escape(entry['of'])}\b", follows)
        assert entry["of"] == "file" or about, entry["of"]
        for line in text[comment.start : comment.end].split("\n"):
            assert cells(line.expandtabs(8)) <= COLUMNS, line


@pytest.mark.parametrize("arch", ["x86_64", "i386"])
def test_the_machine_code_is_the_same(translated: Path, tmp_path: Path, arch: str) -> None:
    images = [
        Builder(
            tree,
            COURSE,
            Sandbox.choose(require=False),
            tmp_path / str(number),
            FromReference(COURSE.reference_dir),
        ).build("lab0", {}, Cohort.derive("dev"), BuildOptions(arch=arch))
        for number, tree in enumerate((COURSE.tree, translated))
    ]
    english, japanese = (image.kernel.read_bytes() for image in images)
    assert english == japanese


def test_translated_code_counts_as_given(translated: Path, tmp_path: Path) -> None:
    assert list(_changed(translated, COURSE.tree)) == []
    other = tmp_path / "tree"
    shutil.copytree(translated, other)
    path = other / "core" / "bsp.c"
    path.write_text(path.read_text(encoding="utf-8").replace("= 0;", "= 1;", 1), encoding="utf-8")
    assert list(_changed(other, COURSE.tree)) == ["core/bsp.c"]


def test_a_folder_without_translations_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("/* a */\n")
    translate_files(tmp_path, tmp_path / "comments.ja.yml")
    assert (tmp_path / "a.c").read_text() == "/* a */\n"

"""Catalogs: compiled once, kept by content, and never a reason to fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vmmlab.base.errors import CourseError
from vmmlab.i18n.catalog import Catalogs, po_file
from vmmlab.i18n.translate import OWN_CATALOGS

PO = 'msgid "a"\nmsgstr "あ"\n\nmsgctxt "label"\nmsgid "a"\nmsgstr "名"\n'


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vmmlab" / "catalogs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "locale").mkdir()
    po_file(tmp_path, "ja").write_text(PO, encoding="utf-8")
    return tmp_path


def catalogs(folder: Path) -> Catalogs:
    return Catalogs("ja", [folder])


def test_a_context_is_a_text_of_its_own(folder: Path, cache: Path) -> None:
    found = catalogs(folder)
    assert (found.find("a"), found.find_label("a")) == ("あ", "名")
    assert (found.find("b"), found.find_label("b"), found.find("")) == (None, None, None)
    assert found.find("b", "bs", 2) is None


def test_it_is_compiled_once_for_each_content(folder: Path, cache: Path) -> None:
    catalogs(folder)
    (first,) = cache.iterdir()
    before = first.stat().st_mtime_ns
    catalogs(folder)
    assert first.stat().st_mtime_ns == before
    po_file(folder, "ja").write_text(PO.replace("あ", "い"), encoding="utf-8")
    assert catalogs(folder).find("a") == "い"
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("damage", [b"", b"x" * 30, None])
def test_a_damaged_one_is_made_again(folder: Path, cache: Path, damage: bytes | None) -> None:
    catalogs(folder)
    (compiled,) = cache.iterdir()
    whole = compiled.read_bytes()
    compiled.write_bytes(whole[:-20] if damage is None else damage)
    assert catalogs(folder).find("a") == "あ"
    assert compiled.read_bytes() == whole


def test_a_cache_that_cannot_be_used_costs_only_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "file"))
    assert catalogs(folder).find("a") == "あ"


def test_old_ones_go(folder: Path, cache: Path) -> None:
    for number in range(50):
        po_file(folder, "ja").write_text(PO.replace("あ", f"あ{number}"), encoding="utf-8")
        catalogs(folder)
    assert len(list(cache.iterdir())) == 40
    assert catalogs(folder).find("a") == "あ49"


def test_no_catalog_is_an_empty_one(tmp_path: Path) -> None:
    assert catalogs(tmp_path).find("a") is None


def test_what_is_no_catalog_is_named(folder: Path, cache: Path) -> None:
    po_file(folder, "ja").write_text('msgid "a"\nmsgstr "b"\nx\n')
    with pytest.raises(CourseError, match=r"locale/ja\.po:3: "):
        catalogs(folder)
    po_file(folder, "ja").write_bytes(b'msgid "a"\nmsgstr "\xff"\n')
    with pytest.raises(CourseError, match="UTF-8"):
        catalogs(folder)


def test_babel_is_loaded_to_compile_only(tmp_path: Path) -> None:
    code = (
        "import sys; from vmmlab.i18n.translate import Reader; from vmmlab.base.message import msg;"
        "print(Reader(sys.argv[1])(msg('CPU {cpu}', cpu=1)), 'babel' in sys.modules)"
    )

    def told(language: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, language],
            env={"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(OWN_CATALOGS.parents[1])},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    assert [told("en"), told("ja"), told("ja")] == ["CPU 1 False", "CPU 1 True", "CPU 1 False"]

"""Which file of an upload is which: nothing is guessed where two could be meant."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from vmmlab.base import archive
from vmmlab.course.load import load_course
from vmmlab.course.upload import Upload, files_of

COURSE = """\
schema: 1
title: A course
labs:
  lab1:
    title: Multiboot
    files: {lab1/vmm_main.c: [vmm_main]}
  lab3:
    title: The trampoline
    files:
      lab3/apinit.S: [cpuinit_start]
      lab3/ap_start.c: [ap_start]
"""


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in names:
            file.writestr(name, name)
    return out.getvalue()


def found(tmp_path: Path, *names: str) -> Upload:
    (tmp_path / "course.yml").write_text(COURSE, encoding="utf-8")
    with archive.opened(zipped(*names)) as box:
        return files_of(box, load_course(tmp_path), ["lab1", "lab3"])


def taken(upload: Upload) -> dict[str, str]:
    return {name: data.decode() for name, data in upload.files.items()}


BOTH = {"lab3/apinit.S", "lab3/ap_start.c"}


@pytest.mark.parametrize(
    "names",
    [
        ("lab3/apinit.S", "lab3/ap_start.c"),
        ("apinit.S", "ap_start.c"),
        ("vmm/lab3/apinit.S", "vmm/lab3/ap_start.c"),
        ("src/apinit.S", "src/ap_start.c"),
        ("apinit.S", "src/ap_start.c"),
        ("apinit-1.S", "ap_start (2).c"),
        ("apinit(1).S", "ap_start.c"),
        ("lab3/apinit.S", "lab3/ap_start.c", "copy/lab3/apinit.S", "copy/lab3/ap_start.c"),
        ("lab3/apinit.S", "lab3/ap_start.c", "ap_start.c"),
        ("lab3/apinit.S", "lab3/ap_start.c", "lab3/ap_start-1.c"),
    ],
)
def test_both_files_are_found(tmp_path: Path, names: tuple[str, ...]) -> None:
    upload = found(tmp_path, *names)
    assert upload.files.keys() == BOTH
    assert taken(upload)["lab3/apinit.S"] == names[0]
    assert len(upload.refused) == len(names) - 2


@pytest.mark.parametrize(
    "names",
    [
        ("a/lab3/ap_start.c", "b/lab3/ap_start.c"),
        ("a/ap_start.c", "b/ap_start.c"),
        ("ap_start-1.c", "ap_start-2.c"),
        ("lab1/worksheet.ipynb/x", "worksheet.ipynb"),
        ("AP_START.C",),
        ("ap_start.cpp",),
        ("lab3/ap_start.c/x",),
        ("lab4/ap_start.h",),
        ("__MACOSX/lab3/ap_start.c",),
        ("lab3/._ap_start.c",),
    ],
)
def test_nothing_is_guessed(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert not found(tmp_path, *names).files


def test_worksheets(tmp_path: Path) -> None:
    upload = found(tmp_path, "lab3/worksheet.ipynb", "x/lab1/worksheet.ja.ipynb", "vmm_main.c")
    assert upload.files.keys() == {
        "lab3/worksheet.ipynb",
        "lab1/worksheet.ja.ipynb",
        "lab1/vmm_main.c",
    }


def test_a_file_in_the_folder_of_another_lab_is_found_by_its_name(tmp_path: Path) -> None:
    assert found(tmp_path, "lab1/ap_start.c").renamed == {"lab3/ap_start.c": "lab1/ap_start.c"}


def test_what_was_left_out_is_named(tmp_path: Path) -> None:
    upload = found(tmp_path, "lab3/ap_start.c", "report.pdf", ".DS_Store", "lab3/extra.h")
    assert upload.left_out == ("lab3/extra.h", "report.pdf")

"""Makes submissions of a class, as folders and as archives."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from vmmlab.course.load import load_course
from vmmlab.course.model import Course

COURSE = """\
schema: 1
title: A course
labs:
  lab0: {title: Look around}
  lab1:
    title: Multiboot
    files: {lab1/vmm_main.c: [vmm_main]}
  lab3:
    title: The trampoline
    files:
      lab3/apinit.S: [cpuinit_start]
      lab3/ap_start.c: [ap_start]
"""
DEADLINES = """\
deadlines:
  zone: Asia/Tokyo
  late: {per_day: 10}
  labs:
    lab3:
      due: 2026-11-22 23:59
"""
LAB3 = {"lab3/apinit.S": b"/* S */\n", "lab3/ap_start.c": b"/* C */\n"}
FLAT = {name.partition("/")[2]: data for name, data in LAB3.items()}


def course(folder: Path, more: str = "") -> Course:
    """Return a small course."""
    root = folder / "course"
    root.mkdir(exist_ok=True)
    (root / "course.yml").write_text(COURSE + more, encoding="utf-8")
    return load_course(root)


def under(top: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return files below a folder."""
    return {f"{top}/{name}": data for name, data in files.items()}


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def laid_out(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder

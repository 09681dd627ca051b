"""compile_commands.json: tells editors and clangd how each file of a workspace is compiled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from vmmlab.base.files import write_atomically
from vmmlab.images.toolchain import editor_flags

FILE: Final = "compile_commands.json"
"""The file at the top of a workspace: clang.llvm.org, JSON Compilation Database."""

_FOLDERS: Final = ("boot", "core", "lab*")


def write_commands(root: Path, arch: str) -> None:
    """Write `FILE` if it would change. A workspace that cannot be written to does without.

    Args:
        root: the workspace.
        arch: what was built last.
    """
    text = f"{json.dumps(list(_entries(root, arch)), indent=1, ensure_ascii=False)}\n".encode()
    path = root / FILE
    with suppress(OSError):
        if not path.is_file() or path.read_bytes() != text:
            write_atomically(path, text)


def _entries(root: Path, arch: str) -> Iterator[dict[str, object]]:
    flags = editor_flags(arch)
    for folder in _FOLDERS:
        for path in sorted(root.glob(f"{folder}/*.[cS]")):
            name = path.relative_to(root).as_posix()
            yield {
                "directory": str(root),
                "file": name,
                "arguments": ["gcc", *flags, "-c", name],
            }

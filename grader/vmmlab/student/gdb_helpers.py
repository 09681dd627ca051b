"""Runs inside gdb: disassembles code of 16 and 32 bits, whatever gdb thinks the processor is.

vmmlab, which serves this gdb, knows the width. A gdb before version 13 has no hook for this; there
the command `code` shows instructions.
"""

from __future__ import annotations

from typing import Any

import gdb

try:
    import gdb.disassembler as _hook
except ImportError:
    _hook = None

if _hook is not None:

    class _ByMode(_hook.Disassembler):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__("vmmlab")

        def __call__(self, info: Any) -> Any:
            try:
                ask = f"monitor vmmlab {gdb.selected_thread().num} disassemble {info.address:#x}"
                said = gdb.execute(ask, to_string=True)
            except gdb.error:
                return None
            length, _, text = said.strip().partition(" ")
            if not length.isdigit():
                return None
            return _hook.DisassemblerResult(length=int(length), string=text)

    _hook.register_disassembler(_ByMode())

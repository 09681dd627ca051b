"""Addresses that every VMM of this kit has in common: include/layout.h."""

from __future__ import annotations

from typing import Final

VMM_BASE: Final = 0x4000_0000
"""The VMM is linked at VMM_BASE + physical address; there it sees physical memory (the alias)."""

VMM_ALIAS_SIZE: Final = 0x4000_0000
"""How much physical memory the alias shows, bytes; the VMM uses none beyond it."""

MAPMEM_BASE: Final = 0xC000_0000
"""Where the window of mapmem begins."""

MAPMEM_SIZE: Final = 0x100_0000
"""Size of that window, bytes."""

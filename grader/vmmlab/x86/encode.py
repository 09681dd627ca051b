"""Machine code that messages and probes show or inject, assembled beforehand.

Students' machines need no assembler library: the bytes are kept here as templates, and a test
assembles every one of them again with keystone-engine and compares.
"""

from __future__ import annotations

_STOPS = b"\xf4\xcc\xf1"  # hlt, int3, int1: one byte in each mode
STOPPING = bytes(byte if byte & 1 else _STOPS[byte % 3] for byte in range(256))
"""A table for `bytes.translate`: makes half of random bytes instructions that stop a stray CPU."""


def far_jump_code(segment: int, offset: int) -> bytes:
    """The five bytes of `ljmp segment:offset` in 16-bit code.

    Args:
        segment: value for CS, 0 to 0xFFFF.
        offset: value for IP, 0 to 0xFFFF.

    Raises:
        ValueError: a part does not fit into 16 bits.
    """
    if not (0 <= segment <= 0xFFFF and 0 <= offset <= 0xFFFF):
        raise ValueError(f"{segment:#x}:{offset:#x} does not fit into 16:16 bits")
    return b"\xea" + offset.to_bytes(2, "little") + segment.to_bytes(2, "little")

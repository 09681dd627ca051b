"""Tiny kernels to boot."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from machine_helpers import Kernel

SOURCES = Path(__file__).parent / "kernels"
LINK = ("-N", "-Ttext=0x100000", "--build-id=none", "-e", "start")


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Kernel]:
    """kernel("AP_HLT", ...) assembles kernels/smp.S, or `source`, with these macros defined."""
    folder = tmp_path_factory.mktemp("kernels")

    @functools.cache
    def build(*macros: str, source: str = "smp") -> Kernel:
        stem = folder / "-".join((source, *macros))
        obj, elf, elf32 = (stem.with_suffix(s) for s in (".o", ".elf", ".elf32"))
        defines = [f"-D{m}" for m in macros]
        for command in (
            ["gcc", "-c", *defines, str(SOURCES / f"{source}.S"), "-o", str(obj)],
            ["ld", *LINK, "-o", str(elf), str(obj)],
            ["objcopy", "-O", "elf32-i386", str(elf), str(elf32)],
        ):
            subprocess.run(command, check=True, capture_output=True)
        listing = subprocess.run(["nm", str(elf)], check=True, capture_output=True, text=True)
        symbols = {}
        for line in listing.stdout.splitlines():
            address, _, name = line.split()
            symbols[name] = int(address, 16)
        return Kernel(elf32, symbols)

    return build

"""Objects that make the linker fail by an error of its own, or work without end."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from against_build import BETA, _gain_error
from corpus import Attack, Defence, off

from vmmlab.base.errors import InfraError
from vmmlab.images import link
from vmmlab.images.model import BuildFailed
from vmmlab.images.toolchain import Toolchain

# Relocations for thread-local data, in the middle of plain data: GNU ld 2.40 aborts.
ABORTS: Final = ("GOTTPOFF", "TLSDESC_CALL", "GOTPC32_TLSDESC")
_LEVELS: Final = 40


def _mangled() -> str:
    """Return a name of C++: a function type whose arguments are two of the one before it, ..."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

    def again(number: int) -> str:
        if number == 0:
            return "S_"
        high, low = divmod(number - 1, 36)
        return f"S{digits[high] if high else ''}{digits[low]}_"

    return "_Z1fPFviE" + "".join(f"PFv{2 * again(2 * n + 1)}E" for n in range(_LEVELS))


def _no_grade(source: str, folder: Path) -> str:
    try:
        _gain_error(folder, beta_c=BETA + source)
    except BuildFailed:
        return ""
    except InfraError as error:
        return f"no grade: {error.message}"
    return "it is part of an image"


def _works(folder: Path) -> str:
    try:
        _gain_error(folder, beta_c=f'{BETA}void q (void) asm ("{_mangled()}"); void *p = q;\n')
    except BuildFailed as error:
        return "the whole time of the linker" if "time limit" in error.log else ""
    return "it is part of an image"


def _attacks() -> Iterator[Attack]:
    for kind in ABORTS:
        source = f'asm (".data\\n.quad 0\\n.reloc .-8, R_X86_64_{kind}, beta\\n.text");\n'
        yield Attack(
            "build",
            f"a relocation at which the linker aborts: {kind}",
            "does not build",
            "a link that fails is tried without the student's objects",
            functools.partial(_no_grade, source),
            shown=kind == ABORTS[0],
            full=kind != ABORTS[0],
        )
    yield Attack(
        "build",
        "a missing name that is 2 to the power of 40 letters long in C++",
        "does not build",
        "names are shown as they stand in the object",
        _works,
        shown=True,
        full=True,
    )


ATTACKS = tuple(_attacks())

_link_argv = Toolchain.link_argv


def _demangled(patch: pytest.MonkeyPatch) -> None:
    def argv(self: Toolchain, *names: Any, **more: Any) -> list[str]:
        return [word for word in _link_argv(self, *names, **more) if word != "--no-demangle"]

    patch.setattr(Toolchain, "link_argv", argv)


DEFENCES = (
    Defence(
        "a link that fails is tried without the student's objects",
        off(link, "_own", lambda name: False),
    ),
    Defence("names are shown as they stand in the object", _demangled),
)

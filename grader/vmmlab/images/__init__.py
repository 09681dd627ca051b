"""From a student's files to an image that boots: overlay, sandboxed compilers, link, symbols.

builder = Builder(tree, course, Sandbox.choose(require=True), None, FromReference(reference))
image = builder.build("lab3", files, cohort, BuildOptions(opt="-O0"))
image.kernel, image.symbols.addr("vmm_parked"), image.warnings

Each name is loaded when it is first used: who wants the symbols only needs no builder.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmmlab.images.builder import Builder
    from vmmlab.images.linemap import Range
    from vmmlab.images.model import (
        BuildFailed,
        BuildOptions,
        CohortLike,
        CourseLike,
        Diagnostic,
        Image,
        LabLayout,
        LabLike,
        Layouts,
        ObjectPatch,
    )
    from vmmlab.images.prebuilt import FromReference, Prebuilt, StandInSource
    from vmmlab.images.symbols import Symbols

__all__ = [
    "BuildFailed",
    "BuildOptions",
    "Builder",
    "CohortLike",
    "CourseLike",
    "Diagnostic",
    "FromReference",
    "Image",
    "LabLayout",
    "LabLike",
    "Layouts",
    "ObjectPatch",
    "Prebuilt",
    "Range",
    "StandInSource",
    "Symbols",
]

_ELSEWHERE = {
    "Builder": "builder",
    "FromReference": "prebuilt",
    "Prebuilt": "prebuilt",
    "Range": "linemap",
    "StandInSource": "prebuilt",
    "Symbols": "symbols",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_ELSEWHERE.get(name, 'model')}")
    return getattr(module, name)

"""From a student's files to an image that boots: overlay, sandboxed compilers, link, symbols.

builder = Builder(tree, course, Sandbox.choose(require=True), None, FromReference(reference))
image = builder.build("lab3", files, cohort, BuildOptions(opt="-O0"))
image.kernel, image.symbols.addr("vmm_parked"), image.warnings
"""

from vmmlab.build.builder import Builder
from vmmlab.build.linemap import Range
from vmmlab.build.model import (
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
from vmmlab.build.standins import FromReference, Prebuilt, StandInSource
from vmmlab.build.symbols import Symbols

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

"""What the notebooks labs/labN/worksheet.ipynb import. It has no answers and gives no points.

The numbers of a question come from the student (`student`, `Numbers`), a `Check` turns answers into
points, `assemble`, `disassemble`, `run` and `race` let a student try machine code, and `boot_lab`
boots the student's own VMM.
"""

from vmmlab.worksheet.answers import Check
from vmmlab.worksheet.assembly import assemble, disassemble
from vmmlab.worksheet.boot import BootReport, boot_lab
from vmmlab.worksheet.execute import After, run
from vmmlab.worksheet.lockrace import race
from vmmlab.worksheet.numbers import Given, Numbers, Student, student

__all__ = [
    "After",
    "BootReport",
    "Check",
    "Given",
    "Numbers",
    "Student",
    "assemble",
    "boot_lab",
    "disassemble",
    "race",
    "run",
    "student",
]

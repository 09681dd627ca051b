"""Takes a class's submissions in, from folders, archives and the downloads of learning platforms.

    taken = intake(Path("submissions.zip"), course, Path("work/submissions"), roster=roster)
    taken.write(Path("work/intake.json"))

Each student has exactly one entry, whatever was handed in. The files that course.yml asks for are
copied, everything else is named with the reason why it was not taken, and nothing is graded here.
"""

from vmmlab.classroom.intake.model import INTAKE, Intake, Left, Submission, read_intake
from vmmlab.classroom.intake.run import intake

__all__ = ["INTAKE", "Intake", "Left", "Submission", "intake", "read_intake"]

"""The one record of a failure, used from the diagnosis and the checks to the renderers."""

from __future__ import annotations

from dataclasses import dataclass

from vmmlab.base.message import Text, listed, msg


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a check took points.

    Args:
        cause: identifier of the cause, never changed; causes.yml is keyed by it.
        cpu: 0-based index of the CPU, if it is the failure of one CPU.
        place: where it shows, in words that a student can find in their files.
        expected: what should have been seen.
        observed: what was seen.
        next: the next thing to look at.
        timeout: the machine ran out of time before there was an answer.
        cohort: name of the cohort that the boot was built for; "" if there are several.
        boot: name of the boot's scenario; "" if there are several.
        call: the grader has called the function at `place`, and this is the number of that call,
            from 1; 0 if it is not about such a call.
        step: the step that contains the mistake, if that is known.
        function: the student's function that contains it, if only that is known.
        goes_on: a rule is broken, and the machine goes on as if it were not: checks that come
            after this one need not be skipped.
        better: causes that a search of all orders may find for this check, and that name the
            mistake better; they are then reported in its place.
    """

    cause: str
    cpu: int | None = None
    place: Text = ""
    expected: Text = ""
    observed: Text = ""
    next: Text = ""
    timeout: bool = False
    cohort: str = ""
    boot: str = ""
    call: int = 0
    step: str = ""
    function: str = ""
    goes_on: bool = False
    better: tuple[str, ...] = ()

    @property
    def summary(self) -> Text:
        """The failure in one line."""
        where: list[Text] = [] if self.cpu is None else [msg("CPU {cpu}", cpu=self.cpu)]
        where += [self.place] if self.place else []
        what = self.observed or self.cause.replace("-", " ")
        if isinstance(what, str):
            what = " ".join(what.split())
        return msg("{where}: {what}", where=listed(where), what=what) if where else what

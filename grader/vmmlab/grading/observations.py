"""The Observations of one grading: each scenario is booted once.

An infrastructure failure is retried; a build failure ends all boots. What an Observation means is
not known here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Final

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.grading.request import RunFacts, Runner, RunnerFactory, RunRequest
from vmmlab.images.model import BuildFailed
from vmmlab.observe.lost import BootLost
from vmmlab.observe.observation import Observation
from vmmlab.probes.scenario import Scenario
from vmmlab.probes.words import boot_in_words

BOOTS_AT_MOST: Final = 3
"""Maximum attempts after an infrastructure failure."""


class Observations:
    """Keeps a runner from its start to its end, and what it observed.

    Args:
        request: what to build and boot.
        make: makes the runner.

    Attributes:
        build_failed: why the submitted files do not build.
        facts: what the runner reported; known after `close`.
        notes: remarks for the reader of the report.
    """

    def __init__(self, request: RunRequest, make: RunnerFactory) -> None:
        self.build_failed: BuildFailed | None = None
        self.facts = RunFacts()
        self.notes: list[Text] = []
        self._request = request
        self._make = make
        self._runner: Runner | None = None
        self._prepared: set[Scenario] = set()
        self._seen: dict[Scenario, object | Exception] = {}
        self._traces: dict[Scenario, TracebackType | None] = {}
        self._others: dict[bool, Runner] = {}
        self._began = self._ended = time.monotonic()

    @property
    def duration_s(self) -> float:
        """Seconds from the start of the runner to its end."""
        return self._ended - self._began

    @property
    def seen(self) -> Mapping[Scenario, object]:
        """What was seen so far, by scenario; the error, if it could not be booted."""
        return dict(self._seen)

    def start(self) -> Runner:
        """Make the runner, unless it is already there, so that it can begin to build.

        Raises:
            InfraError: it cannot work at all.
        """
        if self._runner is None:
            self._began = time.monotonic()
            self._runner = self._make(self._request)
        return self._runner

    def prepare(self, scenarios: Sequence[Scenario]) -> None:
        """Start these boots in the background, each once."""
        new = [one for one in dict.fromkeys(scenarios) if one not in self._prepared]
        if new:
            self._prepared.update(new)
            self.start().prepare(new)

    def of(self, scenario: Scenario) -> object:
        """Return the Observation of `scenario`; the same one however often it is asked for.

        Raises:
            BuildFailed: the submitted files do not build.
            InfraError: it did not work in `BOOTS_AT_MOST` attempts.
        """
        if self.build_failed is not None:
            raise self.build_failed
        if scenario not in self._seen:
            self._seen[scenario] = self._boot(scenario)
        seen = self._seen[scenario]
        if isinstance(seen, Exception):
            raise seen.with_traceback(self._traces.get(scenario))
        return seen

    def _boot(self, scenario: Scenario) -> object | Exception:
        runner = self.start()
        for attempt in range(1, BOOTS_AT_MOST + 1):
            try:
                return runner.observe(scenario)
            except InfraError as error:
                if isinstance(error, BootLost) and attempt > 1 and self._reference_boots(scenario):
                    return error.seen  # what the submission did to the machine
                if attempt == BOOTS_AT_MOST:
                    return error
                self.notes.append(
                    msg(
                        "The boot ({scenario}) was repeated: {message}",
                        scenario=boot_in_words(scenario),
                        message=error.message,
                    )
                )
            except BuildFailed as error:
                self.build_failed = error
                return error
            except Exception as error:  # a bug of the grader: keep the place for its author
                self._traces[scenario] = error.__traceback__
                return error
        raise AssertionError("unreachable")

    def _reference_boots(self, scenario: Scenario) -> bool:
        """Whether a boot of the kit's own objects is not lost in the same scenario."""
        try:
            seen = self.reference(scenario)
        except Exception:  # whatever it is, it is not the submission's doing
            return False
        return not isinstance(seen, Observation) or seen.how_ended not in ("lost", "timeout")

    def again(self, scenario: Scenario) -> object:
        """Return the Observation of another boot of the submission.

        Raises:
            Exception: whatever went wrong in that boot.
        """
        return self._other(reference_only=False).observe(scenario)

    def reference(self, scenario: Scenario) -> object:
        """Return the Observation of a boot in which every lab is the kit's own.

        Raises:
            Exception: whatever went wrong in that boot.
        """
        return self._other(reference_only=True).observe(scenario)

    def _other(self, *, reference_only: bool) -> Runner:
        if reference_only not in self._others:
            request = replace(self._request, reference_only=reference_only)
            self._others[reference_only] = self._make(request)
        return self._others[reference_only]

    def close(self) -> None:
        """Take the runner's facts and end it. Safe to call again."""
        for other in self._others.values():
            other.close()
        self._others.clear()
        runner, self._runner = self._runner, None
        if runner is None:
            return
        try:
            self.facts = runner.facts()
        except Exception as error:  # the verdict stands without them
            self.notes.append(msg("other notes of the boots are lost: {error}", error=str(error)))
        finally:
            runner.close()
            self._ended = time.monotonic()

"""From a Grade and its Report to the record that renderers draw from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vmmlab.base.message import Message, Text, msg
from vmmlab.base.text import clean_line
from vmmlab.checks.causes import Causes
from vmmlab.course.digest import file_digests
from vmmlab.grading.grade import Grade
from vmmlab.observe.observation import Observation
from vmmlab.observe.place import Place
from vmmlab.probes.scenario import Scenario
from vmmlab.probes.words import boot_in_words
from vmmlab.report.model import Report
from vmmlab.report.runrecord import RecordedBoot, RunRecord, shortened

_LINE_MOST = 200  # characters of a source line


def run_record(grade: Grade, report: Report, causes: Causes) -> RunRecord:
    """Return what a grading has seen, with a report on it.

    Args:
        grade: what the checks found.
        report: the report; boots that only checks outside of it looked at are left out.
        causes: the causes of the lab, for the hint levels.
    """
    wanted = {check.id for check in report.checks}
    looked = {
        one.result.check.id: one.result.check.scenarios
        for one in grade.checks
        if one.result.check.id in wanted
    }
    boots = []
    for scenario, seen in grade.boots.items():
        checks = tuple(check for check, scenarios in looked.items() if scenario in scenarios)
        if checks:
            short, cut = shortened(seen)
            boots.append(
                RecordedBoot.model_construct(
                    scenario=str(scenario),
                    name=scenario.name,
                    words=_words(scenario, grade),
                    checks=checks,
                    cut=cut,
                    seen=short,
                )
            )
    found = {check.cause for check in report.checks if check.cause}
    return RunRecord.model_construct(
        report=report,
        boots=tuple(boots),
        exploration=grade.exploration,
        hints={cause: tuple(map(Message, causes.of(cause).hints)) for cause in sorted(found)},
        lines=_lines([boot.seen for boot in boots], grade.request.files),
        files=file_digests(grade.request.files),
    )


def _words(scenario: Scenario, grade: Grade) -> Text:
    """Return what is special about a boot."""
    words, cohort = boot_in_words(scenario), grade.request.cohort_of(scenario).name
    if cohort == grade.request.cohort.name:
        return words
    return msg("{words}, cohort {cohort}", words=words, cohort=cohort)


def _lines(boots: list[Observation], files: Mapping[str, bytes]) -> dict[str, dict[int, str]]:
    """Return the lines of the submitted files that a CPU was seen at."""
    at = {(place.file, place.line) for seen in boots for place in _places(seen)}
    texts = {
        name: files[name].decode("utf-8", "replace").splitlines()
        for name in {name for name, _ in at}
        if name in files
    }
    found: dict[str, dict[int, str]] = {}
    for name, line in sorted(at):
        if name in texts and 0 < line <= len(texts[name]):
            found.setdefault(name, {})[line] = clean_line(texts[name][line - 1], _LINE_MOST)
    return found


def _places(seen: Observation) -> Iterator[Place]:
    for cpu in seen.cpus:
        for place in (cpu.end_place, *(step.place for step in cpu.steps)):
            while place is not None:
                yield place
                place = place.caller

"""JUnit XML, for GitLab, Jenkins and others, and for Artemis.

Sources: the schema of Jenkins' xUnit plugin (junit-10.xsd), docs.gitlab.com/ci/testing
unit_test_reports, and Artemis' TestResultXmlParser. Of a failure GitLab shows only the text, and
Artemis only the attribute `message` if there is one: so the text has everything, and the attribute,
which Jenkins shows as a headline, is left out for Artemis.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from vmmlab.report.export.sheet import Line, Sheet


def junit(sheets: Sequence[Sheet]) -> str:
    """Return one suite for each report, with a test case for each check.

    A check that waits for another is skipped; one that the grader could not judge is an error.
    """
    return _xml(sheets, waiting="skipped", unjudged="error", headline=True)


def artemis(sheet: Sheet) -> str:
    """Return the test cases of one report for Artemis.

    Their names are the ids of the checks, unique and stable. Artemis ignores a skipped test, so a
    check that waits for another one fails. It has no part of a test case, either: its points follow
    from the weights that the exercise gives to passing test cases.
    """
    return _xml([sheet], waiting="failure", unjudged="error", headline=False)


def _xml(sheets: Sequence[Sheet], *, waiting: str, unjudged: str, headline: bool) -> str:
    suites = ElementTree.Element("testsuites")
    kinds = {"skipped": waiting, "infra-error": unjudged, "pass": ""}
    for sheet in sheets:
        ends = [kinds.get(line.outcome, "failure") for line in sheet.lines]
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=sheet.lab,
            tests=str(len(ends)),
            failures=str(ends.count("failure")),
            errors=str(ends.count("error")),
            skipped=str(ends.count("skipped")),
            time=f"{sheet.seconds:.3f}",
        )
        for line, end in zip(sheet.lines, ends, strict=True):
            case = ElementTree.SubElement(suite, "testcase", name=line.name, classname=sheet.lab)
            if end:
                _add(case, end, line, headline)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _add(case: ElementTree.Element, kind: str, line: Line, headline: bool) -> None:
    title = f"{line.title} ({line.score})"
    told = ElementTree.SubElement(case, kind, type=line.cause or line.outcome)
    if headline:
        told.set("message", title)
    told.text = f"{title}\n{line.text}" if line.text else title

"""Learning platforms: Gradescope, Classroom 50, PrairieLearn, Submitty, Autolab, Moodle VPL.

Each function returns the text of the file that a platform reads. The source of a format is named
there; grader/tests/exports/schemas holds its schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.report.export.sheet import Line, Sheet, hundredths


def gradescope(sheet: Sheet) -> str:
    """Return results.json for Gradescope.

    Source: gradescope-autograders.readthedocs.io/en/latest/specs. `score` is the total; each check
    is a test that everybody sees, because one hidden test would hide the total from the student.
    """
    return _json(
        {
            "score": sheet.points,
            "execution_time": round(sheet.seconds, 3),
            "output": sheet.summary,
            "output_format": "text",
            "test_output_format": "text",
            "test_name_format": "text",
            "visibility": "visible",
            "stdout_visibility": "hidden",
            "extra_data": {"lab": sheet.lab, "vmmlab": sheet.version},
            "tests": [
                {
                    "name": line.headline,
                    "number": str(number),
                    "score": line.points,
                    "max_score": line.max,
                    "status": "passed" if line.passed else "failed",
                    "output": line.text,
                    "visibility": "visible",
                }
                for number, line in enumerate(sheet.lines, start=1)
            ],
        }
    )


def classroom50(sheet: Sheet, environment: Mapping[str, str]) -> str:
    """Return result.json for Classroom 50, schema classroom50/result/v1.

    Source: the result schema of foundation50/classroom50 and its wiki page Advanced
    Autograding. Scores must be whole numbers, so all of them, `max-score` too, are hundredths of a
    point: the points of a check with several CPUs have two decimals.

    Args:
        sheet: the report.
        environment: what Classroom 50's runner sets for an autograder.

    Raises:
        UsageError: a variable of the runner is missing.
    """
    commit = _variable(environment, "COMMIT_URL")
    owner = environment.get("OWNER") or _variable(environment, "USERNAME")
    return _json(
        {
            "schema": "classroom50/result/v1",
            "classroom": _variable(environment, "CLASSROOM"),
            "assignment": _variable(environment, "ASSIGNMENT"),
            "assignment_type": environment.get("ASSIGNMENT_TYPE") or "individual",
            "owner": owner,
            "submission": _variable(environment, "SUBMISSION_TAG"),
            "commit": commit,
            "release": _variable(environment, "RELEASE_URL"),
            "review": environment.get("REVIEW_URL") or commit,
            "datetime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "score": hundredths(sheet.points or 0),
            "max-score": hundredths(sheet.max),
            "tests": [
                {
                    "test-name": line.headline,
                    "passed": line.passed,
                    "score": hundredths(line.points or 0),
                    "max-score": hundredths(line.max),
                    "output": line.text,
                }
                for line in sheet.lines
            ],
        }
    )


def _variable(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise UsageError(
            msg("the variable {name} is not set.", name=name),
            expected=msg("what the runner of Classroom 50 sets for an autograder"),
            next_step=msg("run this from autograder.py, which that runner starts"),
        )
    return value


def prairielearn(sheet: Sheet) -> str:
    """Return results.json for PrairieLearn.

    Source: the page "External grading" of PrairieLearn. A report without points is "not gradable":
    the student loses neither points nor an attempt.
    """
    if sheet.points is None:
        return _json({"gradable": False, "format_errors": [sheet.summary], "message": ""})
    return _json(
        {
            "gradable": True,
            "score": _share(sheet, "PrairieLearn"),
            "message": sheet.summary,
            "tests": [
                {
                    "name": line.headline,
                    "points": line.points,
                    "max_points": line.max,
                    "message": line.text,
                }
                for line in sheet.lines
            ],
        }
    )


def submitty(sheet: Sheet) -> str:
    """Return validation_results.json for a custom validator of Submitty.

    Source: submitty.org, instructor/autograding/validation. A report without points is a failure of
    the validator, which only the instructor sees.
    """
    if sheet.points is None:
        return _json({"status": "failure", "message": sheet.summary})
    messages = [{"message": _titled(line), "status": _colour(line)} for line in sheet.lines]
    if sheet.summary:
        messages.insert(0, {"message": sheet.summary, "status": "information"})
    return _json(
        {
            "status": "success",
            "data": {"score": _share(sheet, "Submitty"), "message": messages},
        }
    )


def _titled(line: Line) -> str:
    head = f"{line.headline} ({line.score})"
    return f"{head}\n{line.text}" if line.text else head


def _colour(line: Line) -> str:
    return "success" if line.passed else "warning" if line.outcome == "partial" else "failure"


def _share(sheet: Sheet, platform: str) -> float:
    share = sheet.share
    if share is None:
        raise UsageError(
            msg(
                "{lab} has no points, and {platform} takes a share of them.",
                lab=sheet.lab,
                platform=platform,
            )
        )
    return share


def autolab(sheet: Sheet) -> str:
    """Return what an Autolab autograder prints: the feedback, and on the last line the scores.

    Source: docs.autolabproject.com, lab and features/formatted-feedback. The lab is one problem, so
    the assessment needs a problem with the lab's name.
    """
    checks = {
        line.headline: {"passed": line.passed}
        | ({} if line.passed else {"hint": f"{line.score}\n{line.text}"})
        for line in sheet.lines
    }
    feedback = {"_presentation": "semantic", "stages": ["Checks"], "Checks": checks}
    scores = {"scores": {sheet.lab: sheet.points}}
    return f"{json.dumps(feedback)}\n{json.dumps(scores)}\n"


def vpl(sheet: Sheet) -> str:
    """Return what an evaluation script of Moodle's Virtual Programming Lab prints.

    Source: the default evaluation script of moodle-mod_vpl. Every line is marked as a
    comment, so that no text of a student can pass for the line with the grade. A report without
    points has no such line: VPL then proposes no grade.
    """
    lines = ["-" + sheet.lab, *sheet.summary.split("\n")]
    for line in sheet.lines:
        lines.append(f"-{line.name} ({line.score})")
        lines += [line.title] if line.title != line.name else []
        lines += [*(f">{one}" for one in line.text.split("\n") if one)]
    shown = [f"Comment :=>>{line}" for line in lines if line]
    if sheet.points is not None:
        shown.append(f"Grade :=>>{sheet.points}")
    return "\n".join(shown) + "\n"


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

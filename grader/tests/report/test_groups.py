"""The cases of a check, put together for a reader."""

import pytest

from vmmlab.i18n.translate import Reader
from vmmlab.report.groups import cases_text
from vmmlab.report.model import CheckReport


def check(*names: str) -> CheckReport:
    """Return a check of which these cases fail alike, and one more passes."""
    cases = [{"name": name, "outcome": "fail", "message": "no NMI"} for name in names]
    return CheckReport.model_validate(
        {
            "id": "lab5.nmi.sent",
            "title": "T.",
            "points": 0,
            "max": 4,
            "outcome": "fail",
            "scenario": "s",
            "again": "",
            "observed": "another",
            "cases": [*cases, {"name": "CPU 9", "outcome": "pass", "message": ""}],
        }
    )


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["CPU 1", "CPU 2"], "CPU 1, CPU 2: no NMI"),
        (["CPU 1, cohort dev2"], "CPU 1, cohort dev2: no NMI"),
        (["CPU 1", "CPU 2", "CPU 1, cohort dev2"], "CPU 1, CPU 2, CPU 1 (cohort dev2): no NMI"),
        (
            ["CPU 0 (BSP), 6 CPUs, CPU 4 panics", "CPU 1, 6 CPUs, CPU 4 panics"],
            "CPU 0 (BSP), CPU 1 (6 CPUs, CPU 4 panics): no NMI",
        ),
    ],
)
def test_what_cases_have_in_common_is_said_once(names, said):
    assert cases_text(check(*names), Reader()).split("\n")[1] == said


def test_in_japanese():
    found = cases_text(check("CPU 1", "CPU 2, 2 個", "CPU 3、2 個"), Reader("ja"))
    assert "CPU 3（2 個）" in found

"""What a lab author imports to write the checks of a lab, and nothing else.

    from vmmlab.checks import check, fail, scenario

    LADDER = scenario("ladder", cpus=4)

    @check("lab3.ladder.long", LADDER, needs=["lab3.ljmpw.target"])
    def test_long_mode(boot, score):
        \"\"\"Every AP reaches 64-bit mode.\"\"\"
        for cpu in boot.aps:
            with score.case(f"CPU {cpu.index}"):
                if cpu.mode != "long":
                    fail("ap-not-in-long-mode", cpu=cpu.index, expected="…", observed="…", next="…")

The Python files of a lab are one package. So a hidden check in labs/labN/hidden/ can use functions
of the open ones (`from .. import test_labN as lab`, and `NoCases`), and test_labN.py can have
probes of its own (`from .probes import …`).

A check gets `boot`, the Observation of its scenario, or `boots`, one for each of its scenarios in
their order. Only `fail` takes points, and `fail_if`, which reports what a diagnosis has found. Any
other exception, a bare `assert` too, is a mistake in the check: it is reported to the author and
costs the student nothing.
"""

from vmmlab.checks.hidden import NoCases
from vmmlab.checks.model import (
    Check,
    CheckFailed,
    Scenario,
    Score,
    check,
    fail,
    fail_if,
    scenario,
)
from vmmlab.failure import Failure

__all__ = [
    "Check",
    "CheckFailed",
    "Failure",
    "NoCases",
    "Scenario",
    "Score",
    "check",
    "fail",
    "fail_if",
    "scenario",
]

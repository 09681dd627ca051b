"""What a lab author imports to write the checks of a lab, and nothing else.

    from vmmlab.checks import check, expect
    from vmmlab.probes import bringup

    BOOT = bringup(cpus=4)

    @check("lab3.ap_entry.tables", BOOT, per="ap", after="lab3.ladder.long")
    def page_tables(boot, ap):
        \"\"\"Every AP enters ap_entry on the page tables that the VMM made for it.\"\"\"
        entry = ap.must_reach("ap_entry")
        expect("ap-wrong-page-tables", entry.cr3, boot.phys("ap_pagetable"), what="CR3", at=entry)

The Python files of a lab are one package. So a hidden check in labs/labN/hidden/ can use functions
of the open ones (`from .. import test_labN as lab`), and test_labN.py can have probes of its own
(`from .probes import …`).

A check gets `boot`, the Observation of its scenario, or `boots`, one for each of its scenarios in
their order. Only `fail`, `missing`, `needed`, `fail_if`, `expect` and `must_reach` take points. Any
other exception, a bare `assert` too, is a mistake in the check: it is reported to the author and
costs the student nothing. Texts are messages: `msg ("CPU {cpu} waits", cpu=2)`.
"""

from vmmlab.base.message import listed, msg, nmsg
from vmmlab.checks.declaring import Check, check
from vmmlab.checks.failing import CheckFailed, expect, fail, fail_if, missing, needed
from vmmlab.checks.subjects import Arrival, JudgedCpu
from vmmlab.failure import Failure
from vmmlab.probes.scenario import Scenario

__all__ = [
    "Arrival",
    "Check",
    "CheckFailed",
    "Failure",
    "JudgedCpu",
    "Scenario",
    "check",
    "expect",
    "fail",
    "fail_if",
    "listed",
    "missing",
    "msg",
    "needed",
    "nmsg",
]

"""Submissions that attack the grader: its time, its machine and its verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import closing

import pytest

from vmmlab.course.cohort import Cohort
from vmmlab.course.model import Course
from vmmlab.course.reference import reference
from vmmlab.diagnosis.cut_short import cut_short
from vmmlab.failure import Failure
from vmmlab.grading.boots import GradeClock, LabRunner
from vmmlab.grading.request import RunRequest
from vmmlab.machine import Limits
from vmmlab.observe.deadline import Deadline
from vmmlab.observe.evidence import Lost
from vmmlab.observe.observation import Observation
from vmmlab.probes import init_functions
from vmmlab.report import Report

pytestmark = pytest.mark.slow

Grade = Callable[..., Report]
BOOT = init_functions(cpus=4)
SLOWLY = """
	uefi_booted = !mi_arg;
	if (!uefi_booted)
		memcpy (&mi, mi_arg, sizeof mi);
	initfunc_init ();
	for (;;) {
		for (volatile int i = 0; i < 300000; i++);
		initfunc_init ();
	}
"""
"""Something happens again and again, so that no patience is ever at its end."""


def replaced(course: Course, lab: str, file: str, function: str, body: str) -> dict[str, bytes]:
    """Return the reference of a lab with another body of one function."""
    files = dict(reference(course, [lab], None).of(lab))
    text = files[file].decode()
    match = re.search(rf"\n{function} \([^)]*\)\n\{{\n(.*?)\n\}}\n", text, re.DOTALL)
    assert match is not None
    files[file] = f"{text[: match.start(1)]}{body}{text[match.end(1) :]}".encode()
    return files


def limited(monkeypatch: pytest.MonkeyPatch, **values: float) -> None:
    """Boot with other limits."""
    monkeypatch.setattr(Limits, "for_host", lambda factor=1.0: Limits(**values))


def boot(course: Course, files: dict[str, bytes], most_s: float) -> Observation | None:
    """Return what is seen of one boot of lab 1; None if it goes on for `most_s` seconds."""
    request = RunRequest(
        course=course,
        lab="lab1",
        files=files,
        cohort=Cohort.derive("dev"),
        seed=20,
        sandbox_required=False,
    )
    with closing(LabRunner(request)) as runner:
        runner.prepare([BOOT])
        try:
            return runner._boots[BOOT].result(most_s)
        except TimeoutError:
            return None


def test_what_goes_on_for_ever_is_the_students_time_out(
    course: Course, grade: Grade, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, work_s=1.0)
    report = grade("lab1", replaced(course, "lab1", "lab1/vmm_main.c", "vmm_main", SLOWLY))
    late = [check for check in report.checks if check.outcome == "timeout"]
    assert late
    assert {check.points for check in late} == {0}
    at = r"ended after its time limit, with CPU 0 \(BSP\) at (vmm_main|initfunc_init)\b"
    assert re.search(at, str(late[0].observed))


def test_without_the_deadline_it_does_go_on(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Deadline, "passed", lambda self: False)
    files = replaced(course, "lab1", "lab1/vmm_main.c", "vmm_main", SLOWLY)
    assert boot(course, files, 8.0) is None


def test_when_the_time_of_the_grade_is_over_no_boot_begins(
    course: Course, grade: Grade, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, grade_s=0.01)
    report = grade("lab1", replaced(course, "lab1", "lab1/vmm_main.c", "vmm_main", SLOWLY))
    assert {check.outcome for check in report.checks} == {"timeout", "skipped"}
    assert report.points == 0


class _TimeIsUp(GradeClock):
    """The time of the grade is up as soon as a boot has begun."""

    asked = 0

    def over(self) -> bool:
        self.asked += 1
        self._limit_s = math.inf if self.asked == 1 else 0.0
        return super().over()


def test_a_boot_that_does_not_get_its_time_accuses_nobody(course: Course) -> None:
    request = RunRequest(
        course=course,
        lab="lab1",
        files=reference(course, ["lab1"], None).of("lab1"),
        cohort=Cohort.derive("dev"),
        seed=20,
        sandbox_required=False,
    )
    with closing(LabRunner(request, jobs=1)) as runner:
        runner._clock = _TimeIsUp()
        seen = runner.observe(BOOT)
        (note,) = runner.facts().notes
    assert seen.lost == Lost("no-time")
    missing = Failure("ap-not-numbered", cpu=1)
    assert {cut_short(seen, missing).cause} == {"no-time-left"}
    assert "used up the time of this grade" in str(note)
    assert "4 CPUs" in str(note), "which boot"


RENEWED = """
	spinlock_unlock (apinitlock);
	for (;;)
		segment_init_ap (1);
"""


@pytest.mark.full
def test_places_that_nobody_asked_for_renew_no_patience(course: Course, grade: Grade) -> None:
    """It was still running after 582 seconds."""
    report = grade("lab4", replaced(course, "lab4", "lab4/handshake.c", "apinitproc1", RENEWED))
    failed = next(check for check in report.checks if check.outcome == "fail")
    assert failed.id == "lab4.stack.own"


NO_STACK = """
	uefi_booted = !mi_arg;
	if (!uefi_booted)
		memcpy (&mi, mi_arg, sizeof mi);
	initfunc_init ();
	asm volatile ("mov $0xC0000000, %%rsp; mov %0, %%rdi; jmp call_initfunc" : : "r" ("global"));
"""
DMA = """
	static volatile struct { u32 control, length; u64 address; }
		__attribute__ ((packed, aligned (16))) dma;
	ulong at = (ulong)&dma - 0x40000000;

	(void)mi_arg;
	for (;;) {
		dma.control = __builtin_bswap32 (0x0000000A);
		dma.length = 0xFFFFFFFF;
		dma.address = __builtin_bswap64 (0x200000);
		asm volatile ("outl %0, %w1" : : "a" (0), "Nd" (0x514));
		asm volatile ("outl %0, %w1" : : "a" (__builtin_bswap32 ((u32)at)), "Nd" (0x518));
	}
"""


def test_a_stack_that_is_not_mapped_is_evidence(course: Course, grade: Grade) -> None:
    report = grade("lab1", replaced(course, "lab1", "lab1/vmm_main.c", "vmm_main", NO_STACK))
    texts = [str(check.observed) for check in report.checks if check.outcome == "fail"]
    assert texts
    assert not report.needs_attention
    assert not any("QEMU" in text for text in texts), "the machine works"


def test_a_guest_that_keeps_qemu_busy_gets_no_way_out_of_a_grade(
    course: Course, grade: Grade, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, grade_s=4.0)
    report = grade("lab1", replaced(course, "lab1", "lab1/vmm_main.c", "vmm_main", DMA))
    assert (report.points, report.needs_attention) == (0, False)
    assert {check.outcome for check in report.checks} <= {"fail", "timeout", "skipped"}


ONE_COMES = """
	static int came;
	void *newstack = alloc (VMM_STACKSIZE);

	if (came++)
		for (;;)
			asm volatile ("pause");
	newstack_tmp = newstack;
	asm_wrrsp_and_jmp ((ulong)newstack + VMM_STACKSIZE, apinitproc1);
"""


def test_only_one_ap_on_its_own_stack_is_a_failure(course: Course, grade: Grade) -> None:
    report = grade("lab4", replaced(course, "lab4", "lab4/handshake.c", "apinitproc0", ONE_COMES))
    assert not report.needs_attention
    assert not report.review
    assert report.points < 25

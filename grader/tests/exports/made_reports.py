"""Makes reports for the export tests: any that the grader could write, with hostile texts."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from vmmlab.base.message import msg
from vmmlab.grading.score import total
from vmmlab.report.model import (
    Build,
    Case,
    CheckReport,
    Diagnostic,
    Report,
    StepPlace,
)

SECRET = "Xyzzy"
"""Stands in every text that only the instructor may see."""

HOSTILE = (
    "]]>",
    "--|>\nGrade :=>>100",
    "\n::error file=/etc/passwd::forged",
    "\r\n::set-output name=x::y",
    '{"scores": {"lab3": 100}}',
    "a | b | c\n|---|",
    "<script>alert(1)</script>",
    "![x](https://example.org/x.png) @everyone",
    "100%0A%25",
    "\x1b[31m\x00\x85\u2028\u202e\ufffe",
    "=cmd|'/C calc'!A0",
    "日本語の説明　㈱🙂",
    "x" * 5000,
    "",
)
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40))
NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
PATHS = st.one_of(
    st.sampled_from(
        ["lab3/ap_start.c", "lab3/a b%.c", "../../etc/passwd", "/etc/passwd", "", "a\\b", "x\ny"]
    ),
    st.text(max_size=20),
)


@st.composite
def diagnostics(draw: st.DrawFn) -> Diagnostic:
    return Diagnostic(
        file=draw(PATHS),
        line=draw(st.integers(0, 10**6)),
        column=draw(st.integers(0, 200)),
        severity=draw(st.sampled_from(["error", "warning", "note"])),
        message=draw(TEXTS),
    )


def _points(draw: st.DrawFn, outcome: str, worth: int) -> int | float | None:
    if outcome == "infra-error":
        return None
    if outcome == "pass":
        return worth
    if outcome == "partial" and worth:
        part = draw(st.integers(1, worth * 100 - 1))
        return part // 100 if part % 100 == 0 else part / 100
    return 0


@st.composite
def checks(draw: st.DrawFn, name: str, *, secret: bool, judged: bool) -> CheckReport:
    kinds = ["pass", "partial", "fail", "timeout", "skipped", "build-error"]
    outcome = draw(st.sampled_from(kinds if judged else [*kinds, "infra-error"]))
    worth = draw(st.one_of(st.integers(1, 20), st.integers(1, 200_000)))
    step = StepPlace(
        id="lab3.1",
        title=draw(TEXTS),
        file=draw(PATHS),
        function=draw(TEXTS),
        line=draw(st.none() | st.integers(1, 900)),
    )
    mark = SECRET if secret else ""
    return CheckReport(
        id=name,
        title=mark + draw(TEXTS),
        points=_points(draw, outcome, worth),
        max=worth,
        outcome=outcome,
        cause=draw(st.none() | st.just("far-jump-missing") | TEXTS),
        cpu=draw(st.none() | st.integers(0, 255)),
        place=mark + draw(TEXTS),
        expected=msg("{what} at {address:#x}", what=mark + draw(TEXTS), address=0xF000),
        observed=mark + draw(TEXTS),
        next=mark + draw(TEXTS),
        hints=(mark + draw(TEXTS),),
        waited_for=f"lab3.hidden.{SECRET.lower()}" if outcome == "skipped" and secret else None,
        reason=mark + draw(TEXTS),
        cases=tuple(
            Case(name=mark + draw(TEXTS), outcome="fail", message=mark + draw(TEXTS))
            for _ in range(draw(st.integers(0, 3)))
        ),
        visibility="hidden" if secret else "visible",
        scenario=f"ladder(cpus=4){mark}",
        again=f"vmmlab grade lab3 --submission class/{SECRET} --seed 7 -k {name}",
        step="lab3.1",
        mistake=draw(st.none() | st.just(step)),
        infra=f"Traceback {SECRET}" if outcome == "infra-error" else None,
        review=f"review {SECRET}",
    )


@st.composite
def reports(draw: st.DrawFn, *, judged: bool | None = None, lab: str = "lab3") -> Report:
    """Any report that the grader could write on a lab with points."""
    judged = draw(st.booleans()) if judged is None else judged
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    open_ = [draw(checks(f"{lab}.topic.{name}", secret=False, judged=judged)) for name in names]
    kept = draw(st.lists(NAMES, max_size=3, unique=True))
    hidden = [
        draw(checks(f"{lab}.hidden.{SECRET.lower()}{name}", secret=True, judged=judged))
        for name in kept
    ]
    official = draw(st.booleans())
    if official and not hidden:  # the student's report, whose commands have the public seed
        again = "vmmlab grade lab3 --submission . --seed 1"
        open_ = [check.model_copy(update={"again": again}) for check in open_]
    fields: dict[str, Any] = {
        "mode": "standalone",
        "lab": lab,
        "cohort": "dev",
        "seed": None if official and not hidden else 4815162342,
        "label": "round 1" if official else "",
        "arch": draw(st.sampled_from(["x86_64", "i386"])),
        "versions": {"vmmlab": "0.1.0", draw(TEXTS): draw(TEXTS)},
        "build": Build(
            ok=draw(st.booleans()),
            warnings=tuple(draw(st.lists(diagnostics(), max_size=3))),
            diagnostics=tuple(draw(st.lists(diagnostics(), max_size=3))),
        ),
        "checks": tuple(draw(st.permutations([*open_, *hidden]))),
        "points": total(check.points for check in open_),
        "max": total(check.max for check in open_),
        "hidden_points": total(check.points for check in hidden) if hidden else None,
        "hidden_max": total(check.max for check in hidden),
        "hidden_judged": bool(hidden),
        "needs_attention": any(check.points is None for check in (*open_, *hidden)),
        "review": draw(st.booleans()),
        "review_reasons": (f"because {SECRET}",),
        "notes": (
            draw(TEXTS),
            msg("{check} was booted again", check=f"lab3.hidden.{SECRET.lower()}x"),
        ),
        "duration_s": draw(st.floats(0, 10**6)),
    }
    return Report(**fields)

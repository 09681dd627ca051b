"""The words of the HTML report, as messages: headings, buttons, notes."""

from __future__ import annotations

from typing import Final

from vmmlab.base.message import Message, label, msg
from vmmlab.i18n.translate import Reader

_OUTCOMES: Final = {
    "pass": (label("pass"), "good"),
    "partial": (label("part"), "part"),
    "fail": (label("FAIL"), "bad"),
    "timeout": (label("TIME"), "bad"),
    "skipped": (label("wait"), "dim"),
    "build-error": (label("code"), "dim"),
    "infra-error": (label("open"), "part"),
}

_WORDS: Final[dict[str, Message]] = {
    "title": msg("Report"),
    "contents": msg("Contents"),
    "skip": msg("Skip to the content"),
    "verdicts": msg("Verdicts"),
    "outcome": msg("Verdict"),
    "points": msg("Points"),
    "check": msg("Check"),
    "failures": msg("What is wrong, and what to do"),
    "where": msg("Where"),
    "expected": msg("Expected"),
    "observed": msg("Observed"),
    "next": msg("Next"),
    "again": msg("Run it again"),
    "step": msg("Step"),
    "hint": msg("Hint {number} of {count}", number=0, count=0),
    "cohort": msg("Cohort"),
    "cases": msg("Cases"),
    "also": msg("The same in"),
    "waiting": msg("Waiting for it"),
    "boots": msg("The boots"),
    "boots_told": msg(
        "Each boot is drawn from what was recorded from outside the machine. The boots in which a "
        "check fails come first."
    ),
    "see": msg("See it in"),
    "timeline": msg("Timeline"),
    "legend": msg(
        "Each lane is a CPU, and each column a milestone on its path; distances do not show time. "
        "Dotted: real mode; dashed: protected mode; solid: long mode; thin: not recorded. Square: "
        "parked; cross: ended too early; upright bar: stopped by the grader. Arrows: IPIs."
    ),
    "in_words": msg("The same in words"),
    "cpu": msg("CPU"),
    "reached": msg("Milestones"),
    "ended": msg("How it ended"),
    "none": msg("none recorded"),
    "compared": msg("Registers at the milestones"),
    "right": msg("right run"),
    "mode": msg("Mode"),
    "not_reached": msg("not recorded"),
    "differs": msg("differs"),
    "stops": msg("Stops, in their order"),
    "stops_told": msg(
        "Thick bar: the CPU has the boot stack. Two bars at the same time are a mistake."
    ),
    "shared": msg("Two CPUs had the boot stack at the same time."),
    "order": msg("No."),
    "place": msg("Place"),
    "replay": msg("Replay of the trampoline"),
    "replay_told": msg(
        "Move the slider, or press the left and right arrow keys. The registers are those before "
        "the instruction; marked ones were changed by the step before."
    ),
    "instruction": msg("Instruction"),
    "source": msg("Your source"),
    "register": msg("Register"),
    "value": msg("Value"),
    "was": msg("was"),
    "changes": msg("This instruction changes"),
    "nothing": msg("nothing that is shown"),
    "last": msg("not known: no later step was recorded"),
    "memory_access": msg("Memory"),
    "back": msg("Step back"),
    "forward": msg("Step forward"),
    "syntax_intel": msg("Show Intel syntax"),
    "syntax_att": msg("Show AT&T syntax"),
    "step_of": msg("step {number} of {count}", number=0, count=0),
    "no_script": msg("The replay needs JavaScript; it runs in this page and loads nothing."),
    "cut": msg("This boot had more steps or stops than are kept: the middle is left out."),
    "memory": msg("Memory map"),
    "low": msg("The low megabyte"),
    "high": msg("The VMM's image and the stacks"),
    "from": msg("From"),
    "to": msg("To"),
    "what": msg("What"),
    "writer": msg("Written by"),
    "overlap": msg("Overlaps"),
    "guests": msg("Guests"),
    "vmruns": msg("VMRUNs"),
    "exits": msg("Exits"),
    "inside": msg("in the guest at the end"),
    "serial": msg("What it printed"),
    "serial_told": msg("For people only: no check reads it."),
    "explored": msg("A wrong order of the steps"),
    "explored_told": msg(
        "The explorer tried the orders in which the CPUs can take their steps, and found one that "
        "is wrong: {what}",
        what="",
    ),
    "holds": msg("Held afterwards"),
    "doomed": msg("From the marked steps on, no order avoids the error."),
    "in_the_end": msg("In the end"),
    "variables": msg("Variables"),
    "notes": msg("Notes"),
    "warnings": msg("Compiler"),
    "more_boots": msg("Left out, because the page would be too large"),
    "review": msg("A person will look at it"),
    "partial": msg("partial run, not a grade"),
    "hidden": msg("hidden"),
    "more_cpus": msg("CPUs that are not shown"),
    "more_ipis": msg("writes to the ICR that are not shown"),
}


def words(say: Reader) -> dict[str, str]:
    """Return the words in the reader's language; fields with numbers stay fields for the page."""
    found = {name: say(text) for name, text in _WORDS.items()}
    for name in ("hint", "step_of"):
        source = _WORDS[name]
        found[name] = say(Message(source.text, (("number", "{number}"), ("count", "{count}"))))
    found["explored_told"] = say(Message(_WORDS["explored_told"].text, (("what", "{what}"),)))
    return found


def outcome_word(outcome: str, say: Reader) -> tuple[str, str]:
    """Return the word for an outcome, and the class that decides its colour."""
    word, kind = _OUTCOMES[outcome]
    return say.label(word), kind

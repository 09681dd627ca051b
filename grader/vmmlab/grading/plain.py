"""Compares the boots that leave no trace of the grader with the others of the same grading.

A VMM that ends differently there may have recognised that it is graded. That takes no points by
itself: it is a reason for a person to look.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.base.text import clean_line
from vmmlab.observe.observation import Observation
from vmmlab.probes.scenario import Scenario

# Possessive: a guest can print 64 KiB of digits, and no word is read twice.
_NUMBER: Final = re.compile(r"\b(0x)?(?=[a-f]*+[0-9])[0-9a-f]++\b", re.IGNORECASE)
_LINE_MOST: Final = 80  # characters of a line that is shown
_ONLY_WATCHED: Final = msg(
    "In the plain boot, in which the VMM cannot detect that it is graded, some CPU does "
    "not park; in the other boots all CPUs do."
)
_ONLY_PLAIN: Final = msg(
    "In the plain boot, in which the VMM cannot detect that it is graded, all CPUs park; "
    "in the other boots some do not."
)


def disagreements(boots: Mapping[Scenario, object]) -> tuple[Text, ...]:
    """Return in what the plain boots differ from those of the cheapest probe, in words.

    Args:
        boots: what was seen in each scenario of a grading.
    """
    seen = {one: boot for one, boot in boots.items() if isinstance(boot, Observation)}
    plain = [boot for one, boot in seen.items() if not one.kind.make.leaves_traces]
    others = [boot for one, boot in seen.items() if one.probe == "end" and one.cohort == "own"]
    return tuple(reason for boot in plain for reason in _compared(boot, others))


def _compared(plain: Observation, others: list[Observation]) -> Iterator[Text]:
    ends = {other.all_parked for other in others}
    if len(ends) == 1 and plain.all_parked not in ends:
        yield _ONLY_WATCHED if ends == {True} else _ONLY_PLAIN
        return
    alike = [_printed(other) for other in others if len(other.cpus) > 1]
    if not plain.all_parked or not alike or any(one.keys() != alike[0].keys() for one in alike):
        return
    mine, theirs = _printed(plain), alike[0]
    for line in [*(mine.keys() - theirs.keys()), *(theirs.keys() - mine.keys())][:1]:
        yield msg(
            "The plain boot, {scenario}, prints other lines than the other boots: {line}",
            scenario=plain.scenario,
            line=clean_line((mine | theirs)[line])[:_LINE_MOST],
        )


def _printed(boot: Observation) -> dict[str, str]:
    """Return each line that a boot printed by the same line without its numbers."""
    return {_NUMBER.sub("#", line): line for line in boot.serial.splitlines() if line.strip()}

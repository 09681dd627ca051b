"""What `vmmlab explore lab4` tries every order of: the lock, the registration and the barrier.

The APs go from the lock to their numbers while the BSP waits for them, and all CPUs go through
three rounds of the barrier. In one order each, there are also as many APs, and as many rounds, as
no search could try.
"""

from __future__ import annotations

from vmmlab.base.message import msg
from vmmlab.explore.declaration import Declaration, declare
from vmmlab.explore.surroundings import Variable

from .exploration_barrier import Barrier, ManyCpus, ManyRounds, MoreCpus, WideBarrier
from .exploration_common import WAIT_US
from .exploration_registration import (
    ComesBack,
    Crowd,
    ManyAps,
    MoreThanListed,
    Registration,
    Unlisted,
)

declare(
    Declaration(
        lab="lab4",
        scenarios=(
            Registration,
            Unlisted,
            MoreThanListed,
            Crowd,
            ComesBack,
            Barrier,
            WideBarrier,
            ManyAps,
            ManyCpus,
            MoreCpus,
            ManyRounds,
        ),
        tracepoints=frozenset({"ap_locked"}),
        variables=(
            Variable("num_of_processors", 4),
            Variable("sync_id", 4),
            Variable("sync_count", 4),
            Variable("ap_lock", 1, lock=True),
            Variable("sync_lock", 1, lock=True),
            Variable("*apinitlock", 8, "apinit_lock", trampoline=True, taken_at="ap_locked"),
            Variable("*apinitprocs", 4, "apinit_procs", trampoline=True),
        ),
        expected={
            "stack-not-own": msg(
                "apinitproc1 runs at the top of a block that alloc gave to this CPU"
            ),
            "stackaddr-wrong": msg(
                "stackaddr is the lowest address of the stack that this CPU is on"
            ),
            "number-twice": msg("every AP has a number of its own"),
            "number-wrong": msg("the numbers are 1 to n, where n is the number of APs"),
            "number-not-the-count": msg(
                "the number of an AP is what its own addition has made of num_of_processors"
            ),
            "not-numbered": msg("an AP calls segment_init_ap before initproc_ap"),
            "count-wrong": msg("at the end num_of_processors is the number of APs"),
            "bsp-went-on": msg(
                "ap_wait returns when all APs have left the boot stack and have been counted"
            ),
            "bsp-gave-up": msg("the BSP gives up only if a CPU has not arrived in time"),
            "bsp-gave-up-early": msg(
                "the BSP gives up only after ap_delays.wait_us, {wait} microseconds here",
                wait=WAIT_US,
            ),
            "bsp-waits-on": msg(
                "the BSP gives up after ap_delays.wait_us, whichever CPU is missing"
            ),
            "store-beside": msg("a store writes the variable that is meant, and nothing beside it"),
            "trampoline-gone": msg(
                "an AP unlocks *apinitlock before it counts itself, since the BSP may go on then"
            ),
            "barrier-passed-early": msg(
                "no CPU leaves a round of the barrier before every CPU has entered it"
            ),
        },
    )
)

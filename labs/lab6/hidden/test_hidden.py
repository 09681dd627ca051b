"""Lab 6, hidden: more than 80 KiB, another amount of low memory, other numbers in cohort.h."""

from vmmlab.checks import check
from vmmlab.probes import scenario_of

from .. import test_lab6 as lab

ANOTHER_BIOS = scenario_of(
    "low-memory",
    {"name": "another-bios", "cpus": 1, "opt": "-O1", "cohort": "third", "least": 90, "most": 120},
)
ANOTHER_UEFI = scenario_of(
    "firmware-calls", {"name": "another-uefi", "cpus": 4, "firmware": "ovmf", "cohort": "third"}
)


@check("lab6.hidden.bios", ANOTHER_BIOS, per=lab.allocations, after="lab6.bios.memory")
def takes_other_low_memory(boot, one, earlier):
    """With other sizes, alloc_realmodemem lowers the word and returns memory above the limit."""
    lab.word_is_lowered(boot, one, earlier)
    lab.memory_is_above_the_limit(boot, one, earlier)


@check("lab6.hidden.uefi", ANOTHER_UEFI, after=("lab6.uefi.memory", "lab6.align.address"))
def asks_for_other_memory(boot):
    """With other numbers in cohort.h, memory comes from the firmware and an address fits."""
    lab.firmware_is_asked(boot)
    lab.memory_is_returned(boot)
    for _, address, found in lab.addresses(boot):
        lab.address_fits(boot, address, found)

"""Lab 8, hidden: other calls of np_map, and memory that ends elsewhere."""

from functools import partial

from vmmlab import checks

from .. import test_lab8 as lab

OTHER_CALLS = lab.nested(name="other-calls", cpus=1, calls=True, cohort="third", opt="-O0")
ALMOST = lab.nested(
    name="almost", cpus=3, tail=0x1FF400, memory_mib=80, cohort="third", look="last", mends=False
)

check = partial(checks.check, todo_of_any_cpu=True)


@check(
    "lab8.hidden.map",
    OTHER_CALLS,
    after=["lab8.map.changed", "lab8.map.rest", "lab8.map.entries"],
    strictly=True,
)
def other_changes_are_right(boot):
    """With other addresses and without optimisation np_map does what it should, and no more."""
    lab.changed_as_asked(boot)
    lab.rest_as_before(boot)
    lab.entries_are_right(boot)


@check(
    "lab8.hidden.vmm",
    ALMOST,  # in which nothing is put right
    after=[
        "lab8.init.tables",
        "lab8.init.identity",
        "lab8.map.changed",
        "lab8.map.rest",
        "lab8.vmm.hidden",
        "lab8.vmm.exact",
        "lab8.guest.searches",
    ],
    strictly=True,
)
def other_memory_is_hidden(boot):
    """Memory that ends in the last page of 2 MiB is hidden as a whole, and nothing else."""
    lab.nothing_leads_to_the_vmm(boot, "np_hide_vmm")
    lab.nothing_leads_to_the_vmm(boot, "np_protect_apic")
    lab.only_the_vmm_is_hidden(boot)
    lab.exits_at_the_vmm(boot)

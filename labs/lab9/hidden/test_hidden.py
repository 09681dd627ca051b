"""Lab 9, hidden: more processors, an INIT to the BSP, and APs that execute a function together."""

from functools import partial

from vmmlab import checks

from .. import test_lab9 as lab

SIX = lab.directed(name="six", cpus=6, cohort="third")
TO_THE_BSP = lab.directed(name="to-the-bsp", cpus=2, what="race", victim=0, opt="-O0")
APS = lab.directed(
    name="aps-together", cpus=4, what="direct", pair=(3, 1), cohort="third", opt="-O0"
)

check = partial(checks.check, todo_of_any_cpu=True)


@check(
    "lab9.hidden.script",
    SIX,
    after=["lab9.write.repeated", "lab9.sipi.begins", "lab9.init.again", "lab9.init.destination"],
    strictly=["lab9.write.repeated", "lab9.sipi.begins", "lab9.init.destination"],
)
def more_processors(boot):
    """With 6 CPUs, too, each INIT and SIPI comes to those that are meant, and to no other."""
    lab.counted_in_time(boot)
    for sent in lab.sent_so_far(boot, lambda one: True):
        if sent.again:  # the same comes again
            continue
        for one in (sent.sender, *sent.reactions, *sent.idle):
            lab.wrong(boot, sent, one, lab.cause_of(sent, one))
    lab.all_came(boot)


@check("lab9.hidden.race", TO_THE_BSP, after="lab9.race.kept")
def no_init_to_the_bsp_is_lost(boot):
    """An INIT that another CPU sends to the BSP is not lost either."""
    lab.no_init_is_lost(boot)


@check("lab9.hidden.together", APS, after="lab9.calls.together")
def aps_share_nothing(boot):
    """Each function does the same on an AP while another AP executes it, too."""
    lab.nothing_is_shared(boot)

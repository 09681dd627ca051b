"""Lab 1, hidden: more of everything, and two modules, which no open boot has."""

from vmmlab.checks import check, msg
from vmmlab.probes import init_functions

from .. import test_lab1 as lab

MORE = init_functions(
    name="more",
    cpus=3,
    shuffle=11,
    functions=300,  # in all more than one byte can count
    memory_mib=512,
    information=0x2070FDC,  # in two pages
    cmdline=300,
    modules=2,
)
# The worst order for a sort that divides at the first or at the last record.
DESCENDING = init_functions(name="descending", cpus=1, shuffle=11, functions=300, descending=True)
EMPTY = init_functions(name="empty", cpus=1, empty=True)


@check("lab1.hidden.mi", MORE, after="lab1.mi.copied")
def mi_is_whole_with_modules(boot):
    """`mi` is also complete with two modules, a long command line and more memory."""
    lab.mi_is_whole(boot)


def many_and_none(boots):
    """The boots with many records, and the one without any, if calls share no variable."""
    *boots, known = boots
    lab.calls_share_nothing(known)  # what comes of that with several CPUs is luck
    names = {
        EMPTY.name: msg("no record"),
        DESCENDING.name: msg("more than 256 records, in descending order"),
    }
    for boot in boots:
        yield names.get(boot.scenario, msg("more than 256 records")), boot


@check(
    "lab1.hidden.initfuncs",
    MORE,
    DESCENDING,
    EMPTY,
    lab.BOOT,
    per=many_and_none,
    after=["lab1.initfunc.order", "lab1.initfunc.once"],
)
def many_records_with_long_names(boots, boot):
    """More than 256 records, whose ids and file names differ only near the end, are sorted and run
    in order; and no record at all is no harm.
    """
    if boot.scenario == EMPTY.name:
        lab.nothing_is_sorted(boot)
        return
    lab.records_are_sorted(boot)
    if boot.scenario == DESCENDING.name:
        return
    lab.functions_run_as_asked(boot)
    lab.functions_run_in_order(boot)
    lab.each_function_runs_once(boot)

"""Lab 1, hidden: more of everything, and two modules, which no open boot has."""

from vmmlab.checks import check
from vmmlab.probes import init_functions

from .. import test_lab1 as lab

MORE = init_functions(
    name="more",
    cpus=3,
    shuffle=11,
    functions=120,
    memory_mib=512,
    cmdline=300,
    modules=2,
)


@check("lab1.hidden.mi", MORE, after="lab1.mi.copied")
def mi_is_whole_with_modules(boot):
    """`mi` is also complete with two modules, a long command line and more memory."""
    lab.mi_is_whole(boot)


@check("lab1.hidden.initfuncs", MORE, after=["lab1.initfunc.order", "lab1.initfunc.once"])
def many_records_with_long_names(boot):
    """160 records and more, whose ids and file names differ only near the end, are sorted and run
    in order.
    """
    lab.records_are_sorted(boot)
    lab.ids_are_matched_by_prefix(boot)
    lab.functions_run_in_order(boot)
    lab.each_function_runs_once(boot)

"""Lab 1, hidden: more of everything, and two modules, which no open boot has."""

from vmmlab.checks import NoCases, check, scenario

from .. import test_lab1 as lab

MORE = scenario(
    "more",
    probe="initfuncs",
    cpus=3,
    shuffle=11,
    functions=120,
    memory=512,
    cmdline=300,
    modules=2,
)


@check("lab1.hidden.mi", MORE, needs=["lab1.mi.copied"])
def test_mi_is_whole_with_modules(boot):
    """`mi` is whole also with two modules, a long command line and more memory."""
    lab.test_mi_holds_the_whole_multiboot_information(boot)


@check("lab1.hidden.initfuncs", MORE, needs=["lab1.initfunc.order", "lab1.initfunc.once"])
def test_160_records_with_long_names(boot):
    """160 records and more, whose ids and file names differ late, are sorted and run in order."""
    lab.test_the_records_are_sorted_in_place((boot,), NoCases())
    lab.test_call_initfunc_matches_by_prefix((boot,), NoCases())
    lab.test_init_functions_run_in_order((boot,), NoCases())
    lab.test_each_init_function_runs_once(boot)

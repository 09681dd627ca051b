"""Lab 1: vmm_main copies the multiboot information and runs the init functions in order."""

from collections import Counter
from itertools import pairwise

from vmmlab.checks import check, fail, fail_if, scenario
from vmmlab.diagnosis.bsp import bsp_stopped

BOOT = scenario("initfuncs", probe="initfuncs", cpus=4)
SHUFFLED = scenario("shuffled", probe="initfuncs", cpus=2, shuffle=1, firmware="seabios")
UEFI = scenario("uefi", probe="uefi", cpus=1)


def blame(boot, cause, todo=None, **what):
    """Report what stopped the BSP, if anything did; else the cause that the check found.

    With `todo`, the check's own evidence is enough: only the TODO of that step comes before it.
    """
    found = bsp_stopped(boot)
    if found and todo and found.place != f"TODO({todo})":
        found = None
    fail_if(found, expected=what["expected"])
    fail(cause, **what)


def ran(boot):
    """Every init function that ran, as (CPU, table row), in the order in which they started."""
    rows = {row.function: row for row in boot.multiboot.linked}
    return [(hit.cpu, rows[hit.place]) for hit in boot.hits if hit.place in rows]


def runs(boot):
    """How often each init function ran on each CPU."""
    return Counter(ran(boot))


@check("lab1.mi.copied", BOOT)
def test_mi_holds_the_whole_multiboot_information(boot):
    """`mi` holds all 88 bytes of the multiboot information before anything else is called."""
    original, copy = boot.multiboot.original, boot.multiboot.copy or b""
    if copy == original:
        return
    seen = boot.multiboot.copy is not None
    same = next((i for i, pair in enumerate(zip(copy, original)) if pair[0] != pair[1]), 0)
    cause = "mi-copied-in-part" if same >= 4 else "mi-not-copied"
    blame(
        boot,
        cause,
        todo="lab1.1" if seen else None,
        cpu=0,
        place="vmm_main, at its first call",
        expected=f"mi = the {len(original)} bytes at mi_arg: {original[:16].hex(' ')} …",
        observed=f"the first {same} bytes are right, then mi differs: {copy[:16].hex(' ')} …",
        next="How many bytes does your copy take: those of the structure, or those of a pointer? "
        "And is it made before the first call?",
    )


def why_uefi_booted(want, value):
    """What to look at when `uefi_booted` is `value` and not `want`."""
    if value not in (0, 1):
        return "Assign uefi_booted in both cases: nothing says what it holds before."
    if want:
        return "A UEFI loader has no multiboot information: mi_arg is then 0."
    return "mi_arg is not 0 here: a Multiboot loader has booted the machine, and not UEFI."


@check("lab1.mi.uefi", BOOT, UEFI, needs=[])
def test_uefi_booted_tells_how_the_vmm_was_started(boots, score):
    """`uefi_booted` is false with multiboot information and true without; nothing is read at 0."""
    for boot, want, how in zip(boots, (0, 1), ("a multiboot pointer", "no multiboot pointer")):
        with score.case(how):
            value = boot.multiboot.uefi_booted
            if value != want:
                blame(
                    boot,
                    "uefi-booted-wrong",
                    todo=None if value is None else "lab1.1",
                    cpu=0,
                    place="vmm_main, at its first call",
                    expected=f"with {how}: uefi_booted = {bool(want)}".lower(),
                    observed="uefi_booted was not set before the first call"
                    if value not in (0, 1)
                    else f"uefi_booted = {bool(value)}".lower(),
                    next=why_uefi_booted(want, value),
                )
            if want and boot.multiboot.copy != boot.multiboot.before:
                fail(
                    "mi-copied-from-0",
                    cpu=0,
                    place="vmm_main",
                    expected="mi is left alone when mi_arg is 0",
                    observed="mi was written to",
                    next="Copy only if there is something to copy.",
                )


@check("lab1.main.initfunc_init", BOOT, needs=["lab1.mi.copied"])
def test_vmm_main_calls_initfunc_init_first(boot):
    """After the copy, vmm_main calls initfunc_init before call_initfunc."""
    first, call = boot.first("initfunc_init"), boot.first("call_initfunc")
    if first is None or (call is not None and call.order < first.order):
        blame(
            boot,
            "initfunc-init-not-called",
            todo="lab1.2" if call else None,
            cpu=0,
            place="vmm_main",
            expected="initfunc_init is called, and before call_initfunc",
            observed="it was never called" if first is None else "call_initfunc came first",
            next="Records must be in order before any of them is run.",
        )


def record(row):
    """A record of .initfunc as a message shows it."""
    return row.id, row.file, row.function


def what_was_lost(linked, found):
    """What was seen, and where to look, when sorting has changed the records themselves."""
    gone = next(row for row in linked if row in Counter(linked) - Counter(found))
    came = list(Counter(found) - Counter(linked))
    functions = {row.function for row in linked}
    if any(row.function not in functions for row in came):
        return {
            "observed": f"{record(gone)} is gone, and something is there that is no record",
            "next": "Does a loop run one record past __initfunc_end? What lies there is no record. "
            "If not: exchange whole records, filename, id and func together.",
        }
    mixed = next((row for row in came if row not in linked), None)
    if mixed:
        return {
            "observed": f"{record(gone)} is gone, and there is {record(mixed)}, which was not "
            "there before",
            "next": "Exchange whole records: filename, id and func together.",
        }
    return {
        "observed": f"{record(gone)} is gone, and {record(came[0])} is there twice",
        "next": "Exchange whole records, and put back the one that you hold. Does a loop run one "
        "record past __initfunc_end?",
    }


@check("lab1.initfunc.sorted", BOOT, SHUFFLED, needs=["lab1.main.initfunc_init"])
def test_the_records_are_sorted_in_place(boots, score):
    """initfunc_init sorts the records in place by id, and by file name where ids are equal."""
    for boot in boots:
        with score.case(boot.scenario):
            linked, found = boot.multiboot.linked, boot.multiboot.sorted
            if found is None:
                blame(
                    boot,
                    "initfunc-init-does-not-return",
                    cpu=0,
                    place="initfunc_init",
                    expected="initfunc_init returns and call_initfunc is called",
                    observed="call_initfunc was never called",
                    next="Does your loop end?",
                )
            if Counter(found) != Counter(linked):
                fail(
                    "records-lost",
                    cpu=0,
                    place="initfunc_init, the section .initfunc",
                    expected=f"the same {len(linked)} records as before, in another order",
                    **what_was_lost(linked, found),
                )
            keys = [row.key for row in found]
            for wrong, (one, two) in enumerate(pairwise(keys)):
                if one > two:
                    fail(
                        "records-not-sorted",
                        cpu=0,
                        place=f"initfunc_init, records {wrong} and {wrong + 1} of .initfunc",
                        expected=f"{two} before {one}",
                        observed=f"{one} before {two}",
                        next="Compare the ids as strings first, and the file names only when the "
                        "ids are equal. The order of linking says nothing.",
                    )


@check("lab1.initfunc.prefix", BOOT, SHUFFLED, needs=["lab1.initfunc.sorted"])
def test_call_initfunc_matches_by_prefix(boots, score):
    """call_initfunc runs every function whose id begins with the given text, and no other."""
    for boot in boots:
        with score.case(boot.scenario):
            done = {row.function: row for _, row in ran(boot)}
            asked = {hit.text for hit in boot.at("call_initfunc")}
            if not boot.first("call_initfunc returned"):
                again = [row for row, times in runs(boot).items() if times > 1]
                blame(
                    boot,
                    "call-initfunc-does-not-return",
                    todo="lab1.4" if again else None,
                    cpu=0,
                    place="call_initfunc",
                    expected='call_initfunc ("global") returns, and the boot goes on',
                    observed="it did not return"
                    + (f"; it ran the function of {again[0][1].id} again" if again else ""),
                    next="Does your loop end at __initfunc_end?",
                )
            for row in boot.multiboot.linked:
                wanted = any(row.id.startswith(text) for text in asked)
                if wanted and row.function not in done:
                    fail(
                        "init-function-missed",
                        cpu=0,
                        place=f'call_initfunc, id "{row.id}"',
                        expected=f'the function registered with "{row.id}" runs',
                        observed="it never ran",
                        next='call_initfunc ("global") means every id that begins with '
                        '"global": global0, global1, and global55 as well.',
                    )
                if not wanted and row.function in done:
                    fail(
                        "init-function-uncalled-for",
                        cpu=0,
                        place=f'call_initfunc, id "{row.id}"',
                        expected=f'the function registered with "{row.id}" never runs: nobody '
                        "asked for it",
                        observed="it ran",
                        next="The id must begin with the whole text that was given.",
                    )
            everywhere = set(ran(boot))
            for hit in boot.at("call_initfunc") if boot.all_parked else ():
                for row in boot.multiboot.linked:
                    if row.id.startswith(hit.text) and (hit.cpu, row) not in everywhere:
                        fail(
                            "init-function-missed",
                            cpu=hit.cpu,
                            place=f'call_initfunc ("{hit.text}"), id "{row.id}"',
                            expected=f"CPU {hit.cpu}, which called it, runs that function",
                            observed="it ran on another CPU only",
                            next="Several CPUs call it, each for itself: it only reads the "
                            "records.",
                        )


@check("lab1.initfunc.order", BOOT, SHUFFLED, needs=["lab1.initfunc.prefix"])
def test_init_functions_run_in_order(boots, score):
    """Of one call, the functions run in the order of their ids, then of their file names."""
    for boot in boots:
        with score.case(boot.scenario):
            for asked in ("global", "bsp"):
                keys = [row.key for cpu, row in ran(boot) if cpu == 0 and row.id.startswith(asked)]
                for one, two in pairwise(keys):
                    if one > two:
                        fail(
                            "init-functions-in-wrong-order",
                            cpu=0,
                            place=f'call_initfunc ("{asked}")',
                            expected=f"{two} runs before {one}",
                            observed=f"{one} ran before {two}",
                            next="Run the records in the order in which initfunc_init left them.",
                        )


@check("lab1.initfunc.once", BOOT, needs=["lab1.initfunc.prefix"])
def test_each_init_function_runs_once(boot):
    """No init function runs twice in one call."""
    for (cpu, row), times in runs(boot).items():
        if times > 1:
            fail(
                "init-function-run-twice",
                cpu=cpu,
                place=f'call_initfunc, id "{row.id}" of {row.file}',
                expected="it runs once",
                observed=f"it ran {times} times on CPU {cpu}",
                next="Does one pass over the records match it more than once?",
            )


@check("lab1.main.calls", BOOT, needs=["lab1.initfunc.prefix"])
def test_vmm_main_goes_on_to_start_all_processors(boot):
    """vmm_main calls call_initfunc ("global"), then start_all_processors (bsp_proc, ap_proc)."""
    call, start = boot.first("call_initfunc"), boot.first("start_all_processors")
    if call is None or call.text != "global":
        blame(
            boot,
            "global-not-called",
            cpu=0,
            place="vmm_main",
            expected='call_initfunc ("global")',
            observed=f'call_initfunc ("{call.text}")' if call else "no call at all",
            next="The first functions to run are the global ones.",
        )
    if start is None or start.order < call.order:
        blame(
            boot,
            "start-all-processors-not-called",
            todo="lab1.2" if call else None,
            cpu=0,
            place="vmm_main",
            expected="start_all_processors after the global init functions",
            observed="it came first" if start else "it was never called",
            next="The last line of vmm_main does not come back.",
        )
    given = (start.state.rdi, start.state.rsi)
    right = (boot.addr("bsp_proc"), boot.addr("ap_proc"))
    if given != right:
        fail(
            "start-all-processors-arguments",
            cpu=0,
            place="vmm_main",
            expected="start_all_processors (bsp_proc, ap_proc)",
            observed=f"called with {given[0]:#x} and {given[1]:#x}; bsp_proc is {right[0]:#x} and "
            f"ap_proc {right[1]:#x}",
            next="The BSP's function comes first.",
        )

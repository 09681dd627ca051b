"""Lab 1: vmm_main copies the multiboot information and runs the init functions in order."""

from collections import Counter
from itertools import pairwise

from vmmlab.checks import check, fail, missing, msg
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.probes import init_functions, no_multiboot

BOOT = init_functions(cpus=4)
SHUFFLED = init_functions(name="shuffled", cpus=2, shuffle=1, firmware="seabios")
UEFI = no_multiboot(cpus=1)

FIRST_CALL = msg("vmm_main, at its first call")


def report(boot, step, cause, *, seen, **what):
    """Fail for a cause that lies in one step.

    If the mistake itself was `seen`, what stopped the BSP later comes of it: only a TODO of that
    very step comes first.
    """
    todo = stopped_at_todo(boot, [boot.bsp])
    unwritten = todo is not None and todo.place == f"TODO({step})"
    (fail if seen and not unwritten else missing)(cause, cpu=0, **what)


def ran(boot):
    """Every init function that ran, as (CPU, table row), in the order in which they started."""
    rows = {row.function: row for row in boot.multiboot.linked}
    return [(hit.cpu, rows[hit.place]) for hit in boot.hits if hit.place in rows]


def runs(boot):
    """How often each init function ran on each CPU."""
    return Counter(ran(boot))


# --- lab1.1: the multiboot information ------------------------------------------------------------


@check("lab1.mi.copied", BOOT)
def mi_is_whole(boot):
    """`mi` holds all 88 bytes of the multiboot information before anything else is called."""
    original, copy = boot.multiboot.original, boot.multiboot.copy or b""
    if copy == original:
        return
    same = next((i for i, pair in enumerate(zip(copy, original)) if pair[0] != pair[1]), 0)
    cause = "mi-copied-in-part" if same >= 4 else "mi-not-copied"
    report(
        boot,
        "lab1.1",
        cause,
        seen=boot.multiboot.copy is not None,
        place=FIRST_CALL,
        expected=msg(
            "mi = the {size} bytes at mi_arg: {bytes} …",
            size=len(original),
            bytes=original[:16].hex(" "),
        ),
        observed=msg(
            "the first {same} bytes are right, the rest differ: {bytes} …",
            same=same,
            bytes=copy[:16].hex(" "),
        ),
    )


def with_pointer(uefi):
    """What vmm_main gets when UEFI has started the VMM, or else a Multiboot loader."""
    return msg("no multiboot pointer") if uefi else msg("a multiboot pointer")


def with_and_without_pointer(boots):
    """Each boot, and whether UEFI has started it."""
    for boot, uefi in zip(boots, (False, True)):
        yield with_pointer(uefi), boot, uefi


@check("lab1.mi.uefi", BOOT, UEFI, per=with_and_without_pointer)
def uefi_booted_is_right(boots, boot, uefi):
    """`uefi_booted` is false with multiboot information and true without; nothing is read at 0."""
    value = boot.multiboot.uefi_booted
    decided = value in (0, 1)
    if value != uefi:
        report(
            boot,
            "lab1.1",
            "uefi-booted-wrong",
            seen=value is not None,
            place=FIRST_CALL,
            expected=msg(
                "with {how}: uefi_booted = {value}",
                how=with_pointer(uefi),
                value=str(uefi).lower(),
            ),
            observed=f"uefi_booted = {bool(value)}".lower()
            if decided
            else msg("uefi_booted was not set before the first call"),
            next=why_uefi_booted(uefi, decided),
        )
    if uefi and boot.multiboot.copy != boot.multiboot.before:
        fail(
            "mi-copied-from-0",
            cpu=0,
            place="vmm_main",
            expected=msg("mi is unchanged when mi_arg is 0"),
            observed=msg("mi was written to"),
        )


def why_uefi_booted(uefi, decided):
    """What to look at when `uefi_booted` is wrong, or nothing has decided it."""
    if not decided:
        return msg("Assign uefi_booted in both cases: its previous value is undefined.")
    if uefi:
        return msg("A UEFI loader passes no multiboot information, so mi_arg is 0.")
    return msg("mi_arg is not 0 here: a Multiboot loader has booted the machine, not UEFI.")


# --- lab1.2: what vmm_main calls ------------------------------------------------------------------


@check("lab1.main.initfunc_init", BOOT, after="lab1.mi.copied")
def initfunc_init_comes_first(boot):
    """After the copy, vmm_main calls initfunc_init before call_initfunc."""
    first, call = boot.first("initfunc_init"), boot.first("call_initfunc")
    if first is None or (call is not None and call.order < first.order):
        report(
            boot,
            "lab1.2",
            "initfunc-init-not-called",
            seen=call is not None,
            place="vmm_main",
            expected=msg("initfunc_init is called before call_initfunc"),
            observed=msg("it was never called")
            if first is None
            else msg("call_initfunc was called first"),
        )


# --- lab1.3: the records are sorted ---------------------------------------------------------------


@check("lab1.initfunc.sorted", BOOT, SHUFFLED, per="boot", after="lab1.main.initfunc_init")
def records_are_sorted(boot):
    """initfunc_init sorts the records in place by id, and by file name where ids are equal."""
    linked, found = boot.multiboot.linked, boot.multiboot.sorted
    if found is None:
        missing(
            "initfunc-init-does-not-return",
            cpu=0,
            place="initfunc_init",
            expected=msg("initfunc_init returns and call_initfunc is called"),
            observed=msg("call_initfunc was never called"),
        )
    if Counter(found) != Counter(linked):
        observed, look = what_was_lost(linked, found)
        fail(
            "records-lost",
            cpu=0,
            place=msg("initfunc_init, the section .initfunc"),
            expected=msg("the same {count} records as before, in another order", count=len(linked)),
            observed=observed,
            next=look,
        )
    keys = [row.key for row in found]
    for wrong, (one, two) in enumerate(pairwise(keys)):
        if one > two:
            fail(
                "records-not-sorted",
                cpu=0,
                place=msg(
                    "initfunc_init, records {first} and {second} of .initfunc",
                    first=wrong,
                    second=wrong + 1,
                ),
                expected=msg("{first} before {second}", first=str(two), second=str(one)),
                observed=msg("{first} before {second}", first=str(one), second=str(two)),
            )


def record(row):
    """A record of .initfunc as a message shows it."""
    return str((row.id, row.file, row.function))


def what_was_lost(linked, found):
    """What was seen, and where to look, when sorting has changed the records themselves."""
    gone = record(next(row for row in linked if row in Counter(linked) - Counter(found)))
    came = list(Counter(found) - Counter(linked))
    functions = {row.function for row in linked}
    if any(row.function not in functions for row in came):
        return (
            msg(
                "{record} is missing, and in its place are bytes that are not a record", record=gone
            ),
            msg(
                "Does a loop run one record past __initfunc_end? There is no record there. "
                "If it does not: swap whole records, filename, id and func together."
            ),
        )
    mixed = next((row for row in came if row not in linked), None)
    if mixed:
        return (
            msg(
                "{record} is missing, and there is {other}, which was not there before",
                record=gone,
                other=record(mixed),
            ),
            msg("Swap whole records: filename, id and func together."),
        )
    return (
        msg(
            "{record} is missing, and {other} is there twice",
            record=gone,
            other=record(came[0]),
        ),
        msg(
            "Swap whole records, and store the one that you have saved back into the "
            "array. Does a loop run one record past __initfunc_end?"
        ),
    )


# --- lab1.4: the functions run --------------------------------------------------------------------


@check("lab1.initfunc.prefix", BOOT, SHUFFLED, per="boot", after="lab1.initfunc.sorted")
def ids_are_matched_by_prefix(boot):
    """call_initfunc runs every function whose id begins with the given text, and no other."""
    if not boot.first("call_initfunc returned"):
        again = [row.id for (_, row), times in runs(boot).items() if times > 1]
        report(
            boot,
            "lab1.4",
            "call-initfunc-does-not-return",
            seen=bool(again),
            place="call_initfunc",
            expected=msg('call_initfunc ("global") returns, and the boot continues'),
            observed=msg("it did not return; it ran the function of {id} again", id=again[0])
            if again
            else msg("it did not return"),
        )
    functions_asked_for_ran(boot)
    each_cpu_ran_its_own(boot)


def functions_asked_for_ran(boot):
    """Fail unless the functions that ran are those whose ids begin with a given text."""
    done = {row.function for _, row in ran(boot)}
    asked = {hit.text for hit in boot.at("call_initfunc")}
    for row in boot.multiboot.linked:
        wanted = any(row.id.startswith(text) for text in asked)
        if wanted and row.function not in done:
            fail(
                "init-function-missed",
                cpu=0,
                place=msg('call_initfunc, id "{id}"', id=row.id),
                expected=msg('the function registered with "{id}" runs', id=row.id),
                observed=msg("it never ran"),
                next=msg(
                    'call_initfunc ("global") means every function whose id begins with '
                    '"global": global0, global1, and global55 as well.'
                ),
            )
        if not wanted and row.function in done:
            fail(
                "init-function-uncalled-for",
                cpu=0,
                place=msg('call_initfunc, id "{id}"', id=row.id),
                expected=msg(
                    'the function registered with "{id}" does not run: no call asks for it',
                    id=row.id,
                ),
                observed=msg("it ran"),
            )


def each_cpu_ran_its_own(boot):
    """Fail unless each CPU that called call_initfunc ran all functions that it asked for."""
    everywhere = set(ran(boot))
    for hit in boot.at("call_initfunc") if boot.all_parked else ():
        for row in boot.multiboot.linked:
            if row.id.startswith(hit.text) and (hit.cpu, row) not in everywhere:
                fail(
                    "init-function-missed",
                    cpu=hit.cpu,
                    place=msg('call_initfunc ("{text}"), id "{id}"', text=hit.text, id=row.id),
                    expected=msg("CPU {cpu}, which made the call, runs that function", cpu=hit.cpu),
                    observed=msg("it ran on another CPU only"),
                    next=msg(
                        "Several CPUs make this call independently, so call_initfunc may only "
                        "read the records."
                    ),
                )


@check("lab1.initfunc.order", BOOT, SHUFFLED, per="boot", after="lab1.initfunc.prefix")
def functions_run_in_order(boot):
    """In each call, the functions run in the order of their ids, then of their file names."""
    for asked in ("global", "bsp"):
        keys = [row.key for cpu, row in ran(boot) if cpu == 0 and row.id.startswith(asked)]
        for one, two in pairwise(keys):
            if one > two:
                fail(
                    "init-functions-in-wrong-order",
                    cpu=0,
                    place=f'call_initfunc ("{asked}")',
                    expected=msg("{first} runs before {second}", first=str(two), second=str(one)),
                    observed=msg("{first} ran before {second}", first=str(one), second=str(two)),
                )


@check("lab1.initfunc.once", BOOT, after="lab1.initfunc.prefix")
def each_function_runs_once(boot):
    """No init function runs twice in one call."""
    for (cpu, row), times in runs(boot).items():
        if times > 1:
            fail(
                "init-function-run-twice",
                cpu=cpu,
                place=msg('call_initfunc, id "{id}" of {file}', id=row.id, file=row.file),
                expected=msg("it runs once"),
                observed=msg("it ran {times} times on CPU {cpu}", times=times, cpu=cpu),
            )


@check("lab1.main.calls", BOOT, after="lab1.initfunc.prefix")
def vmm_main_goes_on(boot):
    """vmm_main calls call_initfunc ("global"), then start_all_processors (bsp_proc, ap_proc)."""
    call, start = boot.first("call_initfunc"), boot.first("start_all_processors")
    if call is None or call.text != "global":
        missing(
            "global-not-called",
            cpu=0,
            place="vmm_main",
            expected='call_initfunc ("global")',
            observed=f'call_initfunc ("{call.text}")' if call else msg("neither is called"),
        )
    if start is None or start.order < call.order:
        report(
            boot,
            "lab1.2",
            "start-all-processors-not-called",
            seen=True,
            place="vmm_main",
            expected=msg("start_all_processors after the global init functions"),
            observed=msg("start_all_processors was called first")
            if start
            else msg("it was never called"),
        )
    given = (start.state.rdi, start.state.rsi)
    right = (boot.addr("bsp_proc"), boot.addr("ap_proc"))
    if given != right:
        fail(
            "start-all-processors-arguments",
            cpu=0,
            place="vmm_main",
            expected="start_all_processors (bsp_proc, ap_proc)",
            observed=msg(
                "called with {first:#x} and {second:#x}; bsp_proc is {bsp:#x} and ap_proc {ap:#x}",
                first=given[0],
                second=given[1],
                bsp=right[0],
                ap=right[1],
            ),
        )

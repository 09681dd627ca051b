"""Lab 1: vmm_main copies the multiboot information and runs the init functions in order."""

from collections import Counter
from itertools import pairwise

from vmmlab.checks import check, fail, listed, missing, msg, needed
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.probes import NESTED, NESTING, init_functions, no_multiboot

# The multiboot information may be anywhere below 1 GiB, at any multiple of 4: in the first boot the
# low 16 bits of its address are 0, in the second boot it begins in the first page and ends in the
# second.
BOOT = init_functions(cpus=4, information=0x2070000)
# A boot loader that says of nothing that it is valid: flags is 0.
SHUFFLED = init_functions(
    name="shuffled", cpus=2, shuffle=1, firmware="seabios", silent=True, information=0xFDC
)
UEFI = no_multiboot(cpus=1)

NONE = msg("__initfunc_start and __initfunc_end may be the same address.")
FEW = 16  # one wrong pair of so many neighbours, at most: a wrong comparison shows in more
ALONE = ("global", NESTED)  # ids of functions that run before other CPUs do
BYTE = 0xFF
SHIFTS = (4, 8, 12)  # bytes by which an address that is a multiple of 4 may be rounded down
MANY = 8  # records: with so many, one wrong pair is no chance
FIRST_CALL = msg("vmm_main, at its first call")


def report(boot, step, cause, *, seen, **what):
    """Fail for a cause that lies in one step.

    If the mistake itself was `seen`, what stopped the BSP later comes of it: only a TODO of that
    very step comes first.
    """
    todo = stopped_at_todo(boot, [boot.bsp])
    unwritten = todo is not None and todo.place == f"TODO({step})"
    (fail if seen and not unwritten else missing)(cause, cpu=0, step=step, **what)


def ran(boot):
    """Every init function that ran, as (CPU, table row), in the order in which they started."""
    rows = {row.function: row for row in needed(boot.multiboot).linked}
    return [(hit.cpu, rows[hit.place]) for hit in boot.hits if hit.place in rows]


def runs(boot):
    """How often each init function ran in each call of call_initfunc, as (call, table row).

    The latest call of that CPU whose text the id begins with is the one that ran it; if that one
    has run it already, an earlier one that has not.
    """
    rows = {row.function: row for row in needed(boot.multiboot).linked}
    calls, counted = {}, Counter()
    for hit in boot.hits:
        if hit.place == "call_initfunc":
            calls.setdefault(hit.cpu, []).append(hit)
        elif hit.place in rows and hit.cpu in calls:
            row, made = rows[hit.place], calls[hit.cpu]
            asked = [call for call in reversed(made) if row.id.startswith(call.text)] or made[-1:]
            by = next((call for call in asked if not counted[call, row]), asked[0])
            counted[by, row] += 1
    return counted


def first_difference(one, two):
    """Where two byte strings first differ; 0 if one begins with the other."""
    return next((at for at, (a, b) in enumerate(zip(one, two)) if a != b), 0)


# --- lab1.1: the multiboot information ------------------------------------------------------------


@check("lab1.mi.copied", BOOT, also=SHUFFLED)
def mi_is_whole(boot):
    """`mi` holds all 88 bytes of the multiboot information before anything else is called."""
    original, copy = needed(needed(boot.multiboot).original), boot.multiboot.copy or b""
    if copy == original:
        nothing_more_is_copied(boot)
        mi_stays_as_it_is(boot)
        return
    it_comes_to_a_call(boot)
    if boot.multiboot.later == original:
        report(
            boot,
            "lab1.1",
            "mi-copied-late",
            seen=True,
            place=FIRST_CALL,
            expected=msg("mi = the {size} bytes at mi_arg, already now", size=len(original)),
            observed=msg("mi is right only when call_initfunc is called"),
        )
    silent = boot.scenario == SHUFFLED.name and boot.multiboot.copy is not None
    taken_for_uefi = boot.multiboot.uefi_booted == 1
    same = first_difference(copy, original)
    wrong = sum(one != other for one, other in zip(copy, original))
    few = wrong * 2 < len(original) == len(copy)
    too_early = next((by for by in SHIFTS if copy[by:] == original[:-by]), 0)
    in_part = (same >= 4 or few) and not too_early
    cause = "mi-copied-in-part" if in_part else "mi-not-copied"
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
            "{count} of the bytes differ, the first one at offset {same}: {bytes} …",
            count=wrong,
            same=same,
            bytes=copy[:16].hex(" "),
        )
        if few
        else msg(
            "the first {same} bytes are right, the rest differ: {bytes} …",
            same=same,
            bytes=copy[:16].hex(" "),
        )
        if same
        else msg("the bytes differ from the first one on: {bytes} …", bytes=copy[:16].hex(" ")),
        next=msg(
            "mi holds what begins {by} bytes before mi_arg, an address that is a multiple of 4 "
            "only.",
            by=too_early,
        )
        if too_early
        else msg(
            "In this boot flags is 0: the boot loader says of no field that it is valid. All bytes "
            "are copied, whatever flags says."
        )
        if silent and not taken_for_uefi
        else there_is_information(boot)
        if taken_for_uefi
        else "",
        goes_on=silent,
    )


def there_is_information(boot):
    """What to look at when an address of the information was taken for none."""
    return msg(
        "In this boot mi_arg is {address:#x}. The information may be anywhere below 1 GiB; only 0 "
        "means that there is none.",
        address=boot.multiboot.address,
    )


def it_comes_to_a_call(boot):
    """Fail if vmm_main has not come to its first call, at which all this is looked at."""
    if boot.multiboot.copy is None:
        missing(
            "vmm-main-stuck",
            cpu=0,
            place=boot.bsp.end_place.text or "vmm_main",
            step="lab1.1",
            expected=msg("vmm_main copies the information and calls initfunc_init"),
            observed=msg(
                "vmm_main has not come to its first call of the three: the BSP was still here at "
                "the end"
            ),
        )


def nothing_more_is_copied(boot):
    """Fail if what lies behind the original is behind `mi` as well."""
    more = boot.multiboot.overrun
    if more:
        size = len(boot.multiboot.original)
        report(
            boot,
            "lab1.1",
            "mi-copied-too-much",
            seen=True,
            place=msg("the {count} bytes after mi", count=more),
            expected=msg("{size} bytes are copied", size=size),
            observed=msg("at least {size} bytes are copied", size=size + more),
        )


def mi_stays_as_it_is(boot):
    """Fail if vmm_main has changed `mi` after initfunc_init."""
    before, after = boot.multiboot.after_sort, boot.multiboot.later
    if boot.multiboot.changed_at is not None:
        report(
            boot,
            "lab1.1",
            "mi-changed",
            seen=True,
            place=msg("vmm_main, mi + {offset}", offset=boot.multiboot.changed_at),
            expected=msg("mi stays as it is when it has been copied"),
            observed=msg(
                "mi was right when call_initfunc was called; when start_all_processors was called, "
                "byte {offset} had another value",
                offset=boot.multiboot.changed_at,
            ),
            goes_on=True,
        )
    if before == boot.multiboot.original and after not in (None, before):
        where = first_difference(before, after)
        report(
            boot,
            "lab1.1",
            "mi-changed",
            seen=True,
            place=msg("vmm_main, mi + {offset}", offset=where),
            expected=msg("mi stays as it is when it has been copied"),
            observed=msg(
                "mi was right when initfunc_init returned; at the next call byte {offset} is "
                "{value:#04x} instead of {right:#04x}",
                offset=where,
                value=after[where],
                right=before[where],
            ),
        )


def with_pointer(boot):
    """What vmm_main gets when UEFI has started the VMM, or else a Multiboot loader."""
    if boot.scenario == UEFI.name:
        return msg("no multiboot pointer")
    if boot.scenario == SHUFFLED.name:
        return msg("a multiboot pointer and flags = 0")
    return msg("a multiboot pointer")


def with_and_without_pointer(boots):
    """Each boot, and whether UEFI has started it."""
    for boot in boots:
        yield with_pointer(boot), boot, boot.scenario == UEFI.name


@check("lab1.mi.uefi", BOOT, SHUFFLED, UEFI, per=with_and_without_pointer)
def uefi_booted_is_right(boots, boot, uefi):
    """`uefi_booted` is false with multiboot information and true without; nothing is read at 0."""
    value = needed(boot.multiboot).uefi_booted
    decided = value in (0, 1)
    if value != uefi:
        it_comes_to_a_call(boot)
        report(
            boot,
            "lab1.1",
            "uefi-booted-wrong",
            seen=value is not None,
            place=FIRST_CALL,
            expected=msg(
                "with {how}: uefi_booted = {value}",
                how=with_pointer(boot),
                value=str(uefi).lower(),
            ),
            observed=f"uefi_booted = {bool(value)}".lower()
            if decided
            else msg("uefi_booted was not set before the first call"),
            next=why_uefi_booted(boot, uefi, decided),
        )
    seen, before = boot.multiboot, boot.multiboot.before
    at_once = seen.copy != before
    if uefi and (at_once or (seen.after_sort == before and seen.later not in (None, before))):
        fail(
            "mi-copied-from-0",
            cpu=0,
            place="vmm_main",
            expected=msg("mi is unchanged when mi_arg is 0"),
            observed=msg("mi was written to")
            if at_once
            else msg("mi was written to after the first call"),
            next=""
            if at_once
            else msg("At the first call nothing was wrong. What does vmm_main write to mi later?"),
        )
    if uefi and boot.multiboot.read_at_0 is not None:
        fail(
            "information-read-at-0",
            cpu=0,
            place=boot.multiboot.read_at_0.text,
            expected=msg("without a multiboot pointer, nothing is read at address 0"),
            observed=msg("vmm_main has used memory at an address from 0 to 87"),
        )


def why_uefi_booted(boot, uefi, decided):
    """What to look at when `uefi_booted` is wrong, or nothing has decided it."""
    if not decided and boot.multiboot.uefi_booted_later in (0, 1):
        return msg("It is set after initfunc_init only. Set it before the three calls.")
    if not decided:
        return msg("Assign uefi_booted in both cases: its previous value is undefined.")
    if uefi:
        return msg("A UEFI loader passes no multiboot information, so mi_arg is 0.")
    if boot.scenario == SHUFFLED.name:
        return msg(
            "Only mi_arg says how the machine was booted, and it is {address:#x} here. What it "
            "points to may say of no field that it is valid.",
            address=boot.multiboot.address,
        )
    return msg(
        "mi_arg is {address:#x} here, and not 0: a Multiboot loader has booted the machine, not "
        "UEFI. What uefi_booted held before does not count.",
        address=boot.multiboot.address,
    )


# --- lab1.2: what vmm_main calls ------------------------------------------------------------------


@check("lab1.main.initfunc_init", BOOT, UEFI, per="boot", after="lab1.mi.copied")
def initfunc_init_comes_first(boot):
    """After the copy, vmm_main calls initfunc_init before call_initfunc, however it was booted."""
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
    if boot.scenario == UEFI.name:
        global_is_called(boot)


# --- lab1.3: the records are sorted ---------------------------------------------------------------


@check("lab1.initfunc.sorted", BOOT, SHUFFLED, per="boot", after="lab1.main.initfunc_init")
def records_are_sorted(boot):
    """initfunc_init sorts the records in place by id, and by file name where ids are equal."""
    linked, found = needed(boot.multiboot).linked, boot.multiboot.sorted
    if found is not None:
        only_the_records_change(boot)
    the_boot_stack_is_enough(boot)
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
    out_of_order = sum(one > two for one, two in pairwise(keys))
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
                next=only_so_many_are_sorted(linked, found)
                or why_out_of_order(out_of_order, len(keys), one, two),
            )
    nothing_is_written_behind(boot)
    the_records_were_sorted_in_place(boot)


def nothing_is_written_behind(boot):
    """Fail if initfunc_init has changed what lies behind the last record."""
    before, after = boot.multiboot.behind or b"", boot.multiboot.behind_later or b""
    if len(before) == len(after) and before != after:
        where = first_difference(before, after)
        fail(
            "written-behind-the-records",
            cpu=0,
            place=msg("initfunc_init, __initfunc_end + {offset}", offset=where),
            expected=msg("initfunc_init writes to the records only"),
            observed=msg(
                "the records are in order, but memory behind the last one has changed: {bytes} …",
                bytes=after[where : where + 8].hex(" "),
            ),
            goes_on=True,
        )


def beyond_ascii(one, two):
    """Whether one of the first characters that differ, of two keys, is beyond ASCII."""
    first, second = next(pair for pair in zip(one, two) if pair[0] != pair[1])
    differ = next((pair for pair in zip(first, second) if pair[0] != pair[1]), ())
    return any(not character.isascii() for character in differ)


def only_so_many_are_sorted(linked, found):
    """What to look at if no more records are sorted than a byte can count; "" if that is not so."""
    count, few = len(found), len(found) & BYTE
    keys = [row.key for row in found[:few]]
    if count > BYTE and keys == sorted(keys) and found[few:] == linked[few:]:
        return msg(
            "The first {few} of the {count} records are in order, and the others are where they "
            "were. {count} in a byte is {few}.",
            few=few,
            count=count,
        )
    return ""


def why_out_of_order(wrong, count, one, two):
    """What two wrong neighbours, and their number, say about a sort, as the next step."""
    if beyond_ascii(one, two):
        return msg(
            "Where the two texts differ, one of them has a byte above 127. strcmp compares "
            "unsigned char; to a signed char such a byte is less than 0."
        )
    if one[0] == two[0] and one[1].rpartition("/")[2] <= two[1].rpartition("/")[2]:
        return msg(
            "The order would be right if only what follows the last / of a file name counted. "
            "Compare the whole names."
        )
    if wrong == 1 and count > MANY:
        return msg(
            "All other neighbours are in order, so the comparison is probably right. Do "
            "the loops reach each record, the first and the last one as well?"
        )
    if wrong * FEW <= count:
        return msg(
            "Only {wrong} of {count} neighbours are in the wrong order, so the comparison is "
            "probably right. Does the sort stop too early? It is done when a whole pass over "
            "neighbours exchanges nothing.",
            wrong=wrong,
            count=count,
        )
    return ""


def the_records_were_sorted_in_place(boot):
    """Fail if many records, or pointers to records, were left in variables of the lab."""
    copies = boot.multiboot.copies
    if copies < MANY:
        return
    fail(
        "records-sorted-elsewhere",
        cpu=0,
        place="initfunc_init",
        expected=msg("the records are sorted in place, however many there are"),
        observed=msg(
            "the array is in order, but {copies} records, or pointers to records, are in variables "
            "of lab 1",
            copies=copies,
        ),
        goes_on=True,
    )


def the_boot_stack_is_enough(boot):
    """Fail if initfunc_init has written beyond the end of the boot stack."""
    if boot.multiboot.stack_overflowed:
        fail(
            "boot-stack-overflow",
            cpu=0,
            place="initfunc_init",
            expected=msg(
                "initfunc_init sorts {count} records on the boot stack, which has 8 KiB",
                count=len(boot.multiboot.linked),
            ),
            observed=msg("it has written below the end of the boot stack"),
        )


def only_the_records_change(boot):
    """Fail if initfunc_init has changed `mi`, which was right before."""
    before, after = boot.multiboot.copy, boot.multiboot.after_sort
    if after is not None and before == boot.multiboot.original != after:
        where = first_difference(before, after)
        fail(
            "mi-overwritten",
            cpu=0,
            place=msg("initfunc_init, mi + {offset}", offset=where),
            expected=msg("initfunc_init changes nothing but the records"),
            observed=msg(
                "mi was right before the call; now byte {offset} is {value:#04x} instead of "
                "{right:#04x}",
                offset=where,
                value=after[where],
                right=before[where],
            ),
        )


def nothing_is_sorted(boot):
    """Fail unless vmm_main comes to start_all_processors when no function is registered."""
    changes_nothing = msg("without any record, initfunc_init returns and changes nothing")
    if boot.first("call_initfunc") is None:
        report(
            boot,
            "lab1.3",
            "initfunc-init-does-not-return",
            seen=True,
            place=boot.bsp.exception.place.text if boot.bsp.exception else "initfunc_init",
            expected=changes_nothing,
            observed=msg("call_initfunc was never called"),
            next=NONE,
        )
    seen = needed(boot.multiboot)
    if seen.behind != seen.behind_later:
        fail(
            "records-lost",
            cpu=0,
            place=msg("initfunc_init, the section .initfunc"),
            expected=changes_nothing,
            observed=msg("it has changed memory from __initfunc_start on, where no record is"),
            next=NONE,
        )
    if boot.first("start_all_processors") is None:
        report(
            boot,
            "lab1.4",
            "call-initfunc-does-not-return",
            seen=True,
            place=boot.bsp.exception.place.text if boot.bsp.exception else "call_initfunc",
            expected=msg("without any record, call_initfunc calls no function and returns"),
            observed=msg("it did not return"),
            next=NONE,
        )


def record(row):
    """A record of .initfunc as a message shows it."""
    return str((row.id, row.file, row.function))


def what_was_lost(linked, found):
    """What was seen, and where to look, when sorting has changed the records themselves."""
    lost = Counter(linked) - Counter(found)
    gone = record(needed(next((row for row in linked if row in lost), None)))
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
            other=record(needed(next(iter(came), None))),
        ),
        msg(
            "Swap whole records, and store the one that you have saved back into the "
            "array. Does a loop run one record past __initfunc_end?"
        ),
    )


# --- lab1.4: the functions run --------------------------------------------------------------------


def each_unless_calls_share(boots):
    """Each boot, if calls share no variable: what comes of that with several CPUs is luck.

    What one CPU alone does wrong is the same in each run, and says more.
    """
    for boot in boots:
        done = {row.function for _, row in ran(boot)}
        rows = boot.multiboot.linked if boot.multiboot else ()
        alone = [row for row in rows if row.id.startswith(ALONE)]
        if all(row.function in done for row in alone):
            calls_share_nothing(boot)
    yield from ((boot.scenario, boot) for boot in boots)


@check(
    "lab1.initfunc.prefix",
    BOOT,
    SHUFFLED,
    per=each_unless_calls_share,
    after="lab1.initfunc.sorted",
)
def ids_are_matched_by_prefix(boots, boot):
    """call_initfunc runs every function whose id begins with the given text, and no other."""
    functions_run_as_asked(boot)


def functions_run_as_asked(boot):
    """Fail unless the calls of call_initfunc that were seen ran what they were asked for."""
    global_is_called(boot)
    if not boot.first("call_initfunc returned"):
        nothing_is_read_past_the_end(boot)
        the_inner_call_returns(boot)
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
            next=msg(
                "Does your loop end at __initfunc_end? There are {count} records: can your counter "
                "hold that number?",
                count=len(boot.multiboot.linked),
            )
            if again and len(boot.multiboot.linked) > BYTE
            else "",
        )
    functions_asked_for_ran(boot)
    each_cpu_ran_its_own(boot)
    records_are_only_read(boot)


def calls_share_nothing(boot):
    """Fail if a call of call_initfunc ran other functions because another call came between."""
    mixed = boot.multiboot.mixed if boot.multiboot else None
    if mixed is None:
        return
    ids = {row.function: row.id for row in boot.multiboot.linked}
    fail(
        "calls-share-variables",
        cpu=0,
        place=mixed.at.text,
        expected=msg(
            'call_initfunc ("{text}") calls the function of "{id}" next, even if another CPU calls '
            "call_initfunc in between",
            text=mixed.text,
            id=ids[mixed.alone],
        )
        if mixed.alone in ids
        else msg(
            'call_initfunc ("{text}") has called all its functions and returns, even if another '
            "CPU calls call_initfunc in between",
            text=mixed.text,
        ),
        observed=msg(
            'a variable was stored here; call_initfunc ("{other}") came in between; then the first '
            'call went on with the function of "{id}"',
            other=mixed.other,
            id=ids[mixed.found],
        )
        if mixed.found in ids
        else msg(
            'a variable was stored here; call_initfunc ("{other}") came in between; then the first '
            "call returned",
            other=mixed.other,
        )
        if mixed.found
        else msg(
            'a variable was stored here; call_initfunc ("{other}") came in between; then the first '
            "call neither called a function nor returned",
            other=mixed.other,
        ),
        goes_on=True,
    )


def global_is_called(boot):
    """Fail if vmm_main goes on without any call of call_initfunc."""
    start = boot.first("start_all_processors")
    if not boot.at("call_initfunc") and start is not None:
        report(
            boot,
            "lab1.2",
            "global-not-called",
            seen=True,
            place="vmm_main",
            expected='call_initfunc ("global")',
            observed=msg("start_all_processors was called, and call_initfunc was not"),
        )


def records_are_only_read(boot):
    """Fail if a record was not what it had been when one of the functions began."""
    function = boot.multiboot.changed_for
    if function:
        row = needed(next((row for row in boot.multiboot.linked if row.function == function), None))
        fail(
            "records-written",
            cpu=0,
            place=msg('call_initfunc, id "{id}"', id=row.id),
            expected=msg("call_initfunc only reads the records: other CPUs read them, too"),
            observed=msg(
                'when the function of "{id}" began, the records were not as initfunc_init had left '
                "them",
                id=row.id,
            ),
        )


def nothing_is_read_past_the_end(boot):
    """Fail if a call of call_initfunc had run all functions, and then an exception ended it."""
    taken, counted = boot.bsp.exception, runs(boot)
    on_bsp = [call for call, _ in counted if call.cpu == 0]
    if taken is None or not on_bsp or taken.place.lab_function != "call_initfunc":
        return
    call = on_bsp[-1]  # the one that ran the latest function
    wanted = [row for row in boot.multiboot.linked if row.id.startswith(call.text)]
    if all(counted[call, row] for row in wanted):
        fail(
            "records-read-past-the-end",
            cpu=0,
            place=taken.place.text,
            expected=msg("call_initfunc stops at __initfunc_end"),
            observed=msg(
                'all {count} functions of "{text}" had run; then exception {vector}, at address '
                "{address:#x}",
                count=len(wanted),
                text=call.text,
                vector=taken.vector,
                address=taken.cr2,
            ),
        )


def the_inner_call_returns(boot):
    """Fail if an init function called call_initfunc and nothing came of that."""
    inner = next((hit for hit in boot.at("call_initfunc") if hit.text == NESTED), None)
    if inner is None:
        return
    counted = runs(boot)
    rows = [row for row in boot.multiboot.linked if row.id.startswith(NESTED)]
    if not all(counted[inner, row] for row in rows):
        report(
            boot,
            "lab1.4",
            "inner-call-hangs",
            seen=boot.bsp.exception is None,
            place=msg('call_initfunc ("{text}"), called by an init function', text=NESTED),
            expected=msg("it runs its {count} functions and returns", count=len(rows)),
            observed=msg(
                "{count} functions ran, and it did not return",
                count=sum(1 for row in rows if counted[inner, row]),
            ),
        )


def functions_asked_for_ran(boot):
    """Fail unless the functions that ran are those whose ids begin with a given text."""
    done = {row.function for _, row in ran(boot)}
    asked = list(dict.fromkeys(hit.text for hit in boot.at("call_initfunc")))
    rows = boot.multiboot.linked
    # The same in each run first: other calls are made on several CPUs at the same time.
    for row in sorted(rows, key=lambda row: (not row.id.startswith(ALONE), row.key)):
        text = next((text for text in asked if row.id.startswith(text)), None)
        if text is not None and row.function not in done:
            if text == "global":
                the_inner_call_leaves_the_outer_one_alone(boot, row)
            fail(
                "init-function-missed",
                cpu=0,
                place=msg(
                    'call_initfunc ("{text}"), id "{id}" of {file}',
                    text=text,
                    id=row.id,
                    file=row.file,
                ),
                expected=msg('the function registered with "{id}" runs', id=row.id),
                observed=msg("it never ran"),
                next=msg(
                    'call_initfunc ("{text}") was called by an init function, while '
                    'call_initfunc ("{outer}") ran: each call runs the functions that it asks for.',
                    text=text,
                    outer="global",
                )
                if text == NESTED
                else msg(
                    "Another function is registered with the same id and the same file name, and "
                    "it ran. Both must run: keys do not tell the records apart."
                )
                if any(row.key == one.key and one.function in done for one in rows)
                else msg(
                    'call_initfunc ("{text}") means every function whose id begins with "{text}".',
                    text=text,
                ),
            )
        if text is None and row.function in done:
            fail(
                "init-function-uncalled-for",
                cpu=0,
                place=msg('call_initfunc, id "{id}"', id=row.id),
                expected=msg(
                    'the function registered with "{id}" does not run: no call asks for it',
                    id=row.id,
                ),
                observed=msg('call_initfunc ("{text}") ran it', text=text)
                if (text := ran_by(boot, row))
                else msg("it ran"),
                next=why_uncalled_for(row.id, text),
            )


def the_inner_call_leaves_the_outer_one_alone(boot, missed):
    """Fail if all functions of "global" ran up to the one that made a call itself, and none after.

    Args:
        boot: the boot.
        missed: the first function of "global" that never ran.
    """
    if not any(hit.text == NESTED for hit in boot.at("call_initfunc")):
        return
    done = {row for _, row in ran(boot)}
    rows = [row for row in boot.multiboot.linked if row.id.startswith("global")]
    later = {row for row in rows if row.id > NESTING}
    if missed.id > NESTING and not done & later:
        fail(
            "inner-call-loses-the-place",
            cpu=0,
            place=msg('call_initfunc ("{text}"), id "{id}"', text="global", id=missed.id),
            expected=msg('after the inner call, the call with "global" goes on where it was'),
            observed=msg(
                'the function of "{nesting}" called call_initfunc ("{text}"); after that, no '
                'function of "global" ran',
                nesting=NESTING,
                text=NESTED,
            ),
        )


def ran_by(boot, row):
    """The text of the call that ran a function which no call asked for; "" if that is not known."""
    return next((call.text for call, one in runs(boot) if one == row), "")


def why_uncalled_for(ident, text):
    """What is wrong with the comparison that took an id for one that was asked for; "" if unknown.

    Args:
        ident: the id of the function that ran.
        text: what call_initfunc was given then.
    """
    if text.startswith(ident):
        return msg(
            'All of "{id}" was compared, but not all of "{text}": compare as many characters '
            "as the argument has.",
            id=ident,
            text=text,
        )
    if text and text in ident:
        return msg('"{id}" contains "{text}", but does not begin with it.', id=ident, text=text)
    return ""


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
    counted = runs(boot)
    for call in boot.at("call_initfunc"):
        asked = call.text
        if call.cpu or asked not in ("global", "bsp", NESTED):
            continue
        keys = [row.key for by, row in counted if by == call]
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
    for (call, row), times in runs(boot).items():
        if times > 1:
            fail(
                "init-function-run-twice",
                cpu=call.cpu,
                place=msg('call_initfunc, id "{id}" of {file}', id=row.id, file=row.file),
                expected=msg("it runs once"),
                observed=msg("it ran {times} times on CPU {cpu}", times=times, cpu=call.cpu),
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
    vmm_main_calls_nothing_else(boot, start)
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


def vmm_main_calls_nothing_else(boot, start):
    """Fail if vmm_main has called initfunc_init or call_initfunc more often than once.

    Args:
        boot: the boot.
        start: the stop at start_all_processors.
    """
    made = [hit for hit in boot.hits if hit.cpu == 0 and hit.order < start.order]
    call_initfunc_does_not_sort(boot, made)
    calls = [
        f'{hit.place} ("{hit.text}")' if hit.text else f"{hit.place} ()"
        for hit in made
        if hit.place in ("initfunc_init", "call_initfunc") and hit.text != NESTED
    ]
    if len(calls) > 2:
        report(
            boot,
            "lab1.2",
            "vmm-main-calls-more",
            seen=True,
            place="vmm_main",
            expected=msg('initfunc_init (), call_initfunc ("global"), start_all_processors'),
            observed=msg("before start_all_processors: {calls}", calls=listed(calls)),
        )


def call_initfunc_does_not_sort(boot, made):
    """Fail if call_initfunc has called initfunc_init.

    Args:
        boot: the boot.
        made: the stops of the BSP before start_all_processors.
    """
    first, back = boot.first("call_initfunc"), boot.first("call_initfunc returned")
    inside = range(first.order, back.order if back else first.order)
    again = sum(hit.place == "initfunc_init" and hit.order in inside for hit in made)
    if again:
        report(
            boot,
            "lab1.4",
            "call-initfunc-sorts",
            seen=True,
            place='call_initfunc ("global")',
            expected=msg("call_initfunc only reads the records, which are sorted already"),
            observed=msg(
                "before it returned, it had called initfunc_init; calls: {count}", count=again
            ),
        )

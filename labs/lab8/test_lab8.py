"""Lab 8: nested paging, which gives the guests their memory and hides that of the VMM."""

from functools import partial

from vmmlab import checks
from vmmlab.checks import fail, fail_if, missing, msg, needed
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.observe.guest import CpuGuest
from vmmlab.probes.scenario import scenario_of
from vmmlab.x86.vmcb import VMEXIT_NPF

from .maps import FOUR_GIB, FOUR_KIB, ONE_GIB, TWO_MIB, Piece, differences, wanted, within, without
from .probes import APIC, DONE, Nested

GUEST = "guest/bios.S"
FLUSH_ALL = 1
VMM_BASE = 0x40000000


def nested(**setup):
    """Return a scenario of this lab's own probe, with a machine that can run guests."""
    return scenario_of("nested", {"svm": True, "guest_image": GUEST, "by": "bsp", **setup})


# The memory of the VMM ends at the end of a page, but not at that of 2 MiB.
TWO = nested(name="two", cpus=2, tail=0x5000)
# It ends within a page; other numbers in cohort.h, and no optimisation.
THERE = nested(
    name="there", cpus=1, tail=0x1FA400, memory_mib=96, cohort="other", opt="-O0", look="last"
)
# It ends at the end of 2 MiB.
EVEN = nested(name="even", cpus=1, tail=0, memory_mib=48, look="root", shuffle=3)
CALLS = nested(name="calls", cpus=1, calls=True)

check = partial(checks.check, todo_of_any_cpu=True)


def seen(boot):
    """What the lab's probe recorded."""
    return boot.lab or Nested()


def after(boot, function):
    """Return the tables after a function; fail if it did not return."""
    tables = seen(boot).after.get(function)
    if tables is None:
        expected = msg("{function} returns", function=function)
        fail_if(stopped_at_todo(boot), expected=expected)
        missing(
            "did-not-return",
            cpu=0,
            place=function,
            expected=expected,
            observed=msg("the BSP ended at {place}", place=boot.bsp.end_place.text),
        )
    return tables


def then(boot, function):
    """Return the tables with which the next function begins."""
    return seen(boot).mended.get(function) or after(boot, function)


def says(piece, guest):
    """What a map has at an address, in words."""
    if piece is None:
        return msg("nothing is present at {guest:#x}", guest=guest)
    host = piece.host + guest - piece.guest
    if not piece.user:
        rights = msg("not for user code")
    elif not piece.executable:
        rights = msg("not executable")
    elif piece.writable:
        rights = msg("writable")
    else:
        rights = msg("read-only")
    return msg("{guest:#x} leads to {host:#x}, {rights}", guest=guest, host=host, rights=rights)


# --- lab8.1: the identity map ---------------------------------------------------------------------


@check("lab8.init.tables", TWO, also=THERE)
def tables_belong_to_the_vmm(boot):
    """The PML4 and all tables are pages of the VMM's memory, each used once and cleared."""
    tables = after(boot, "np_init")
    root = tables.root
    what = msg("np_init returns {root:#x}", root=root)
    if root & 0xFFF or root >= VMM_BASE:
        fail(
            "root-virtual" if root >= VMM_BASE else "root-not-aligned",
            place="np_init",
            expected=msg("the physical address of a page"),
            observed=what,
        )
    tables_are_own_pages(boot, "np_init", tables)
    for one in tables.pieces:
        if one.end > FOUR_GIB:
            fail(
                "table-not-cleared",
                place="np_init",
                expected=msg("nothing is present at and above 4 GiB"),
                observed=says(one, max(one.guest, FOUR_GIB)),
                goes_on=True,
            )


def tables_are_own_pages(boot, function, tables, call=0, excused=()):
    """Fail unless each table is a page of the VMM, and each entry leads to another one.

    Args:
        boot: the boot.
        function: which has made the tables.
        tables: all of them.
        call: which call of it, from 1; 0: the only one.
        excused: tables that an earlier function has made.
    """
    start, end = seen(boot).start, seen(boot).end
    known = set()
    for guest, table in ((0, tables.root), *tables.tables):
        where = msg("the table for {guest:#x} is at {table:#x}", guest=guest, table=table)
        if guest >= FOUR_GIB:
            fail(
                "table-not-cleared",
                place=function,
                call=call,
                expected=msg("nothing is present at and above 4 GiB"),
                observed=where,
                goes_on=True,
            )
        if not start <= table < end:
            virtual = start <= table - VMM_BASE < end
            fail(
                "table-virtual" if virtual else "table-not-of-the-vmm",
                place=function,
                call=call,
                expected=msg(
                    "all tables are in memory of the VMM, {start:#x} to {end:#x}",
                    start=start,
                    end=end - 1,
                ),
                observed=where,
                goes_on=function in seen(boot).mended,
            )
        if table in known:
            fail(
                "table-used-twice",
                place=function,
                call=call,
                expected=msg("each entry leads to a table of its own"),
                observed=msg("two entries lead to the table at {table:#x}", table=table),
                goes_on=function in seen(boot).mended,
            )
        small = [
            one
            for one in boot.bsp.allocations
            if one.address - VMM_BASE == table and one.size < FOUR_KIB and table not in excused
        ]
        if small:
            fail(
                "table-too-small",
                place=function,
                expected=msg("each table is a page of {size} bytes", size=FOUR_KIB),
                observed=msg(
                    "{where}, which alloc ({size}) has returned", size=small[0].size, where=where
                ),
                goes_on=True,
            )
        known.add(table)


@check("lab8.init.identity", TWO, also=THERE, after="lab8.init.tables")
def memory_is_where_it_is(boot):
    """Every guest-physical address below 4 GiB leads to the same host-physical address."""
    pieces = after(boot, "np_init").pieces
    right = Piece(0, 0, FOUR_GIB, 0, writable=True, user=True, executable=True)
    for first, _, found in unlike(right, of_the_guest(boot, pieces), of_the_guest(boot, [right])):
        if found is None or found.host != first:
            fail(
                "not-mapped" if found is None else "leads-elsewhere",
                place="np_init",
                expected=msg("{guest:#x} leads to {host:#x}", guest=first, host=first),
                observed=says(found, first),
                goes_on="np_init" in seen(boot).mended,
            )


def of_the_guest(boot, pieces):
    """The pieces outside of the VMM's memory, which may be hidden already."""
    return without(pieces, *hidden_range(boot))


def hidden_range(boot):
    """The first address of the VMM's memory and the one after it, in whole pages."""
    start, end = seen(boot).start, seen(boot).end
    return start & ~(FOUR_KIB - 1), (end + FOUR_KIB - 1) & ~(FOUR_KIB - 1)


def unlike(right, found, expected):
    """Where a map below 4 GiB differs from what is expected: first address, end, what it has."""
    for first, end, _, piece in differences(expected, found):
        if first < right.end:
            yield first, end, piece


@check("lab8.init.rights", TWO, also=THERE, after="lab8.init.identity")
def guest_may_do_everything(boot):
    """The guest may read, write and execute there: its accesses are those of user code."""
    for one in of_the_guest(boot, after(boot, "np_init").pieces):
        lacking = next((cause for cause, has in rights_of(one) if not has), None)
        if lacking and not (lacking == "not-writable" and one.guest == APIC):
            fail(
                lacking,
                place="np_init",
                expected=msg(
                    "user code may read, write and execute {first:#x} to {last:#x}",
                    first=one.guest,
                    last=one.end - 1,
                ),
                observed=says(one, one.guest),
                goes_on=lacking != "not-for-user-code" or "np_init" in seen(boot).mended,
            )


def rights_of(piece):
    """The cause for each right that is missing, and whether it is there."""
    return (
        ("not-for-user-code", piece.user),
        ("not-writable", piece.writable),
        ("not-executable", piece.executable),
    )


@check("lab8.init.pages", TWO, also=THERE, after="lab8.init.rights")
def pages_have_two_mebibytes(boot):
    """The pages are of 2 MiB, and no bit of an entry is set that must be 0."""
    tables = after(boot, "np_init")
    bits_are_zero("np_init", tables)
    first, end = hidden_range(boot)
    excused = {APIC // TWO_MIB, first // TWO_MIB, (end - 1) // TWO_MIB}
    for one in tables.pieces:
        if one.page == FOUR_KIB and one.size >= TWO_MIB and one.guest // TWO_MIB not in excused:
            fail(
                "page-of-4-kib",
                place="np_init",
                expected=msg("pages of 2 MiB"),
                observed=msg(
                    "pages of 4 KiB from {first:#x} to {last:#x}",
                    first=one.guest,
                    last=one.end - 1,
                ),
            )


def bits_are_zero(function, tables, call=0, done=None):
    """Fail for a page of 1 GiB, and for an entry with bits that must be 0.

    Args:
        function: which has set them.
        tables: all of them.
        call: which call of it, from 1; 0: the only one.
        done: the tables before it; what is there already is not its own.
    """
    for one in tables.pieces:
        if one.page == ONE_GIB:
            fail(
                "page-of-1-gib",
                place=function,
                call=call,
                expected=msg("pages of 2 MiB or 4 KiB"),
                observed=msg("a page of 1 GiB at {guest:#x}", guest=one.guest),
            )
    for one in tables.strange:
        if one.guest >= FOUR_GIB or (done is not None and one in done.strange):
            continue  # above 4 GiB nothing may be there at all
        fail(
            "bits-not-zero",
            place=function,
            call=call,
            expected=msg(
                "bits {bits:#x} of an entry of level {level} are 0",
                bits=one.bits,
                level=one.level,
            ),
            observed=msg(
                "the entry for {guest:#x} is {entry:#x}", guest=one.guest, entry=one.entry
            ),
            goes_on=True,
        )


# --- lab8.2: changes ------------------------------------------------------------------------------


def calls_of(boot):
    """Each call of np_map by the grader, with the tables before and after it."""
    before = seen(boot).first
    if before is None:
        after(boot, "np_init")
    for one in seen(boot).calls:
        if one.after is None:
            expected = msg("{call} returns", call=one.change.text)
            fail_if(stopped_at_todo(boot), expected=expected)
            missing(
                "did-not-return",
                cpu=0,
                place="np_map",
                expected=expected,
                observed=msg("the BSP ended at {place}", place=boot.bsp.end_place.text),
            )
        yield one.change, before, one.after
        before = one.after


def all_returned(boot):
    """Whether each call of np_map has returned: where the VMM calls it, the grader's runs."""
    return all(one.after is not None for one in seen(boot).calls)


@check("lab8.map.changed", CALLS, after="lab8.init.identity")
def map_changes_what_it_should(boot):
    """After np_map each page of the range leads where it should, or nowhere, with its rights."""
    changed_as_asked(boot)


def changed_as_asked(boot):
    """Fail for the first call of np_map that has not changed its range as asked."""
    earlier = []
    for number, (change, before, now) in enumerate(calls_of(boot), 1):
        area = (change.gpa, change.end)
        found = within(now.pieces, *area)
        same = not any(differences(before.pieces, now.pieces))
        for first, _, want, have in differences(wanted(change), found):
            old = next((o for o in within(before.pieces, *area) if o.guest <= first < o.end), None)
            fail(
                (same and cause_without_effect(change, first, earlier))
                or cause_of_change(change, first, want, have, old),
                place="np_map",
                expected=msg("after {call}: {what}", call=change.text, what=says(want, first)),
                observed=says(have, first),
                call=number,
                goes_on=all_returned(boot),
            )
        earlier.append(change)


def cause_without_effect(change, first, earlier):
    """Name why a call has changed nothing, after calls that were right."""
    if change.end == FOUR_GIB:
        return "four-gib-in-32-bits"
    return "map-without-effect" if made_large(first, earlier) else None


def made_large(guest, changes):
    """Whether one of these changes may have put a page of 2 MiB there, in place of a table."""
    base = guest & -TWO_MIB
    return any(one.present and one.gpa <= base and base + TWO_MIB <= one.end for one in changes)


def leads(piece):
    """How far a piece leads, and whether the guest may write there."""
    return piece.host - piece.guest, piece.writable


def cause_of_change(change, first, want, have, old):
    """Name what is wrong in the range of a change."""
    unchanged = old is not None and have is not None and leads(have) == leads(old)
    if unchanged and first > change.gpa and first % ONE_GIB == 0:
        return "next-directory-not-found"
    if want is None:
        return "still-present"
    if have is None:
        return "page-missing"
    if have.host + first - have.guest == want.host + first - want.guest:
        return "rights-wrong"
    unchanged = old is not None and have.host - have.guest == old.host - old.guest
    return "page-not-changed" if unchanged else "leads-elsewhere"


@check("lab8.map.rest", CALLS, after="lab8.init.identity")
def map_leaves_the_rest(boot):
    """After np_map every page outside of the range leads where it led before, as before."""
    rest_as_before(boot)


def rest_as_before(boot):
    """Fail for the first call of np_map that has changed a page outside of its range."""
    for number, (change, before, now) in enumerate(calls_of(boot), 1):
        area = (change.gpa, change.end)
        old, new = without(before.pieces, *area), without(now.pieces, *area)
        for first, _, want, have in differences(old, new):
            moved = want is None or have is None or want.host != have.host
            fail(
                "neighbour-changed" if moved else "neighbour-rights",
                place="np_map",
                expected=msg(
                    "after {call}: {what}, as before", call=change.text, what=says(want, first)
                ),
                observed=says(have, first),
                call=number,
                goes_on=all_returned(boot),
            )


@check("lab8.map.entries", CALLS, after=["lab8.map.changed", "lab8.map.rest"], strictly=True)
def map_makes_right_tables(boot):
    """The entries and tables that np_map makes are right as those of np_init are."""
    entries_are_right(boot)


def entries_are_right(boot):
    """Fail for the first call of np_map that has left an entry or a table that is not right."""
    for number, (_, _, now) in enumerate(calls_of(boot), 1):
        bits_are_zero("np_map", now, number)
        first = {table for _, table in seen(boot).first.tables}
        tables_are_own_pages(boot, "np_map", now, number, first | {now.root})


# --- lab8.3: the memory of the VMM ----------------------------------------------------------------


@check("lab8.vmm.hidden", TWO, THERE, EVEN, per="boot", after=["lab8.map.changed", "lab8.map.rest"])
def vmm_is_hidden(boot):
    """No guest-physical address leads to the image, the heap or the nested page tables."""
    nothing_leads_to_the_vmm(boot, "np_hide_vmm")


def nothing_leads_to_the_vmm(boot, function):
    """Fail if a guest-physical address leads to memory of the VMM."""
    tables = after(boot, function)
    first, end = hidden_range(boot)
    for one in tables.pieces:
        if one.host < end and first < one.host + one.size:
            host = max(one.host, first)
            guest = one.guest + host - one.host
            fail(
                "vmm-not-hidden" if guest == host else "vmm-by-another-address",
                place=function,
                expected=msg(
                    "nothing leads to {first:#x} to {last:#x}, the memory of the VMM",
                    first=seen(boot).start,
                    last=seen(boot).end - 1,
                ),
                observed=says(one.part(guest, one.end), guest),
                goes_on=function in seen(boot).mended,
            )
    for one in within(tables.pieces, first, end):
        fail(
            "something-else-there",
            place=function,
            expected=msg("nothing is present at {guest:#x}", guest=one.guest),
            observed=says(one, one.guest),
            goes_on=function in seen(boot).mended,
        )


@check("lab8.vmm.exact", TWO, THERE, EVEN, per="boot", after=["lab8.map.changed", "lab8.map.rest"])
def nothing_else_is_hidden(boot):
    """Every page around the memory of the VMM is still there, to the last one."""
    only_the_vmm_is_hidden(boot)


def only_the_vmm_is_hidden(boot):
    """Fail if np_hide_vmm has changed a page that is not of the VMM."""
    before, now = then(boot, "np_init"), after(boot, "np_hide_vmm")
    old, new = of_the_guest(boot, before.pieces), of_the_guest(boot, now.pieces)
    for first, _, want, have in differences(old, new):
        fail(
            "too-much-hidden" if have is None else "page-changed",
            place="np_hide_vmm",
            expected=msg("{what}, as before", what=says(want, first)),
            observed=says(have, first),
            goes_on="np_hide_vmm" in seen(boot).mended,
        )
    if not seen(boot).own_map:  # what np_map sets has a check of its own
        bits_are_zero("np_hide_vmm", now, done=before)


# --- lab8.4: the APIC -----------------------------------------------------------------------------


@check("lab8.apic.readonly", TWO, also=THERE, after=["lab8.vmm.hidden", "lab8.vmm.exact"])
def apic_can_be_read_only(boot):
    """The guest reads the APIC's page and cannot write it; all other pages are as before."""
    before, now = then(boot, "np_hide_vmm"), after(boot, "np_protect_apic")
    on = "np_protect_apic" in seen(boot).mended
    area = (APIC, APIC + FOUR_KIB)
    right = [Piece(APIC, APIC, FOUR_KIB, 0, writable=False, user=True, executable=True)]
    for first, _, want, have in differences(right, within(now.pieces, *area)):
        fail(
            "apic-writable" if have and have.writable else "apic-not-readable",
            place="np_protect_apic",
            expected=says(want, first),
            observed=says(have, first),
            goes_on=on,
        )
    old, new = without(before.pieces, *area), without(now.pieces, *area)
    for first, _, want, have in differences(old, new):
        fail(
            "page-changed",
            place="np_protect_apic",
            expected=msg("{what}, as before", what=says(want, first)),
            observed=says(have, first),
            goes_on=on,
        )
    if not seen(boot).own_map:
        bits_are_zero("np_protect_apic", now, done=before)


# --- lab8.5: the TLB ------------------------------------------------------------------------------


@check("lab8.flush.set", TWO, also=THERE, per="cpu", after="lab8.apic.readonly")
def tlb_is_flushed(boot, cpu):
    """np_flush lets the next VMRUN of its virtual CPU flush the TLB, and changes nothing else."""
    flushed = seen(boot).flushed.get(cpu.index)
    if flushed is None:
        expected = msg("np_flush returns on every CPU")
        fail_if(stopped_at_todo(boot), expected=expected)
        missing(
            "did-not-return",
            cpu=cpu.index,
            place="np_flush",
            expected=expected,
            observed=msg("{cpu} ended at {place}", cpu=cpu.name, place=cpu.end_place.text),
        )
    control = needed(flushed.control)
    if control != FLUSH_ALL:
        fail(
            "flush-by-asid" if control in (3, 7) else "tlb-not-flushed",
            cpu=cpu.index,
            place="np_flush",
            expected=msg("tlb_control = {value:#x}", value=FLUSH_ALL),
            observed=msg("tlb_control = {value:#x}", value=control),
        )
    if all(one.control == FLUSH_ALL for one in seen(boot).flushed.values()):
        flushes_again(cpu, flushed.again)
        flushes_all(cpu, flushed)
    for what, changed in ((msg("the VMCB"), flushed.vmcb), ("*v", flushed.vcpu)):
        if changed:
            fail(
                "flush-changes-more",
                cpu=cpu.index,
                place="np_flush",
                expected=msg("nothing changes but tlb_control"),
                observed=msg(
                    "byte {offset:#x} of {what} has changed", offset=changed[0], what=what
                ),
            )


def flushes_all(cpu, flushed):
    """Fail unless np_flush replaces a flush by ASID, which svm_vminit may have asked for."""
    if flushed.over not in (None, FLUSH_ALL):
        fail(
            "flush-added",
            cpu=cpu.index,
            place="np_flush",
            expected=msg(
                "tlb_control = {value:#x}, if it was {held:#x} before, too",
                value=FLUSH_ALL,
                held=flushed.held,
            ),
            observed=msg("tlb_control = {value:#x}", value=flushed.over),
            goes_on=True,
        )


def flushes_again(cpu, control):
    """Fail unless np_flush does the same when it is called after another change."""
    expected = msg("tlb_control = {value:#x} after a second call, too", value=FLUSH_ALL)
    if control is None:
        missing(
            "did-not-return",
            cpu=cpu.index,
            place="np_flush",
            expected=expected,
            observed=msg("{cpu} ended at {place}", cpu=cpu.name, place=cpu.end_place.text),
        )
    if control != FLUSH_ALL:
        fail(
            "flush-only-once",
            cpu=cpu.index,
            place="np_flush",
            expected=expected,
            observed=msg("tlb_control = {value:#x}", value=control),
        )


# --- a guest that looks for the VMM ---------------------------------------------------------------


@check("lab8.guest.searches", TWO, THERE, EVEN, per="boot", after="lab8.flush.set")
def guest_finds_nothing(boot):
    """A guest runs as before; when it looks for the VMM, it exits, and the exit has the address."""
    exits_at_the_vmm(boot)


def exits_at_the_vmm(boot):
    """Fail unless the BSP's guest exits with the address at which it looked for the VMM."""
    looked = seen(boot).looked
    expected = msg("the guest exits with VMEXIT_NPF when it has read memory of the VMM")
    if looked is None:
        fail_if(stopped_at_todo(boot), expected=expected)
        needed(looked, boot=boot)
    faults = [(cpu, one) for cpu in boot.cpus for one in faults_of(boot, cpu)]
    if not faults:
        found = boot.at(DONE, 0)
        report = fail if found else missing
        report(
            "vmm-found" if found else "guest-did-not-get-there",
            cpu=0,
            place=msg("guest"),
            expected=expected,
            observed=msg("it has read {address:#x}, and went on", address=looked)
            if found
            else msg("the BSP ended at {place}", place=boot.bsp.end_place.text),
        )
    cpu, fault = faults[0]
    if cpu.index or fault.info2 != looked:
        fail(
            "guest-lacks-memory",
            cpu=cpu.index,
            place=msg("guest, RIP {rip:#x}", rip=fault.rip),
            expected=msg("only the BSP's guest exits, EXITINFO2 = {address:#x}", address=looked),
            observed=msg("EXITINFO2 = {address:#x}", address=fault.info2),
        )


def faults_of(boot, cpu):
    """The nested page faults of a CPU's guest."""
    guest = boot.guests[cpu.index] if cpu.index < len(boot.guests) else CpuGuest()
    return guest.exits_with(VMEXIT_NPF)

"""Known-wrong solutions of lab 4: which ones the explorer must find, and why not the others."""

from pathlib import Path

import pytest

from vmmlab.author import mutants
from vmmlab.checks.causes import Causes
from vmmlab.course.load import load_course
from vmmlab.explore.harness import GENERAL
from vmmlab.i18n.translate import Reader

COURSE = load_course(Path(__file__).parents[3])
ALL = {one.id: one for one in mutants.load(COURSE, ["lab4"])}

# Mutants that must be found, with the kind of violation.
FOUND = {
    "lab4.enter.lock-of-the-pointer": "never-completes",
    "lab4.enter.wrong-way": "boot-stack-shared",
    "lab4.enter.waits-for-ever": "never-completes",
    "lab4.enter.takes-what-it-finds": "boot-stack-shared",
    "lab4.enter.never-looks-again": "never-completes",
    "lab4.enter.stops": "never-completes",
    "lab4.enter.calls-back": "cpu-died",
    "lab4.enter.saves-a-register": "cpu-died",
    "lab4.enter.to-apinitproc1": "boot-stack-shared",
    "lab4.enter.allocates-itself": "stackaddr-wrong",
    "lab4.lock.none": "boot-stack-shared",
    "lab4.lock.not-looked-at": "boot-stack-shared",
    "lab4.lock.store-only": "boot-stack-shared",
    "lab4.lock.no-lock-prefix": "boot-stack-shared",
    "lab4.lock.cmpxchg-no-prefix": "boot-stack-shared",
    "lab4.lock.one-spin": "boot-stack-shared",
    "lab4.lock.own-copy": "boot-stack-shared",
    "lab4.first.static": "stack-shared",
    "lab4.first.one-page": "stack-outside",
    "lab4.first.base": "stack-outside",
    "lab4.first.calls": "boot-stack-shared",
    "lab4.first.locks-again": "never-completes",
    "lab4.first.jumps-only": "boot-stack-shared",
    "lab4.first.all-at-once": "boot-stack-shared",
    "lab4.first.currentcpu": "currentcpu-too-early",
    "lab4.own.once-for-all": "stack-shared",
    "lab4.own.first-block": "stack-shared",
    "lab4.own.stackaddr-forgotten": "stackaddr-wrong",
    "lab4.own.stackaddr-is-top": "stackaddr-wrong",
    "lab4.own.stackaddr-too-early": "currentcpu-too-early",
    "lab4.unlock.first-of-all": "boot-stack-shared",
    "lab4.unlock.before-alloc-too": "boot-stack-shared",
    "lab4.unlock.before-the-switch": "boot-stack-shared",
    "lab4.unlock.never": "never-completes",
    "lab4.unlock.another": "never-completes",
    "lab4.unlock.after-the-count": "trampoline-gone",
    "lab4.unlock.last-of-all": "trampoline-gone",
    "lab4.private.read-too-late": "stackaddr-wrong",
    "lab4.private.read-in-the-end": "stackaddr-wrong",
    "lab4.stack.expects-zeros": "never-completes",
    "lab4.number.apic-id": "number-not-the-count",
    "lab4.number.from-zero": "number-wrong",
    "lab4.number.all-the-same": "number-twice",
    "lab4.number.counted-twice": "bsp-went-on",
    "lab4.number.never-counted": "count-wrong",
    "lab4.number.no-lock": "number-twice",
    "lab4.number.store-outside": "number-twice",
    "lab4.number.own-lock-each": "number-twice",
    "lab4.number.read-again": "number-twice",
    "lab4.number.read-outside": "number-twice",
    "lab4.number.lock-kept": "never-completes",
    "lab4.number.parks-at-once": "never-completes",
    "lab4.number.waits-and-parks": "never-completes",
    "lab4.number.breakpoint": "cpu-died",
    "lab4.number.forgets-initproc": "never-completes",
    "lab4.number.halts": "never-completes",
    "lab4.wait.counts-itself": "bsp-went-on",
    "lab4.wait.locks-each-time": "never-completes",
    "lab4.wait.not-at-all": "bsp-went-on",
    "lab4.wait.nobody-entered": "bsp-went-on",
    "lab4.wait.entered-is-enough": "bsp-went-on",
    "lab4.wait.fixed-time": "bsp-went-on",
    "lab4.wait.counts-the-bsp": "bsp-waits-on",
    "lab4.wait.begins-again-when-one-enters": "bsp-waits-on",
    "lab4.wait.not-volatile": "never-completes",
    "lab4.wait.holds-the-lock": "bsp-waits-on",
    "lab4.wait.gives-up-silently": "bsp-went-on",
    "lab4.wait.for-four": "bsp-gave-up",
    "lab4.wait.unsigned-without-tables": "bsp-gave-up",
    "lab4.wait.exactly-as-listed": "bsp-gave-up",
    "lab4.wait.in-nanoseconds": "bsp-gave-up-early",
    "lab4.wait.poll-in-16-bits": "bsp-gave-up-early",
    "lab4.wait.poll-in-a-bit-field": "bsp-gave-up-early",
    "lab4.wait.shifted-up": "bsp-gave-up-early",
    "lab4.wait.half": "bsp-gave-up-early",
    "lab4.wait.number-for-poll": "bsp-gave-up-early",
    "lab4.barrier.counts-before-the-lock": "barrier-passed-early",
    "lab4.barrier.empty": "barrier-passed-early",
    "lab4.barrier.without-the-bsp": "barrier-passed-early",
    "lab4.barrier.one-too-many": "never-completes",
    "lab4.barrier.halts": "never-completes",
    "lab4.barrier.keeps-the-lock": "never-completes",
    "lab4.barrier.no-lock": "never-completes",
    "lab4.barrier.gives-up": "barrier-passed-early",
    "lab4.barrier.once": "barrier-passed-early",
    "lab4.barrier.no-generation": "never-completes",
    "lab4.barrier.id-too-late": "never-completes",
    "lab4.barrier.reset-too-late": "never-completes",
    "lab4.barrier.never-reset": "never-completes",
    "lab4.barrier.not-volatile": "never-completes",
    "lab4.barrier.of-four": "never-completes",
    "lab4.barrier.number-of-the-cpu": "never-completes",
    "lab4.barrier.how-many-too-early": "barrier-passed-early",
    "lab4.orders.unlocked-twice": "boot-stack-shared",
    "lab4.orders.gives-up-late": "barrier-passed-early",
    "lab4.orders.gives-up-in-two-loops": "barrier-passed-early",
    "lab4.barrier.delay": "barrier-passed-early",
    "lab4.barrier.patience": "barrier-passed-early",
    "lab4.barrier.patience-in-memory": "barrier-passed-early",
    "lab4.barrier.reset-outside": "never-completes",
    "lab4.barrier.tree-counts-early": "barrier-passed-early",
    "lab4.after.bsp-proc": "never-completes",
    "lab4.number.two-sections": "number-twice",
    "lab4.number.trylock": "number-twice",
    "lab4.number.default": "number-twice",
    "lab4.number.look-then-store": "number-twice",
    "lab4.enter.boot-stack": "boot-stack-shared",
    "lab4.enter.puts-it-back": "boot-stack-shared",
    "lab4.enter.hlt": "never-completes",
    "lab4.enter.stale-look": "never-completes",
    "lab4.unlock.twice": "trampoline-gone",
    "lab4.unlock.init-again": "trampoline-gone",
    "lab4.unlock.another-byte": "never-completes",
    "lab4.wait.init-lock": "boot-stack-shared",
    "lab4.wait.unlocks": "boot-stack-shared",
    "lab4.after.parks-itself": "never-completes",
    "lab4.barrier.parks-in-round-2": "never-completes",
    "lab4.lock.bit-of-the-next-byte": "never-completes",
    "lab4.lock.bit-inverted": "boot-stack-shared",
    "lab4.lock.bit-of-another-cpu": "boot-stack-shared",
    "lab4.barrier.id-after-increment": "never-completes",
    "lab4.barrier.id-after-unlock": "never-completes",
    "lab4.barrier.id-of-all": "never-completes",
    "lab4.barrier.count-set-back": "never-completes",
    "lab4.enter.hlt-after-a-look": "never-completes",
    "lab4.after.pointer-of-the-bsp": "never-completes",
    "lab4.number.cmpxchg-no-prefix": "number-twice",
    "lab4.orders.panics-at-a-change": "panic",
    "lab4.orders.traps-at-a-change": "cpu-died",
    "lab4.sync.leaves-a-breakpoint": "cpu-died",
    "lab4.orders.stale-count": "never-completes",
    "lab4.orders.counts-nobody-at-a-change": "never-completes",
    "lab4.orders.takes-by-a-store": "boot-stack-shared",
    "lab4.orders.no-prefix-after-a-wait": "never-completes",
    "lab4.orders.ignores-the-second-xchg": "boot-stack-shared",
    "lab4.lock.takes-back": "never-completes",
    "lab4.orders.unlocks-what-is-taken": "boot-stack-shared",
    "lab4.orders.bsp-unlocks": "boot-stack-shared",
    "lab4.orders.ticket-set-back": "never-completes",
    "lab4.orders.ticket-set-back-in-two": "never-completes",
    "lab4.orders.looks-at-the-lock-later": "trampoline-gone",
    "lab4.orders.waits-for-the-lock-later": "trampoline-gone",
    "lab4.orders.stale-number": "number-twice",
    "lab4.orders.number-from-before": "number-twice",
    "lab4.orders.panics-at-a-new-number": "panic",
    "lab4.orders.traps-at-a-new-number": "cpu-died",
    "lab4.orders.spins-at-a-new-number": "never-completes",
    "lab4.orders.halts-at-a-new-number": "never-completes",
    "lab4.orders.stack-stored-again": "stack-shared",
    "lab4.orders.stack-stored-with-the-count": "stack-shared",
    "lab4.orders.stackaddr-stored-again": "stackaddr-wrong",
    "lab4.orders.stackaddr-stored-with-the-count": "stackaddr-wrong",
    "lab4.orders.waits-for-a-change": "never-completes",
    "lab4.orders.waits-for-another-arrival": "never-completes",
    "lab4.orders.rounds-up": "bsp-gave-up",
    "lab4.orders.four-at-least": "bsp-gave-up",
    "lab4.orders.free-lock-is-enough": "bsp-went-on",
    "lab4.orders.counts-twice": "bsp-went-on",
    "lab4.number.sets-without-a-look": "number-twice",
    "lab4.number.downwards": "number-not-the-count",
    "lab4.number.of-the-stack": "number-not-the-count",
    "lab4.number.of-the-lock": "number-not-the-count",
    "lab4.lock.inc-and-dec": "never-completes",
    "lab4.wait.only-the-tables": "bsp-went-on",
    "lab4.wait.is-a-barrier": "bsp-went-on",
    "lab4.wait.ends-with-the-barrier": "never-completes",
    "lab4.number.modulo": "number-twice",
    "lab4.many.eight-tickets": "boot-stack-shared",
    "lab4.many.bytes-by-id": "boot-stack-shared",
    "lab4.many.lock-is-an-apic-id": "boot-stack-shared",
    "lab4.many.lock-is-a-signed-id": "boot-stack-shared",
    "lab4.many.eight-stacks": "stackaddr-wrong",
    "lab4.many.stacks-in-a-ring": "stackaddr-wrong",
    "lab4.many.ninth-keeps-the-lock": "never-completes",
    "lab4.many.unlocks-a-few": "never-completes",
    "lab4.many.number-in-five-bits": "number-wrong",
    "lab4.many.round-in-a-byte": "barrier-passed-early",
    "lab4.many.less-than-in-a-byte": "barrier-passed-early",
    "lab4.many.stuck-at-128": "never-completes",
    "lab4.many.round-in-two-bytes": "barrier-passed-early",
    "lab4.many.stuck-at-32768": "never-completes",
    "lab4.many.tries-add-up": "never-completes",
    "lab4.number.lock-taken-again": "never-completes",
    "lab4.stack.takes-ap-lock": "never-completes",
    "lab4.barrier.waits-with-ap-lock": "never-completes",
    "lab4.barrier.keeps-ap-lock": "never-completes",
    "lab4.number.segment-init-twice": "number-twice",
    "lab4.number.segment-init-later-again": "number-twice",
    "lab4.number.read-before-the-lock": "number-twice",
    "lab4.number.read-between-the-locks": "number-twice",
    "lab4.stack.recorded-a-page-below-the-top": "stackaddr-wrong",
    "lab4.barrier.expects-what-it-read": "barrier-passed-early",
    "lab4.barrier.expects-what-it-read-under-its-lock": "barrier-passed-early",
    "lab4.barrier.modulo-of-the-count": "never-completes",
    "lab4.barrier.count-back-to-0": "never-completes",
    "lab4.barrier.lock-initialised-again": "never-completes",
    "lab4.barrier.reads-the-number-twice": "barrier-passed-early",
    "lab4.barrier.round-by-division": "barrier-passed-early",
    "lab4.number.invalid-opcode": "cpu-died",
    "lab4.number.lock-initialised-again": "number-twice",
    "lab4.wait.lock-initialised-again": "number-twice",
    "lab4.wait.fivefold": "bsp-waits-on",
    "lab4.wait.time-in-two-bytes": "bsp-waits-on",
    "lab4.wait.no-end": "bsp-waits-on",
    "lab4.wait.keeps-lock": "never-completes",
    "lab4.wait.too-early": "bsp-waits-on",
    "lab4.silent.minus-one": "bsp-gave-up",
    "lab4.silent.at-once": "bsp-went-on",
    "lab4.many.number-in-a-byte": "number-wrong",
    "lab4.many.cpus-in-a-byte": "never-completes",
    "lab4.many.cpus-in-32-bits": "never-completes",
    "lab4.wait.nanoseconds": "bsp-gave-up-early",
    "lab4.many.eight-steps": "barrier-passed-early",
    "lab4.many.looks-at-256": "barrier-passed-early",
    "lab4.after.no-panic": "never-completes",
    "lab4.after.halts": "never-completes",
    "lab4.wait.endless-without-tables": "bsp-waits-on",
    "lab4.wait.endless-if-all-entered": "bsp-waits-on",
    "lab4.wait.no-last-look": "bsp-gave-up",
    "lab4.wait.gives-up-after-usleep": "bsp-gave-up",
    "lab4.number.release-32": "store-beside",
    "lab4.wait.release-16": "store-beside",
    "lab4.barrier.count-64": "store-beside",
    "lab4.barrier.table-of-256": "store-beside",
}
# Mutants that only a scenario for them shows.
SPECIAL = {
    "lab4.barrier.table-of-256": "more CPUs",
    "lab4.after.no-panic": "comes back",
    "lab4.after.halts": "comes back",
    "lab4.many.cpus-in-a-byte": "more CPUs",
    "lab4.many.eight-steps": "more CPUs",
    "lab4.many.looks-at-256": "more CPUs",
    "lab4.many.cpus-in-32-bits": "many CPUs",
    "lab4.wait.only-the-tables": "more than listed",
    "lab4.number.modulo": "many APs",
    **dict.fromkeys(
        (
            *("lab4.silent.minus-one", "lab4.silent.at-once"),
            *("lab4.wait.keeps-lock", "lab4.wait.too-early"),
            *("lab4.wait.endless-without-tables", "lab4.wait.unsigned-without-tables"),
            "lab4.wait.exactly-as-listed",
        ),
        "without tables",
    ),
}
IN_JAPANESE = Reader("ja").of(COURSE.labs_dir / "lab4")
NEVER_COMES = "it shows only if a CPU never arrives, and in the model every CPU arrives at last"
NO_TIME = "the model has no clock, so how long the BSP waits affects no schedule"
MAY_GIVE_UP = "in the model the BSP may give up at any time while a CPU has not arrived"
ALONE = "it shows only with one CPU, and the model has three"
# Mutants that the explorer cannot find, with the reason. None of them depends on the schedule.
UNSEEN = {
    "lab4.enter.own-idea-of-the-stack": "RSP within the boot stack affects no schedule",
    "lab4.enter.little-stack": "the other stack, like the boot stack, is used by one CPU at a time",
    "lab4.first.another-function": "the function in which a CPU goes on affects no schedule",
    "lab4.first.half": "RSP is in the middle of the right block, which no other CPU uses",
    "lab4.first.switch-and-call": "there is one return address too many, on the right stack",
    "lab4.stack.recorded-only-if-null": "in the model stackaddr is 0 before it is set",
    "lab4.barrier.never-alone": ALONE,
    "lab4.barrier.modulo-of-the-rounds": ALONE,
    "lab4.silent.one": ALONE,
    "lab4.after.by-name": "the function that it calls is the one that initproc_ap calls",
    "lab4.after.own-table": "the function that it calls is the one that initproc_ap calls",
    "lab4.wait.returns-with-lock": "in the model nothing takes ap_lock after the BSP's wait",
    "lab4.wait.half-a-poll": NO_TIME,
    "lab4.wait.polls-in-a-byte": NO_TIME,
    "lab4.wait.time-for-each-condition": NO_TIME,
    "lab4.wait.limit-in-16-bits": NO_TIME,
    "lab4.wait.fixed-point": NO_TIME,
    "lab4.stackaddr.lower-half": "in the model stackaddr is 0 before it is set",
    "lab4.number.under-sync-lock": "any lock keeps the other APs out",
    "lab4.number.under-own-lock": "any lock keeps the other APs out",
    "lab4.number.all-under-lock": "the lock is held longer, and every order still ends well",
    "lab4.number.segment-under-lock": "the lock is held longer, and every order still ends well",
    "lab4.first.eight-below": "nothing reads the missing return address, and the block is right",
    "lab4.wait.begins-again": NO_TIME,
    "lab4.wait.no-sleep": MAY_GIVE_UP,
    **dict.fromkeys(
        ("lab4.wait.asks-before", "lab4.wait.asks-at-the-first-poll"),
        "in the model any CPU may be named",
    ),
    **dict.fromkeys(
        (
            *("lab4.cohort.alloc-number", "lab4.cohort.top-number"),
            *("lab4.cohort.field-number", "lab4.cohort.third-word"),
        ),
        "the numbers are right in cohort dev",
    ),
    "lab4.wait.names-a-number": NEVER_COMES,
    "lab4.wait.names-itself": NEVER_COMES,
    "lab4.wait.panics": NEVER_COMES,
}
# Mutants that the model cannot follow, with the limit that it reports.
REFUSED = {
    "lab4.number.sse": "the instruction mov",
    "lab4.barrier.sleeps": "the instruction sti",
    "lab4.sync.eoi-at-the-physical-address": "an access to",
    "lab4.watched.fill": "an access to",
    "lab4.watched.behind-it": "an access to",
    "lab4.after.says-it-was-synced": "a call of",
    "lab4.lock.bit-behind-it": "an access to",
    "lab4.lock.eight-bytes-on": "an access to",
    "lab4.lock.in-the-image": "a store into code",
}
# One mutant for each kind of violation, and some that are found in a special way.
SAMPLE = (
    "lab4.enter.calls-back",
    "lab4.lock.no-lock-prefix",
    "lab4.lock.one-spin",
    "lab4.first.static",
    "lab4.first.base",
    "lab4.first.currentcpu",
    "lab4.own.once-for-all",
    "lab4.unlock.after-the-count",
    "lab4.private.read-too-late",
    "lab4.number.from-zero",
    "lab4.number.never-counted",
    "lab4.number.read-outside",
    "lab4.wait.entered-is-enough",
    "lab4.wait.for-four",
    "lab4.wait.release-16",
    "lab4.wait.in-nanoseconds",
    "lab4.barrier.gives-up",
    "lab4.barrier.no-generation",
    "lab4.barrier.not-volatile",
    "lab4.orders.unlocked-twice",
    "lab4.orders.gives-up-in-two-loops",
    "lab4.number.of-the-stack",
    "lab4.wait.only-the-tables",
    "lab4.wait.endless-if-all-entered",
    "lab4.many.eight-tickets",
    "lab4.many.eight-stacks",
    "lab4.many.ninth-keeps-the-lock",
    "lab4.many.round-in-a-byte",
)
MANY = 60  # CPUs that are not all named
KINDS_OF_OTHER_TESTS = {"panic", "not-numbered", "stack-not-own"}  # see test_judgements.py


def scenarios(id):
    in_sync = any(edit.file == "lab4/sync.c" for edit in ALL[id].edits)
    if id in SPECIAL:
        return [SPECIAL[id]]
    if id.startswith("lab4.many."):
        return ["many rounds" if in_sync else "many APs"]
    wanted = {"barrier", "wide barrier"} if in_sync else {"registration", "crowd"}
    return [one for one in ("registration", "crowd", "barrier", "wide barrier") if one in wanted]


def found(explored, id):
    files = mutants.apply(COURSE, ALL[id])
    exploration = explored(files, *scenarios(id))
    assert exploration.verdict == "wrong", exploration.parts
    wrong = exploration.counterexample
    assert wrong.kind == FOUND[id], wrong.what
    for sentence in (wrong.what, wrong.expected, *(cpu.doing for cpu in wrong.cpus)):
        assert IN_JAPANESE(sentence) != str(sentence)
    if wrong.kind == "never-completes":
        for cpu in wrong.cpus:
            name = f"CPU {cpu.cpu}" if cpu.cpu else "the BSP"
            doing = str(cpu.doing)  # finished, or not begun
            over = doing.startswith("has ") and not doing.startswith("has halted")
            if len(wrong.cpus) < MANY:
                assert (name in str(wrong.what)) != over, (wrong.what, wrong.cpus)
        assert wrong.doomed <= len(wrong.steps)
    return wrong


def test_every_mutant_is_listed():
    told = FOUND.keys() | UNSEEN.keys() | REFUSED.keys()
    assert not ALL.keys() - told, "new mutants: say what is expected of them"
    assert not told - ALL.keys(), "these mutants are gone"
    assert len(told) == len(FOUND) + len(UNSEEN) + len(REFUSED)


def test_every_kind_of_violation_has_a_case(declared):
    assert {
        FOUND[id] for id in SAMPLE
    } | KINDS_OF_OTHER_TESTS == GENERAL.keys() | declared.expected.keys()


@pytest.mark.parametrize("id", SAMPLE)
def test_a_sample_is_found(explored, id):
    wrong = found(explored, id)
    assert [step.number for step in wrong.steps] == list(range(1, len(wrong.steps) + 1))
    # The student's code is named: the place of the last step, or where a CPU waits.
    places = [one.place for one in (*wrong.steps, *wrong.cpus)]
    assert any(place.startswith("lab4/") for place in places), id


@pytest.mark.full
@pytest.mark.parametrize("id", sorted(FOUND.keys() - set(SAMPLE)))
def test_all_others_are_found(explored, id):
    found(explored, id)


@pytest.mark.full
@pytest.mark.parametrize("id", sorted(UNSEEN))
def test_an_invisible_mistake_is_not_called_something_else(explored, id):
    exploration = explored(mutants.apply(COURSE, ALL[id]))
    assert exploration.verdict in ("correct", "no error found"), exploration.counterexample


@pytest.mark.full
@pytest.mark.parametrize("id", sorted(REFUSED))
def test_a_limit_is_reported(explored, id):
    exploration = explored(mutants.apply(COURSE, ALL[id]), *scenarios(id))
    assert exploration.verdict == "unsupported", exploration.counterexample
    limit = exploration.parts[0].limits[0]
    assert str(limit.what).startswith(REFUSED[id])
    assert limit.place.startswith("lab4/")


def test_hints_promise_only_what_is_found():
    """Every mutant of a cause whose last hint promises a wrong schedule must have one."""
    causes = Causes(COURSE.labs_dir / "lab4" / "causes.yml").load()
    levels = {cause: told.hints for cause, told in causes.items() if told.hints}
    promised = {cause for cause, hints in levels.items() if "vmmlab explore" in hints[-1]}
    assert {"count-without-lock", "lock-not-atomic", "barrier-not-reusable"} <= promised
    assert all("vmmlab explore" not in hint for hints in levels.values() for hint in hints[:-1])
    causes = {one.id: one.cause for one in ALL.values()}
    assert promised <= set(causes.values())
    assert {id for id, cause in causes.items() if cause in promised} <= FOUND.keys()

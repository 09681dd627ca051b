"""Verdicts that no mutant covers: store buffers, limits, bounds, and counterexamples."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from vmmlab.author.mutants import Edit, replaced
from vmmlab.course.reference import reference
from vmmlab.explore import Bounds, text

HANDSHAKE, SYNC, ENTER = "lab4/handshake.c", "lab4/sync.c", "lab4/apinit_enter.S"
INCLUDES = """\
#include "apic.h"
#include "asm.h"
static void *newstack_tmp;
"""


@pytest.fixture
def changed(solution) -> Callable[..., dict[str, bytes]]:
    """Return a function that replaces regions of the reference."""

    def change(**regions: str) -> dict[str, bytes]:
        files = dict(solution)
        for step, code in regions.items():
            name = step.replace("_", ".")
            path = {"lab4.1": ENTER, "lab4.5": SYNC}.get(name, HANDSHAKE)
            edit = Edit(path, "region", name, 1, code)
            files[path] = replaced(files[path].decode(), edit).encode()
        return files

    return change


# --- store buffers ---------------------------------------------------------------------------

# Peterson's lock (1981) for two APs. Without a fence a CPU may read the other's flag before its own
# flag is visible.
PETERSON = """\
	static volatile u32 wants[2], turn;
	void *newstack = newstack_tmp;
	u32 me = apic_id () > 2, other = !me;
	int n;

	spinlock_unlock (apinitlock);
	wants[me] = 1;
	turn = other;
	FENCE
	while (wants[other] && turn == other)
		asm_pause ();
	n = ++num_of_processors;
	wants[me] = 0;
	segment_init_ap (n);
	currentcpu->stackaddr = newstack;
	initproc_ap ();
"""


def peterson(changed, fence):
    code = f'asm volatile ("{fence}" : : : "memory", "cc", "eax", "ebx", "ecx", "edx");'
    return changed(lab4_2=INCLUDES, lab4_3=PETERSON.replace("FENCE", code))


@pytest.mark.parametrize("fence", ["", "sfence; lfence"])
def test_only_store_buffers_show_a_missing_fence(explored, changed, fence):
    in_order, buffered = explored(peterson(changed, fence), "registration").parts
    assert (in_order.memory, in_order.verdict) == ("in order", "correct")
    assert (buffered.memory, buffered.verdict) == ("store buffers", "wrong")
    wrong = buffered.counterexample
    assert wrong.kind == "number-twice"
    assert any(
        "not yet visible to the other CPUs" in map(str, step.details) for step in wrong.steps
    )


# Compilers emit the second as a full fence; the third serialises (Intel SDM volume 3, 8.3).
@pytest.mark.parametrize("fence", ["mfence", "lock orl $0, (%%rsp)", "mov $1, %%eax; cpuid"])
def test_the_same_with_a_fence_is_correct(explored, changed, fence):
    assert explored(peterson(changed, fence), "registration").verdict == "correct"


# --- kinds of violations that no mutant has ---------------------------------------------------


def test_a_panic_in_one_interleaving_only_is_found(explored, changed):
    files = changed(
        lab4_3="""\
	void *newstack = newstack_tmp;
	int n;

	spinlock_unlock (apinitlock);
	spinlock_lock (&ap_lock);
	n = ++num_of_processors;
	spinlock_unlock (&ap_lock);
	if (num_of_processors != (u32)n)
		panic ("somebody was faster than %d", n);
	segment_init_ap (n);
	currentcpu->stackaddr = newstack;
	initproc_ap ();
"""
    )
    wrong = explored(files, "registration").counterexample
    assert (wrong.kind, wrong.cpu) == ("panic", 1)
    assert "somebody was faster" in str(wrong.what)


def test_an_ap_without_a_number_is_found(explored, changed):
    files = changed(
        lab4_3="""\
	spinlock_unlock (apinitlock);
	spinlock_lock (&ap_lock);
	++num_of_processors;
	spinlock_unlock (&ap_lock);
	initproc_ap ();
"""
    )
    assert explored(files, "registration").counterexample.kind == "not-numbered"


def test_a_stack_that_was_not_allocated_is_found(explored, changed):
    files = changed(
        lab4_2="static u8 one[VMM_STACKSIZE] __attribute__ ((aligned (16)));"
        "static u8 two[VMM_STACKSIZE] __attribute__ ((aligned (16)));"
        " static int used; static void *newstack_tmp;",
    )
    source = files[HANDSHAKE].decode()
    files[HANDSHAKE] = replaced(
        source,
        Edit(
            HANDSHAKE,
            "function",
            "apinitproc0",
            1,
            """\
asmlinkage void
apinitproc0 (void)
{
	newstack_tmp = used++ ? one : two;
	asm_wrrsp_and_jmp ((ulong)newstack_tmp + VMM_STACKSIZE, apinitproc1);
}
""",
        ),
    ).encode()
    wrong = explored(files, "registration").counterexample
    assert wrong.kind == "stack-not-own"


# --- limits of the model are named, and are no violations -------------------------------------

BARRIER = """\
	u32 id;

	spinlock_lock (&sync_lock);
	id = sync_id;
	if (++sync_count == num_of_processors + 1) {
		sync_count = 0;
		sync_id = id + 1;
	}
	spinlock_unlock (&sync_lock);
	EXTRA
	while (sync_id == id)
		asm_pause ();
"""


@pytest.mark.parametrize(
    ("extra", "what"),
    [
        ('asm volatile ("rdtsc" : : : "eax", "edx");', "the instruction rdtsc"),
        ("asm_inb (0x80);", "the instruction inb $0x80, %al"),
        ('asm volatile ("mov %%cr3, %%rax" : : : "rax");', "the instruction movq %cr3, %rax"),
        ('asm volatile ("cpuid" : : "a" (0) : "ebx", "ecx", "edx");', "cpuid with a leaf"),
        ('asm volatile ("pxor %xmm0, %xmm0");', "the instruction pxor %xmm0, %xmm0"),
        ("alloc_realmodemem (16);", "given code: alloc_realmodemem"),
        ("for (u64 x = 1; x != 3; x = x * 0x5851f42d4c957f2d + 1) asm_pause ();",
         "a loop of more than"),
    ],
)  # fmt: skip
def test_a_limit_is_named_with_its_place(explored, changed, extra, what):
    exploration = explored(changed(lab4_5=BARRIER.replace("EXTRA", extra)), "barrier")
    assert exploration.verdict == "unsupported", exploration.counterexample
    limits = [limit for part in exploration.parts for limit in part.limits]
    assert any(str(limit.what).startswith(what) for limit in limits), limits
    assert all(limit.place.startswith("lab4/sync.c:") for limit in limits), limits


@pytest.mark.parametrize(
    ("read_first", "kind"), [("void *newstack = *note;", None), ("", "stackaddr-wrong")]
)
def test_a_variable_on_the_boot_stack_is_followed(explored, changed, read_first, kind):
    """It is right to read it as long as the lock is held."""
    files = changed(
        lab4_2="static void *newstack_tmp; static void *volatile *note;",
        lab4_3="""\
	READ

	spinlock_unlock (apinitlock);
	LATE
	spinlock_lock (&ap_lock);
	int n = ++num_of_processors;
	spinlock_unlock (&ap_lock);
	segment_init_ap (n);
	currentcpu->stackaddr = newstack;
	initproc_ap ();
""".replace("READ", read_first).replace("LATE", "" if read_first else "void *newstack = *note;"),
    )
    source = files[HANDSHAKE].decode()
    new = Edit(
        HANDSHAKE,
        "function",
        "apinitproc0",
        1,
        """\
asmlinkage void
apinitproc0 (void)
{
	void *volatile newstack = alloc (VMM_STACKSIZE);

	note = &newstack;
	asm_wrrsp_and_jmp ((ulong)newstack + VMM_STACKSIZE, apinitproc1);
}
""",
    )
    files[HANDSHAKE] = replaced(source, new).encode()
    exploration = explored(files, "registration")
    found = exploration.counterexample
    assert (exploration.verdict, found and found.kind) == ("wrong" if kind else "correct", kind)


def test_a_device_that_is_read_by_its_address_is_a_limit(explored, solution):
    """The APs have an identity map, so the local APIC can be read there."""
    text = solution[ENTER].decode()
    new = text.replace(
        "1:	mov	$1, %al",
        "	mov	$0xFEE00020, %ebx\n	mov	(%rbx), %ebx\n1:	mov	$1, %al",
    )
    exploration = explored({**solution, ENTER: new.encode()}, "crowd")
    assert exploration.verdict == "unsupported", exploration.counterexample


def test_a_wrong_interleaving_counts_although_another_cannot_be_followed(explored, changed):
    body = BARRIER.replace("num_of_processors + 1", "num_of_processors")
    body = body.replace("EXTRA", 'if (sync_id > 1) asm volatile ("rdtsc" : : : "eax", "edx");')
    assert explored(changed(lab4_5=body), "barrier").counterexample.kind == "barrier-passed-early"


def test_a_loop_that_ends_after_very_many_passes_is_not_called_endless(explored, changed):
    extra = "for (int i = 0; i < 1500; i++) (void)*(volatile bool *)&ap_started;"
    exploration = explored(changed(lab4_5=BARRIER.replace("EXTRA", extra)), "barrier")
    assert exploration.verdict == "correct", exploration.counterexample


def test_a_loop_that_is_wrong_at_o2_may_be_correct_at_o0(explored, changed):
    """Without optimisation the variable is read in each pass, volatile or not."""
    body = BARRIER.replace("EXTRA", "u32 *g = (u32 *)&sync_id;").replace(
        "sync_id == id", "*g == id"
    )
    body = body.replace("asm_pause ()", "")
    assert explored(changed(lab4_5=body), "barrier", opt="-O2").verdict == "wrong"
    assert explored(changed(lab4_5=body), "barrier", opt="-O0").verdict == "correct"


# --- what takes more CPUs, more turns, or memory on a stack ---------------------------------------

HEADERS = """\
#include "ap.h"
#include "asm.h"
#include "pcpu.h"
#include "sleep.h"
#include "panic.h"
"""
TREE = """\
static volatile u32 came[NUM_OF_PCPU];
void
sync_all_processors (void)
{
	u32 me = currentcpu->cpunum, all = num_of_processors + 1, round = sync_id + 1;

	for (u32 child = 2 * me + 1; child <= 2 * me + 2; child++)
		while (child < all && came[child] != round)
			asm_pause ();
	came[me] = round;
	if (!me)
		sync_id = round;
	while (sync_id != round)
		asm_pause ();
}
"""


def test_a_tree_that_asks_too_early_how_many_there_are_shows_with_three_aps(explored, solution):
    files = {**solution, SYNC: (HEADERS + TREE).encode()}
    exploration = explored(files, "barrier", "wide barrier")
    assert [part.verdict for part in exploration.parts] == ["correct", "correct", "wrong"]
    assert exploration.counterexample.kind == "barrier-passed-early"


WAITS_THAT_END = {
    "many turns": "u32 n = 0; while (sync_id == id && ++n < 1000000000) asm_pause ();",
    "down": "u64 n = 123456789012; while (sync_id == id && n--) asm_pause ();",
    "by three": "for (volatile u32 n = 0; sync_id == id && n != 3000000000u; n += 3) ;",
    "masked": "for (u32 n = 1; sync_id == id; n++) if (!(n & 0xfffff)) return;",
    "asleep": "for (u32 n = 0; sync_id == id && n < 5000; n++) usleep (10);",
    "two loops": "for (u32 n = 0; n < 1000; n++) for (u32 k = 0; k < 1000; k++)"
    " { if (sync_id != id) return; asm_pause (); }",
    "under the lock": "u32 n = 0, now; do { spinlock_lock (&sync_lock); now = sync_id;"
    " spinlock_unlock (&sync_lock); } while (now == id && n++ < 5000);",
    "a delay": "for (volatile u32 n = 0; n < 1000000; n++) ;",
    "two delays": "for (u32 n = 0; n < 1000; n++) for (u32 k = 0; k < 1000; k++) asm_pause ();",
}
WAITS = {
    "a delay": "while (sync_id == id) for (volatile u32 n = 0; n < 50000; n++) ;",
    "a growing delay": "u32 d = 1; while (sync_id == id) {"
    " for (u32 n = 0; n < d; n++) asm_pause (); if (d < 100000) d *= 2; }",
    "a count": "static u32 turns[NUM_OF_PCPU]; u32 n = 0; while (sync_id == id) n++;"
    " turns[currentcpu->cpunum] = n;",
}


def waiting(solution, code):
    body = BARRIER[: BARRIER.index("	EXTRA")] + code
    text = f"{HEADERS}void\nsync_all_processors (void)\n{{\n{body}\n}}\n"
    return {**solution, SYNC: text.encode()}


@pytest.mark.parametrize("kind", WAITS_THAT_END)
def test_a_wait_that_gives_up_is_found_however_long_it_is(explored, solution, kind):
    exploration = explored(waiting(solution, WAITS_THAT_END[kind]), "barrier")
    assert exploration.verdict == "wrong", exploration.parts
    assert exploration.counterexample.kind == "barrier-passed-early"


@pytest.mark.parametrize("kind", WAITS)
def test_a_wait_with_a_delay_or_a_count_is_correct(explored, solution, kind):
    exploration = explored(waiting(solution, WAITS[kind]), "barrier")
    assert exploration.verdict == "correct", exploration.counterexample


def test_a_panic_after_many_turns_is_left_to_a_person(explored, solution):
    code = 'for (u32 n = 0; sync_id == id;) if (++n > 100000000) panic ("late");'
    exploration = explored(waiting(solution, code), "barrier")
    assert exploration.verdict == "unsupported", exploration.counterexample


def test_a_lock_that_is_only_tried_gives_the_bsp_no_reason_to_give_up(explored, solution):
    """An AP that holds ap_lock at each look has not arrived: the BSP may then give up."""
    text = solution[HANDSHAKE].decode()
    old = text[text.index("		spinlock_lock (&ap_lock);\n		left") :]
    old = old[: old.index("		if (*apinitprocs")]
    new = (
        "		left = ~0;\n		if (spinlock_trylock (&ap_lock)) {\n"
        "			left = num_of_processors;\n			spinlock_unlock (&ap_lock);\n		}\n"
    )
    files = {**solution, HANDSHAKE: text.replace(old, new).encode()}
    exploration = explored(files, "registration")
    assert exploration.verdict == "correct", exploration.counterexample


# --- half-finished work ------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(5))
def test_a_todo_is_neither_wrong_nor_correct(course, explored, steps):
    done = [f"lab4.{number + 1}" for number in range(steps)]
    exploration = explored(dict(reference(course, ["lab4"], done).files))
    assert exploration.verdict == "unfinished", exploration.counterexample
    limits = [limit for part in exploration.parts for limit in part.limits]
    assert f"TODO(lab4.{steps + 1})" in [str(limit.what) for limit in limits]


# --- bounds --------------------------------------------------------------------------------------


def test_a_bounded_search_names_its_bound(explored, solution):
    bounds = Bounds(states=300, fallback_states=200)
    exploration = explored(solution, bounds=bounds)
    assert exploration.verdict == "no error found"
    for part in (one for one in exploration.parts if not one.one_order):
        named = "2 preemptions" if part.memory == "in order" else "only the shortest orders"
        assert named in str(part.bound)
    assert "exhaustive" not in text.summary(exploration)


def test_a_bounded_search_finds_an_error_that_needs_two_preemptions(explored, changed):
    files = changed(
        lab4_3="""\
	void *newstack = newstack_tmp;
	int n;

	spinlock_unlock (apinitlock);
	n = ++num_of_processors;
	segment_init_ap (n);
	currentcpu->stackaddr = newstack;
	initproc_ap ();
"""
    )
    exploration = explored(files, "registration", bounds=Bounds(states=100))
    assert exploration.counterexample.kind == "number-twice"


def test_an_infinite_state_space_is_not_called_wrong(explored, changed):
    """Every pass of the waiting loop changes shared memory."""
    files = changed(lab4_5=BARRIER.replace("EXTRA", "static volatile u32 looks;")
                    .replace("asm_pause ()", "looks += 1 + sync_id"))  # fmt: skip
    bounds = Bounds(states=10_000, fallback_states=5_000)
    exploration = explored(files, "barrier", bounds=bounds)
    assert exploration.verdict == "no error found", exploration.counterexample
    in_order = exploration.parts[0]
    assert "not even these completely" in str(in_order.bound)


def test_the_search_ends_when_its_time_is_up(explored, solution):
    bounds = Bounds(seconds=0.0, fallback_seconds=0.0)
    exploration = explored(solution, bounds=bounds)
    assert exploration.verdict == "no error found"
    assert exploration.seconds < 5


# --- counterexamples -----------------------------------------------------------------------------

ALONE = """\
import json, sys
from pathlib import Path
from vmmlab.course.load import load_course
from vmmlab.course.cohort import Cohort
from vmmlab.explore import explore, load
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.builder import Builder
from vmmlab.images.sources import FromReference
course = load_course(Path(sys.argv[1]))
files = {name: text.encode() for name, text in json.load(sys.stdin).items()}
sandbox = Sandbox.choose(require=False)
builder = Builder(course.tree, course, sandbox, None, FromReference(course.reference_dir))
cohort = Cohort.derive("dev")
image = builder.build("lab4", files, cohort)
declared = load("lab4", course.labs_dir / "lab4")
print(explore(image, cohort, declared, sources=files, scenarios=["barrier"]).to_json())
"""


@pytest.mark.slow
def test_the_counterexample_is_reproducible(course, explored, changed):
    """Another process with another hash seed finds the same."""
    files = changed(lab4_5=BARRIER.replace("EXTRA", "").replace("sync_count = 0;", ""))
    here = explored(files, "barrier")
    assert here.counterexample == explored(files, "barrier").counterexample
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(course.root)],
        input=json.dumps({name: content.decode() for name, content in files.items()}),
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )

    def timeless(data):
        return {**data, "parts": [{**part, "seconds": 0} for part in data["parts"]]}

    assert timeless(json.loads(done.stdout)) == timeless(json.loads(here.to_json()))


def test_the_table_names_cpu_action_place_and_holder(explored, changed):
    files = changed(
        lab4_1="""\
	mov	apinitlock, %rdi
1:	btsl	$0, (%rdi)
	jnc	ap_locked
	pause
	jmp	1b
"""
    )
    exploration = explored(files, "registration")
    shown = "\n".join(text.lines(exploration))
    line = next(n for n, one in enumerate(files[ENTER].decode().split("\n"), 1) if "btsl" in one)
    assert f"lab4/apinit_enter.S:{line}" in shown
    assert "the first half of an instruction without the lock prefix" in shown
    assert "boot stack: CPU 1" in shown
    assert "CPU 2 reaches the boot stack while CPU 1 is on it" in shown
    step = next(step for step in exploration.counterexample.steps if step.read is not None)
    assert (step.target, step.instruction) == ("*apinitlock", "btsl $0, (%rdi)")
    assert step.source == "1: btsl $0, (%rdi)"


def test_the_offsets_of_per_cpu_data_are_right(built, solution, declared):
    """The offsets in program.py equal those in the debug information of the given code."""
    from elftools.elf.elffile import ELFFile

    from vmmlab.explore import program

    image = built(solution)
    with image.elf.open("rb") as file:
        offsets, size = {}, 0
        for unit in ELFFile(file).get_dwarf_info().iter_CUs():
            for die in unit.iter_DIEs():
                name = die.attributes.get("DW_AT_name")
                if die.tag == "DW_TAG_structure_type" and name and name.value == b"pcpu":
                    size = die.attributes["DW_AT_byte_size"].value
                    for child in die.iter_children():
                        field = child.attributes["DW_AT_name"].value.decode()
                        offsets[field] = child.attributes["DW_AT_data_member_location"].value
            if offsets:
                break
    names = {"self": "SELF", "cpunum": "CPUNUM", "apic_id": "APIC_ID", "stackaddr": "STACKADDR"}
    assert {f: getattr(program, f"PCPU_{n}") for f, n in names.items()}.items() <= offsets.items()
    from vmmlab.course.cohort import Cohort

    assert program.Program(image, Cohort.derive("dev"), declared).pcpu_size == size


@pytest.mark.parametrize("body", [BARRIER, BARRIER.replace("id = sync_id;", "id = sync_count;")])
def test_merging_private_steps_changes_no_verdict(built, changed, declared, monkeypatch, body):
    """The verdicts are the same when every access is a move of its own, shared or not."""
    from vmmlab.course.cohort import Cohort
    from vmmlab.explore.cpumodel import CpuModel
    from vmmlab.explore.program import Program
    from vmmlab.explore.search import Search

    image = built(changed(lab4_5=body.replace("EXTRA", "asm_pause ();")))
    model = CpuModel(Program(image, Cohort.derive("dev"), declared))
    for scenario in declared.named(["registration", "barrier"]):
        harness = scenario(model)
        verdicts = []
        for all_steps in (False, True):
            search = Search(model, harness, buffers=False)
            if all_steps:
                monkeypatch.setattr(search.transitions.sharing, "includes", lambda *_: True)
            found = search.run(max_states=100_000, seconds=60)
            verdicts.append((found.complete, found.violation and found.violation.kind))
        assert verdicts[0] == verdicts[1]

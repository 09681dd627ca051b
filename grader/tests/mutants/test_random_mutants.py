"""Random mutants: finding instructions, changing them, and what counts as noticed."""

import hashlib
from pathlib import Path

import pytest

from vmmlab.author.mutants import changes, instructions, liveness, random_mutants
from vmmlab.author.mutants.changes import Change
from vmmlab.author.mutants.instructions import Instruction
from vmmlab.author.mutants.random_mutants import Outcome, RandomMutant
from vmmlab.base.errors import UsageError
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.reference import reference
from vmmlab.grading.boots import make_builder
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.model import ObjectPatch
from vmmlab.report.model import Build, CheckReport, Report
from vmmlab.x86.decode import decode

pytest.importorskip("keystone")

COURSE = load_course(Path(__file__).parents[3])
COHORT = Cohort.derive("dev")


@pytest.fixture(scope="module")
def found():
    """The instructions of each lab's reference, by lab, and the objects."""
    builder = make_builder(COURSE, Sandbox.choose(require=False), None, COHORT)
    made = {}
    for lab in ("lab3", "lab4"):
        files = reference(COURSE, [lab]).files
        content = builder.merged(lab, files, COHORT)
        symbols = builder.build(lab, files, COHORT).symbols
        made[lab] = content, instructions.find(content, lab, symbols, files)
    return made


def test_c_and_assembly_are_found_in_their_modes_and_data_are_not(found):
    _, lab3 = found["lab3"]
    modes = {one.text.split()[0]: one.bits for one in lab3 if one.file == "lab3/apinit.S"}
    assert (modes["lgdt"], modes["wrmsr"], modes["jmp"]) == (16, 32, 64)
    trampoline = [one for one in lab3 if one.function == "cpuinit_start"]
    assert trampoline[-1].text == "jmp rax"  # the GDT behind it is data
    assert len({one.line for one in trampoline}) == len(trampoline)
    assert {one.function for one in lab3} == {
        "cpuinit_start",
        *COURSE.labs["lab3"].symbols["lab3/ap_start.c"],
    }


def test_bytes_and_relocations_are_those_of_the_object(found):
    content, lab4 = found["lab4"]
    for one in lab4:
        assert content[one.offset : one.offset + len(one.code)] == one.code
        for at, entry in one.relocations:
            assert 0 < at < len(one.code)
            assert 0 < int.from_bytes(content[entry : entry + 4], "little") < 50
    calls = [one for one in lab4 if one.text.startswith("call 0x")]
    assert calls
    assert all(len(one.relocations) == 1 for one in calls)


def one(text, code, bits=64, **more):
    return Instruction("f", "lab4/x.c", 1, 100, bits, bytes.fromhex(code), text, 0x1000, **more)


def changed(instruction):
    return {(str(c.kind), c.text) for c in changes.changes(instruction, changes.keystone())}


@pytest.mark.parametrize(
    ("instruction", "wanted"),
    [
        (one("je 0x1010", "740e"), ("condition inverted", "jne 0x1010")),
        (one("je 0x1010", "0f840a000000"), ("condition inverted", "jne 0x1010")),
        (one("sete al", "0f94c0"), ("condition inverted", "setne al")),
        (one("lock inc dword ptr [rdi]", "f0ff07"), ("lock prefix removed", "inc dword ptr [rdi]")),
        (one("call 0x1010", "e80b000000"), ("jmp instead of call", "jmp 0x1010")),
        (one("jmp 0x1010", "e90b000000"), ("call instead of jmp", "call 0x1010")),
        (one("mov edi, ebx", "89df"), ("operands swapped", "mov ebx, edi")),
        (one("add ebx, 1", "83c301"), ("another constant", "add ebx, 2")),
        (one("or eax, 1", "6683c801", bits=16), ("another constant", "or eax, 0")),
        (one("mov qword ptr [rax + 0x10], rbp", "48896810"),
         ("another memory operand", "mov qword ptr [rax + 0x18], rbp")),
        (one("mov rbp, rsi", "4889f5"), ("rdi instead of rsi", "mov rbp, rdi")),
    ],
    ids=lambda value: value.text if isinstance(value, Instruction) else value[0],
)  # fmt: skip
def test_the_changes_that_are_made(instruction, wanted):
    made = changed(instruction)
    assert wanted in made
    assert ("removed", "nop") in made
    for change in changes.changes(instruction, changes.keystone()):
        assert len(change.code) == len(instruction.code)
        assert change.code != instruction.code


@pytest.mark.parametrize(
    "text", ["nop dword ptr [rax]", "ud2", "pause", "data16 cs nop word ptr [rax]"]
)
def test_padding_and_traps_are_left_alone(text):
    assert changed(one(text, "0f1f00")) == set()


def test_a_field_that_the_linker_fills_in_stays_where_it_is():
    call = one("call 0x1005", "e800000000", relocations=((1, 500),))
    for change in changes.changes(call, changes.keystone()):
        assert change.drops == (str(change.kind) == "removed")
    load = one("mov edi, 0", "bf00000000", relocations=((1, 500),))
    assert ("another constant", "mov edi, 1") not in changed(load)
    left_out = next(c for c in changes.changes(call, changes.keystone()) if c.drops)
    assert left_out.patch("x").writes == ((100, b"\x90" * 5), (500, bytes(4)))


def made_of(*texts):
    """Instructions one behind the other, from assembly."""
    assemble, address, found = changes.keystone(), 0x1000, []
    for text in texts:
        code = assemble(text, 64, address)
        shown = decode(code, address, 64).text
        found.append(Instruction("f", "lab4/x.c", 1, 100, 64, code, shown, address))
        address += len(code)
    return found


@pytest.mark.parametrize(
    ("code", "unseen"),
    [
        (["mov ebx, 1", "mov ebx, 2", "ret"], True),  # written again before it is read
        (["mov ebx, 1", "ret"], False),  # the caller's
        (["mov ecx, 1", "ret"], True),  # nobody's after a return
        (["mov eax, 1", "ret"], False),  # the result
        (["mov ecx, 1", "mov eax, ecx", "ret"], False),
        (["mov byte ptr [rdi], 1", "ret"], False),
        (["mov cl, 1", "mov eax, ecx", "ret"], False),
        (["cmp eax, ebx", "mov eax, 1", "ret"], True),  # flags that nobody looks at
    ],
    ids=str,
)
def test_what_is_never_read_makes_no_difference(code, unseen):
    all_of_it = made_of(*code)
    first = all_of_it[0]
    left_out = Change(first, "removed", b"\x90" * len(first.code), "nop")
    assert liveness.unseen(left_out, all_of_it) == unseen


@pytest.mark.parametrize(("jump", "unseen"), [("je 0x1000", True), ("jb 0x1000", False)])
def test_a_comparison_may_be_turned_round_if_only_equality_counts(jump, unseen):
    all_of_it = made_of("cmp eax, ebx", jump, "ret")
    turned = Change(all_of_it[0], "operands swapped", b"\x39\xc3", "cmp ebx, eax")
    assert liveness.unseen(turned, all_of_it) == unseen


# --- building and grading ------------------------------------------------------------------------


def test_a_patched_object_is_linked_and_another_one_is_left_alone(found):
    content, lab4 = found["lab4"]
    one = next(i for i in lab4 if i.function == "apinit_enter" and i.text.startswith("xchg"))
    builder = make_builder(COURSE, Sandbox.choose(require=False), None, COHORT)
    files = reference(COURSE, ["lab4"]).files
    plain = builder.build("lab4", files, COHORT)
    of = hashlib.sha256(content).hexdigest()
    change = Change(one, "removed", b"\x90" * len(one.code), "nop")
    wrong = builder.patched(change.patch(of)).build("lab4", files, COHORT)
    assert wrong.key != plain.key
    before, after = plain.elf.read_bytes(), wrong.elf.read_bytes()
    differ = [at for at, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert len(differ) == len(one.code)
    other = builder.patched(change.patch("0" * 64)).build("lab4", files, COHORT)
    assert other.elf.read_bytes() == before
    assert builder.merged("lab4", files, COHORT) == content  # what is kept is not touched


def test_a_patch_of_another_object_changes_nothing():
    patch = ObjectPatch(hashlib.sha256(b"abc").hexdigest(), ((1, b"X"),))
    assert patch.applied(b"abc") == b"aXc"
    assert patch.applied(b"abd") == b"abd"


def mutant(text="xchg byte ptr [rdi], al"):
    change = Change(one(text, "8607"), "removed", b"\x90\x90", "nop")
    return RandomMutant("lab4", change, "0")


def report(*outcomes):
    checks = tuple(
        CheckReport(
            id=f"lab4.a.b{number}", title="t", points=None if outcome == "infra-error" else 0.0,
            max=1, outcome=outcome, cause="c", scenario="s", again="a", infra="no QEMU",
        )
        for number, outcome in enumerate(outcomes)
    )  # fmt: skip
    return Report(
        mode="standalone", lab="lab4", cohort="dev", seed=1, arch="x86_64", build=Build(ok=True),
        checks=checks, points=0, max=2, duration_s=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outcomes", "ending"),
    [
        (["pass", "pass"], "survived"),
        (["pass", "partial"], "killed"),
        (["pass", "timeout"], "killed"),
        (["fail", "infra-error"], "error"),
    ],
)
def test_any_check_that_does_not_pass_has_noticed(outcomes, ending):
    assert random_mutants.judge(mutant(), report(*outcomes)).ending == ending


def test_survivors_are_listed_with_place_and_instruction():
    lines = random_mutants.survivors(
        [
            Outcome(mutant(), "killed", "lab4.lock.exclusive: boot-stack-shared"),
            Outcome(mutant(), "survived", reached="executed"),
            Outcome(mutant("mov edi, eax"), "survived", reached="never executed"),
        ]
    )
    assert len([line for line in lines if line.startswith("| lab4")]) == 2
    assert "f (lab4/x.c:1)" in lines[2]
    assert "does the change have any effect" in lines[2]
    assert "no boot executes it" in lines[3]
    assert lines[-1] == "1 of 3 changes detected, 1 in code that no boot executes."
    assert random_mutants.survivors([Outcome(mutant(), "killed")])[-1] == "1 of 1 changes detected."


def test_the_same_seed_chooses_the_same_changes():
    first = random_mutants.choose(COURSE, 5, ["lab2"], seed=3)
    assert [m.change for m in first] == [
        m.change for m in random_mutants.choose(COURSE, 5, ["lab2"], seed=3)
    ]
    assert [m.change for m in first] != [
        m.change for m in random_mutants.choose(COURSE, 5, ["lab2"], seed=4)
    ]


def test_without_keystone_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "keystone", None)
    with pytest.raises(UsageError, match="keystone-engine is not installed") as caught:
        changes.keystone()
    assert "vmmlab[author]" in str(caught.value.next_step)


@pytest.mark.full
def test_a_lock_that_takes_nothing_is_noticed(found):
    content, lab4 = found["lab4"]
    one = next(i for i in lab4 if i.function == "apinit_enter" and i.text.startswith("xchg"))
    change = Change(one, "removed", b"\x90" * len(one.code), "nop")
    wrong = RandomMutant("lab4", change, hashlib.sha256(content).hexdigest())
    (outcome,) = random_mutants.run_all(random_mutants._job, [(COURSE.root, wrong)], 1, None)
    assert outcome.ending == "killed", outcome


def test_who_has_once_seen_the_lock_taken_must_still_get_it(found):
    content, lab4 = found["lab4"]
    look = next(i for i in lab4 if i.function == "apinit_enter" and i.text.startswith("cmp"))
    made = changes.changes(look, changes.keystone())
    change = next(c for c in made if c.text == "cmp byte ptr [rdi], 2")  # the lock is 0 or 1
    wrong = RandomMutant("lab4", change, hashlib.sha256(content).hexdigest())
    (outcome,) = random_mutants.run_all(random_mutants._job, [(COURSE.root, wrong)], 1, None)
    assert outcome.by == "lab4.lock.released: ap-never-looks-again"

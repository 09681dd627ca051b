"""The tools of a worksheet: points, numbers, machine code, and the student's own boot."""

import copy
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.i18n.translate import Reader
from vmmlab.observe.place import Place
from vmmlab.observe.schema import from_json
from vmmlab.worksheet import (
    BootReport,
    Check,
    Given,
    Numbers,
    Student,
    assemble,
    boot_lab,
    disassemble,
    race,
    run,
    student,
)
from vmmlab.worksheet.kernel import Done, why_stopped
from vmmlab.worksheet.source import language_of
from vmmlab.worksheet.two_kernels import Timing, grade_in_two_kernels

SAMPLE = Path(__file__).parents[1] / "observe" / "observation.sample.json"
LOCK = {"rdi": 0x5000}


# ---- points


def test_without_comparisons_the_form_alone_counts(capsys):
    check = Check(4)
    check.number("a", 7)
    check.number("b", "7")
    assert check.points == 2.0
    assert capsys.readouterr().out == "b: expected a whole number from 0 to 2**64 - 1; found '7'\n"


def test_comparisons_give_parts_and_never_raise():
    check = Check(3)
    check.number("a", 7)
    check.text("b", "x")
    check.right(1, "a", 7)
    check.case(1, lambda a: a / 0, "a")
    check.case(1, lambda a, b: b == "y", "a", "b")
    assert check.points == 1.0


def test_a_question_whose_points_do_not_add_up_is_an_error():
    check = Check(3)
    check.number("a", 7)
    check.right(2, "a", 7)
    with pytest.raises(ValueError, match=r"2\.0 points offered"):
        _ = check.points


def test_a_form_that_is_right_is_not_said_to_be_a_right_answer(capsys):
    check = Check(2)
    check.number("a", 7)
    assert check.points == 2.0
    assert "Grading decides whether the answer is right" in capsys.readouterr().out


def test_in_a_japanese_worksheet_checks_speak_japanese(capsys):
    check = Check(3, Student("ada", "dev", "ja"))
    check.number("a", "7", 32)
    check.items("b", [1, "2"], int, 2)
    check.text("c", "up", ["down", "left"])
    assert check.points == 0.0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "a：0 から 2**32 - 1 までの整数を書いてください。今の値は '7' です。",
        "b：要素が 2 個のリスト（要素はどれも整数）を書いてください。今の値は [1, '2'] です。",
        "c：次のどれか（'down', 'left'）を書いてください。今の値は 'up' です。",
    ]


def test_what_the_student_wrote_is_shown_as_it_is(capsys):
    """Even if it reads like a text of the kit."""
    Check(1, Student("ada", "dev", "ja")).number("a", "a text")
    assert capsys.readouterr().out.endswith("今の値は 'a text' です。\n")


# ---- numbers


def test_numbers_do_not_change_with_time():
    """These never change, so that a worksheet can be graded next year."""
    draw = Numbers(Student("alice", "dev"), "q")
    assert [draw.below(1000) for _ in range(3)] == [800, 298, 209]
    assert draw.shuffled(range(5)) == [3, 1, 2, 0, 4]


def test_numbers_differ_by_student_cohort_and_question():
    def first(name, cohort, question):
        return Numbers(Student(name, cohort), question).below(1 << 60)

    found = {first("a", "x", "q"), first("b", "x", "q"), first("a", "y", "q"), first("a", "x", "r")}
    assert len(found) == 4


def test_between_keeps_its_bounds_and_step():
    draw = Numbers(Student("alice", "dev"), "q")
    assert {draw.between(8, 24, 8) for _ in range(60)} == {8, 16, 24}


def test_without_a_name_the_numbers_are_for_practice():
    assert "VMMLAB_STUDENT is not set" in repr(student({}))
    assert student({"VMMLAB_STUDENT": " Ada "}).name == "ada"


def test_the_language_changes_words_but_no_numbers():
    english, japanese = (student({"VMMLAB_STUDENT": "ada"}, lang=lang) for lang in ("en", "ja"))
    assert repr(japanese).startswith("ada さん（コホート dev）の数値です。")
    assert "練習用の数値" in repr(student({}, lang="ja"))
    assert [Numbers(who, "q").below(1 << 60) for who in (english, japanese)] == [
        Numbers(Student("ada", "dev"), "q").below(1 << 60)
    ] * 2


def test_given_numbers_cannot_be_changed():
    given = Given("d", a=0x1234, b=b"\x01\x02", c=[(1, 17)], d=[17, 300])
    with pytest.raises(AttributeError, match="cannot be changed"):
        given.a = 5
    assert repr(given) == "a  0x1234\nb  01 02\nc  1, 0x11\nd  17, 300"


# ---- machine code


@pytest.mark.parametrize(
    ("text", "att", "instruction"),
    [
        ("mov eax, dword ptr [rdi + 10]", False, "movl 0xa(%rdi), %eax"),
        ("movl 10(%rdi), %eax", True, "movl 0xa(%rdi), %eax"),
        ("addl $-16, %eax", True, "addl $-0x10, %eax"),
        ("mov r10, 0x10", False, "movq $0x10, %r10"),
    ],
)
def test_numbers_in_assembly_are_decimal_unless_they_say_otherwise(text, att, instruction):
    assert disassemble(assemble(text, 64, att=att), 64) == [instruction]


@pytest.mark.parametrize("text", ["movv %eax", "mov rax, -24[rbp]", ""])
def test_what_is_no_assembly_is_refused(text):
    with pytest.raises(UsageError, match="cannot be assembled"):
        assemble(text, 64)


def test_bytes_that_are_no_instruction_are_a_question_mark():
    assert disassemble(b"\x90\x06\x90", 64) == ["nop", "?"]


def test_without_keystone_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keystone", None)
    with pytest.raises(UsageError, match=r"pip install 'vmmlab\[worksheets\]'"):
        assemble("nop", 64)


def test_a_library_that_warns_costs_no_points(monkeypatch, tmp_path, recwarn):
    """A warning on stderr would make nbgrader give 0 for the cell."""
    (tmp_path / "keystone.py").write_text("import warnings\nwarnings.warn('old')\nimport nothing")
    monkeypatch.delitem(sys.modules, "keystone", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError):
        assemble("nop", 64)
    assert not recwarn.list


def test_real_mode_code_runs_at_its_segment():
    code = assemble("lock inc dword ptr cs:[0x20]", 16)
    after = run(code, 16, registers={"cs": 0x2345}, address=0x23450, memory={0x23470: b"\xff"})
    assert after.finished
    assert after.written == ((0x23470, 4),)
    assert after.bytes_at(0x23470, 4) == b"\0\1\0\0"


def test_a_loop_ends_with_its_steps():
    after = run(assemble("again: pause; jmp again", 64), 64, steps=50)
    assert (after.finished, after.steps) == (False, 50)


def test_a_fault_ends_a_run():
    after = run(b"\x0f\x0b\x90", 64)
    assert (after.finished, after.steps) == (False, 0)


def test_a_register_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="no register 'r8' to set in 32-bit mode"):
        run(b"\x90", 32, registers={"r8": 1})


TEST_THEN_SET = "again: cmp byte ptr [rdi], 0; jne again; mov byte ptr [rdi], 1"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("again: mov al, 1; xchg al, [rdi]; test al, al; jnz again", True),
        ("again: lock bts dword ptr [rdi], 0; jc again", True),
        (TEST_THEN_SET, False),
        ("again: bts dword ptr [rdi], 0; jc again", False),
        ("mov al, 1; xchg al, [rdi]", False),
        ("again: xor eax, eax; mov ecx, 1; cmpxchg [rdi], ecx; jne again", False),
        ("again: xor eax, eax; mov ecx, 1; lock cmpxchg [rdi], ecx; jne again", True),
    ],
)
def test_two_cpus_race_for_a_lock(text, safe):
    way = race(assemble(text, 64), 64, lock=0x5000, registers=LOCK)
    assert (way is None) == safe


def test_the_schedule_of_a_race_leads_there():
    """Test-then-set is two accesses: both CPUs test, then both set."""
    way = race(assemble(TEST_THEN_SET, 64), 64, lock=0x5000, registers=LOCK)
    assert sorted(way[:2]) == sorted(way[2:]) == [0, 1]


def test_a_race_with_a_pause_that_grows_can_be_tried():
    """Each round waits longer, in registers only: that is right, and must not end the search."""
    text = """
        mov ecx, 8
    again:
        lock bts dword ptr [rdi], 0
        jnc inside
        mov edx, ecx
    wait:
        pause
        dec edx
        jnz wait
        add ecx, ecx
        and ecx, 0xff
        or ecx, 8
        jmp again
    inside:
    """
    assert race(assemble(text, 64), 64, lock=0x5000, registers=LOCK) is None


def test_a_loop_that_never_touches_memory_ends_a_race():
    assert race(assemble("again: jmp again", 64), 64, lock=0x5000, registers=LOCK) is None


# ---- one's own boot


def test_without_a_workspace_there_is_a_remark_in_place_of_a_boot(tmp_path):
    report = boot_lab("lab3", tmp_path / "nowhere")
    assert report.observation is None
    assert "is not a workspace" in repr(report)
    assert "Traceback" not in repr(report)


def test_a_japanese_worksheet_says_so_in_japanese(tmp_path):
    report = boot_lab("lab3", tmp_path / "nowhere", reader=Student("ada", "dev", "ja"))
    assert repr(report).startswith("lab3 は起動していません。")
    assert "作業用フォルダではありません" in repr(report)
    assert "is not a workspace" not in repr(report)


def test_a_tools_error_is_in_the_language_of_the_notebook():
    for language, words in (("en", "cannot be assembled"), ("ja", "アセンブルできません")):
        student({}, lang=language)
        with pytest.raises(UsageError, match=words) as caught:
            assemble("movv %eax", 64)
        assert ("AT&T" in str(caught.value)) is False
        assert ("64 ビット" in str(caught.value)) == (language == "ja")
    student({})


def test_a_japanese_boot_report_has_no_english_words_but_names():
    seen = from_json(SAMPLE.read_text(encoding="utf-8"))
    somewhere = replace(seen.cpus[1], end_place=Place(0x10, "low"))
    english = BootReport("lab3", replace(seen, cpus=(seen.cpus[0], somewhere)))
    japanese = repr(replace(english, reader=Student("ada", "dev", "ja")))
    for said in ("all CPUs except the sending one", "physical address 0x10"):
        assert said in repr(english)
        assert said not in japanese


class NoKernel:
    """Stops every cell."""

    alive = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, code, timeout_s):
        return Done(ended=msg("stopped after {timeout_s:.0f} s", timeout_s=timeout_s))


def test_a_stopped_cell_says_why_in_the_language_of_the_notebook():
    released = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("while True: pass")])
    for say, words in ((Reader("en"), "stopped after 5 s"), (Reader("ja"), "5 秒で打ち切り")):
        nb = copy.deepcopy(released)
        stops = grade_in_two_kernels(nb, {}, NoKernel, Timing(5.0, 60.0), say)
        ((output,),) = [cell.outputs for cell in nb.cells]
        assert words in output.traceback[0]
        assert ("This cell" in output.traceback[0]) == (say.language == "en")
        assert str(why_stopped(output)) == "stopped after 5 s"
        assert say(why_stopped(output)) == words
        assert words in say(stops[0])


def test_an_exception_that_is_called_as_a_stopped_cell_is_no_message():
    assert why_stopped({"ename": "Stopped", "evalue": "[1"}) == "[1"
    assert why_stopped({"ename": "Stopped", "evalue": '{"message": "{a}"}'}) == '{"message": "{a}"}'
    assert why_stopped({"ename": "ValueError", "evalue": "no"}) == ""


def test_the_language_of_a_released_worksheet():
    line = "me = worksheet.student(os.environ, cohort='dev'{})"
    assert language_of(["import os", line.format(', lang="ja"')]) == "ja"
    assert language_of([line.format(""), 'print("ja", lang="ja")']) == "en"


def test_without_qemu_there_is_a_remark(workspace, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "qemu-system-x86_64" in repr(boot_lab("lab3", workspace))


def test_a_lab_that_is_not_there_is_a_remark(workspace):
    assert "lab11" in repr(boot_lab("lab11", workspace))


def test_code_that_does_not_build_is_a_remark(workspace):
    (workspace / "lab1/initfunc.c").write_text("int;;; nonsense")
    assert "lab1/initfunc.c:1" in repr(boot_lab("lab1", workspace))


def test_a_boot_shows_bytes_messages_and_milestones(workspace, reference):
    for path, text in reference.items():
        (workspace / path).write_text(text)
    report = boot_lab("lab3", f"{workspace}/lab3", cpus=2)
    japanese = repr(replace(report, reader=Student("ada", "dev", "ja")))
    assert "lab3（CPU 2 個）：全 CPU が止まるところまで進みました" in japanese
    assert "CPU 1：パーク" in japanese
    shown = repr(report)
    assert report.observation.all_parked
    assert "lab3 on 2 CPUs: all CPUs came to rest" in shown
    assert "ea 00 00 00 0f" in shown  # the dev cohort's: 0x0F00:0x0000
    assert "INIT, to all CPUs except the sending one (ICR = 0xc4500)" in shown
    assert "CPU 1: parked" in shown
    assert "in protected mode" in shown


def test_a_starter_stops_where_it_is_unfinished(workspace):
    assert "CPU 0 (BSP): todo" in repr(boot_lab("lab3", workspace, cpus=2))

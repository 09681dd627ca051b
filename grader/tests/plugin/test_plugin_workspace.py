"""`pytest` in a workspace: the student's own run of the checks."""

from __future__ import annotations

import pytest

from vmmlab.grading.request import default_seed


def test_all_labs_pass(place):
    ran = place.pytest()
    assert ran.code == 0, ran.out
    assert ran.last == "6 passed"
    assert "lab3  6/6 points\n" in ran.out
    assert "lab4  6/6 points\n" in ran.out
    assert "workspace work, cohort dev" in ran.out
    seed = default_seed("lab3", "dev")
    assert ran.log[:4] == [
        f"start lab3 {seed} dev standalone",
        "prepare ladder late",
        "boot ladder",
        "boot late",
    ]
    assert ran.log.index("close lab3") < ran.log.index("prepare ladder late", 2)
    assert ran.log.count("close lab4") == 1


def test_failures_are_messages_and_not_tracebacks(place):
    place.student("lab3", "nothing\n/* TODO(lab3.1): do it */\n")
    ran = place.pytest("lab3", "-v")
    assert ran.code == 1
    assert "lab3  3/6 points\n" in ran.out
    assert "      where     CPU 0, physical 0\n      observed  zeroes\n" in ran.out
    assert "      waiting   lab3.ljmpw.target\n" in ran.out
    assert "again     pytest lab3 -k lab3.ljmpw.present\n" in ran.out
    assert "Next: TODO(lab3.1) in lab3/a.c:2, function alab3: do it\n" in ran.out
    for word in ("Traceback", "def far_jump", "CheckFailed", "FAILURES", "test_lab3.py:1"):
        assert word not in ran.out
    assert ran.last == "1 passed, 1 not passed, 1 waiting"
    assert "::far_jump FAILED" in ran.out
    assert "::target WAITING" in ran.out
    assert not any(line.startswith("start lab4") for line in ran.log)


def test_partial_points(place):
    place.student("lab3", "jump cpu2")
    ran = place.pytest("lab3")
    assert ran.code == 1
    assert "lab3  5/6 points\n" in ran.out
    assert "part  1/2  It leads to the trampoline." in ran.out
    assert "test_lab3.py .P." in ran.out


def test_code_that_does_not_compile(place):
    place.student("lab3", "syntax error")
    ran = place.pytest("lab3")
    assert ran.code == 1
    assert ran.out.count("lab3/a.c:3:1: syntax error") == 1
    assert "lab3  0/6 points\n" in ran.out
    assert ran.last == "3 not built"


def test_infrastructure_trouble_is_exit_3(place):
    place.student("lab3", "qemu dies")
    ran = place.pytest("lab3")
    assert ran.code == 3
    assert "needs attention, no grade yet" in ran.out
    assert ran.out.count("QEMU died") >= 1
    assert ran.log.count("boot ladder") == 3


def test_a_mistake_in_a_check_is_one_line_for_the_student(place):
    place.student("lab3", "jump cpu1 cpu2 break the check")
    ran = place.pytest("lab3")
    assert ran.code == 3
    assert "the check itself failed (KeyError at test_lab3.py:27)" in ran.out
    assert "Traceback" not in ran.out


@pytest.mark.parametrize(
    ("arguments", "last", "scenarios"),
    [
        (["lab3", "-k", "ljmpw"], "2 passed, 1 deselected", "ladder"),
        (["lab3", "-k", "lab3.ljmpw.target"], "2 passed, 1 deselected", "ladder"),
        (["-k", "lab4.late.cpu"], "1 passed, 5 deselected", "late"),
        (["lab3/test_lab3.py::target"], "2 passed", "ladder"),
        (["lab4/test_lab4.py"], "3 passed", "ladder late"),
    ],
)
def test_selecting(place, arguments, last, scenarios):
    ran = place.pytest(*arguments)
    assert (ran.code, ran.last) == (0, last), ran.out
    assert [line for line in ran.log if line.startswith("prepare")] == [f"prepare {scenarios}"]
    assert ("partial run, not a grade" in ran.out) == ("late" not in scenarios or last[0] == "1")


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "no check matches -k ljmpq"), ("ja", "-k ljmpq に合うチェックはありません")],
)
def test_a_selection_that_matches_nothing_names_what_would(place, language, said):
    ran = place.pytest("lab3", "-k", "ljmpq", "--lang", language)
    assert ran.code == 4
    assert said in ran.out
    assert "lab3.ljmpw.present" in ran.out
    assert ran.log == []


def test_what_is_selected_waits_as_it_would_in_a_full_run(place):
    place.student("lab3", "nothing")
    ran = place.pytest("lab3", "-k", "target")
    assert ran.code == 1
    assert "FAIL  0/1  There is a far jump." in ran.out
    assert "waiting   lab3.ljmpw.target" in ran.out


@pytest.mark.slow
def test_from_a_folder_of_the_workspace_and_from_outside(place, tmp_path):
    ran = place.pytest(cwd=place.root / "lab3")
    assert (ran.code, ran.last) == (0, "3 passed"), ran.out
    ran = place.pytest(str(place.root / "lab4"), cwd=tmp_path)
    assert (ran.code, ran.last) == (0, "3 passed"), ran.out
    assert "lab4  6/6 points" in ran.out


@pytest.mark.slow
def test_last_failed_first_failed_and_stop_at_the_first(place):
    place.student("lab3", "nothing")
    assert place.pytest("lab3").code == 1
    ran = place.pytest("--lf", "lab3")
    assert ran.code == 1
    assert "FAIL  0/1" in ran.out
    ran = place.pytest("-x", "lab3")
    assert ran.code == 1
    assert "lab3  0/1 points  partial run" in ran.out
    assert ran.log[-1] == "close lab3"


def test_ctrl_c_leaves_no_runner_behind(place):
    place.student("lab3", "ctrl-c")
    ran = place.pytest()
    assert ran.code == 2
    assert ran.log[-1] == "close lab3"
    assert "Traceback" not in ran.out


def test_collect_only_boots_nothing(place):
    ran = place.pytest("--collect-only", "-q")
    assert ran.code == 0
    assert "lab3/test_lab3.py::far_jump" in ran.out
    assert "points" not in ran.out
    assert not ran.log


def test_the_seed(place):
    place.student("lab3", "nothing")
    ran = place.pytest("lab3", "--vmm-seed", "99")
    assert "start lab3 99 dev standalone" in ran.log
    assert "again     pytest lab3 --vmm-seed 99 -k lab3.ljmpw.present\n" in ran.out
    assert "step      lab3.1: alab3 in lab3/a.c, seed 99, cohort dev\n" in ran.out


@pytest.mark.slow
def test_hints_are_of_the_course_and_given_on_request(place):
    place.student("lab3", "nothing")
    folder = place.root.parent / "labs" / "lab3"
    folder.mkdir()
    (folder / "causes.yml").write_text("far-jump-missing:\n  hints:\n    - think\n")
    assert "hint      if you want one: vmmlab hint" in place.pytest("lab3").out
    (folder / "causes.yml").write_text("far-jump-missing:\n  hints: think\n")
    ran = place.pytest("lab3")
    assert ran.code == 2
    assert "lab3 was not graded." in ran.out
    assert "the hints must be a list" in ran.out


def test_the_students_own_tests_and_conftest_work_as_usual(place):
    (place.root / "conftest.py").write_text(
        "import pytest\n\n@pytest.fixture\ndef seven():\n    return 7\n"
    )
    (place.root / "test_mine.py").write_text("def test_mine(seven):\n    assert seven == 8\n")
    ran = place.pytest()
    assert ran.code == 1
    assert "assert 7 == 8" in ran.out
    assert ran.last == "1 failed, 6 passed"
    assert "lab3  6/6 points" in ran.out


def test_a_file_is_missing(place):
    (place.root / "lab3" / "a.c").unlink()
    ran = place.pytest()
    assert ran.code == 2
    assert "lab3 was not graded." in ran.out
    assert "lab3/a.c" in ran.out
    assert "lab4  6/6 points" in ran.out
    assert ran.last == "3 passed, 3 not graded"
    assert "Traceback" not in ran.out


def test_a_test_file_that_the_student_broke(place):
    path = place.root / "lab3" / "test_lab3.py"
    path.write_text(path.read_text() + "\ndef broken(:\n")
    ran = place.pytest("lab3")
    assert ran.code == 2
    assert "this test file cannot be loaded" in ran.out
    assert "Traceback" not in ran.out


def test_tests_and_course_disagree(place):
    path = place.root / "lab3" / "test_lab3.py"
    path.write_text(path.read_text().replace("lab3.late.cpu", "lab3.late.other"))
    ran = place.pytest("lab3")
    assert ran.code == 4
    assert "no test defines this check" in ran.out
    assert "Traceback" not in ran.out


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("workspace.toml", "schema = 1\n", "workspace.toml cannot be read"),
        ("../course.yml", "schema: 1\n", "this key is missing"),
    ],
)
def test_workspace_or_course_cannot_be_read(place, file, text, message):
    (place.root / file).write_text(text)
    ran = place.pytest()
    assert ran.code == 4
    assert message in ran.out
    assert "Traceback" not in ran.out
    assert place.pytest("--help").code == 0


def test_xdist_is_refused_with_a_reason(place):
    pytest.importorskip("xdist")
    ran = place.pytest("-n", "2")
    assert ran.code != 0
    assert "run pytest without -n" in ran.out
    assert "Traceback" not in ran.out
    assert place.pytest("-n", "0").code == 0


def test_junit_xml_holds_the_messages(place):
    place.student("lab3", "nothing")
    ran = place.pytest("lab3", "--junitxml=out.xml")
    assert ran.code == 1
    xml = (place.root / "out.xml").read_text()
    assert "CPU 0, physical 0: zeroes" in xml
    assert "waits for lab3.ljmpw.present" in xml


def test_colors_follow_pytest(place):
    assert "\x1b[" in place.pytest("lab3", "--color=yes").out
    assert "\x1b[" not in place.pytest("lab3").out
    assert "\x1b[" not in place.pytest("lab3", NO_COLOR="1").out


def test_without_the_terminal_plugin_the_exit_code_stands(place):
    place.student("lab3", "nothing")
    assert place.pytest("-p", "no:terminal", "lab3").code == 1

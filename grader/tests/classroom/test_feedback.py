"""The feedback of a class: nbgrader's page and the lab's report, once all marks are there."""

import inspect
from pathlib import Path

import pytest
from gradebook_helpers import FAIL, INFRA, JUMP, Put, Sync, app, by_hand

from vmmlab.base.errors import UsageError
from vmmlab.classroom.gradebook import feedback
from vmmlab.cli import main
from vmmlab.course.find import find_course
from vmmlab.worksheet import feedback as pages
from vmmlab.worksheet.formgrader import CHECKS

SECRET = {**FAIL, "cause": "secret-cause", "observed": "secret-observation"}


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """nbgrader's own converter, whatever another test has installed."""
    converter = feedback.GenerateFeedback
    monkeypatch.setattr(converter, "init_assignment", inspect.unwrap(converter.init_assignment))


def there(folder: Path, student: str) -> list[str]:
    found = (folder / "feedback" / student).rglob("*")
    return sorted(str(one.relative_to(folder / "feedback")) for one in found if one.is_file())


def test_the_report_is_in_the_feedback(put: Put, sync: Sync, folder: Path) -> None:
    path = put(jump_target=FAIL, secret_trick=SECRET)
    assert "secret-observation" in path.read_text()  # so it could leak
    sync()
    by_hand(folder, JUMP, score=2)
    (one,) = feedback.make(folder, ["lab3-checks"])
    assert (one.student, one.files, one.open) == ("alice", ("lab3.html", "report.html"), 0)
    shown = (folder / "feedback" / "alice" / "lab3-checks" / "report.html").read_text()
    assert "a far jump to 0xf0000" in shown
    assert "in the gradebook: 9/14 points" in shown  # 2 + 2 by hand + 5, and none of the secret 4
    assert "secret" not in shown


def test_nbgraders_own_command_and_button_bring_it_too(
    put: Put, sync: Sync, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put()
    sync()
    app("GenerateFeedbackApp", folder, "--assignment=lab3-checks")
    assert there(folder, "alice") == ["alice/lab3-checks/lab3.html"]  # the known-wrong case
    (folder / "nbgrader_config.py").write_text(
        "from vmmlab.worksheet.autograde import configure\n"
        "c = get_config()\nc.CourseDirectory.course_id = 'vmm'\nconfigure(c)\n"
    )
    monkeypatch.chdir(folder)
    from vmmlab.classroom.gradebook.folder import open_folder

    open_folder(folder)
    app("GenerateFeedbackApp", folder, "--assignment=lab3-checks", "--force")
    assert there(folder, "alice") == [
        "alice/lab3-checks/lab3.html",
        "alice/lab3-checks/report.html",
    ]


def test_a_missing_mark_is_not_shown_as_0(put: Put, sync: Sync, folder: Path) -> None:
    put(jump_target=INFRA)
    put("bob")
    sync()
    found = {one.student: one for one in feedback.make(folder)}
    assert (found["alice"].open, found["alice"].files) == (1, ())
    assert there(folder, "alice") == []
    assert found["bob"].files == ("lab3.html", "report.html")
    by_hand(folder, JUMP, score=1)
    (one,) = feedback.make(folder, student="alice")
    assert one.files


def test_a_report_that_is_gone_costs_no_feedback(put: Put, sync: Sync, folder: Path) -> None:
    put()
    sync()
    (folder / "submitted" / "alice" / "lab3-checks" / "lab3.json").unlink()
    (one,) = feedback.make(folder)
    assert one.files == ("lab3.html",)


def test_what_cannot_be_made(put: Put, sync: Sync, folder: Path) -> None:
    with pytest.raises(UsageError, match="nothing of any assignment has been graded"):
        list(feedback.make(folder))
    put()
    sync()
    with pytest.raises(UsageError, match=r"(?s)no assignment lab4-checks.*lab3-checks"):
        list(feedback.make(folder, ["lab4-checks"]))
    with pytest.raises(UsageError, match=r"(?s)nothing of lab3-checks.*carol"):
        list(feedback.make(folder, ["lab3-checks"], "carol"))
    (folder / "autograded" / "alice" / "lab3-checks" / "lab3.ipynb").unlink()
    put("bob")
    sync()
    (folder / "autograded" / "alice" / "lab3-checks" / "lab3.ipynb").unlink()
    found = {one.student: one for one in feedback.make(folder)}
    assert found["alice"].problem
    assert found["bob"].files


def test_the_command(
    put: Put, sync: Sync, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(jump_target=INFRA)
    put("bob")
    sync()
    kit = str(find_course(Path(__file__)))
    words = ["gradebook", "feedback", "--nbgrader", str(folder), "--course", kit]
    assert main.main(words) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"alice  lab3{CHECKS}  not made: one mark is missing"
    assert out[1] == f"bob  lab3{CHECKS}  lab3.html {pages.PAGE}"
    assert out[2].endswith("feedback: 1 made, 1 still need a mark, 0 failed")
    assert main.main([*words, "--lang", "ja"]) == 0
    page = (folder / "feedback" / "bob" / "lab3-checks" / pages.PAGE).read_text()
    assert 'lang="ja"' in page

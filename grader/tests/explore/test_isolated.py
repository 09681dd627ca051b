"""The search inside the sandbox: the same answer, and one clear error for anything else."""

import dataclasses
import json
from pathlib import Path

import pytest

import vmmlab
from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.message import Message
from vmmlab.cli.main import main
from vmmlab.course.cohort import Cohort
from vmmlab.explore import Bounds, isolated
from vmmlab.host import bubblewrap
from vmmlab.host.bubblewrap import Bubblewrap
from vmmlab.host.sandbox import Sandbox

COHORT = Cohort.derive("dev")
LAB = Path(__file__).parents[3] / "labs" / "lab4"


@pytest.fixture(params=["bwrap", "none"])
def sandbox(request):
    found = Sandbox.choose(require=False) if request.param == "bwrap" else Sandbox.none()
    if found.kind != request.param:
        pytest.skip("bubblewrap does not work here")
    return found


@pytest.fixture
def inside(monkeypatch):
    """Return a function that replaces the search by another program."""
    return lambda code: monkeypatch.setattr(isolated, "_RUN", f"import sys\n{code}")


@pytest.fixture
def image(built, solution):
    return built(solution)


def test_the_answer_equals_that_of_a_search_in_this_process(built, explored, solution, sandbox):
    files = dict(solution)
    source = files["lab4/sync.c"].decode()
    files["lab4/sync.c"] = source.replace("sync_count = 0;", "").encode()
    found = isolated.explore(
        built(files),
        COHORT,
        sandbox,
        "lab4",
        LAB,
        sources=files,
        scenarios=["barrier"],
        bounds=Bounds(),
    )
    assert found == explored(files, "barrier")
    assert found.verdict == "wrong"
    assert any(step.source for step in found.counterexample.steps)


@pytest.mark.parametrize(
    ("old", "new", "last"),
    [
        ("", "", "many rounds"),
        ("while (sync_id == id)", "while ((u8)sync_id == id)", "many rounds"),
        ("while (sync_id == id)", "while ((sync_id & 0xFF) == id)", "many rounds"),
        ("sync_count = 0;", "", "barrier"),
    ],
    ids=["right", "wrong in one order", "wrong in one order (mask)", "wrong in the search"],
)
def test_single_orders_in_a_second_process_change_nothing(
    built, explored, solution, old, new, last
):
    files = dict(solution)
    source = files["lab4/sync.c"].decode()
    assert old in source
    files["lab4/sync.c"] = source.replace(old, new).encode()
    asked = ["barrier", "many CPUs", "many rounds"]
    found = isolated.explore(
        built(files), COHORT, Sandbox.none(), "lab4", LAB, sources=files, scenarios=asked
    )
    assert found == explored(files, *asked)
    assert found.parts[-1].scenario == last
    assert (found.verdict == "wrong") == bool(old)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL ended it"),
        ("import os; os.abort()", "SIGABRT ended it"),
        ("sys.exit(7)", "status 7"),
        ("raise KeyError('lost')", "KeyError: 'lost'"),
        ("bytearray(2 ** 40)", "it needs more than 4096 MiB of memory"),
    ],
)
def test_a_search_that_dies_is_one_clear_error(image, sandbox, inside, code, found):
    inside(code)
    with pytest.raises(InfraError) as caught:
        isolated.explore(image, COHORT, sandbox, "lab4", LAB)
    assert "ended without a result" in str(caught.value.message)
    assert str(caught.value.found) == found
    assert caught.value.exit_code == 3


def test_a_search_that_hangs_is_ended(image, sandbox, inside):
    inside("while True: pass")
    with pytest.raises(InfraError, match="did not finish"):
        isolated.explore(image, COHORT, sandbox, "lab4", LAB, wall_s=0.5)


EVIL = {"message": "{x.__class__}", "values": {"x": 1}, "text": "harmless"}
RIGHT = {
    **dict.fromkeys(("image", "compiler"), "x"),
    **{"schema": "vmmlab/exploration/4", "verdict": "correct", "states": 0, "parts": []},
}


@pytest.mark.parametrize(
    "said",
    [
        *("", "all is well", "[1, 2]", "{}", '{"error": "no"}', '{"error": [1, 2, 3, 4]}'),
        pytest.param("[" * 100_000, id="very deep"),
        pytest.param(json.dumps({"error": [EVIL] * 4}), id="an error that looks inside"),
        json.dumps({**RIGHT, "verdict": "fine"}),
        pytest.param(json.dumps(RIGHT), id="of another image"),
        "\\xff\\xfe",
    ],
)
def test_an_invalid_answer_is_refused(image, inside, said):
    inside(f"sys.stdout.buffer.write({said!r}.encode('latin-1'))")
    with pytest.raises(InfraError, match="cannot be read"):
        isolated.explore(image, COHORT, Sandbox.none(), "lab4", LAB)


def test_an_incomplete_answer_is_refused(image, sandbox, inside):
    """It would count as "correct", because no part of it is wrong."""
    answer = json.dumps({**RIGHT, "image": image.key})
    inside(f"print({answer!r})")
    with pytest.raises(InfraError, match="cannot be read") as caught:
        isolated.explore(image, COHORT, sandbox, "lab4", LAB)
    assert str(caught.value.found) == "this is the result for another question"


def test_an_error_in_the_image_is_passed_on(image, sandbox):
    """The error is the one that a search in this process reports."""
    broken = dataclasses.replace(image, elf=image.symbols.line_text)
    with pytest.raises(InfraError, match="The image cannot be read"):
        isolated.explore(broken, COHORT, sandbox, "lab4", LAB)


def test_an_error_keeps_its_values_and_fits_a_line(image, inside):
    message = {"message": "{file} is no image", "values": {"file": "a\nb\x1b[2J"}, "text": "?"}
    said = [message, {"message": "two\nlines", "values": {}, "text": "?"}, {"text": "c\nd"}, ""]
    inside(f"import json; print(json.dumps({{'error': {said!r}}}))")
    with pytest.raises(InfraError) as caught:
        isolated.explore(image, COHORT, Sandbox.none(), "lab4", LAB)
    error = caught.value
    assert isinstance(error.message, Message)
    assert error.message.text == "{file} is no image"
    for text in (error.message, error.expected, error.found, error.next_step):
        assert str(text).isprintable(), text


def test_another_architecture_is_refused_before_anything_is_started(image, sandbox, inside):
    inside("raise AssertionError")
    options = dataclasses.replace(image.options, arch="i386")
    with pytest.raises(UsageError, match="i386"):
        isolated.explore(dataclasses.replace(image, options=options), COHORT, sandbox, "lab4", LAB)


def test_no_solution_is_visible_inside_the_sandbox(course, image, inside):
    sandbox = Sandbox.choose(require=False)
    if sandbox.kind == "none":
        pytest.skip("bubblewrap does not work here")
    places = [course.reference_dir, course.tree, course.root / "labs", course.root / "grader/tests"]
    places.append(Path(vmmlab.__file__).with_name("author"))
    inside(
        "import json, os\n"
        f"seen = [place for place in {[*map(str, places)]!r} if os.path.exists(place)]\n"
        "print(json.dumps({'error': [f'seen: {seen}', '', '', '']}))"
    )
    with pytest.raises(InfraError) as caught:
        isolated.explore(image, COHORT, sandbox, "lab4", LAB)
    assert str(caught.value.message) == "seen: []"
    with pytest.raises(InfraError) as caught:  # the same program outside the sandbox
        isolated.explore(image, COHORT, Sandbox.none(), "lab4", LAB)
    assert all(str(place) in str(caught.value.message) for place in places)


def test_a_missing_emulator_is_named(image, sandbox, monkeypatch):
    monkeypatch.setattr(isolated, "_PACKAGES", ("unicorn_that_is_not_there",))
    with pytest.raises(InfraError, match="needs unicorn_that_is_not_there") as caught:
        isolated.explore(image, COHORT, sandbox, "lab4", LAB)
    assert "vmmlab[explore]" in str(caught.value.next_step)


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def mine(solution, tmp_path):
    for path, content in solution.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    return tmp_path


def command(course, submission, *words):
    return main(["explore", "lab4", "--submission", str(submission), "--course", str(course.root),
                 *words])  # fmt: skip


def test_untrusted_work_needs_the_sandbox(course, mine, monkeypatch, capsys):
    monkeypatch.setattr(bubblewrap, "examine", lambda: Bubblewrap(False, reason="not here"))
    assert command(course, mine) == 3
    assert "Other people's code needs a sandbox" in capsys.readouterr().err
    assert command(course, mine, "--no-sandbox") == 0
    assert "no wrong schedule found" in capsys.readouterr().out


@pytest.mark.parametrize(("lang", "said"), [("en", "without a result"), ("ja", "結果を出さずに")])
def test_a_killed_search_is_reported_in_three_lines(course, inside, capsys, lang, said):
    inside("import os; os.kill(os.getpid(), 9)")
    assert command(course, "reference", "--lang", lang) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert "SIGKILL" in shown.err
    assert len(shown.err.splitlines()) == 3

"""The commands of the handouts, run in a workspace in which the steps so far are written.

What an English page shows is compared with a run in an English workspace, what a Japanese page
shows with one in a workspace made with --lang ja.

Before a console block a comment says what is written: `<!-- with lab1.2 -->` means all steps of the
lab up to that one; without a comment, nothing. What is typed into gdb stands in tables, and belongs
to the state of the block above.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from book_pages import (
    ROOT,
    Command,
    commands,
    handouts,
    language_of,
    missing_output,
    shown,
    twin,
)
from workspace_shell import needs_vmmlab, workspace_and_shell

from vmmlab.course import comments
from vmmlab.course.load import load_course
from vmmlab.course.markup import starter_text
from vmmlab.course.model import Course

PAGES = handouts()
BOTH = [one for page in PAGES for one in (page, twin(page))]
TWICE = re.compile(r"\btwice\b|2 回")
OFTEN = re.compile(r"a few times|数回")
CODE = re.compile(r"`([^`]+)`")
GDB = re.compile(r"`(make gdb LAB=(\d)[^`]*)`")
ABOVE = 12
"""Lines above a table in which the page says how gdb is started."""

pytestmark = [pytest.mark.slow, needs_vmmlab]


@dataclass(frozen=True)
class Session:
    """One sitting at gdb: what is typed, and what the handout says one sees.

    Attributes:
        state: the last step that is written, or "".
        typed: the lines.
        seen: pieces of text that gdb must print.
        started: the command that starts gdb.
    """

    page: str
    line: int
    state: str
    typed: tuple[str, ...]
    seen: tuple[str, ...]
    started: str


def states(page: Path) -> dict[int, str]:
    """The state from each line of a page on."""
    found = {0: ""}
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        mark = re.fullmatch(r"<!-- with (lab\d+\.\d+) -->", line.strip())
        if mark:
            found[number] = mark.group(1)
    return found


def state_at(page: Path, line: int) -> str:
    """The state of the block or table that stands at a line."""
    of_page = states(page)
    return of_page[max(number for number in of_page if number <= line)]


def lines_typed(cell: str) -> list[str]:
    """What the first cell of a row wants typed."""
    typed = CODE.findall(cell)
    if TWICE.search(cell):
        typed.append(typed[-1])
    if OFTEN.search(cell):
        typed += [typed[-1]] * 2
    return typed


def sessions(page: Path) -> list[Session]:
    """The tables of a page that say what to type into gdb."""
    found: list[Session] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    for at, line in enumerate(lines):
        if not line.startswith(("| type |", "| 入力 |")):
            continue
        typed: list[str] = []
        seen: list[str] = []
        for row in lines[at + 2 :]:
            if not row.startswith("|"):
                break
            first, second = row.strip("|").split("|", 1)
            typed += lines_typed(first)
            seen += CODE.findall(second)
        said = GDB.findall("\n".join(lines[max(0, at - ABOVE) : at]))
        number = page.parent.name.removeprefix("lab")
        started = said[-1] if said else (f"make gdb LAB={number}", "")
        command = f"make lab{started[1] or number} >/dev/null && {started[0]}"
        state = state_at(page, at)
        found.append(Session(shown(page), at + 1, state, tuple(typed), tuple(seen), command))
    return found


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """How to run a line in the workspace of a language, with the steps of a lab up to one."""
    shells: dict[str, Callable[..., str]] = {}

    def run(line: str, state: str, stdin: str = "", language: str = "en") -> str:
        if language not in shells:
            shells[language] = shell_in(tmp_path_factory.mktemp("home"), language)
        return shells[language](line, state, stdin)

    return run


def shell_in(home: Path, language: str) -> Callable[[str, str, str], str]:
    """A workspace in one language, and how to run a line in it."""
    kit = load_course(ROOT)
    lang = "" if language == "en" else language
    here, shell = workspace_and_shell(home, lang)

    def run(line: str, state: str, stdin: str) -> str:
        write(here, kit, state, lang)
        return shell(line, stdin)

    return run


def write(here: Path, kit: Course, state: str, lang: str) -> None:
    """Fill in the steps of a lab up to `state`; all other steps are as in the starter."""
    for lab in kit.labs.values():
        steps = [step.id for step in lab.steps]
        keep = frozenset(steps[: steps.index(state) + 1] if state in steps else ())
        for path in lab.files:
            text = (ROOT / "reference" / path).read_text(encoding="utf-8")
            new = starter_text(text, path=f"reference/{path}", keep=keep)
            if lang and not keep:
                new = comments.translated(new, path, ROOT / "reference" / lab.name, lang)
            if (here / path).read_text(encoding="utf-8") != new:
                (here / path).write_text(new, encoding="utf-8")


def in_any_order(command: Command, printed: str) -> tuple[Command, str]:
    """Both with the lines of the APs sorted: in which order they come is left to chance."""

    def settle(lines: list[str]) -> list[str]:
        aps = iter(sorted(line for line in lines if line.endswith("(AP)")))
        return [next(aps) if line.endswith("(AP)") else line for line in lines]

    settled = tuple(settle(list(command.output)))
    return (
        Command(command.page, command.line, command.text, settled, command.run),
        "\n".join(settle(printed.splitlines())),
    )


def wrong(command: Command, printed: str) -> str | None:
    """What is shown and was not printed, if anything."""
    if "this is a bug in vmmlab" in printed or "command not found" in printed:
        return printed
    return missing_output(*in_any_order(command, printed))


def is_long(command: Command, page: Path) -> bool:
    """Whether it takes long, or shows on a Japanese page nothing that is Japanese."""
    japanese = re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", "".join(command.output))
    return "pytest" in command.text or (language_of(page) == "ja" and japanese is None)


@pytest.mark.parametrize(
    ("page", "command"),
    [
        pytest.param(
            page,
            one,
            id=f"{page.parent.name}:{language_of(page)}:{one.line}",
            marks=[pytest.mark.full] if is_long(one, page) else [],
        )
        for page in BOTH
        for one in commands(page)
        if one.run and one.output
    ],
)
def test_a_command_prints_what_the_handout_shows(page, command, shell):
    state = state_at(page, command.line)
    printed = shell(command.text, state, language=language_of(page))
    assert wrong(command, printed) is None, printed


@pytest.mark.full
@pytest.mark.parametrize(
    ("page", "command"),
    [
        pytest.param(page, one, id=f"{page.parent.name}:{one.line}")
        for page in PAGES
        for one in commands(page)
        if one.run and not one.output
    ],
)
def test_a_command_that_is_shown_without_output_runs(page, command, shell):
    state = state_at(page, command.line)
    lab = page.parent.name
    printed = shell(f"make {lab} >build.log 2>&1; {command.text}", state)
    assert wrong(command, printed) is None
    assert "No such file" not in printed, printed
    assert "Stop." not in printed, printed


@pytest.mark.full
@pytest.mark.parametrize(
    ("page", "session"),
    [
        pytest.param(page, one, id=f"{page.parent.name}:{one.line}")
        for page in PAGES
        for one in sessions(page)
    ],
)
def test_what_is_typed_into_gdb_shows_what_the_handout_says(page, session, shell):
    typed = "".join(f"{line}\n" for line in (*session.typed, "quit"))
    printed = shell(session.started, session.state, typed)
    flat = " ".join(printed.split())
    assert [text for text in session.seen if text not in flat] == [], printed
    assert "Undefined command" not in printed, printed
    assert "No symbol" not in printed, printed


def test_there_are_sessions_and_commands():
    found = [one for page in PAGES for one in sessions(page)]
    assert len(found) >= 6
    assert all(len(one.typed) >= 2 for one in found)
    shown_outputs = [one for page in PAGES for one in commands(page) if one.output]
    assert len(shown_outputs) >= 15


def test_a_wrong_output_is_noticed():
    command = Command("page", 1, "x", ("Processor 1 (AP)", "Processor 2 (AP)", "lab1  6/20"), True)
    right = "Processor 2 (AP)\nProcessor 1 (AP)\nlab1  6/20\n"
    assert wrong(command, right) is None
    assert wrong(command, right.replace("6/20", "7/20"))
    assert wrong(command, right.replace("Processor 2", "Processor 3"))
    assert wrong(Command("page", 1, "x", (), True), "bash: x: command not found")


def test_an_english_output_on_a_japanese_page_is_noticed(shell):
    page = twin(PAGES[0])
    shown_there = next(one for one in commands(page) if one.text == "make lab1")
    printed = shell(shown_there.text, state_at(page, shown_there.line), language="ja")
    english = next(one for one in commands(PAGES[0]) if one.text == "make lab1")
    assert wrong(shown_there, printed) is None, printed
    assert wrong(english, printed) is not None


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_the_same_is_typed_into_gdb_in_both_languages(page):
    ours, theirs = sessions(page), sessions(twin(page))
    assert [one.typed for one in ours] == [one.typed for one in theirs]
    assert [set(one.seen) for one in ours] == [set(one.seen) for one in theirs]
    assert [one.started for one in ours] == [one.started for one in theirs]

"""Every text that a student can meet has a translation with the same values in it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from vmmlab.course.load import load_course
from vmmlab.i18n import templates
from vmmlab.i18n.prose import catalog
from vmmlab.i18n.translate import OWN_CATALOGS, Reader

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "grader" / "vmmlab"
LABS = sorted(path.name for path in (ROOT / "labs").glob("lab[0-9]*"))

SHOWN: Mapping[str, Collection[str] | None] = {
    "student/boot.py": None,
    "student/debug.py": ("boot_under_gdb",),
    "student/run.py": ("run", "_on_terminal"),
    "student/unattended.py": ("_boot",),
    "images/builder.py": None,
    "checks/hints.py": None,
    "images/cache.py": None,
    "images/compile.py": None,
    "images/diagnostics.py": None,
    "images/model.py": ("BuildOptions", "BuildFailed"),
    "images/objects.py": None,
    "images/toolchain.py": None,
    "cli/author.py": ("mutants", "new_lab", "release", "check_course"),
    "cli/complaints.py": None,
    "cli/instructor.py": (
        *("grade", "_must_be_gradable", "_report_all", "gradebook_sync", "gradebook_autograde"),
    ),
    "cli/main.py": ("_run", "_disk_is_full", "_language"),
    "cli/options.py": ("workspace_at",),
    "cli/student.py": ("new", "explore", "build", "run", "iso", "doctor"),
    "course/cohort.py": ("Cohort",),
    "course/comments.py": None,
    "base/nearest.py": None,
    "course/defined.py": None,
    "course/find.py": None,
    "course/load.py": None,
    "course/mistakes.py": None,
    "course/model.py": None,
    "course/reference.py": None,
    "host/tools.py": None,
    "author/check_course/__init__.py": None,
    "author/check_course/causes.py": None,
    "author/check_course/checks.py": None,
    "author/check_course/finding.py": None,
    "author/check_course/handouts.py": None,
    "author/check_course/japanese.py": None,
    "author/check_course/reference.py": None,
    "student/doctor.py": None,
    "diagnosis/aps.py": None,
    "diagnosis/bsp.py": None,
    "diagnosis/todo.py": None,
    "diagnosis/trampoline.py": None,
    "observe/milestones.py": None,
    "grading/boots.py": None,
    "explore/__init__.py": None,
    "explore/exploring.py": None,
    "explore/isolated.py": ("explore", "_answer", "_end", "_python", "_AGAIN"),
    "explore/machine.py": ("Machine",),
    "explore/model.py": ("write_json",),
    "explore/emulator.py": ("Oracle",),
    "explore/program.py": None,
    "explore/scenarios.py": None,
    "explore/search.py": ("Search", "_Run"),
    "explore/text.py": None,
    "explore/trace.py": None,
    "classroom/gradebook/folder.py": None,
    "classroom/gradebook/marks.py": (
        *("_HIDDEN", "_NOT_JUDGED", "from_report", "compiler_lines", "_must_be_a_grade"),
        *("_must_fit", "_few", "_mark", "_comment", "_lines", "_hidden_mark"),
    ),
    "classroom/gradebook/opening.py": None,
    "classroom/gradebook/notebook.py": ("text",),
    "classroom/gradebook/show.py": None,
    "classroom/gradebook/students.py": None,
    "classroom/gradebook/worksheets.py": None,
    "classroom/gradebook/write.py": None,
    "classroom/gradebook/sync.py": (
        *("Options", "run", "_refusing", "_read", "_rivals", "_sync", "_who", "_facts"),
    ),
    "grading/grade.py": ("grade_lab", "Grading"),
    "student/build.py": None,
    "machine/qemu.py": ("Machine",),
    "machine/spec.py": None,
    "host/versions.py": None,
    "student/iso.py": ("make_iso",),
    "author/mutants/apply.py": None,
    "author/mutants/changes.py": None,
    "author/mutants/random_mutants.py": None,
    "author/mutants/instructions.py": None,
    "author/mutants/model.py": None,
    "author/mutants/progress.py": None,
    "author/mutants/runner.py": None,
    "author/mutants/tables.py": None,
    "author/mutants/variants.py": None,
    "author/new_lab.py": None,
    "course/materials.py": None,
    "author/release.py": None,
    "student/plugin.py": None,
    "report/terminal.py": None,
    "host/sandbox.py": ("Sandbox", "probe", "_why", "_reason"),
    "course/markup.py": None,
    "course/submission.py": None,
    "worksheet/answers.py": ("Check", "_KINDS"),
    "worksheet/boot.py": None,
    "worksheet/kernel.py": ("_collect",),
    "worksheet/numbers.py": ("Student",),
    "workspace/model.py": None,
    "workspace/new.py": None,
    "base/yamlfile.py": None,
}
"""The files whose texts are shown to students, instructors or authors, and which functions and
classes of them; None: all."""

AS_IT_IS = frozenset(
    {
        # commands, and what is asked of other programs
        *("  cd {}", "  source .venv/bin/activate", "  make lab1 && pytest lab1"),
        *("sudo apt-get install {}", "sudo apt-get install --no-install-recommends {}"),
        *("gcc binutils", "python -m pip install '{}'"),
        *("{} || exit {}", "{} 2>{}; echo $? >{}", "vmmlab {}", "vmmlab: {}", "schema = {}"),
        "vmmlab cohort 1\x00{}",
        "vmmlab grade {} --submission . --seed {} --arch {} -k {}",
        *("vmmlab {}\n{}\n\n{}", "{standard input}", "fast, faithful", "alloc({}) returned"),
        *("next: make run LAB={}{}", "next: pytest {}{}", "      then make {}{}"),
        *("      then make {}{} && pytest {}{}"),
        *("bold red", "bold magenta", "bold green", "bold yellow", "or else", "same in"),
        # names within the explorer
        *("in order", "store buffers", "no error found", "gave up", "an edge without a move"),
        "pip install 'vmmlab[explore]'",
        # of these the explorer's table makes other texts
        *("its store is now seen by the others", "reads and writes at once"),
        "reads, the first half of an instruction without lock",
        "writes, the second half of that instruction",
        "{}\n… (the rest is left out)\n",
        *("pip install 'vmmlab[instructor]'", "pip install 'vmmlab[instructor,worksheets]'"),
        "python -m pip install 'vmmlab[author]'",
        *("Lab N", "lab N", "<!-- new-lab:", "<!-- end of {} -->", "english: {}"),
        *("<!-- {}: written by `vmmlab mutants --write` -->", "vmmlab {} {}"),
        *("the {} {} of {}", "the {} {} (number {}) of {}"),
        *("{}:{}: labs > {} > {} > {}", "far-jump-missing:\n              - a hint"),
        "  {}\n  nbgrader export --exporter=vmmlab.classroom.gradebook.export.QuotedCsv",
        "sandbox: bubblewrap {}: own namespaces, no network, only /usr readable; file size, "
        "processor time and memory of each process are limited, the number of processes {}",
        # for lab authors, who read English
        *("{}: {} is for {} and needs {}, which is for {}.", "needs that are for {} too"),
        "mend needs=, or the key arch in course.yml",
        "{} points offered, {} expected",
        *("milestone {} cannot be registered.", "a name and an order that no other milestone has"),
        "{} at {}",
    }
)
"""Texts that are shown in English to everybody."""

MADE = frozenset(
    {
        # what is put together in several places
        *("{}, called by {}", "real mode", "protected mode", "long mode"),
        *("{}: built in {} s, no warnings: {}", "{} in {}: {} (CS:IP = {})"),
        "{} in {}: {} ({})",
        "{} in {}: {} (CS:IP = {}); lgdt has loaded a GDT with base {}, limit {}",
        *("      then make {}", "next: make run LAB={}", "next: pytest {}"),
        # parts of what the explorer says of a step
        *("the first half of an instruction without lock", "the second half of that instruction"),
        *("not seen by the others yet", "for the last time in this loop (pass {})"),
        # two templates, one in the other
        "exception {} at {}, reading or writing address {}: next to 0, where {} = 0 leads",
        # made word by word
        *("the region {} of {}", "the function {} of {}", "the label {} of {}"),
        "{} of {} changes noticed, {} in code that no boot executes, {} could not be judged",
        *("first name", "last name"),
        *("the hidden check {} is named.", "a line of the solution of {} ({})."),
        # names of cases made of a phase's or a round's name in lab4
        *("not entered", "not numbered", "round-1", "round-2"),
    }
)
"""English texts that no string expression holds in one piece."""

OF_TYPER = re.compile(
    r"(Show this|Missing|No such|Got unexpected|Option|Invalid value|Input should)\b"
)
"""How the texts begin that typer says about the words of a command."""


def mistakes(demanded: Collection[str], known: Mapping[str, str]) -> Iterator[str]:
    """What is missing in a catalog."""
    for text in demanded:
        if templates.worth_translating(text) and text not in known and text not in AS_IT_IS:
            yield f"not translated: {text!r}"


def bad_entries(known: Mapping[str, str], said: Collection[str]) -> Iterator[str]:
    """What is wrong with the entries of a catalog, given all texts that there are."""
    for english, other in known.items():
        holes = re.findall(r"\{(\d*)\}", other)
        wanted = list(range(english.count("{}")))
        numbers = [int(hole or at) for at, hole in enumerate(holes)]
        if sorted(numbers) != wanted:
            yield f"other values: {english!r} -> {other!r}"
        if not re.search(r"[ぁ-んァ-ヶ一-龠（）：、。]", other) and not english.startswith(
            "label: "
        ):
            yield f"not Japanese: {english!r} -> {other!r}"
        if english not in said and english not in MADE:
            yield f"nobody says: {english!r}"


def said_by(lab: str) -> set[str]:
    """All texts of a lab: its checks, their titles, its steps."""
    tests = ROOT / "labs" / lab / f"test_{lab}.py"
    described = load_course(ROOT).labs[lab]
    steps = {step.title for step in described.steps}
    return {*templates.texts(tests), *templates.titles(tests), *steps, described.title}


@pytest.mark.parametrize("lab", LABS)
def test_a_labs_texts_are_translated(lab: str) -> None:
    own = catalog(ROOT / "labs" / lab, "ja")
    said = said_by(lab)
    assert list(mistakes(said, {**catalog(OWN_CATALOGS, "ja"), **own})) == []
    assert list(bad_entries(own, said)) == []


def test_the_texts_of_vmmlab_itself_are_translated() -> None:
    known = catalog(OWN_CATALOGS, "ja")
    missing = {
        f"{name}:{line}": list(mistakes([text], known))
        for name, only in SHOWN.items()
        for text, line in templates.texts(PACKAGE / name, only=only).items()
    }
    assert {where: what for where, what in missing.items() if what} == {}


def test_vmmlab_still_says_what_is_translated() -> None:
    said = {*helps()}
    for file in PACKAGE.rglob("*.py"):
        said |= set(templates.texts(file))
    texts = {
        key: text
        for key, text in catalog(OWN_CATALOGS, "ja").items()
        if not key.startswith("label: ") and not OF_TYPER.match(key)
    }
    assert list(bad_entries(texts, said)) == []


def helps() -> Iterator[str]:
    """What --help shows of all commands."""
    import typer

    from vmmlab.cli import main

    yield from _helps(typer.main.get_command(main.app))


def _helps(command: Any) -> Iterator[str]:
    yield " ".join((command.help or "").split())
    for parameter in command.params:
        if getattr(parameter, "help", None):
            yield parameter.help
    for inner in getattr(command, "commands", {}).values():
        yield from _helps(inner)


def test_the_help_is_translated() -> None:
    known = catalog(OWN_CATALOGS, "ja")
    assert [text for text in helps() if text not in known] == []


@pytest.mark.parametrize("lab", LABS)
def test_hidden_checks_are_translated_where_no_student_reads(lab: str) -> None:
    folder = ROOT / "labs" / lab
    hidden = folder / "hidden" / "test_hidden.py"
    if not hidden.is_file():
        pytest.skip("a released copy, or a lab without hidden checks")
    own, shared = catalog(hidden.parent, "ja"), catalog(folder, "ja")
    said = {*templates.texts(hidden), *templates.titles(hidden)}
    assert list(mistakes(said, {**catalog(OWN_CATALOGS, "ja"), **shared, **own})) == []
    assert list(bad_entries(own, said)) == []
    assert set(own).isdisjoint(shared)
    say = Reader("ja").of(folder)
    assert all(say(english) == other for english, other in own.items() if "{}" not in english)


@pytest.mark.parametrize("lab", LABS)
def test_hints_go_rung_by_rung(lab: str) -> None:
    from vmmlab.checks.causes import Causes

    folder = ROOT / "labs" / lab
    english, japanese = (Causes(folder / name).load() for name in ("causes.yml", "causes.ja.yml"))
    rungs = {cause: len(ladder) for cause, ladder in english.items()}
    assert {cause: len(ladder) for cause, ladder in japanese.items()} == rungs
    say = Reader("ja").of(folder)
    for cause, ladder in english.items():
        assert tuple(map(say, ladder)) == japanese[cause]


def test_a_text_is_translated_the_same_way_everywhere() -> None:
    own = catalog(OWN_CATALOGS, "ja")
    other = {
        english: (translation, own[english])
        for lab in LABS
        for english, translation in catalog(ROOT / "labs" / lab, "ja").items()
        if own.get(english, translation) != translation
    }
    assert other == {}


# --- the test of the test ------------------------------------------------------------------------


@pytest.fixture
def wrong(tmp_path: Path) -> Mapping[str, str]:
    here = Path(__file__).parent
    (tmp_path / "messages.ja.yml").write_text((here / "known_wrong.yml").read_text())
    return catalog(tmp_path, "ja")


def test_a_known_wrong_catalog_is_caught(wrong: Mapping[str, str]) -> None:
    file = Path(__file__).parent / "wrong_checks.py"
    said = {*templates.texts(file), *templates.titles(file)}
    assert sorted([*mistakes(said, wrong), *bad_entries(wrong, said)]) == [
        "nobody says: 'nobody says this any more'",
        "not Japanese: 'a triple fault' -> 'a triple fault'",
        "not translated: 'The title that was forgotten.'",
        "not translated: 'a double fault'",
        "not translated: 'a double fault, begun by {}'",
        "other values: 'it went from {} to {}' -> '{0} から {2} へ'",
        "other values: '{} waits as well' -> '待っています'",
    ]

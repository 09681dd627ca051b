"""What a lab author has forgotten: each thing one line, with the file and what to do.

Reads files and starts nothing: no test is imported, no image is built. What only a grading can show
(that a mutant is really caught, that the reference earns all points) is for `vmmlab mutants` and
`vmmlab grade`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.author import mutants
from vmmlab.base.errors import VmmlabError
from vmmlab.base.markdown import headings
from vmmlab.base.message import Text
from vmmlab.checks.causes import Causes
from vmmlab.course import comments
from vmmlab.course import model as courses
from vmmlab.course.markup import regions, starter_text
from vmmlab.course.model import CheckSpec, Course, Lab
from vmmlab.i18n import templates
from vmmlab.i18n.prose import catalog
from vmmlab.i18n.translate import OWN_CATALOGS, Reader

LEFT_OVER: Final = "<!-- new-lab:"
"""How a line begins that `vmmlab new-lab` has left for the author."""

_ROW: Final = re.compile(r"\| *`(lab[0-9]+\.[a-z0-9._-]+)` *\| *([0-9]+) *\|")
_BOOK_PAGES: Final = ("docs/index.md", "docs/index.ja.md")


@dataclass(frozen=True)
class Forgotten:
    """One thing that is not there or does not fit.

    Attributes:
        file: relative to the clone.
        line: from 1; 0 if it is about the file as a whole.
        what: what is wrong.
        do: what to do about it.
        expected: what should be there, if that is said.
        found: what is there instead, if that is said.
    """

    file: str
    line: int
    what: Text
    do: Text
    expected: Text = ""
    found: Text = ""

    def __str__(self) -> str:
        return self.shown(Reader())

    def shown(self, say: Reader) -> str:
        """It as one line, in the reader's language."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        said = [say(self.what)]
        said += [say(f"Expected {self.expected}")] if self.expected else []
        said += [say(f"Found {self.found}")] if self.found else []
        what = say.label(". ").join(" ".join(one.split()).rstrip(".。") for one in said)
        return say.label(": ").join((where, what, say(self.do)))


def forgotten(root: Path) -> tuple[Forgotten, ...]:
    """All that is forgotten in the course at `root`, in the order of the labs.

    A course.yml that cannot be read is one thing, and the only one that is said then.
    """
    try:
        course = courses.load(root)
    except VmmlabError as error:
        return (_of_error(error, courses.COURSE_FILE),)
    found: list[Forgotten] = []
    for lab in course.labs.values():
        found += _handouts(course, lab)
        found += _checks(course, lab)
        found += _reference(course, lab)
        found += _mutants_and_hints(course, lab)
        found += _japanese(course, lab)
        found += _book(course, lab)
    found += _strangers(course)
    return tuple(dict.fromkeys(found))


def _all_checks(lab: Lab) -> dict[str, CheckSpec]:
    """The checks of a lab, whatever their architecture."""
    return {name: check for arch in courses.ARCHES for name, check in lab.checks_of(arch).items()}


def _of_error(error: VmmlabError, file: str) -> Forgotten:
    """An error of another module, whose message begins with file and line where it can."""
    place = re.match(r"(\S+?):([0-9]+): (.*)", str(error.message))
    return Forgotten(
        file,
        int(place.group(2)) if place else 0,
        place.group(3) if place else error.message,
        error.next_step or "mend it",
        expected=error.expected,
        found=error.found,
    )


# --- handouts ----------------------------------------------------------------------------------


def _handouts(course: Course, lab: Lab) -> Iterator[Forgotten]:
    levels: dict[str, list[int]] = {}
    for name, language in (("README.md", "English"), ("README.ja.md", "Japanese")):
        file = f"labs/{lab.name}/{name}"
        text = _text(course, file)
        if text is None:
            yield Forgotten(file, 0, f"the {language} handout is missing", "write it")
            continue
        levels[name] = [level for level, _ in headings(text)]
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            if LEFT_OVER in line:
                wish = line.split(LEFT_OVER, 1)[1].removesuffix("-->").strip()
                yield Forgotten(file, number, "still to be written", wish)
        yield from _rows(lab, file, lines)
    if len(levels) == 2 and levels["README.md"] != levels["README.ja.md"]:
        yield Forgotten(
            f"labs/{lab.name}/README.ja.md",
            0,
            "its headings are not those of README.md",
            "give both the same sections in the same order",
        )


def _rows(lab: Lab, file: str, lines: Sequence[str]) -> Iterator[Forgotten]:
    """The table of checks in a handout, against course.yml."""
    told: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(lines, 1):
        if row := _ROW.match(line):
            told[row.group(1)] = (int(row.group(2)), number)
    checks = _all_checks(lab)
    for check_id, check in checks.items():
        if check_id not in told:
            if check.points:
                yield Forgotten(
                    file, 0, f"no row for the check {check_id}", "add it to the table of checks"
                )
        elif told[check_id][0] != check.points:
            yield Forgotten(
                file,
                told[check_id][1],
                f"{check_id} has {told[check_id][0]} points here and {check.points} in course.yml",
                "make both the same",
            )
    for check_id, (_, number) in told.items():
        if check_id not in checks:
            yield Forgotten(
                file, number, f"course.yml has no check {check_id}", "take the row out, or add it"
            )


# --- checks and hints --------------------------------------------------------------------------


def _checks(course: Course, lab: Lab) -> Iterator[Forgotten]:
    entry = courses.COURSE_FILE
    file = f"labs/{lab.name}/test_{lab.name}.py"
    path = course.root / file
    if not path.is_file():
        yield Forgotten(file, 0, "the tests are missing", "write the checks of this lab")
        return
    try:
        declared = _declared(path)
    except SyntaxError as error:
        yield Forgotten(file, error.lineno or 0, f"not Python: {error.msg}", "mend it")
        return
    hidden = sorted((path.parent / "hidden").glob("test_*.py"))
    everywhere = dict(declared)
    checks = _all_checks(lab)
    for one in hidden:
        found = _declared(one)
        everywhere |= found
        for check_id in found.keys() - lab.hidden.keys():
            yield Forgotten(
                f"labs/{lab.name}/hidden/{one.name}",
                found[check_id],
                f"{check_id} is not in course.yml",
                "give it points and a step there, below `hidden`",
            )
    for check_id in [*checks, *lab.hidden]:
        if check_id not in everywhere:
            yield Forgotten(
                entry,
                lab.check_lines[check_id],
                f"no test defines {check_id}",
                f"write it in {file if check_id in checks else f'labs/{lab.name}/hidden/'}, "
                "or take this line out",
            )
    for check_id, line in declared.items():
        if check_id not in checks:
            yield Forgotten(
                file, line, f"{check_id} is not in course.yml", "give it points and a step there"
            )
    for arch in lab.arches:
        earned = {check.step for check in lab.checks_of(arch).values() if check.points}
        for step in lab.steps:
            if step.id not in earned:
                yield Forgotten(
                    entry,
                    lab.line,
                    f"no check earns anything for the step {step.id}"
                    if arch == courses.ARCHES[0]
                    else f"no {arch} check earns anything for the step {step.id}",
                    "add one",
                )


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=path.name)


def _declared(path: Path) -> dict[str, int]:
    """The checks that a test file declares, with their lines."""
    found: dict[str, int] = {}
    for node in _tree(path).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and _called(mark) == "check" and mark.args:
                first = mark.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found[first.value] = node.lineno
    return found


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def causes(path: Path) -> dict[str, int]:
    """The causes that a test file names as text, with the first line of each.

    They are what `fail`, `missing` and `expect` get first, what a function of the file gets for its
    parameter `cause`, and what a variable called `cause` is set to.
    """
    tree = _tree(path)
    takes = {"fail": 0, "missing": 0, "expect": 0}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = [one.arg for one in node.args.args]
            if "cause" in names:
                takes[node.name] = names.index("cause")
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call) and (at := takes.get(_called(node))) is not None:
            values += node.args[at : at + 1]
            values += [word.value for word in node.keywords if word.arg == "cause"]
        elif isinstance(node, ast.Assign) and any(
            isinstance(name, ast.Name) and name.id == "cause" for name in node.targets
        ):
            values.append(node.value)
        for value in values:
            for text in _texts(value):
                found.setdefault(text, value.lineno)
    return found


def _texts(value: ast.expr) -> Iterator[str]:
    """A constant text, or those that `a if x else b` chooses from."""
    if isinstance(value, ast.IfExp):
        yield from _texts(value.body)
        yield from _texts(value.orelse)
    elif isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
        yield value.value


def _mutants_and_hints(course: Course, lab: Lab) -> Iterator[Forgotten]:
    file = f"grader/mutants/{lab.name}.yml"
    wanted: dict[str, str] = {}
    tests = course.root / f"labs/{lab.name}/test_{lab.name}.py"
    if tests.is_file():
        try:
            wanted |= dict.fromkeys(causes(tests), f"labs/{lab.name}/{tests.name}")
        except SyntaxError:
            return  # said already
    if lab.steps:
        wanted["not-written-yet"] = "every starter"
    worth = [check_id for check_id, check in _all_checks(lab).items() if check.points]
    try:
        known = mutants.load(course, [lab.name]) if (course.root / file).is_file() else ()
    except VmmlabError as error:
        yield _of_error(error, file)
        return
    for check_id in worth:
        if not any(one.check == check_id for one in known):
            yield Forgotten(
                file,
                0,
                f"no mutant is to be caught by {check_id}",
                "add a wrong solution that this check must catch",
            )
    for one in known:
        wanted.setdefault(one.cause, one.source)
        try:
            mutants.apply(course, one)
        except VmmlabError as error:
            yield _of_error(error, file)
    yield from _hints(course, lab, wanted)


def _hints(course: Course, lab: Lab, wanted: Mapping[str, str]) -> Iterator[Forgotten]:
    for name in ("causes.yml", "causes.ja.yml"):
        file = f"labs/{lab.name}/{name}"
        try:
            causes = Causes(course.root / file).load()
        except VmmlabError as error:
            yield _of_error(error, file)
            continue
        for cause, by in wanted.items():
            if (cause not in causes or not causes[cause].hints) and lab.steps:
                yield Forgotten(
                    file, 0, f"no hint for the cause {cause} (from {by})", "add a list of hints"
                )


# --- Japanese ----------------------------------------------------------------------------------


def _japanese(course: Course, lab: Lab) -> Iterator[Forgotten]:
    """Texts that a reader of Japanese would be shown in English."""
    folder = course.labs_dir / lab.name
    file = f"labs/{lab.name}/messages.ja.yml"
    if (folder / "locale").is_dir():
        yield from _catalogs(course, lab)
        return
    told = [lab.title, *(step.title for step in lab.steps)]
    tests = folder / f"test_{lab.name}.py"
    with suppress(SyntaxError, OSError):  # said already
        told += (
            *templates.titles(tests),
            *templates.arguments(tests, ("expected", "observed", "next")),
        )
    try:
        say = Reader("ja").of(folder)
        known = {**catalog(OWN_CATALOGS, "ja"), **catalog(folder, "ja")}
        strangers = [
            text
            for text in dict.fromkeys(told)
            if templates.has_words(text) and text not in known and say(text) == text
        ]
    except VmmlabError as error:
        yield _of_error(error, file)
        return
    for text in strangers:
        yield Forgotten(file, 0, f'no Japanese for "{text}"', "add a line with the translation")
    for name in lab.files:
        yield from _japanese_comments(course, lab, name)


def _catalogs(course: Course, lab: Lab) -> Iterator[Forgotten]:
    """What the gettext catalogs of a lab lack."""
    from vmmlab.author import catalogs  # late: it loads Babel
    from vmmlab.i18n.catalog import po_file

    for place in catalogs.of_lab(course.root, lab.name):
        file = po_file(place.folder, "ja")
        shown = str(file.relative_to(course.root))
        try:
            for one in catalogs.problems(place, "ja"):
                yield Forgotten(shown, one.line, one.what, one.do)
        except VmmlabError as error:
            yield _of_error(error, shown)
        except SyntaxError:
            return  # said already


def _japanese_comments(course: Course, lab: Lab, name: str) -> Iterator[Forgotten]:
    file = f"reference/{lab.name}/contracts.ja.yml"
    folder = course.reference_dir / lab.name
    if not (course.root / file).is_file():
        yield Forgotten(file, 0, f"no Japanese for the comments of {name}", "translate them")
        return
    try:
        starter = starter_text(_text(course, f"reference/{name}") or "", path=name)
    except VmmlabError:
        return  # said already
    try:
        comments.translated(starter, name, folder, "ja")
    except VmmlabError as error:
        yield _of_error(error, file)


# --- the reference -----------------------------------------------------------------------------


def _reference(course: Course, lab: Lab) -> Iterator[Forgotten]:
    marked: set[str] = set()
    whole = True
    for name in lab.files:
        file = f"reference/{name}"
        text = _text(course, file)
        if text is None:
            yield Forgotten(file, 0, "the reference solution is missing", "write it")
            whole = False
            continue
        try:
            parts = regions(text, path=file)
            starter_text(text, path=file)
        except VmmlabError as error:
            yield _of_error(error, file)
            whole = False
            continue
        steps = {step.id for step in lab.steps}
        for part in parts:
            marked.add(part.step)
            if part.step not in steps:
                yield Forgotten(
                    file, part.begin, f"course.yml has no step {part.step}", "add it there"
                )
        for symbol in lab.symbols[name]:
            if not re.search(rf"\b{re.escape(symbol)}\b", text):
                yield Forgotten(
                    file, 0, f"{symbol} is nowhere in it", "define it, as course.yml promises"
                )
    for step in lab.steps:
        if whole and step.id not in marked:
            yield Forgotten(
                f"reference/{step.file}",
                0,
                f"nothing is marked as the solution of {step.id}",
                f"add BEGIN SOLUTION {step.id} and END SOLUTION",
            )


# --- the rest ----------------------------------------------------------------------------------


def _book(course: Course, lab: Lab) -> Iterator[Forgotten]:
    for page in _BOOK_PAGES:
        text = _text(course, page)
        if text is not None and f"labs/{lab.name}/README" not in text:
            yield Forgotten(page, 0, f"no row for {lab.name}", "add it to the table of labs")


def _strangers(course: Course) -> Iterator[Forgotten]:
    """Folders and files of labs that course.yml does not know."""
    for folder in ("labs", "reference"):
        for path in sorted((course.root / folder).glob("lab*")):
            if path.is_dir() and path.name not in course.labs:
                yield Forgotten(
                    f"{folder}/{path.name}", 0, "course.yml has no such lab", "add it, or move this"
                )
    for path in sorted((course.root / "grader" / "mutants").glob("lab*.yml")):
        if path.stem not in course.labs:
            yield Forgotten(
                f"grader/mutants/{path.name}", 0, "course.yml has no such lab", "add it, or move it"
            )


def _text(course: Course, file: str) -> str | None:
    path = course.root / file
    return path.read_text(encoding="utf-8") if path.is_file() else None

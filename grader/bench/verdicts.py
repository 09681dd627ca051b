"""Prove that a rewrite changes no verdict: grade every known submission before and after it.

`export` writes all known submissions as folders, with the vmmlab that runs this script. `dump`
grades the folders with any vmmlab, through its command line only, and writes one line of JSON for
each. `compare` prints what differs between two dumps and exits with 1 if anything does. Only what
is no text is compared: points, and each check's outcome, cause, CPU and step.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from vmmlab.course.model import Course

Record = dict[str, Any]
"""One line of a dump."""

ROOT: Final = Path(__file__).parents[2]
FORGERIES: Final = ROOT / "grader" / "tests" / "verdicts" / "forgeries.py"
INDEX: Final = "index.json"
SEED: Final = 1
COHORT: Final = "dev"
X86_64: Final = "x86_64"
OF_REPORT: Final = ("points", "max", "hidden_points", "hidden_max")
OF_CHECK: Final = ("outcome", "points", "cause", "cpu", "step")
TIMEOUT_S: Final = 600.0
"""Maximum duration of one grading, in seconds. Only a grader that hangs takes so long."""


class Mistake(Exception):
    """The command line or a file that it names is wrong; the text says how."""


@dataclass(frozen=True)
class Entry:
    """One submission of the corpus.

    Attributes:
        name: the folder below the corpus.
        lab: the lab to grade.
        arch: what to grade it for.
        hidden: run the hidden checks too.
        cohort: name of the cohort whose numbers it is built with.
        seed: seed of the boots.
    """

    name: str
    lab: str
    arch: str = X86_64
    hidden: bool = False
    cohort: str = COHORT
    seed: int = SEED


# --- export ---------------------------------------------------------------------------------------


def submissions(course: Course) -> Iterator[tuple[Entry, Mapping[str, bytes]]]:
    """All known submissions with their files."""
    yield from _written(course)
    yield from _right(course)
    yield from _forged(course)
    yield from _mutated(course)


def _written(course: Course) -> Iterator[tuple[Entry, Mapping[str, bytes]]]:
    """The reference, the starter, and each number of steps between them."""
    from vmmlab.course.reference import reference

    for name, lab in course.labs.items():
        for arch in lab.arches:
            of, hidden = _of(name, arch), bool(lab.hidden_of(arch))
            files = reference(course, [name]).files
            yield Entry(f"reference/{of}", name, arch, hidden), files
            for count in range(len(lab.steps)):
                steps = frozenset(step.id for step in lab.steps[:count])
                kind = f"steps/{of}-{count}" if count else f"starter/{of}"
                yield Entry(kind, name, arch), reference(course, [name], steps).files


def _right(course: Course) -> Iterator[tuple[Entry, Mapping[str, bytes]]]:
    from vmmlab.author.mutants import load_variants, variant_files

    for one in load_variants(course):
        files = variant_files(course, one)
        for arch in one.arches:
            hidden = bool(course.lab(one.lab).hidden_of(arch))
            yield Entry(f"correct/{one.name}/{_of(one.lab, arch)}", one.lab, arch, hidden), files


def _forged(course: Course) -> Iterator[tuple[Entry, Mapping[str, bytes]]]:
    spec = importlib.util.spec_from_file_location("forgeries", FORGERIES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, (lab, make, _) in module.FORGERIES.items():
        yield Entry(f"forgery/{_file_name(name)}", lab), make(course)
    for name in module.BY_ITSELF:
        yield Entry(f"forgery/{_file_name(name)}", "lab3"), module.refused(name)(course)


def _mutated(course: Course) -> Iterator[tuple[Entry, Mapping[str, bytes]]]:
    """The mutants, without the hidden checks, as `vmmlab mutants` grades them."""
    from vmmlab.author.mutants import apply, load

    for one in load(course):
        entry = Entry(f"mutant/{one.id}", one.lab, one.arch, cohort=one.cohort)
        yield entry, apply(course, one)


def _of(lab: str, arch: str) -> str:
    return lab if arch == X86_64 else f"{lab}-{arch}"


def _file_name(title: str) -> str:
    return "".join(c for c in title.replace(" ", "-") if c.isalnum() or c in "-_.")


def export(folder: Path) -> list[Entry]:
    """Write all known submissions below `folder`, and an index of them.

    Raises:
        Mistake: the folder is not empty, or two submissions have the same name.
    """
    from vmmlab.course.load import load_course

    if folder.exists() and any(folder.iterdir()):
        raise Mistake(f"{folder} is not empty.")
    entries: list[Entry] = []
    for entry, files in submissions(load_course(ROOT)):
        top = folder / entry.name
        if top.exists():
            raise Mistake(f"there are two submissions called {entry.name}.")
        top.mkdir(parents=True)
        for path, content in files.items():
            (top / path).parent.mkdir(exist_ok=True)
            (top / path).write_bytes(content)
        entries.append(entry)
    index = json.dumps([asdict(entry) for entry in entries], indent=1)
    (folder / INDEX).write_text(f"{index}\n", encoding="utf-8")
    return entries


# --- dump -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grader:
    """How to grade one submission of a corpus.

    Attributes:
        vmmlab: the executable.
        course: the course to grade with.
        corpus: the folder that `export` wrote.
        cache: folder for what is built; a new one, so that nothing comes from another version.
    """

    vmmlab: Path
    course: Path
    corpus: Path
    cache: Path

    def grade(self, entry: Entry) -> Record:
        """Grade one submission; whatever happens is recorded and not raised."""
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="verdict-") as temporary:
            path = Path(temporary) / "report.json"
            try:
                done = subprocess.run(
                    self.command(entry, path),
                    env={**os.environ, "LC_ALL": "C.UTF-8", "XDG_CACHE_HOME": str(self.cache)},
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=TIMEOUT_S,
                    check=False,
                )
                code, errors = done.returncode, done.stderr
            except subprocess.TimeoutExpired:
                code, errors = None, f"no verdict in {TIMEOUT_S:.0f} s"
            record: Record = {**asdict(entry), "exit": code, **verdict(path)}
        if "checks" not in record:
            record["stderr"] = next((line for line in errors.splitlines() if line.strip()), "")
        return {**record, "took_s": round(time.monotonic() - began, 2)}

    def command(self, entry: Entry, report: Path) -> list[str]:
        """The command line that grades one submission and writes its report."""
        return [
            str(self.vmmlab), "grade", entry.lab,
            "--submission", str(self.corpus / entry.name),
            "--json", str(report),
            "--course", str(self.course),
            "--arch", entry.arch,
            "--cohort", entry.cohort,
            "--seed", str(entry.seed),
            "--hidden" if entry.hidden else "--open-only",
            "--no-sandbox",
        ]  # fmt: skip


def verdict(path: Path) -> Record:
    """What of a report.json is compared; empty if there is no report. Other fields are ignored."""
    try:
        report = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    checks = {one["id"]: {key: one.get(key) for key in OF_CHECK} for one in report["checks"]}
    return {**{key: report.get(key) for key in OF_REPORT}, "checks": checks}


def read_index(corpus: Path) -> list[Entry]:
    """The submissions of a corpus.

    Raises:
        Mistake: there is no index.
    """
    try:
        return [Entry(**one) for one in json.loads((corpus / INDEX).read_bytes())]
    except (OSError, ValueError, TypeError) as error:
        raise Mistake(f"{corpus / INDEX} cannot be read: {error}") from None


def read_dump(path: Path) -> dict[str, Record]:
    """The records of a dump by name. A last line that was cut off is left out.

    Raises:
        Mistake: the file cannot be read, or a line other than the last is no record.
    """
    records: dict[str, Record] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"{path} cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            records[record["name"]] = record
        except (ValueError, TypeError, KeyError):
            if number < len(lines):
                raise Mistake(f"{path}:{number}: this is no record of a dump.") from None
    return records


def chosen(names: Iterable[str], only: str | None) -> list[str]:
    """The names that match a shell pattern, or that contain it."""
    if only is None:
        return list(names)
    return [name for name in names if only in name or fnmatch.fnmatchcase(name, only)]


def dump(grader: Grader, out: Path, *, jobs: int, only: str | None, resume: bool) -> int:
    """Grade the submissions of a corpus and write each verdict at once.

    Args:
        grader: what grades.
        out: the file to write, one line of JSON for each submission.
        jobs: gradings at the same time.
        only: grade only what matches.
        resume: keep the verdicts that `out` already has.

    Returns:
        How many submissions have been graded.

    Raises:
        Mistake: `out` exists and is not to be resumed, or the corpus has no index.
    """
    if out.exists() and not resume:
        raise Mistake(f"{out} exists: say --resume, or name another file.")
    done = read_dump(out) if out.exists() else {}
    entries = {entry.name: entry for entry in read_index(grader.corpus)}
    todo = [entries[name] for name in chosen(entries, only) if name not in done]
    _write_again(out, done.values())  # without the line that was cut off
    began = time.monotonic()
    with out.open("a", encoding="utf-8") as file, ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(grader.grade, entry) for entry in todo]
        try:
            for count, future in enumerate(as_completed(waiting), 1):
                record = future.result()
                file.write(f"{json.dumps(record)}\n")
                file.flush()
                left_s = (time.monotonic() - began) / count * (len(todo) - count)
                print(
                    f"[{count}/{len(todo)}] {record['name']}: {summary(record)}, "
                    f"{record['took_s']} s; {left_s / 60:.0f} min left",
                    flush=True,
                )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return len(todo)


def _write_again(path: Path, records: Iterable[Record]) -> None:
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text("".join(f"{json.dumps(one)}\n" for one in records), encoding="utf-8")
    beside.replace(path)


def summary(record: Record) -> str:
    """Describe a verdict in a few words."""
    if "checks" not in record:
        return f"exit {record['exit']}, no report: {record.get('stderr', '')}"
    return f"exit {record['exit']}, {record['points']}/{record['max']}"


# --- compare --------------------------------------------------------------------------------------


def differences(old: Record, new: Record) -> Iterator[str]:
    """What differs between two verdicts on one submission, each as a line without its name."""
    for key in ("lab", "arch", "hidden", "cohort", "seed", "exit"):
        if old.get(key) != new.get(key):
            yield f"{key}: {old.get(key)} -> {new.get(key)}"
    if ("checks" in old) != ("checks" in new):
        yield f"{summary(old)} -> {summary(new)}"
        return
    for key in OF_REPORT:
        if old.get(key) != new.get(key):
            yield f"{key}: {old.get(key)} -> {new.get(key)}"
    before, after = old.get("checks", {}), new.get("checks", {})
    for check in dict.fromkeys([*before, *after]):
        if check not in after or check not in before:
            yield f"{check}: only in the {'old' if check in before else 'new'} dump"
            continue
        changes = [
            f"{key} {before[check].get(key)} -> {after[check].get(key)}"
            for key in OF_CHECK
            if before[check].get(key) != after[check].get(key)
        ]
        if changes:
            yield f"{check}: {', '.join(changes)}"


def compare(
    old: Mapping[str, Record],
    new: Mapping[str, Record],
    only: str | None = None,
    *,
    common: bool = False,
) -> tuple[list[str], int]:
    """Compare two dumps.

    Args:
        old: the records before the rewrite, by name.
        new: those after it.
        only: compare only what matches.
        common: leave out what is in one dump only, and say how many these are.

    Returns:
        The differences as lines, equal ones grouped, with a summary as the last line; and the
        number of submissions that differ.

    Raises:
        Mistake: there is nothing to compare.
    """
    groups: dict[str, list[str]] = {}
    names = chosen(dict.fromkeys([*old, *new]), only)
    left_out = [name for name in names if common and not (name in old and name in new)]
    names = [name for name in names if name not in left_out]
    if not names:
        raise Mistake("there is nothing to compare.")
    for name in names:
        if name not in new or name not in old:
            found = [f"only in the {'old' if name in old else 'new'} dump"]
        else:
            found = list(differences(old[name], new[name]))
        for one in found:
            groups.setdefault(one, []).append(name)
    different = len({name for group in groups.values() for name in group})
    lines = []
    for what, where in sorted(groups.items()):
        lines += [what, *(f"    {name}" for name in where)]
    checks = sum(len(old[name].get("checks", ())) for name in names if name in old)
    lines.append(
        f"{len(names)} submissions, {checks} checks: "
        + (f"{different} submissions differ." if different else "no verdict differs.")
        + (f" {len(left_out)} in one dump only are left out." if left_out else "")
    )
    return lines, different


# --- the command line -----------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    one = commands.add_parser("export", help="write every known submission as a folder")
    one.add_argument("folder", type=Path)
    one = commands.add_parser("dump", help="grade an exported corpus")
    one.add_argument("out", type=Path, help="the file to write, one line of JSON a submission")
    one.add_argument("--corpus", type=Path, required=True, help="what `export` has written")
    one.add_argument(
        "--vmmlab", type=Path, default=Path(sys.executable).with_name("vmmlab"),
        help="the executable (default: of the environment that runs this)",
    )  # fmt: skip
    one.add_argument(
        "--course", type=Path, help="the course (default: the clone that holds .venv/bin/vmmlab)"
    )
    one.add_argument("--jobs", type=int, default=2, help="gradings at the same time (default 2)")
    one.add_argument("--only", metavar="PATTERN", help="only the names that match or contain this")
    one.add_argument("--resume", action="store_true", help="keep what the file already has")
    one = commands.add_parser("compare", help="print what differs; exit 1 if anything does")
    one.add_argument("old", type=Path)
    one.add_argument("new", type=Path)
    one.add_argument("--only", metavar="PATTERN", help="only the names that match or contain this")
    one.add_argument("--common", action="store_true", help="leave out what is in one dump only")
    return top


def run(options: argparse.Namespace) -> int:
    """Run one of the commands; the exit code is returned."""
    if options.command == "export":
        print(f"{len(export(options.folder))} submissions in {options.folder}")
        return 0
    if options.command == "compare":
        old, new = read_dump(options.old), read_dump(options.new)
        lines, different = compare(old, new, options.only, common=options.common)
        print("\n".join(lines))
        return 1 if different else 0
    vmmlab = options.vmmlab.absolute()
    course = options.course or vmmlab.parents[2]
    if not (course / "course.yml").is_file():
        raise Mistake(f"{course} holds no course.yml: say --course.")
    with tempfile.TemporaryDirectory(prefix="verdicts-cache-") as cache:
        grader = Grader(vmmlab, course.absolute(), options.corpus.absolute(), Path(cache))
        count = dump(
            grader, options.out, jobs=options.jobs, only=options.only, resume=options.resume
        )
    print(f"{count} submissions graded: {options.out}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Export, dump or compare."""
    try:
        return run(parser().parse_args(arguments))
    except Mistake as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

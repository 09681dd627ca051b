"""The Dockerfiles: what they start from, install, copy, and who they run as. Nothing is built."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("student", "grader")
INSTRUCTIONS = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "LABEL", "RUN", "USER", "WORKDIR",
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One instruction of a Dockerfile, its continued lines joined."""

    word: str
    rest: str


def text_of(name: str) -> str:
    return (ROOT / "docker" / f"{name}.Dockerfile").read_text()


def parse(text: str) -> list[Step]:
    """Split a Dockerfile into instructions; comments go."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [
        Step(*line.split(None, 1)) if " " in line else Step(line, "")
        for line in joined.splitlines()
        if line.strip()
    ]


def copied(steps: list[Step]) -> list[str]:
    """What is copied out of the kit."""
    return [
        source
        for step in steps
        if step.word == "COPY" and not step.rest.startswith("--from=")
        for source in step.rest.split()[:-1]
    ]


def sent(path: Path, rules: list[str]) -> bool:
    """Whether .dockerignore lets a file through to the builder; the last rule that fits counts."""
    allowed = True
    names = [str(path), *(str(folder) for folder in path.parents if folder != Path())]
    for rule in rules:
        pattern = rule.removeprefix("!")
        deep = pattern.removeprefix("**/")
        if any(
            fnmatch(name, pattern) or (deep != pattern and fnmatch(Path(name).name, deep))
            for name in names
        ):
            allowed = rule.startswith("!")
    return allowed


def mistakes(text: str) -> list[str]:
    """What no Dockerfile of ours may have."""
    steps = parse(text)
    found = [f"{step.word}?" for step in steps if step.word not in INSTRUCTIONS]
    stages = [step.rest for step in steps if step.word == "FROM"]
    if len(stages) < 2:
        found.append("one stage only")
    found += [f"FROM {stage}" for stage in stages if stage.split(" AS ")[0] != "${BASE}"]
    bases = [step.rest for step in steps if step.word == "ARG" and step.rest.startswith("BASE=")]
    if bases != ["BASE=debian:bookworm-slim"] or steps[0].rest != bases[0]:
        found.append(f"not on a named release of Debian: {bases}")
    users = [step.rest for step in steps if step.word == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        found.append(f"runs as {users[-1:] or 'root'}")
    for step in steps:
        if step.word == "RUN" and "apt-get install" in step.rest:
            for words in ("--no-install-recommends", "apt-get clean", "rm -rf /var/lib/apt/lists"):
                if words not in step.rest:
                    found.append(f"apt-get without {words}")
        if re.search(r"https?://|\bcurl\b|\bwget\b|\bsudo\b|--mount|<<", step.rest):
            found.append(f"{step.word} {step.rest}")
        if " pip " in f" {step.rest}" and step.word == "RUN" and "apt-get" not in step.rest:
            before = steps[: steps.index(step)]
            if not any("PIP_CONSTRAINT=" in one.rest for one in before if one.word == "ENV"):
                found.append("pip without constraints")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_wrong(name: str) -> None:
    assert mistakes(text_of(name)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace("debian:bookworm-slim\n#", "debian:latest\n#"), "not on a named"),
        (lambda t: t.replace("ARG BASE=debian:bookworm-slim", "ARG BASE=x", 1), "not on a named"),
        (lambda t: t.replace("USER 10001:10001", "USER grader"), "runs as ['grader']"),
        (lambda t: t.replace("USER 10001:10001", "USER 0:0"), "runs as ['0:0']"),
        (lambda t: t.replace("USER 10001:10001", ""), "runs as root"),
        (lambda t: t.replace("--no-install-recommends", "", 1), "--no-install-recommends"),
        (lambda t: t.replace("apt-get clean && ", "", 1), "apt-get without apt-get clean"),
        (lambda t: t.replace("PIP_CONSTRAINT", "PIP_CONSTRAINTS"), "pip without constraints"),
        (lambda t: t + "RUN curl -O x\n", "RUN curl"),
        (lambda t: t + "ADD x /\n", "ADD?"),
        (lambda t: t + "FROM alpine\n", "FROM alpine"),
        (lambda t: "FROM" + t.split("\nFROM")[1], "one stage only"),
    ],
)
def test_what_is_wrong_is_found(change: Callable[[str], str], said: str) -> None:
    wrong = change(text_of("grader"))
    assert wrong != text_of("grader")
    assert any(said in one for one in mistakes(wrong)), mistakes(wrong)


def test_the_student_gets_no_solutions() -> None:
    steps = parse(text_of("student"))
    assert set(copied(steps)) == {
        "docker/constraints.txt", "pyproject.toml", "README.md", "LICENSE", "grader/vmmlab",
        "course.yml", "labs", "vmm-skeleton",
    }  # fmt: skip
    gone = "rm -rf /course/labs/*/hidden /course/labs/*/worksheet.* "
    assert any(gone in step.rest for step in steps)
    assert set(copied(parse(text_of("grader")))) == {*copied(steps), "reference"}


def test_what_is_copied_reaches_the_builder() -> None:
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    for name in NAMES:
        for source in copied(parse(text_of(name))):
            path = ROOT / source
            assert path.exists(), source
            files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
            for file in files:
                made = "__pycache__" in file.parts or file.suffix == ".pyc"
                assert sent(file.relative_to(ROOT), rules) != made, file
    for name in (".git/config", ".venv/bin/python", "build/lab3/vmm.elf", "grader/tests/x.py"):
        assert not sent(Path(name), rules), name


def test_the_grader_has_all_extras_but_the_tests() -> None:
    """The line of Python that the build asks, asked here."""
    (step,) = (step for step in parse(text_of("grader")) if "EXTRAS:-$all" in step.rest)
    found = re.search(r"all=\$\(python3 -c '(.*?)'\)", step.rest)
    assert found is not None
    done = subprocess.run(
        [sys.executable, "-c", found[1]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    extras = set(done.stdout.strip().split(","))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extras == set(project["optional-dependencies"]) - {"dev"}
    assert "author" in extras


def test_each_file_that_the_text_names_is_there() -> None:
    for name in NAMES:
        for path in re.findall(r"\b(?:docker|docs)/[\w.-]+\w", text_of(name)):
            assert (ROOT / path).is_file(), path


def test_hadolint() -> None:
    """The linter for Dockerfiles, where there is one."""
    folders = f"{Path(sys.prefix) / 'bin'}:{Path('/usr/local/bin')}:{Path('/usr/bin')}"
    command = shutil.which("hadolint", path=folders)
    if command is None:
        pytest.skip("hadolint is not installed")
    files = [str(ROOT / "docker" / f"{name}.Dockerfile") for name in NAMES]
    done = subprocess.run([command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout

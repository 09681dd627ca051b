"""The Dockerfiles: hadolint, and the rules of the kit that it does not know. Nothing is built."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
OURS = STUDENT, GRADER = (ROOT / "docker/student.Dockerfile", ROOT / "docker/grader.Dockerfile")
INSTRUCTIONS = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "LABEL", "RUN", "USER", "WORKDIR",
}  # fmt: skip
WRONG = Path(__file__).with_name("wrong.Dockerfile")


def hadolint(*files: Path) -> list[dict[str, str]]:
    """Return what hadolint finds."""
    command = [f"{sys.prefix}/bin/hadolint", "-c", f"{ROOT}/.hadolint.yaml", "-f", "json"]
    done = subprocess.run([*command, *map(str, files)], stdout=subprocess.PIPE, check=False)
    findings: list[dict[str, str]] = json.loads(done.stdout)
    return findings


def test_hadolint_finds_nothing() -> None:
    files = {*ROOT.glob("*Dockerfile*"), *ROOT.glob("[!.]*/**/*Dockerfile*")} - {WRONG}
    assert files >= {*OURS}
    assert hadolint(*files) == []


def test_hadolint_finds_what_is_wrong() -> None:
    codes = {finding["code"] for finding in hadolint(WRONG)}
    assert codes == set(re.findall(r"(?:DL|SC)\d+", WRONG.read_text()))


def text_of(path: Path) -> str:
    """Return a Dockerfile without comments, its continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", path.read_text())
    return re.sub(r"\\\n\s*", "", text)


def copied(text: str) -> list[str]:
    """Return what is copied out of the kit."""
    return " ".join(re.findall(r"(?m)^COPY (?!--from=)(.*) \S+$", text)).split()


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
    """Return the rules of the kit that a Dockerfile breaks and hadolint does not know."""
    stages = re.findall(r"(?m)^FROM (\S+)", text)
    users = re.findall(r"(?m)^USER (.*)", text)
    lists = "apt-get clean && rm -rf /var/lib/apt/lists/*"
    rules = {
        "two stages": len(stages) > 1,
        "FROM ${BASE}": set(stages) == {"${BASE}"},
        "Debian 12": text.startswith("ARG BASE=debian:bookworm-slim\n"),
        "one BASE": text.count("ARG BASE") == 1,
        "a user by number": bool(users and re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])),
        "apt-get clean": text.count("apt-get install") == text.count(lists),
        "pip with constraints": "\nENV PIP_CONSTRAINT=" in text.partition(" pip ")[0],
        "no other instructions": set(re.findall(r"(?m)^\S+", text)) <= INSTRUCTIONS,
        "no downloads, no mounts": not re.search(r"https?://|\b(curl|wget)\b|--mount|<<", text),
    }
    return [rule for rule, kept in rules.items() if not kept]


@pytest.mark.parametrize("path", OURS)
def test_nothing_is_wrong(path: Path) -> None:
    assert mistakes(text_of(path)) == []


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda t: t.replace("bookworm-slim", "latest"), "Debian 12"),
        (lambda t: t + "ARG BASE=x\n", "one BASE"),
        (lambda t: t.replace("USER 10001:10001", "USER 10001:grader"), "a user by number"),
        (lambda t: t.replace("USER 10001:10001", ""), "a user by number"),
        (lambda t: t.replace("apt-get clean && ", "", 1), "apt-get clean"),
        (lambda t: t.replace("PIP_CONSTRAINT", "PIP_CONSTRAINTS"), "pip with constraints"),
        (lambda t: t + "RUN curl -O x\n", "no downloads, no mounts"),
        (lambda t: t + "VOLUME /x\n", "no other instructions"),
        (lambda t: t + "FROM alpine:3.2\n", "FROM ${BASE}"),
        (lambda t: t.rpartition("\nFROM")[0], "two stages"),
    ],
)
def test_what_is_wrong_is_found(change: Callable[[str], str], rule: str) -> None:
    wrong = change(text_of(GRADER))
    assert wrong != text_of(GRADER)
    assert rule in mistakes(wrong)


def test_the_student_gets_no_solutions() -> None:
    text = text_of(STUDENT)
    assert set(copied(text)) == {
        "docker/constraints.txt", "docker/dpkg-excludes", "pyproject.toml", "README.md", "LICENSE",
        "grader/vmmlab", "course.yml", "labs", "vmm-skeleton",
    }  # fmt: skip
    gone = "rm -rf /course/labs/*/hidden /course/labs/*/worksheet.* /course/labs/*/contract.yml "
    assert f"RUN {gone}" in text
    assert set(copied(text_of(GRADER))) == {*copied(text), "reference"}


def test_what_is_copied_reaches_the_builder() -> None:
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    for ours in OURS:
        for source in copied(text_of(ours)):
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
    found = re.search(r"RUN all=\$\(python3 -c '(.*?)'\).*EXTRAS:-\$all", text_of(GRADER))
    assert found is not None
    done = subprocess.run(
        [sys.executable, "-c", found[1]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    extras = set(done.stdout.strip().split(","))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extras == set(project["optional-dependencies"]) - {"dev"}
    assert "author" in extras


def test_each_file_that_the_text_names_is_there() -> None:
    for ours in OURS:
        for path in re.findall(r"\b(?:docker|docs)/[\w.-]+\w", ours.read_text()):
            assert (ROOT / path).is_file(), path

"""docker/constraints.txt: every Python package of every extra, at one version that fits."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[3]
AGAIN = "run docker/make-constraints and commit docker/constraints.txt"
# What markers in requirements are compared with: the images' Python and machine.
IMAGE = {
    "python_version": "3.11",
    "python_full_version": "3.11.2",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
}


def read(text: str) -> dict[str, Version]:
    """The pins, by name."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    assert list(pins) == sorted(pins)
    assert len(pins) == len(lines)
    return {name: Version(version) for name, version in pins.items()}


def wanted(project: dict[str, object]) -> Iterator[str]:
    """Every requirement in pyproject.toml."""
    yield from project["build-system"]["requires"]  # type: ignore[index]
    yield from project["project"]["dependencies"]  # type: ignore[index]
    for extra in project["project"]["optional-dependencies"].values():  # type: ignore[index]
        yield from extra


def closure(names: list[str], pins: dict[str, Version]) -> Iterator[Requirement]:
    """What `names` need in their turn, as far as the packages are here in the pinned version.

    Another version may need something else: this environment is newer than the file, or older.
    """
    seen: set[str] = set()
    queue = [Requirement(name) for name in names]
    while queue:
        one = queue.pop()
        if one.marker is not None and not one.marker.evaluate({**IMAGE, "extra": ""}):
            continue
        key = f"{canonicalize_name(one.name)}[{','.join(sorted(one.extras))}]"
        yield one
        if key in seen:
            continue
        seen.add(key)
        try:
            here = Version(importlib.metadata.version(one.name))
            needs = importlib.metadata.requires(one.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        if here != pins.get(canonicalize_name(one.name)):
            continue
        for need in map(Requirement, needs):
            extras = ["", *one.extras]
            if need.marker is None or any(
                need.marker.evaluate({**IMAGE, "extra": extra}) for extra in extras
            ):
                need.marker = None
                queue.append(need)


def mistakes(requirements: list[Requirement], pins: dict[str, Version]) -> list[str]:
    """What is not pinned, or pinned to a version that does not fit."""
    found = []
    for one in requirements:
        name = canonicalize_name(one.name)
        if name == "vmmlab":
            continue
        if name not in pins:
            found.append(f"{one} is not in it")
        elif not one.specifier.contains(pins[name], prereleases=True):
            found.append(f"{one} does not allow {pins[name]}")
    return found


@pytest.fixture
def pins() -> dict[str, Version]:
    return read((ROOT / "docker" / "constraints.txt").read_text())


@pytest.fixture
def names() -> list[str]:
    return list(wanted(tomllib.loads((ROOT / "pyproject.toml").read_text())))


def test_everything_is_pinned(names: list[str], pins: dict[str, Version]) -> None:
    assert len(names) > 15
    assert mistakes(list(closure(names, pins)), pins) == [], AGAIN


def test_what_is_missing_or_does_not_fit_is_found(
    names: list[str], pins: dict[str, Version]
) -> None:
    less = {name: version for name, version in pins.items() if name != "pydantic"}
    assert any("pydantic" in one for one in mistakes([*map(Requirement, names)], less))
    old = {**pins, "typer": Version("0.1")}
    assert any("not allow 0.1" in one for one in mistakes([*map(Requirement, names)], old))


def test_what_others_need_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {"a": ["b[x]>=2", "z; python_version<'3'"], "b": ["c; extra=='x'"], "c": ["d"]}
    here = {"a": "1", "b": "2", "c": "1"}
    monkeypatch.setattr(importlib.metadata, "requires", needs.__getitem__)
    monkeypatch.setattr(importlib.metadata, "version", here.__getitem__)
    pins = {"a": Version("1"), "b": Version("2"), "c": Version("9")}
    found = [one.name for one in closure(["a"], pins)]
    assert found == ["a", "b", "c"], "what another version of c needs says nothing"
    assert mistakes([*closure(["a"], pins)], {**pins, "b": Version("1")}) == [
        "b[x]>=2 does not allow 1"
    ]


def test_the_script_asks_for_the_right_python(tmp_path: Path) -> None:
    script = (ROOT / "docker" / "make-constraints").read_text()
    assert re.search(r"^PYTHON = \(3, 11, 2\)$", script, re.MULTILINE)
    other = tmp_path / "docker" / "make-constraints"
    other.parent.mkdir()
    other.write_text(script.replace("PYTHON = (3, 11, 2)", "PYTHON = (3, 7, 0)"))
    done = subprocess.run([sys.executable, str(other)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run it with Python 3.7" in done.stderr
    done = subprocess.run(
        [sys.executable, str(ROOT / "docker" / "make-constraints"), "--newest"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "--upgrade" in done.stderr

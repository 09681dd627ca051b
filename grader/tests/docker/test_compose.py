"""docker/compose.yml: its schema, its rules, and its cluster without containers.

grader/tests/classroom/test_databases.py has the gradebook in PostgreSQL.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "docker" / "compose.yml"
SCHEMA = Path(__file__).with_name("schemas") / "compose-spec.json"
BIN = Path(sys.executable).parent
OURS = {"scheduler", "worker", "batch", "sync"}
"""The services of the grading image."""


def parsed(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def services() -> Any:
    return parsed(FILE.read_text(encoding="utf-8"))["services"]


def wrong(text: str) -> list[str]:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    return [one.message for one in validator.iter_errors(parsed(text))]


def test_it_fits_the_schema() -> None:
    assert wrong(FILE.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cap_drop: [ALL]", "cap_drop: ALL"),
        ("mem_limit:", "memory_limit:"),
        ("service_healthy", "service_well"),
        ("internal: true", "internal: 7"),
    ],
)
def test_what_is_wrong_is_found(old: str, new: str) -> None:
    text = FILE.read_text(encoding="utf-8")
    assert old in text
    assert wrong(text.replace(old, new)) != []


def test_each_container_of_ours_is_confined() -> None:
    found = services()
    assert found.keys() == OURS | {"gradebook"}
    for name in OURS:
        one = found[name]
        assert (one["read_only"], one["cap_drop"]) == (True, ["ALL"]), name
        assert set(one["security_opt"]) == {"no-new-privileges", "seccomp=./seccomp-grader.json"}
        assert "privileged" not in one
        assert "ports" not in one
        assert one["networks"] == ["inside"]
    assert (FILE.parent / "seccomp-grader.json").is_file()


# --- its commands, with this machine's programs ---------------------------------------------------


def words(service: str, places: dict[str, str]) -> list[str]:
    """Return a service's command, with a place of this machine for each of the container's."""
    one = services()[service]
    line = [*one.get("entrypoint", ["vmmlab"]), *one["command"]]
    for there, here in places.items():
        line = [word.replace(there, here) for word in line]
    return [str(BIN / line[0]), *line[1:]]


def ours(*line: str) -> None:
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def running(line: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(line, stderr=subprocess.PIPE, cwd=folder, text=True)
    try:
        yield process
    finally:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.terminate()
        process.communicate()


def said(process: subprocess.Popen[str], what: str) -> str:
    """Wait until a program has said something, and return what follows in that line."""
    heard = ""
    for line in process.stderr or ():
        heard += line
        if what in line:
            return line.partition(what)[2].strip()
    raise AssertionError(heard)


def certificate(folder: Path) -> Path:
    """Make the certificate as docs/containers.md does."""
    text = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")
    (line,) = (one for one in text.splitlines() if one.startswith("$ openssl req "))
    folder.mkdir()
    done = subprocess.run(
        line.removeprefix("$ ").replace("docker/tls", str(folder)).split(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.full
def test_its_scheduler_and_worker_grade_a_class(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    tls = str(certificate(tmp_path / "tls"))
    shutil.copytree(ROOT / "reference", tmp_path / "class" / "ada")
    places = {"/tls/": f"{tls}/", "--port=8786": "--port=0"}
    with running([*words("scheduler", places), "--host=127.0.0.1"], tmp_path) as scheduler:
        address = said(scheduler, "Scheduler at:")
        assert address.startswith("tls://127.0.0.1:")
        places = {"directory=/tmp": f"directory={tmp_path}", "tls://scheduler:8786": address}
        places |= {"/tls/": f"{tls}/"}
        places |= {"/class": str(tmp_path / "class"), "/results": str(tmp_path / "results")}
        with running(words("worker", places), tmp_path) as worker:
            said(worker, "Registered to:")
            batch = [*words("batch", places), "--labs", "lab1", "--no-html"]
            ours(*batch)
    report = json.loads((tmp_path / "results" / "reports" / "ada" / "lab1.json").read_text())
    assert report["points"] == report["max"] == 20

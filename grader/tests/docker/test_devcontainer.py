"""The workspace's devcontainer.json: what VS Code expects, and nothing that is not in the image."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from vmmlab.course import submission
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.student.new import new_workspace
from vmmlab.workspace.new import Answers

ROOT = Path(__file__).resolve().parents[3]
NAME = ".devcontainer/devcontainer.json"
IMAGE = (ROOT / "docker" / "student.Dockerfile").read_text()

# The properties of a container made from an image (containers.dev, the reference of
# devcontainer.json), with the type of each. What is not in it, an editor passes over in silence.
PROPERTIES: dict[str, type] = {
    "name": str,
    "image": str,
    "init": bool,
    "privileged": bool,
    "capAdd": list,
    "securityOpt": list,
    "mounts": list,
    "features": dict,
    "forwardPorts": list,
    "runArgs": list,
    "workspaceMount": str,
    "workspaceFolder": str,
    "containerUser": str,
    "remoteUser": str,
    "updateRemoteUserUID": bool,
    "containerEnv": dict,
    "remoteEnv": dict,
    "overrideCommand": bool,
    "onCreateCommand": str,
    "postCreateCommand": str,
    "postStartCommand": str,
    "customizations": dict,
}


def plain(text: str) -> Any:
    """Read JSON with comments (whole lines) and nothing else that JSON does not know."""
    return json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))


def mistakes(settings: dict[str, Any]) -> list[str]:
    """What an editor would not understand, or what gives the container more rights."""
    found = [f"{key} is not known" for key in settings if key not in PROPERTIES]
    found += [
        f"{key} is not a {PROPERTIES[key].__name__}"
        for key, value in settings.items()
        if key in PROPERTIES and not isinstance(value, PROPERTIES[key])
    ]
    found += [f"{key} is missing" for key in ("image", "remoteUser") if key not in settings]
    if settings.get("privileged") or "--privileged" in settings.get("runArgs", ()):
        found.append("privileged")
    return found


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new workspace; its prebuilt labs are not built."""
    monkeypatch.setattr(
        "vmmlab.student.new._add_prebuilt", lambda workspace, _: workspace.prebuilt.mkdir()
    )
    answers = Answers(student="Ada", cohort=Cohort.derive("dev"))
    return new_workspace(tmp_path / "vmm", load_course(ROOT), answers)


def test_a_new_workspace_has_it(made: Path) -> None:
    settings = plain((made / NAME).read_text())
    assert mistakes(settings) == []
    assert (made / NAME).read_bytes() == (load_course(ROOT).tree / NAME).read_bytes()
    assert "${workspaceFolder}/include" in (made / NAME).read_text(), "not taken for a template"


def test_it_names_what_is_in_the_image(made: Path) -> None:
    settings = plain((made / NAME).read_text())
    assert f"useradd --create-home --uid 1000 --shell /bin/bash {settings['remoteUser']}" in IMAGE
    assert f"-t {settings['image']} " in IMAGE
    editor = settings["customizations"]["vscode"]
    assert all(re.fullmatch(r"[\w-]+\.[\w-]+", name) for name in editor["extensions"])
    interpreter = editor["settings"]["python.defaultInterpreterPath"]
    assert f"python3 -m venv --without-pip {Path(interpreter).parents[1]}" in IMAGE
    for folder in editor["settings"]["C_Cpp.default.includePath"]:
        assert Path(folder.replace("${workspaceFolder}", str(made))).is_dir()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"remoteuser": "student"}, "remoteuser is not known"),
        ({"init": "true"}, "init is not a bool"),
        ({"image": None}, "image is not a str"),
        ({"runArgs": ["--privileged"]}, "privileged"),
    ],
)
def test_what_is_wrong_is_found(change: dict[str, Any], said: str) -> None:
    good = {"image": "x", "remoteUser": "y"}
    assert mistakes(good) == []
    assert mistakes({**good, **change}) == [said]


def test_it_is_no_part_of_what_is_handed_in(made: Path) -> None:
    """Nor is it remarked on: it came with the workspace."""
    taken = submission.take(made, ["lab3"], load_course(ROOT))
    assert set(taken.files) == set(load_course(ROOT).lab("lab3").files)
    assert taken.notes == ()

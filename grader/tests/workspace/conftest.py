"""A workspace for the tests of a module, and the environment of a new shell in it."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.student.new import new_workspace
from vmmlab.workspace.new import Answers

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment of a new shell, with a build cache only for the tests."""
    return {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(tmp_path_factory.mktemp("home")),
        "LC_ALL": "C.UTF-8",
        "XDG_STATE_HOME": os.environ["XDG_STATE_HOME"],
    }


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory, plain: Mapping[str, str]) -> Path:
    """A workspace."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", plain["HOME"] + "/.cache")
        return new_workspace(
            tmp_path_factory.mktemp("made") / "vmm",
            load_course(ROOT),
            Answers(student="Ada", cohort=Cohort.derive("dev")),
        )


@pytest.fixture
def here(master: Path, tmp_path: Path) -> Path:
    """A copy of it for one test; a student may copy one, too."""
    return Path(shutil.copytree(master, tmp_path / "vmm", symlinks=True))

"""A workspace of a reader's own, and a shell in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from book_pages import ROOT

from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.student.new import new_workspace
from vmmlab.workspace.new import Answers

LONGEST_S = 60

needs_vmmlab = pytest.mark.skipif(
    not (Path(sys.prefix) / "bin" / "vmmlab").is_file(),
    reason="vmmlab is not installed in this environment",
)


def workspace_and_shell(home: Path, lang: str = "") -> tuple[Path, Callable[..., str]]:
    """A fresh workspace in `home`, made in a language, and how to run a line in it.

    What is run gets nothing of this process's environment; what it prints is returned.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", f"{home}/.cache")
        patch.setenv("XDG_STATE_HOME", state := os.environ.get("XDG_STATE_HOME", f"{home}/state"))
        here = new_workspace(
            home / "vmm", load_course(ROOT), Answers("Ada", Cohort.derive("dev"), lang)
        )
    env = {
        "PATH": f"{here}/.venv/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "200",
        "XDG_STATE_HOME": state,
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
    }

    def run(line: str, stdin: str = "") -> str:
        done = subprocess.run(
            ["/bin/bash", "-c", line],
            cwd=here,
            env=env,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        return done.stdout

    return here, run

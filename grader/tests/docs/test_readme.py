"""What the kit's README shows of a grading, against such a grading, in both languages."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from book_pages import ROOT, SAMPLE, shown

from vmmlab.author import mutants
from vmmlab.course.load import load_course

VMMLAB = Path(sys.prefix) / "bin" / "vmmlab"
SHOWN_MISTAKE = "lab3.real.lgdt-by-ds"
READMES = {"en": ROOT / "README.md", "ja": ROOT / "README.ja.md"}
LONGEST_S = 120
CHANCE = (
    # Which AP comes first, how long it took, and on which versions.
    (re.compile(r"CPU \d"), "CPU N"),
    (re.compile(r"\b[\d.]+ (s|秒)$", re.MULTILINE), r"T \1"),
    (re.compile(r"(vmmlab|qemu) \d+(\.\d+)*"), r"\1 V"),
    # A busy host may refuse to start a program once: the boot is repeated, and a note says so.
    (re.compile(r"^(note: The boot \(|注意：起動（)(.+\n)+\n?(?=seed|シード)", re.MULTILINE), ""),
)

pytestmark = pytest.mark.skipif(
    not VMMLAB.is_file(), reason="vmmlab is not installed in this environment"
)


def sample(text):
    """The grading that a README shows: the block of code that begins with the points."""
    found = SAMPLE.search(text)
    assert found is not None
    return "\n".join(line.removeprefix("    ") for line in found.group().strip().splitlines())


def settled(text):
    """A grading without what is left to chance."""
    for what, instead in CHANCE:
        text = what.sub(instead, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A folder with a submission `mine` that makes the mistake."""
    kit = load_course(ROOT)
    one = next(one for one in mutants.load(kit, ["lab3"]) if one.id == SHOWN_MISTAKE)
    folder = tmp_path_factory.mktemp("readme")
    for name, text in mutants.apply(kit, one).items():
        path = folder / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def graded(folder, language):
    """What grading it prints."""
    clean = {name: one for name, one in os.environ.items() if not name.startswith(("L", "COLU"))}
    done = subprocess.run(
        [
            *(VMMLAB, "grade", "lab3", "--submission", "mine", "--open-only", "--no-sandbox"),
            *("--course", ROOT, "--lang", language),
        ],
        cwd=folder,
        env={**clean, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    return done.stdout


@pytest.mark.parametrize("language", READMES)
def test_the_readme_shows_a_grading_as_it_is(language, mine):
    said = sample(READMES[language].read_text(encoding="utf-8"))
    printed = graded(mine, language)
    assert settled(said) == settled(printed), f"{shown(READMES[language])}:\n{printed}"


def test_a_note_on_a_repeated_boot_makes_no_difference():
    said = sample(READMES["ja"].read_text(encoding="utf-8"))
    note = "注意：起動（CPU 4 個）をやり直しました：QEMU を起動できません：\n[Errno 14] '/bin/x'\n"
    at = said.rindex("シード")
    assert settled(said[:at] + note + said[at:]) == settled(said)


def test_another_verdict_is_noticed_and_chance_is_not():
    said = sample(READMES["en"].read_text(encoding="utf-8"))
    assert settled(said) == settled(re.sub(r"CPU \d", "CPU 7", said))
    assert settled(said) != settled(said.replace("0/2", "1/2", 1))
    assert settled(said) != settled(sample(READMES["ja"].read_text(encoding="utf-8")))

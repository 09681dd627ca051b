"""Attacks 10 and 11: paths of the host and raw characters in what students are shown."""

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vmmlab.base.files import read_regular
from vmmlab.base.message import msg
from vmmlab.base.messagedata import bounded_text
from vmmlab.base.text import clean_name
from vmmlab.cli import main
from vmmlab.course.load import load_course
from vmmlab.course.reference import reference
from vmmlab.course.submission import SubmissionError, take
from vmmlab.host.sandbox import Sandbox
from vmmlab.images import diagnostics
from vmmlab.machine.qemu.process import PlainLauncher
from vmmlab.report.hiding import places, without_places
from vmmlab.student.debug import _sandboxed_gdb

ROOT = Path(__file__).resolve().parents[3]
COURSE = load_course(ROOT)
SECRETS = re.compile(r"/(?:root|home|tmp|var|etc|dev/fd)\b|\.cache|vmmlab-build|pytest-of")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A right solution of labs 1 and 2."""
    for name, text in reference(COURSE, ["lab1", "lab2"]).files.items():
        path = tmp_path / "sub" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    return tmp_path / "sub"


@pytest.fixture
def graded(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., str]:
    """Grade what `change` makes of a file, and return everything that is written and printed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(folder.parent)

    def grade(name: str, change: Callable[[str], str], *words: str) -> str:
        path = folder / name
        path.write_text(change(path.read_text()))
        lab = name.partition("/")[0]
        target = folder.parent / "report.json"
        target.unlink(missing_ok=True)
        main.main(
            ["grade", lab, "--submission", "sub", "--json", str(target), "--open-only", *words]
        )
        printed = capsys.readouterr()
        report = target.read_text() if target.exists() else ""
        return printed.out + printed.err + report

    return grade


PLACES = {
    "compile error": lambda text: text + "\nint x = ;\n",
    "a file that does not exist": lambda text: '#include "none.h"\n' + text,
    "a header of the host": lambda text: '#include "/etc/hostname"\n' + text,
    "a marker": lambda text: text + '\n# 1 "/etc/passwd"\nint x = ;\n',
    "a line directive": lambda text: text + '\n#line 7 "/root/.ssh/id_rsa"\nint x = ;\n',
    "a file to include": lambda text: text + '\nasm (".incbin \\"/etc/hostname\\"");\n',
    "undefined": lambda text: text + "\nextern int none_such; int *p = &none_such;\n",
    "defined twice": lambda text: text + "\nint panic (void); int panic (void) { return 1; }\n",
    "an odd section": lambda text: (
        text + '\nasm (".section \\"/x<script>\\\\033[31m\\",\\"ax\\"; nop; .text");\n'
    ),
    "a message": lambda text: text + '\n#pragma message "at " __FILE__ " " __BASE_FILE__\n',
    "the assembler's file": lambda text: text + '\nasm (".file \\"/etc/shadow\\"; .bogus");\n',
    "the assembler's error": lambda text: text + '\nasm (".error \\"x\\"; .print \\"y\\"");\n',
    "too large": lambda text: text + '\nasm (".fill 100000000");\n',
}


@pytest.mark.parametrize("kind", PLACES)
def test_no_path_of_the_host_when_it_does_not_build(graded: Callable[..., str], kind: str) -> None:
    said = graded("lab1/initfunc.c", PLACES[kind])
    said = said.replace("/etc/hostname: No such file", "").replace("/etc/hostname for reading", "")
    shown = said.replace("/etc/hostname", "")  # the compiler repeats what the student wrote
    assert not SECRETS.search(shown), said
    assert "\\u001b" not in said
    assert "\x1b" not in said


def test_nor_from_a_panic(graded: Callable[..., str]) -> None:
    """QEMU begins the command line with the name of the kernel."""
    said = graded(
        "lab2/stack.c",
        lambda text: text.replace(
            "\n{\n",
            "\n{\n\textern struct { char x[16]; unsigned cmdline; } mi;"
            '\n\tpanic ("here: %s", (char *)(unsigned long)mi.cmdline);\n',
            1,
        ),
        "-k",
        "stack",
    )
    assert not SECRETS.search(said), said


def test_qemu_is_given_fixed_names_without_a_sandbox_too() -> None:
    assert not getattr(PlainLauncher(), "renames", False)
    assert not Sandbox.none().renames
    assert Sandbox.none().seen(Path("/x"), "/y") == Path("/x")


def test_the_places_of_this_host_are_not_in_a_report() -> None:
    names = places(ROOT, "/srv/class/eve")
    text = f'{{"again": "vmmlab grade lab1 --submission /srv/class/eve", "infra": "{ROOT}/labs/x"}}'
    shown = without_places(text, names)
    assert "--submission eve" in shown
    assert "/srv" not in shown
    assert str(ROOT) not in shown
    assert without_places(text, {}) == text
    assert "/" not in places(Path("/"), "/")


def test_nor_are_those_of_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/srv/scratch/vmmlab-job-x")
    names = places(ROOT)
    assert without_places('"/srv/scratch/vmmlab-job-x/a /srv/scratch/b"', names) == '"tmp/a tmp/b"'


# --- markers --------------------------------------------------------------------------------------


def test_a_marker_cannot_name_another_file() -> None:
    text = "lab3/a.c:1:1: error: mine\n/etc/passwd:3:1: error: forged\ncore/x.c:1: warning: too\n"
    own = ("lab3/a.c",)
    found = diagnostics.parse(text, own, "", "lab3/a.c", known=own)
    assert [(one.file, one.line) for one in found] == [
        ("lab3/a.c", 1),
        ("lab3/a.c", 0),
        ("lab3/a.c", 0),
    ]
    forged = diagnostics.parse(text, own, "", "lab3/a.c")
    assert forged[1].file == "/etc/passwd", "without the rule it can"


# --- characters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["\x1b[31mred", "\u202eevil", "<script>", "a\nb", "\x00", "é", " "]
)
def test_names_of_symbols(name: str) -> None:
    shown = clean_name(name)
    assert re.fullmatch(r"[\w.$@+~\\-]+", shown, re.ASCII), shown


def test_long_names() -> None:
    assert len(clean_name("x" * 100_000)) == 120


@pytest.mark.parametrize("raw", ["\x1b]8;;x\x07", "\u202e", "\u200b", "\x9b", "\x85", "\ud800"])
def test_texts_of_a_report(raw: str) -> None:
    for text in (bounded_text(raw), bounded_text(msg("{a} {b}", a=raw, b=msg("{c}", c=raw)))):
        assert str(text).isascii()
        assert str(text).isprintable()


# --- links ----------------------------------------------------------------------------------------


def test_a_hard_link_is_refused(folder: Path, tmp_path: Path) -> None:
    bob = tmp_path / "bob.c"
    bob.write_text("int bob;\n")
    (folder / "lab2/stack.c").unlink()
    os.link(bob, folder / "lab2/stack.c")
    with pytest.raises(SubmissionError, match="hard link"):
        take(folder, ["lab2"], COURSE)
    assert take(folder, ["lab2"], COURSE, own=True).files["lab2/stack.c"] == b"int bob;\n"


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_a_tool_has_made_is_a_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "0.err"
    if kind == "link":
        path.symlink_to("/etc/hostname")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(OSError):  # noqa: PT011
        read_regular(path, 100)


# --- gdb ------------------------------------------------------------------------------------------


def test_gdb_reads_another_persons_image_in_the_sandbox(tmp_path: Path) -> None:
    box = Sandbox("bwrap", "", "/usr/bin/bwrap")
    elf, root = tmp_path / "vmm.elf", tmp_path / "src"
    elf.touch()
    root.mkdir()
    words = _sandboxed_gdb(box, "/usr/bin/gdb", elf, root, tmp_path)
    assert words[0] == "/usr/bin/bwrap"
    inside = words[words.index("/usr/bin/gdb") :]
    assert "-nx" in inside
    assert "set auto-load off" in inside
    assert not [word for word in inside if str(tmp_path) in word]

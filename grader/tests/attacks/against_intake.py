"""Folders and archives that attack what takes them in: names, links, sizes, and files that run."""

from __future__ import annotations

import functools
import gzip
import io
import os
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import classes
import pytest
from corpus import Attack, Defence, Kind, off

from vmmlab.base import archive, box, foldertree, gzipped
from vmmlab.base.box import SUBMISSION, BoxError, Limits
from vmmlab.classroom.intake import intake
from vmmlab.classroom.intake import run as taking
from vmmlab.course import upload

LAB1 = "lab1/vmm_main.c"
HONEST = b"/* honest */\n"
SECRET = b"SECRET of somebody else\n"
FEW = replace(SUBMISSION, members=50, file=64 << 10, total=128 << 10)


def _class(folder: Path, eve: Callable[[Path], None]) -> str:
    """Take in a class in which eve attacks; return what she gained."""
    course = classes.course(folder)
    handed_in, into = folder / "class", folder / "into"
    (folder / "secret").write_bytes(SECRET)
    classes.laid_out(handed_in, {f"ada/{LAB1}": HONEST})
    (handed_in / "eve").mkdir()
    eve(handed_in / "eve")
    before = {*folder.iterdir()}
    found = {one.student: one for one in intake(handed_in, course, into).submissions}
    if {*folder.iterdir()} - before - {into}:
        return "a file beside the copies"
    copies = [path for path in into.rglob("*") if path.is_symlink() or path.is_file()]
    if (into / "ada" / LAB1).read_bytes() != HONEST or found["ada"].problem:
        return "ada's work is lost"
    if any(path.is_symlink() for path in copies):
        return "a link among the copies"
    if any(SECRET in path.read_bytes() for path in copies):
        return "somebody else's file"
    mine = {path.relative_to(into / "eve").as_posix() for path in (into / "eve").rglob("*.*")}
    return f"what nobody asked for: {sorted(mine - {LAB1})}" if mine - {LAB1} else ""


# --- a folder -------------------------------------------------------------------------------------


def _lab1(folder: Path) -> Path:
    path = folder / LAB1
    path.parent.mkdir(parents=True)
    return path


def _link(folder: Path) -> None:
    _lab1(folder).symlink_to(folder.parents[1] / "secret")


def _linked_folder(folder: Path) -> None:
    (folder.parents[1] / "place").mkdir()
    (folder.parents[1] / "place" / "vmm_main.c").write_bytes(SECRET)
    (folder / "lab1").symlink_to(folder.parents[1] / "place")


def _hard_link(folder: Path) -> None:
    os.link(folder.parents[1] / "secret", _lab1(folder))


def _pipe(folder: Path) -> None:
    os.mkfifo(_lab1(folder))


def _deep(folder: Path) -> None:
    path = folder / "/".join("d" * 40)
    path.mkdir(parents=True)
    (path / "vmm_main.c").write_bytes(SECRET)


def _odd_names(folder: Path) -> None:
    for name in ("a\nb", "'; rm -rf ~; '", "$(touch x)", "\u202ecod.c", "-rf", "\x1b[2J"):
        (folder / name).write_bytes(SECRET)


FOLDERS = {
    "a link to somebody else's file": (_link, "refused"),
    "a link to a folder elsewhere": (_linked_folder, "refused"),
    "a hard link to somebody else's file": (_hard_link, "refused"),
    "a named pipe": (_pipe, "refused, and nothing waits"),
    "forty folders in each other": (_deep, "refused"),
    "names that a shell or a terminal would obey": (_odd_names, "left out, shown as text"),
}


# --- files that would run -------------------------------------------------------------------------

RUNS = (
    "conftest.py",
    "lab1/conftest.py",
    "sitecustomize.py",
    "pytest.ini",
    "setup.cfg",
    "evil.pth",
    "course.yml",
    "workspace.toml",
    "nbgrader_config.py",
    "lab1/test_lab1.py",
    "lab1/hidden/test_more.py",
    "Makefile",
    "vmm.ld",
    "include/ap.h",
    ".git/hooks/post-checkout",
)


def _runs(name: str, folder: Path) -> str:
    def eve(mine: Path) -> None:
        _lab1(mine).write_bytes(HONEST)
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text("raise SystemExit('run by the grader')\n")

    return _class(folder, eve)


_asked = upload._asked


def _take_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(upload, "_asked", lambda course, labs: (*_asked(course, labs), *_pairs()))


def _pairs() -> list[str]:
    return [name if "/" in name else f"eve/{name}" for name in RUNS]


# --- an archive -----------------------------------------------------------------------------------


def _read(data: bytes, limits: Limits = FEW) -> Mapping[str, bytes]:
    try:
        return archive.read(data, limits).files
    except BoxError:
        return {}


def _escapes(data: bytes, folder: Path) -> str:
    """Return a name with which a file would be written outside of a folder."""
    for name in _read(data):
        plain = name.replace("\\", "/")
        place = os.path.normpath(plain if plain.startswith("/") else f"/top/{plain}")
        if not place.startswith("/top/") or ":" in name or not name.isprintable():
            return f"a file called {name!r}"
    return ""


def _taken(data: bytes, folder: Path) -> str:
    found = _read(data)
    return f"{len(found)} files, {sum(map(len, found.values()))} bytes" if found else ""


def _zip(*names: str, data: bytes = SECRET, mode: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as box:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system, info.external_attr = 3, mode << 16
            with warnings.catch_warnings(action="ignore"):  # a name may come twice
                box.writestr(info, data)
    return out.getvalue()


def _encrypted() -> bytes:
    data = bytearray(_zip(LAB1))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    return bytes(data)


def _tar(
    name: str = LAB1,
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
    data: bytes = b"",
    mode: str = "w",
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as box:  # type: ignore[call-overload]
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, len(data)
        box.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _torn() -> bytes:
    """A tar with two files; the header of the second one is damaged."""
    end = 2 * tarfile.BLOCKSIZE
    first, second = _tar(data=HONEST), _tar("lab1/initfunc.c", data=HONEST)
    return first[:end] + b"damaged" + second[len(b"damaged") :]


def _pax(name: str, key: str = "path") -> bytes:
    """A tar whose extended header gives a harmless file another name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as box:
        info = tarfile.TarInfo(LAB1)
        info.pax_headers, info.size = {key: name}, len(SECRET)
        box.addfile(info, io.BytesIO(SECRET))
    return out.getvalue()


NAMES = {
    "zip: ../../ in a name": _zip("../../evil.py"),
    "zip: an absolute name": _zip("/etc/cron.d/evil"),
    "zip: a drive": _zip("C:\\evil.py"),
    "zip: backslashes": _zip("..\\..\\evil.py"),
    "zip: a line break in a name": _zip("lab1/a\nb.c"),
    "tar: ../../ in a name": _tar("../../evil.py", data=SECRET),
    "tar: an absolute name": _tar("/etc/cron.d/evil", data=SECRET),
    "tar: ../../ in a pax header": _pax("../../evil.py"),
    "tar: an absolute name in a pax header": _pax("/etc/cron.d/evil"),
    "tar: backslashes in a pax header": _pax("lab1\\..\\..\\evil.py"),
    "tar: the name of a sparse file": _pax("../../evil.py", "GNU.sparse.name"),
}
LINKS = {
    "zip: a symbolic link": _zip(LAB1, data=b"/etc/passwd", mode=stat.S_IFLNK | 0o777),
    "zip: a device": _zip(LAB1, mode=stat.S_IFCHR | 0o666),
    "zip: a named pipe": _zip(LAB1, mode=stat.S_IFIFO | 0o666),
    "zip: an encrypted file": _encrypted(),
}
TAR_LINKS = {
    "tar: a symbolic link": _tar(kind=tarfile.SYMTYPE, link="/etc/passwd"),
    "tar: a hard link": _tar(kind=tarfile.LNKTYPE, link="/etc/passwd"),
    "tar: a device": _tar(kind=tarfile.CHRTYPE),
    "tar: a named pipe": _tar(kind=tarfile.FIFOTYPE),
}
TWICE = {
    "zip: a name twice": _zip(LAB1, LAB1),
    "zip: a name in upper and in lower case": _zip(LAB1, LAB1.upper()),
    "zip: a name in two normal forms": _zip("lab1/\u00e9.c", "lab1/e\u0301.c"),
}
BOMBS = {
    "zip: a file of 200 KiB in some bytes": _zip(LAB1, data=bytes(200 << 10)),
    "zip: many files that are large together": _zip(
        *(f"{n}.c" for n in range(20)), data=bytes(60 << 10)
    ),
}
TAR_BOMBS = {
    "tar: 1 MiB of zeros in gzip": _tar(data=bytes(1 << 20), mode="w:gz"),
    "tar: 1 MiB of zeros in xz": _tar(data=bytes(1 << 20), mode="w:xz"),
}
PARTS = {"tar: 5,000 parts of gzip": gzip.compress(b"") * 5_000 + _tar(data=HONEST, mode="w:gz")}
TORN = {"tar: a header that is none, before other files": _torn()}
MANY = {"zip: too many files": _zip(*(f"{n}.c" for n in range(60)))}


def _more_than_it_may(data: bytes, folder: Path) -> str:
    """Return how much was unpacked, if that is more than the limit."""
    with pytest.MonkeyPatch.context() as patch:
        sizes: list[int] = []
        real = archive._Counted.read

        def counted(self: archive._Counted, size: int | None = -1, /) -> bytes:
            got = real(self, size)
            sizes.append(len(got))
            return got

        patch.setattr(archive._Counted, "read", counted)
        found = _read(data)
    total = max(sum(map(len, found.values())), sum(sizes))
    return f"{total} bytes" if total > FEW.total else ""


def _large(data: bytes, folder: Path) -> str:
    found = _read(data)
    total, most = sum(map(len, found.values())), max(map(len, found.values()), default=0)
    return f"{total} bytes" if total > FEW.total or most > FEW.file else ""


# --- students -------------------------------------------------------------------------------------


def _two_of_one(folder: Path) -> str:
    """A second submission under a name that becomes the same id: which one is graded?"""
    course = classes.course(folder)
    classes.laid_out(folder / "class", {f"ada/{LAB1}": HONEST, f"ada!/{LAB1}": SECRET})
    (found,) = intake(folder / "class", course, folder / "into").submissions
    return "one of two was chosen" if found.labs or not found.attention else ""


def _id_that_leads_out(folder: Path) -> str:
    course = classes.course(folder)
    data = {f"..%2fx/{LAB1}": HONEST, f"a\\..\\..\\b/{LAB1}": HONEST, f"*/{LAB1}": HONEST}
    classes.laid_out(folder / "class", data)
    found = intake(folder / "class", course, folder / "into").submissions
    odd = [one.student for one in found if set(one.student) & set("*/\\%")]
    return f"the id {odd[0]!r}" if odd else ""


def _attacks() -> Iterator[Attack]:
    def attack(
        kind: Kind,
        name: str,
        expected: str,
        defence: str,
        attempt: Callable[[Path], str],
        *,
        shown: bool = False,
    ) -> Attack:
        return Attack(kind, name, expected, defence, attempt, shown)

    def all_of(
        those: Mapping[str, bytes], expected: str, defence: str,
        attempt: Callable[[bytes, Path], str], shown: str,
    ) -> Iterator[Attack]:  # fmt: skip
        for name, data in those.items():
            tries = functools.partial(attempt, data)
            yield attack("archive", name, expected, defence, tries, shown=shown in name)

    for name, (eve, expected) in FOLDERS.items():
        yield attack(
            "archive", name, expected, "only regular files with one name are read",
            functools.partial(_class, eve=eve), shown="somebody" in name,
        )  # fmt: skip
    asked = "only files that course.yml lists are taken"
    for name in RUNS:
        tries = functools.partial(_runs, name)
        yield attack("python", f"a file {name}", "left out", asked, tries, shown=name in RUNS[1:4])
    names, links, tars = "names stay inside", "a zip has files only", "a tar has files only"
    yield from all_of(NAMES, "refused", names, _escapes, ":")
    yield from all_of(LINKS, "refused", links, _taken, "zip: a ")
    yield from all_of(TAR_LINKS, "refused", tars, _taken, "pipe")
    yield from all_of(
        TWICE, "all of them refused", "names that collide are refused", _taken, "twice"
    )
    yield from all_of(BOMBS, "refused unread", "a zip has a limit", _large, "zip")
    yield from all_of(
        TAR_BOMBS, "stopped", "what a tar unpacks to is counted", _more_than_it_may, "gzip"
    )
    yield from all_of(PARTS, "refused", "the parts of gzip are counted", _taken, "parts")
    yield from all_of(TORN, "refused as a whole", "a damaged tar has no end", _taken, "none")
    yield from all_of(MANY, "refused as a whole", "files are counted", _taken, "many")
    yield attack(
        "batch",
        "two submissions of one student",
        "none counts",
        "a student has one submission",
        _two_of_one,
        shown=True,
    )
    yield attack(
        "batch",
        "a folder that would be a path",
        "another id",
        "ids are made of letters",
        _id_that_leads_out,
        shown=True,
    )


ATTACKS = tuple(_attacks())


def _any_file(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(foldertree, "_refusal", lambda found: "")
    patch.setattr(foldertree, "_FILE", os.O_RDONLY | os.O_CLOEXEC)


def _any_size(patch: pytest.MonkeyPatch) -> None:
    read = archive._ZipBox.read
    wide = replace(FEW, file=1 << 30, total=1 << 30)

    def widely(self: archive._ZipBox, name: str) -> bytes:
        self._limits = wide
        return read(self, name)

    patch.setattr(archive._ZipBox, "read", widely)


DEFENCES = (
    Defence("only regular files with one name are read", _any_file),
    Defence("only files that course.yml lists are taken", _take_everything),
    Defence("names stay inside", off(box, "plain_name", lambda raw, depth: raw)),
    Defence("a zip has files only", off(archive, "_zip_refusal", lambda info: "")),
    Defence("a tar has files only", off(archive, "_tar_refusal", lambda info, limits: "")),
    Defence("names that collide are refused", off(box.Listing, "_collides", lambda self, name: "")),
    Defence("a zip has a limit", _any_size),
    Defence(
        "what a tar unpacks to is counted",
        off(archive._Counted, "read", lambda self, size=-1, /: self._file.read(size)),
    ),
    Defence("the parts of gzip are counted", off(gzipped, "_MEMBERS_MOST", 1 << 60)),
    Defence("a damaged tar has no end", off(archive, "_NO_HEADER", ())),
    Defence("files are counted", off(box.Listing, "count", lambda self, name="": True)),
    Defence(
        "a student has one submission", off(taking, "_counting", lambda claims: (claims[0], ""))
    ),
    Defence("ids are made of letters", off(taking, "_own_id", lambda owner: owner.name)),
)

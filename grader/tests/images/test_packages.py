"""Files out of Debian packages: from this machine, from a file, or by apt."""

import os
import shutil
import subprocess

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.base.notices import listening
from vmmlab.images.packages import Packages, Wanted

WANTED = Wanted(
    package="hello-amd64",
    holder=r"hello-\d[\w.-]*-amd64",
    member=r"\./boot/hello-.*",
    installed="boot/hello-*",
    usable=lambda head: head.startswith(b"HELLO"),
)
CONTROL = """\
Package: {name}
Version: 1.0
Architecture: amd64
Maintainer: nobody <nobody@example.org>
Description: test
"""

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not installed")


def package(folder, content=b"HELLO from the package", name="hello-6.1-amd64"):
    tree = folder / f"tree-{name}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(CONTROL.format(name=name))
    (tree / "boot").mkdir()
    (tree / "boot" / "hello-6.1").write_bytes(content)
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, folder], check=True)
    shutil.rmtree(tree)
    return folder / f"{name}_1.0_amd64.deb"


@pytest.fixture
def places(tmp_path):
    """An empty root, an empty archive of apt's, and an empty cache."""
    for name in ("root/boot", "archives", "cache"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def packages(places):
    return Packages(places / "cache", places / "root", (places / "archives",))


def apt(places, monkeypatch, download, depends=" Depends: hello-6.1-amd64\n"):
    """Put commands of apt's names on PATH; `download` is a line of a shell."""
    folder = places / "bin"
    folder.mkdir()
    for name, body in {"apt-get": download, "apt-cache": f"printf '{depends}'"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def without_apt(monkeypatch):
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "apt-get" else real(name))


def test_what_is_installed_is_used(places, monkeypatch):
    without_apt(monkeypatch)
    (places / "root/boot/hello-6.1").write_bytes(b"HELLO, installed")
    assert packages(places).find(WANTED).read_bytes() == b"HELLO, installed"


def test_what_is_installed_and_does_not_serve_is_passed_over(places, monkeypatch):
    without_apt(monkeypatch)
    (places / "root/boot/hello-6.1").write_bytes(b"another one")
    package(places / "archives")
    assert packages(places).find(WANTED).read_bytes() == b"HELLO from the package"


def test_the_file_of_a_package_is_opened_once(places, monkeypatch):
    without_apt(monkeypatch)
    made = package(places / "archives")
    found = packages(places).find(WANTED)
    assert found.read_bytes() == b"HELLO from the package"
    times = made.stat()
    made.write_bytes(b"x" * times.st_size)
    os.utime(made, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert packages(places).find(WANTED) == found


def test_a_package_in_the_kits_cache_is_found_without_apt(places, monkeypatch):
    without_apt(monkeypatch)
    (places / "cache/debian").mkdir()
    package(places / "cache/debian")
    assert packages(places).find(WANTED).read_bytes() == b"HELLO from the package"


def test_apt_is_asked_for_the_package_that_has_the_file(places, monkeypatch):
    made = package(places)
    apt(places, monkeypatch, f'echo "$@" > {places}/asked; cp {made} .')
    said = []
    with listening(lambda text: said.append(str(text))):
        assert packages(places).find(WANTED).read_bytes() == b"HELLO from the package"
    assert (places / "asked").read_text() == "-qq download hello-6.1-amd64\n"
    assert said == ["apt-get downloads the package hello-6.1-amd64"]
    (places / "bin/apt-get").write_text("#!/bin/sh\nexit 1\n")
    assert packages(places).find(WANTED).read_bytes() == b"HELLO from the package"


def test_without_apt_one_message_says_what_to_do(places, monkeypatch):
    without_apt(monkeypatch)
    with pytest.raises(InfraError) as caught:
        packages(places).find(WANTED)
    text = str(caught.value)
    assert "hello-amd64" in text
    assert "no apt-get" in text
    assert str(places / "cache/debian") in text


def test_what_apt_says_is_shown(places, monkeypatch):
    apt(places, monkeypatch, "echo 'W: run as root'; echo 'E: no network' >&2; exit 100")
    with pytest.raises(InfraError) as caught:
        packages(places).find(WANTED)
    assert str(caught.value.found) == "E: no network"


def test_a_package_that_apt_does_not_know(places, monkeypatch):
    apt(places, monkeypatch, "exit 1", depends="")
    with pytest.raises(InfraError, match="hello-amd64"):
        packages(places).find(WANTED)


@pytest.mark.parametrize("damage", ["cut", "other content"])
def test_a_package_that_does_not_serve_is_named(places, monkeypatch, damage):
    without_apt(monkeypatch)
    content = b"HELLO" if damage == "cut" else b"another one"
    made = package(places / "archives", content)
    if damage == "cut":
        made.write_bytes(made.read_bytes()[:100])
    with pytest.raises(InfraError) as caught:
        packages(places).find(WANTED)
    assert str(made) in str(caught.value)
    assert "delete it" in str(caught.value)

"""Three workers in network namespaces of their own, standing in for hosts; one dies meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fakes
import pytest
from distributed.security import Security

from vmmlab.base.errors import InfraError

HOSTS = 3
BRIDGE = "vmmlabtest"
NETWORK = "10.213.77"
PORT = 28786

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"
    ),
]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def network() -> Iterator[list[str]]:
    """A bridge and some namespaces that are connected to it; yields their names."""
    names = [f"{BRIDGE}{n}" for n in range(1, HOSTS + 1)]
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{NETWORK}.254/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for number, name in enumerate(names, 1):
            ip("netns", "add", name)
            ip("link", "add", f"vt{number}a", "type", "veth", "peer", "name", f"vt{number}b")
            ip("link", "set", f"vt{number}a", "master", BRIDGE, "up")
            ip("link", "set", f"vt{number}b", "netns", name)
            ip("-n", name, "addr", "add", f"{NETWORK}.{number}/24", "dev", f"vt{number}b")
            ip("-n", name, "link", "set", f"vt{number}b", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True)


@contextlib.contextmanager
def hosts(folder: Path) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """A scheduler here and a worker in each namespace; yields its address and the certificates."""
    made = Security.temporary()
    files = tuple(folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
    for path, text in zip(
        files, (made.tls_ca_file, made.tls_client_cert, made.tls_client_key), strict=True
    ):
        path.write_text(text)
    options = ("--tls-ca-file", files[0], "--tls-cert", files[1], "--tls-key", files[2])
    options = (*map(str, options), "--no-dashboard")
    dask = str(Path(sys.executable).with_name("dask"))
    address = f"tls://{NETWORK}.254:{PORT}"
    with network() as names, contextlib.ExitStack() as stack:

        def start(*words: str) -> None:
            process = subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True)
            stack.callback(process.wait)
            stack.callback(process.kill)

        port = ("--host", f"{NETWORK}.254", "--port", str(PORT), "--protocol", "tls")
        start(dask, "scheduler", *port, *options)
        for number, name in enumerate(names, 1):
            where = ("--host", f"{NETWORK}.{number}", "--nthreads", "1", "--no-nanny")
            start("ip", "netns", "exec", name, dask, "worker", address, *where, *options)
        yield address, files


def test_verdicts_are_the_same_while_a_host_dies(tmp_path: Path) -> None:
    handed_in = tmp_path / "class"
    for number in range(12):
        fakes.put(handed_in, f"s{number:02}", f"POINTS {number}")
    fakes.put(handed_in, "s05", f"KILL-WORKER {tmp_path}/killed", "POINTS 5")
    expected = {f"s{number:02}": ("graded", number) for number in range(12)}
    with hosts(tmp_path) as (address, tls):
        out = tmp_path / "out"
        end = time.monotonic() + 60
        while True:
            try:
                outcome, _ = fakes.run(handed_in, out, resume=True, scheduler=address, tls=tls)
                break
            except InfraError:  # the scheduler is still starting
                assert time.monotonic() < end
    assert (tmp_path / "killed").exists()
    assert {one.student: (one.verdict, one.points) for one in outcome.records} == expected

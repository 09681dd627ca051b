"""Booted UEFI firmware: made once, restored, repaired; without a place for it, booted each time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from machine_helpers import asynced
from ovmf import needs_ovmf

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.notices import listening
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.efi import EfiBuilder
from vmmlab.machine import MachineSpec, firmware
from vmmlab.machine.dialects import incoming
from vmmlab.machine.templates import COLD_VARIABLE, Templates, started

pytestmark = pytest.mark.slow

TREE = Path(__file__).parents[3] / "vmm-skeleton" / "{{cookiecutter.slug}}"
NOT_ELF = b"this is no VMM"
MAKES = "Booting UEFI firmware for the first time, which takes some seconds."


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> MachineSpec:
    folder = tmp_path_factory.mktemp("efi")
    vmm = folder / "vmm.elf32"
    vmm.write_bytes(NOT_ELF)
    loader = EfiBuilder(TREE, Sandbox.choose(require=False), folder / "cache").template()
    return MachineSpec(vmm, cpus=2, memory_mib=128, firmware="ovmf", loader=loader)


@pytest.fixture(scope="module")
def kept(spec: MachineSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache with the template of `spec`."""
    folder = tmp_path_factory.mktemp("kept") / "vmmlab"
    with notes() as said:
        assert "vmmlab-loader: " in asyncio.run(boot(spec, folder))
    assert said == [MAKES]
    return folder


@pytest.fixture
def cache(kept: Path, tmp_path: Path) -> Path:
    """Return a copy of that cache."""
    return Path(shutil.copytree(kept, tmp_path / "vmmlab"))


@contextlib.contextmanager
def notes() -> Iterator[list[str]]:
    said: list[str] = []
    with listening(lambda text: said.append(str(text))):
        yield said


async def boot(spec: MachineSpec, cache: Path | None) -> str:
    """Let the loader refuse the VMM; return what it says."""
    templates = None if cache is None else Templates(cache)
    async with started(spec, Sandbox.choose(require=False), templates) as machine:
        assert (machine.worked_s() or 0.0) < 1.0
        await machine.gdb.resume()
        return f"vmmlab-loader: {(await machine.serial_line(b'vmmlab-loader: ')).decode()}"


def state_of(cache: Path) -> Path:
    (found,) = (cache / "entries").rglob("machine.state")
    return found


@needs_ovmf
@asynced
async def test_a_template_is_used_again(spec: MachineSpec, cache: Path) -> None:
    before = state_of(cache).stat().st_mtime_ns
    with notes() as said:
        first, second = await asyncio.gather(boot(spec, cache), boot(spec, cache))
    assert first == second
    assert "vmmlab-loader: " in first
    assert said == []
    assert state_of(cache).stat().st_mtime_ns == before


@needs_ovmf
@asynced
async def test_a_cold_boot_ends_the_same(
    spec: MachineSpec, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored = await boot(spec, cache)
    monkeypatch.setenv(COLD_VARIABLE, "1")
    with notes() as said:
        assert await boot(spec, cache) == restored
    assert said == []


@needs_ovmf
@asynced
async def test_another_machine_has_another_template(spec: MachineSpec, cache: Path) -> None:
    with notes() as said:
        assert "vmmlab-loader: " in await boot(replace(spec, svm=True), cache)
    assert said == [MAKES]
    assert len([*(cache / "entries").rglob("machine.state")]) == 2


@needs_ovmf
@pytest.mark.parametrize("how", ["truncated", "changed", "refused"])
def test_a_broken_template_is_made_again(spec: MachineSpec, cache: Path, how: str) -> None:
    state = state_of(cache)
    good = state.read_bytes()
    if how == "truncated":
        state.write_bytes(good[: len(good) // 2])
    elif how == "changed":
        state.write_bytes(good[:-4096] + bytes(4096))
    else:  # a whole one, but of no QEMU
        wrong = b"not a machine" * 1000
        state.write_bytes(wrong)
        entry = state.with_name("entry.json")
        told = json.loads(entry.read_bytes())
        told["data"]["sha256"] = hashlib.sha256(wrong).hexdigest()
        told["files"]["machine.state"] = len(wrong)
        entry.write_text(json.dumps(told))
    with notes() as said:
        assert "vmmlab-loader: " in asyncio.run(boot(spec, cache))
    assert said == [MAKES]
    assert state_of(cache).stat().st_size > len(good) // 2
    with notes() as said:
        asyncio.run(boot(spec, cache))
    assert said == []


@needs_ovmf
@pytest.mark.parametrize("trouble", ["not a folder", "full"])
def test_without_a_place_the_firmware_boots_each_time(
    spec: MachineSpec, tmp_path: Path, trouble: str
) -> None:
    cache = tmp_path / "vmmlab"
    if trouble == "full":
        cache.mkdir()
        (cache / "tmp").symlink_to("/dev/full")
    else:
        cache.write_text("")
    with notes() as said:
        assert "vmmlab-loader: " in asyncio.run(boot(spec, cache))
    assert [line for line in said if line != MAKES] == said[-1:]
    assert said[-1].startswith("Booted firmware cannot be kept")


MAKER = """
import asyncio, pickle, sys
sys.path[:0] = {here!r}
from pathlib import Path
from test_templates import boot, notes
with notes() as said:
    asyncio.run(boot(pickle.loads(bytes.fromhex({spec!r})), Path({cache!r})))
print(len(said))
"""


@needs_ovmf
def test_two_processes_make_it_once(spec: MachineSpec, tmp_path: Path) -> None:
    text = MAKER.format(
        here=[str(Path(__file__).parents[number]) for number in (0, 1)],
        spec=pickle.dumps(spec).hex(),
        cache=str(tmp_path / "vmmlab"),
    )
    running = [
        subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert sorted(one.communicate(timeout=120)[0].strip() for one in running) == ["0", "1"]


@needs_ovmf
@asynced
async def test_a_vmm_that_is_too_large(spec: MachineSpec, cache: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(InfraError, match="no room"):
        await boot(replace(spec, kernel=large), cache)


def test_no_ovmf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(firmware.OVMF_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(InfraError, match="not installed") as caught:
        firmware.find("ovmf").image(Path("/usr/bin/qemu-system-x86_64"))
    assert "apt install ovmf" in str(caught.value.message)


def test_another_ovmf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = tmp_path / "mine.fd"
    mine.write_bytes(b"")
    monkeypatch.setenv(firmware.OVMF_VARIABLE, str(mine))
    assert firmware.find("ovmf").image(Path("/usr/bin/qemu-system-x86_64")) == str(mine)


def test_the_firmware_beside_another_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(firmware.OVMF_VARIABLE, raising=False)
    image = tmp_path / "share" / "ovmf" / "OVMF.fd"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"")
    assert firmware.find("ovmf").image(tmp_path / "bin" / "qemu-system-x86_64") == str(image)


@pytest.mark.parametrize(
    "wrong", [{"memory_mib": 64}, {"arch": "i386"}, {"cmdline": "a"}, {"modules": (b"",)}]
)
def test_what_uefi_firmware_cannot_start(wrong: dict[str, object]) -> None:
    usual: dict[str, object] = {"firmware": "ovmf", "memory_mib": 128}
    with pytest.raises(UsageError):
        MachineSpec(Path("/none"), **{**usual, **wrong})  # type: ignore[arg-type]


def test_how_each_qemu_restores() -> None:
    assert incoming((7, 2, 22), 9) == (("-incoming", "defer"), "fd:9")
    assert incoming((10, 0, 13), 9) == (
        ("-add-fd", "fd=9,set=2", "-incoming", "defer"),
        "file:/dev/fdset/2",
    )

"""Checks whether this machine has what the kit needs, and names the command that installs it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.base.text import cells
from vmmlab.host import bubblewrap, cgroup, container, distribution, tools, versions
from vmmlab.host.sandbox import Sandbox
from vmmlab.i18n.translate import Reader
from vmmlab.machine import firmware

_TIMEOUT_S: Final = 20.0

REFERENCE_START_S: Final = 0.043
"""From the start to the end of a QEMU 7.2 with a q35 on an idle 2-core machine, in seconds."""

KVM: Final = Path("/dev/kvm")
"""The device of hardware virtualisation."""

OPTIONAL: Final = {
    "system": msg("the kit is made for Linux on x86-64"),
    "sandbox": msg("without it only your own work is graded"),
    "kvm": msg("for vmmlab run --accel kvm and vmmlab grade --confirm kvm"),
    "bwrap": msg("without it only your own work is graded"),
    "clang": msg("the second compiler, for the kit's own tests"),
    "gdb": msg("for vmmlab debug and vmmlab run --gdb"),
    "ovmf": msg("UEFI firmware; without it nothing boots by UEFI"),
    "grub-mkrescue": msg("for vmmlab iso"),
    "grub-i386-pc": msg("for vmmlab iso"),
    "xorriso": msg("for vmmlab iso"),
    "vmmlab[explore]": msg("for vmmlab explore, and to grade labs 4 and 9 in every order"),
    "vmmlab[worksheets]": msg("for vmmlab worksheet"),
    "vmmlab[instructor]": msg("for vmmlab batch, gradebook, moodle and canvas"),
    "vmmlab[similar]": msg("for vmmlab similar"),
    "vmmlab[postgresql]": msg("for a gradebook in PostgreSQL"),
}
"""The optional tools and extras, and what each one is for."""


@dataclass(frozen=True, slots=True)
class Item:
    """One tool or Python package that was looked for.

    Attributes:
        name: the tool or Python package.
        ok: whether it is there and works.
        detail: its version, or what is wrong with it.
        remedy: what to do about it if no Debian package helps.
        package: the Debian package that has it; "" for none.
        optional: whether the kit works without it.
    """

    name: str
    ok: bool
    detail: Text = ""
    remedy: Text = ""
    package: str = ""
    optional: bool = False


def examine() -> list[Item]:
    """Look for everything; takes about a tenth of a second."""
    items = [_system(), _qemu(), _rom(), _ovmf()]
    items += [_tool(name) for name in ("gcc", "ld", "objcopy")]
    items += [_bwrap(), *_container(), _limits(), _sandbox(), _kvm(), *_speed()]
    items += [_tool("clang"), _tool("gdb")]
    items += [_tool("grub-mkrescue"), _grub_modules(), _tool("xorriso")]
    items += [*_python_packages(), *_extras()]
    return items


def mend(items: Iterable[Item]) -> Text:
    """Return the one command that installs what is missing; "" if no package would help."""
    return tools.install_command(item.package for item in items if not item.ok and item.package)


def healthy(items: Iterable[Item]) -> bool:
    """Return whether everything that the kit requires is there."""
    return all(item.ok or item.optional for item in items)


def lines(items: Sequence[Item], say: Reader | None = None) -> Iterator[str]:
    """Yield the report as text: a line for each item, then what to do.

    Args:
        items: from `examine`.
        say: the reader; else English.
    """
    say = Reader() if say is None else say
    width = max(len(item.name) for item in items)
    for item in items:
        state = say.label("ok" if item.ok else "missing")
        detail = say(item.detail)
        if not item.ok and item.optional:
            use = say(OPTIONAL.get(item.name, ""))
            optional = say.label("optional: ") + use
            detail = f"{detail}{say.label('; ')}{optional}" if detail else optional
        yield f"{state}{' ' * (8 - cells(state))}{item.name:<{width}}  {detail}".rstrip()
        if not item.ok and (line := mend([item]) or item.remedy):
            yield f"{'':<{8 + width}}  {say.label('mend: ')}{say(line)}"
    lacking = [item for item in items if not item.ok and not item.name.startswith("vmmlab[")]
    remedies = [item.remedy for item in lacking if item.remedy]
    command = mend(items)
    for text in [*([command] if command else []), *remedies]:
        yield f"  {say.label('next: ')}{say(text)}"


def _system() -> Item:
    found = distribution.this()
    if found.wsl == 1:
        return Item(
            "system",
            False,
            msg("{name} in WSL 1: programs cannot be isolated there", name=found.name),
            msg("in PowerShell: wsl --set-version DISTRIBUTION 2"),
            optional=True,
        )
    if found.family == "macos":
        remedy = msg("use the container: open the workspace in an editor that knows .devcontainer")
        detail = msg("{name}: there is no sandbox, and gcc makes no Linux objects", name=found.name)
        return Item("system", False, detail, remedy, optional=True)
    return Item("system", True, f"{found.name}, WSL 2" if found.wsl else found.name)


def _sandbox() -> Item:
    chosen = Sandbox.choose(require=False)
    if chosen.kind == "none":
        detail = msg("none: other people's work is not graded here")
        return replace(_bwrap(), name="sandbox", ok=False, detail=detail, optional=True)
    return Item("sandbox", True, chosen.level)


def _kvm() -> Item:
    device = KVM
    if not device.exists():
        detail = msg("{device} is missing: turn virtualisation on in the firmware", device=device)
        return Item("kvm", False, detail, optional=True)
    if not os.access(device, os.R_OK | os.W_OK):
        remedy = msg("sudo usermod -aG kvm $USER, then log in again")
        detail = msg("{device} may not be opened", device=device)
        return Item("kvm", False, detail, remedy, optional=True)
    return Item("kvm", True, str(device))


def _speed() -> Iterator[Item]:
    """Yield how long QEMU takes to start and end, against the host that time limits are made for.

    Limits grow with this, so that a slow host changes no verdict.
    """
    try:
        qemu = str(versions.qemu_path())
    except InfraError:
        return
    words = [qemu, "-M", "q35", "-nodefaults", "-no-user-config", "-display", "none", "-S"]
    taken: list[float] = []
    for _ in range(3):
        began = time.monotonic()
        if _ask([*words, "-monitor", "stdio"], "quit\n") is None:
            return
        taken.append(time.monotonic() - began)
    best = min(taken)
    detail = msg(
        "QEMU starts and ends in {ms:.0f} ms, {factor:.1f} times the {reference:.0f} ms of the "
        "host that the limits are made for",
        ms=1000 * best,
        factor=best / REFERENCE_START_S,
        reference=1000 * REFERENCE_START_S,
    )
    yield Item("speed", True, detail)


# --- looking ---------------------------------------------------------------------------------


def _missing(name: str, detail: Text = "", remedy: Text = "") -> Item:
    """Return the item for a missing tool; a `remedy` takes the place of the package."""
    package = "" if remedy else tools.PACKAGES.get(name, "")
    return Item(name, False, detail, remedy, package, optional=name in OPTIONAL)


def _tool(name: str) -> Item:
    path = shutil.which(name)
    if path is None:
        return _missing(name)
    said = _ask([path, "--version"])
    if said is None:
        return _missing(
            name,
            msg("{path} does not run", path=path),
            msg("reinstall {packages}", packages=tools.PACKAGES[name]),
        )
    found = re.search(r"\d+(\.\d+)+", said)
    return Item(name, True, found.group() if found else path)


def _qemu() -> Item:
    name = "qemu-system-x86_64"
    try:
        found = versions.tool_versions()
    except InfraError as error:
        if not tools.is_installed(name):
            return _missing(name)
        return _missing(name, error.message, error.next_step)
    number = ".".join(map(str, found.qemu))
    if found.tried:
        return Item(name, True, number)
    known = ", ".join(f"{major}.{minor}" for major, minor in versions.TRIED)
    return Item(
        name,
        True,
        msg("{number}, not tested: this kit is tested with {known}", number=number, known=known),
    )


def _rom() -> Item:
    name = "qboot.rom"
    try:
        said = _ask([str(versions.qemu_path()), "-L", "help"])
    except InfraError:
        return _missing(name, msg("there is no QEMU to ask"))
    for folder in (said or "").splitlines():
        if (Path(folder) / name).is_file():
            return Item(name, True, folder)
    return _missing(name, msg("in none of QEMU's data folders"))


def _ovmf() -> Item:
    name = firmware.OVMF
    try:
        return Item(name, True, firmware.find(name).image(versions.qemu_path()), optional=True)
    except InfraError:
        return _missing(name)


def _grub_modules() -> Item:
    name = "grub-i386-pc"
    return Item(name, True, str(tools.GRUB_MODULES)) if tools.is_installed(name) else _missing(name)


def _bwrap() -> Item:
    found = bubblewrap.examine()
    if found.works:
        return Item("bwrap", True, msg("{version}, works", version=found.version))
    if shutil.which("bwrap") is None:
        return _missing("bwrap")
    return _missing("bwrap", found.reason, found.next_step)


def _container() -> Iterator[Item]:
    found = container.examine()
    if found is not None:
        yield Item("container", True, found.words)


def _limits() -> Item:
    return Item("limits", True, cgroup.examine().text)


def _python_packages() -> Iterator[Item]:
    for requirement in _requirements(""):
        if version := _version(requirement.name):
            yield Item(requirement.name, True, version)
        else:
            remedy = f"python -m pip install '{requirement.name}{requirement.specifier}'"
            yield Item(requirement.name, False, msg("Python package"), remedy)


def _extras() -> Iterator[Item]:
    for name in (one for one in OPTIONAL if one.startswith("vmmlab[")):
        extra = name.removeprefix("vmmlab[").removesuffix("]")
        needed = [one.name for one in _requirements(extra)]
        lacking = [one for one in needed if _version(one) is None]
        if lacking:
            yield _missing(name, ", ".join(lacking), f"python -m pip install '{name}'")
        else:
            yield Item(name, True, ", ".join(needed))


def _requirements(extra: str) -> Iterator[Requirement]:
    """Yield what vmmlab itself requires on this machine, or what one of its extras adds."""
    for line in importlib.metadata.requires("vmmlab") or []:
        found = Requirement(line)
        always = found.marker is None or found.marker.evaluate({"extra": ""})
        if always == (not extra) and (not found.marker or found.marker.evaluate({"extra": extra})):
            yield found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ask(argv: Sequence[str], said: str = "") -> str | None:
    """Return what a tool prints, or None if it does not run.

    Args:
        argv: the command line.
        said: what it reads from its standard input.
    """
    try:
        done = subprocess.run(
            argv,
            input=said,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None

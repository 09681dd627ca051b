"""Scenarios: one boot each, with the probe that watches it. What lab authors write.

    BOOT = bringup(cpus=4)
    LATE = late_ap(cpu=2, cpus=3)

Two scenarios that are equal are one boot. A parameter that a scenario does not take is an error
that names it.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, Unpack, get_args

from vmmlab.base.errors import CourseError
from vmmlab.base.message import msg
from vmmlab.base.registry import Scope, scope_in_use
from vmmlab.course.cohort import Role
from vmmlab.machine import firmware
from vmmlab.probes.registry import ProbeKind, probe_kind

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([._-][a-z0-9]+)*")
_TRACES: Final = frozenset({"sockets", "moved", "memory_mib", "cmdline", "modules"})
"""What the machine of `make run` does not have, and a VMM could notice."""


class Setup(TypedDict, total=False):
    """What every scenario may say of its machine and of its build.

    name: identifier in messages and seeds; the probe's name if not given.
    cpus: number of vCPUs; 4 if not given.
    sockets: number of packages that they are in; APIC ids have gaps unless the number of vCPUs in
        a package is a power of two. 1 if not given.
    acpi: whether there are ACPI tables; they are there if not given. Only with qboot.
    moved: whether `apinit_addr` gets another value than APINIT_ADDR of cohort.h; not if not given.
    svm: whether the processors can run guests, by AMD SVM with nested paging; QEMU's own choice if
        not given.
    firmware: a registered firmware; "qboot" if not given.
    memory_mib: main memory in MiB; the seed decides if not given.
    cmdline: minimum length of the multiboot command line, in characters.
    modules: number of multiboot modules.
    guest_image: a given file that is built, such as "guest/bios.S", which becomes the first module,
        or, with UEFI firmware, "guest/efi_os.c", which the loader starts.
    opt: how the student's files are optimised, such as "-O0".
    compiler: "gcc" or "clang".
    delays: preset of the VMM's delays.
    shuffle: a number; the order of linking depends on it.
    cohort: whose numbers it is built with: "own" if not given, "other" or "third"
        (`vmmlab.course.cohort.Role`). Hidden checks alone may ask for "third".
    """

    name: str
    cpus: int
    sockets: int
    acpi: bool
    moved: bool
    svm: bool
    firmware: str
    memory_mib: int
    cmdline: int
    modules: int
    guest_image: str
    opt: str
    compiler: str
    delays: str
    shuffle: int
    cohort: Role


class TimedSetup(Setup, total=False):
    """A setup that also changes fields of `struct ap_delays` (include/ap.h), in microseconds."""

    init_us: int
    sipi_us: int
    poll_us: int
    wait_us: int


@dataclass(frozen=True)
class Scenario:
    """One boot: the machine, how its VMM is built, and the probe that observes it.

    Args:
        name: identifier, unique in the lab.
        probe: name of a registered probe.
        options: parameters of the probe.
        cpus: number of vCPUs.
        sockets: number of packages that they are in.
        acpi: whether there are ACPI tables.
        moved: whether `apinit_addr` gets another value than APINIT_ADDR.
        svm: whether the processors can run guests; QEMU's own choice if None.
        firmware: a registered firmware.
        memory_mib: main memory in MiB; the seed decides if None.
        cmdline: minimum length of the multiboot command line, in characters.
        modules: number of multiboot modules.
        guest_image: a given file that is built and becomes the guest; "": none.
        opt: how the student's files are optimised; the request decides if None.
        compiler: "gcc" or "clang"; the request decides if None.
        delays: preset of the VMM's delays; the preset for grading if None.
        shuffle: decides the order of linking; that of course.yml if None.
        scope: what the lab that made it has registered.
        cohort: whose numbers it is built with.
    """

    name: str
    probe: str = "end"
    options: tuple[tuple[str, Any], ...] = field(default=())
    cpus: int = 4
    sockets: int = 1
    acpi: bool = True
    moved: bool = False
    svm: bool | None = None
    firmware: str = "qboot"
    memory_mib: int | None = None
    cmdline: int = 0
    modules: int = 0
    guest_image: str = ""
    opt: str | None = None
    compiler: str | None = None
    delays: str | None = None
    shuffle: int | None = None
    cohort: Role = "own"
    scope: Scope = field(default_factory=scope_in_use, compare=False, repr=False)

    @property
    def kind(self) -> ProbeKind:
        """Its probe, as the lab that made this scenario knows it."""
        with self.scope.in_use():
            return probe_kind(self.probe)

    @property
    def setting(self) -> tuple[object, ...]:
        """What the boot is, beside its cohort, its number of CPUs and how it is compiled."""
        hardware = (self.acpi, self.sockets, self.svm, self.firmware, self.memory_mib)
        return (self.probe, self.options, self.moved, *hardware)

    def option(self, name: str, default: Any = None) -> Any:
        """Return a parameter of the probe, or `default`."""
        return dict(self.options).get(name, default)

    def __str__(self) -> str:
        """The name with everything that differs from the defaults."""
        return self.described(self.cohort)

    def described(self, cohort: str) -> str:
        """Return the name with everything that differs from the defaults.

        Args:
            cohort: the name of the cohort that it is built for.
        """
        plain = Scenario(self.name)
        said = {"cpus": self.cpus, "probe": self.probe, **dict(self.options)}
        shown = ("sockets", "acpi", "moved", "svm", "firmware", "memory_mib", "cmdline", "modules")
        for key in (*shown, "guest_image", "opt", "compiler", "delays"):
            if getattr(self, key) != getattr(plain, key):
                said[key] = getattr(self, key)
        if self.shuffle is not None:
            said["shuffle"] = self.shuffle
        if self.cohort != "own":
            said["cohort"] = cohort
        return f"{self.name}({', '.join(f'{key}={said[key]}' for key in sorted(said))})"


def scenario_of(probe: str, setup: Mapping[str, Any], *, where: str = "") -> Scenario:
    """Return a scenario with a probe, after checking each of its parameters.

    A lab's own probes use it: `def mine(**setup): return scenario_of("mine", setup)`.

    Args:
        probe: name of a registered probe.
        setup: the keys of `Setup`, and the parameters of the probe.
        where: file and line for the message; found on the call stack if not given.

    Raises:
        CourseError: there is no such probe, parameter or firmware, or a value can change later.
    """
    where = where or _author_line()
    kind = probe_kind(probe)
    name = setup.get("name", probe)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CourseError(
            msg("{where}: {name} is not a valid name of a scenario.", where=where, name=repr(name)),
            expected=msg('lower-case letters, digits, "-" and "_", for example "ladder"'),
        )
    machine = Setup.__annotations__.keys()
    known = sorted({*machine, *kind.parameters})
    for key, value in setup.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise CourseError(
                msg(
                    "{where}: scenario {name}: the probe {probe} takes no parameter {key}.",
                    where=where,
                    name=name,
                    probe=probe,
                    key=key,
                ),
                expected=msg("one of {known}", known=", ".join(known)),
                found=f"{key}={value!r}",
                next_step=msg("did you mean {near}?", near=near[0]) if near else "",
            )
        try:
            hash(value)
        except TypeError:
            raise CourseError(
                msg(
                    "{where}: parameter {key} of scenario {name} is mutable.",
                    where=where,
                    key=key,
                    name=name,
                ),
                expected=msg("a number, a text or a tuple"),
                found=type(value).__name__,
            ) from None
    _check_choices(setup, where, name)
    _check_hidden(kind, setup, where, name)
    options = tuple(sorted((key, setup[key]) for key in kind.parameters & setup.keys()))
    rest = {key: setup[key] for key in machine & setup.keys() - {"name"}}
    return Scenario(name, probe, options, **rest)


def _check_choices(setup: Mapping[str, Any], where: str, name: str) -> None:
    """Check that the firmware and the cohort of a scenario exist."""
    if "firmware" in setup:
        known_firmware(setup["firmware"], where, name)
    if setup.get("cohort", "own") not in get_args(Role):
        raise CourseError(
            msg("{where}: scenario {name}: there is no such cohort.", where=where, name=name),
            expected=msg("one of {known}", known=", ".join(get_args(Role))),
            found=repr(setup["cohort"]),
        )


def _check_hidden(kind: ProbeKind, setup: Mapping[str, Any], where: str, name: str) -> None:
    """Check that nothing of the machine shows the VMM of a `plain` scenario that it is graded."""
    for key in () if kind.make.leaves_traces else _TRACES & setup.keys():
        raise CourseError(
            msg(
                "{where}: scenario {name}: the probe {probe} boots the machine of `make run`, "
                "which has no {key}.",
                where=where,
                name=name,
                probe=kind.name,
                key=key,
            ),
            found=f"{key}={setup[key]!r}",
            next_step=msg("choose another probe, or leave {key} out", key=key),
        )


def known_firmware(name: str, where: str, owner: str) -> None:
    """Check that a firmware is registered.

    Args:
        name: the firmware.
        where: the file, and perhaps the line, that names it.
        owner: the scenario or the lab that it is for.

    Raises:
        CourseError: it is not.
    """
    if name not in firmware.names():
        raise CourseError(
            msg(
                "{where}: {owner}: there is no firmware {name}.",
                where=where,
                owner=owner,
                name=repr(name),
            ),
            expected=" or ".join(firmware.names()),
            next_step=msg("name one of these, or register it in vmmlab/machine/firmware.py"),
        )


def parking(*, decoy: bool = False, **setup: Unpack[TimedSetup]) -> Scenario:
    """Return a scenario that records which CPUs park, and with which number; the cheapest.

    Args:
        decoy: record too which APs call what initproc_ap points to.
        setup: the machine and the build.
    """
    return scenario_of("end", {**setup, **({"decoy": True} if decoy else {})})


def plain(**setup: Unpack[Setup]) -> Scenario:
    """Return a scenario in which the VMM cannot tell that it is graded; only its end is known.

    The other boots that are graded must end in the same way.
    """
    return scenario_of("plain", setup)


def one_by_one(*, holds: bool = False, **setup: Unpack[TimedSetup]) -> Scenario:
    """Return a scenario in which the APs enter one after the other.

    Args:
        holds: stackaddr holds another value before it is to be set.
        setup: the machine and the build.
    """
    return scenario_of("one-by-one", {**setup, **({"holds": True} if holds else {})})


def bringup(**setup: Unpack[TimedSetup]) -> Scenario:
    """Return a scenario that records every instruction from physical 0 to ap_entry."""
    return scenario_of("ladder", setup)


def other_arguments(**setup: Unpack[TimedSetup]) -> Scenario:
    """Return a scenario that also calls functions of ap_start.c with other arguments."""
    return scenario_of("arguments", {"cpus": 1, **setup})


def init_functions(
    *,
    functions: int = 0,
    empty: bool = False,
    descending: bool = False,
    silent: bool = False,
    information: int = 0,
    **setup: Unpack[Setup],
) -> Scenario:
    """Return a scenario that records vmm_main's calls and the init functions that run.

    Args:
        functions: number of init functions added to those that every boot has.
        empty: no init function is registered, not even those of the given code.
        descending: the records are linked in the opposite of the right order.
        silent: the boot loader's `flags` say that nothing in the information is valid.
        information: where vmm_main finds the multiboot information, a physical address; 0 means
            where the boot loader has left it.
        setup: the machine and the build.
    """
    more: dict[str, Any] = {"functions": functions} if functions else {}
    more |= {"empty": True} if empty else {}
    more |= {"descending": True} if descending else {}
    more |= {"silent": True} if silent else {}
    more |= {"information": information} if information else {}
    return scenario_of("initfuncs", {**setup, **more})


def no_multiboot(**setup: Unpack[Setup]) -> Scenario:
    """Return a scenario that calls vmm_main with 0 instead of a multiboot pointer."""
    return scenario_of("uefi", setup)


def stack_switch(
    *, swap: bool = False, elsewhere: bool = False, holds: str = "", **setup: Unpack[TimedSetup]
) -> Scenario:
    """Return a scenario that records the BSP's stack switch.

    Args:
        swap: exchange the two arguments of start_all_processors.
        elsewhere: in its place call bsp_continue for vmm_parked.
        holds: "initproc" or "stackaddr": what holds another value before it is to be stored.
        setup: the machine and the build.
    """
    flags = {"swap": swap, "elsewhere": elsewhere, "holds": holds}
    return scenario_of("switch", {**setup, **{key: on for key, on in flags.items() if on}})


def placed_call(**setup: Unpack[Setup]) -> Scenario:
    """Return a scenario in which the grader itself calls asm_wrrsp_and_jmp."""
    return scenario_of("calls", setup)


def late_ap(*, cpu: int, entered: bool = False, **setup: Unpack[TimedSetup]) -> Scenario:
    """Return a scenario in which one AP is late.

    Args:
        cpu: index of the AP.
        entered: it has entered from the beginning; it is late only to count itself.
        setup: the machine and the build.
    """
    return scenario_of("late-ap", {**setup, "cpu": cpu, **({"entered": True} if entered else {})})


def missing_ap(*, cpu: int, entered: bool = False, **setup: Unpack[TimedSetup]) -> Scenario:
    """Return a scenario in which one AP never arrives.

    Args:
        cpu: index of the AP.
        entered: it enters, and comes to rest before it has counted itself.
        setup: the machine and the build.
    """
    more = {"entered": True} if entered else {}
    return scenario_of("missing-ap", {**setup, "cpu": cpu, **more})


def exclusion(**setup: Unpack[Setup]) -> Scenario:
    """Return a scenario that tries to bring two APs where only one may be."""
    return scenario_of("exclusion", setup)


def barrier(**setup: Unpack[Setup]) -> Scenario:
    """Return a scenario that tries to bring a CPU out of the barrier too early, or never."""
    return scenario_of("barrier", setup)


def guest(
    *,
    marks: tuple[tuple[str, int], ...] = (),
    until: str = "",
    by: Literal["bsp", "all"] = "bsp",
    **setup: Unpack[TimedSetup],
) -> Scenario:
    """Return a scenario that records what each CPU runs as a guest.

    Args:
        marks: places inside the guest: name and linear address of each.
        until: the mark at which the boot is over; "" for none.
        by: which CPUs must have come there: the boot processor alone, or all.
        setup: the machine and the build; the processors can run guests unless it says otherwise.
    """
    told = {"marks": marks, "until": until, "by": by}
    usual = {"marks": (), "until": "", "by": "bsp"}
    more = {key: value for key, value in told.items() if value != usual[key]}
    return scenario_of("guest", {"svm": True, **setup, **more})


def panics(
    *,
    cpu: int = 0,
    locks: bool = False,
    at_once: bool = False,
    soon: bool = False,
    backwards: bool = False,
    **setup: Unpack[TimedSetup],
) -> Scenario:
    """Return a scenario in which a CPU panics when all have parked.

    Args:
        cpu: index of the CPU that panics.
        locks: the other CPUs hold locks or wait for some, and the panic is within a panic.
        at_once: each CPU takes its NMI as soon as it is sent.
        soon: it panics as soon as the APs are started.
        backwards: the APs take their numbers in the opposite order of their indices.
        setup: the machine and the build.
    """
    flags = {"locks": locks, "at_once": at_once, "soon": soon, "backwards": backwards}
    more = {key: True for key, on in flags.items() if on}
    return scenario_of("panic", {**setup, "cpu": cpu, **more})


def early_panic(**setup: Unpack[TimedSetup]) -> Scenario:
    """Return a scenario that calls panic_wakeup_all before the APs are started."""
    return scenario_of("wakeup", setup)


def _author_line() -> str:
    """Return file and line of the innermost caller outside of this package."""
    here = str(Path(__file__).parent)
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(here):
        frame = frame.f_back
    return f"{shown_path(frame.f_code.co_filename)}:{frame.f_lineno}" if frame else "?"


def shown_path(path: str) -> str:
    """Return a path as the reader would type it: relative if it is below the working directory."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):
        return path
    return path if relative.startswith("..") else relative

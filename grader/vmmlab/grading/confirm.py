"""Confirms a grading on the processors of this host: the same image, booted under KVM.

A processor may refuse what QEMU's emulation accepts. The boot earns and costs no points; it only
says whether all CPUs park there as well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.grading.boots import build_options, make_builder
from vmmlab.grading.request import RunRequest
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.model import BuildFailed, Image
from vmmlab.machine import Machine, MachineSpec
from vmmlab.machine.kvm import KVM, opens
from vmmlab.probes.scenario import plain

CPUS: Final = 4
NO_KVM: Final = msg("not confirmed: no KVM")
_LOOK_S: Final = 0.1  # between two looks at where the CPUs are
_MOST_S: Final = 10.0  # for all CPUs to park; they need a fraction of a second
_PARKED: Final = "vmm_parked"


@dataclass(frozen=True)
class Ending:
    """How a boot under KVM ended.

    Args:
        places: for each CPU the symbol nearest to where it was.
        reset: the machine reset.
    """

    places: tuple[str, ...]
    reset: bool = False

    @property
    def parked(self) -> int:
        """How many CPUs parked."""
        return 0 if self.reset else sum(_is_parked(place) for place in self.places)


Boots = Callable[[RunRequest], Ending]
"""Boots the image of a request under KVM."""


def confirmation(
    request: RunRequest, complete: bool, *, boots: Boots | None = None, device: Path = KVM
) -> Text:
    """Return a note that says whether the processors of this host agree with a grading.

    Args:
        request: what was graded.
        complete: whether the grading gave all points.
        boots: boots the image; `booted` if None.
        device: /dev/kvm.
    """
    if not opens(device):
        return NO_KVM
    try:
        return compared((boots or booted)(request), complete)
    except BuildFailed:
        return msg("not confirmed: the submission does not build")
    except InfraError as error:
        return msg("not confirmed: {error}", error=error.message)


def compared(seen: Ending, complete: bool) -> Text:
    """Return what a boot under KVM says about a grading.

    Args:
        seen: how the boot under KVM ended.
        complete: whether the grading gave all points.
    """
    values = {"parked": seen.parked, "cpus": len(seen.places)}
    if seen.parked == len(seen.places):
        if complete:
            return msg(
                "confirmed by KVM: {parked} of {cpus} CPUs parked on this processor, too", **values
            )
        return msg(
            "KVM: {parked} of {cpus} CPUs parked on this processor; what took points does not keep "
            "them from it",
            **values,
        )
    how: Text = msg("the machine reset")
    if not seen.reset:
        cpu = next(at for at, place in enumerate(seen.places) if not _is_parked(place))
        how = msg("CPU {cpu} is at {place}", cpu=cpu, place=seen.places[cpu])
    if complete:
        return msg(
            "KVM does not agree: {parked} of {cpus} CPUs parked on this processor; {how}",
            how=how,
            **values,
        )
    return msg(
        "confirmed by KVM: {parked} of {cpus} CPUs parked on this processor; {how}",
        how=how,
        **values,
    )


def _is_parked(place: str) -> bool:
    return place.partition("+")[0] == _PARKED


def booted(request: RunRequest) -> Ending:
    """Build the image of a request and boot it under KVM.

    Args:
        request: what was graded.

    Raises:
        BuildFailed: the submission does not build.
        InfraError: QEMU could not be started, or died.
    """
    sandbox = Sandbox.choose(require=request.sandbox_required)
    builder = make_builder(request.course, sandbox, request.prebuilt, request.cohort)
    options = build_options(
        plain(cpus=CPUS),
        arch=request.arch,
        seed=request.seed,
        compiler=request.compiler,
        opt=request.opt,
    )
    image = builder.build(request.lab, request.files, request.cohort, options)
    return asyncio.run(_boot(image, sandbox))


async def _boot(image: Image, sandbox: Sandbox) -> Ending:
    """Let a machine run until all CPUs are parked, it resets, or the time is up."""
    spec = MachineSpec(kernel=image.kernel, cpus=CPUS, accel="kvm")
    places: tuple[str, ...] = ("",) * CPUS
    async with Machine(spec, sandbox) as machine:
        end = time.monotonic() + _MOST_S
        while time.monotonic() < end:
            await machine.gdb.resume()
            stop = await machine.gdb.wait(_LOOK_S) or await machine.gdb.interrupt()
            if stop.kind in ("shutdown", "exit"):
                return Ending(places, reset=True)
            registers = await machine.gdb.all_registers()
            places = tuple(image.symbols.nearest(one.linear_pc) for one in registers)
            if all(_is_parked(place) for place in places):
                break
    return Ending(places)

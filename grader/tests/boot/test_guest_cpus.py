"""A guest of lab 9's reference starts all its processors, however many there are."""

import asyncio
from pathlib import Path

import pytest
from serial_line import PATIENCE_S

from vmmlab.course.load import load_course
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.guest import GuestBuilder
from vmmlab.machine import Machine, MachineSpec
from vmmlab.student.run import image_for

COURSE = load_course(Path(__file__).parents[3])


@pytest.mark.full
@pytest.mark.parametrize("firmware", ["qboot", "seabios"])
@pytest.mark.parametrize("cpus", [1, 2, 4, 8])
def test_a_guest_starts_each_processor_twice(cpus, firmware):
    guest = GuestBuilder(COURSE.tree, Sandbox.choose(require=False)).build("guest/smp.S")
    kernel = image_for("lab9", COURSE, "reference").kernel
    spec = MachineSpec(kernel, cpus=cpus, modules=(guest.flat,), firmware=firmware, svm=True)

    async def boot():
        async with Machine(spec) as machine, asyncio.timeout(PATIENCE_S):
            await machine.gdb.resume()
            await machine.serial_line(b"guest: all processors have started, each one twice")

    asyncio.run(boot())

"""QEMU: its command line, its process, its output, QMP; all of it as `Machine`."""

from vmmlab.machine.qemu.machine import Machine, MachineDied
from vmmlab.machine.qemu.process import Launcher, PlainLauncher

__all__ = ["Launcher", "Machine", "MachineDied", "PlainLauncher"]

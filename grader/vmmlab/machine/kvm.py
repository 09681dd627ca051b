"""Whether this host lets QEMU use its own processors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

KVM: Final = Path("/dev/kvm")
"""The device through which the Linux kernel offers its virtual machines."""


def opens(device: Path = KVM) -> bool:
    """Return whether the device can be opened for reading and writing.

    Args:
        device: /dev/kvm.
    """
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True

"""Skips what needs UEFI firmware where none is installed. CI installs it."""

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.host.versions import qemu_path
from vmmlab.machine.firmware import find


def installed() -> bool:
    """Whether OVMF is there."""
    try:
        return bool(find("ovmf").image(qemu_path()))
    except InfraError:
        return False


needs_ovmf = pytest.mark.skipif(not installed(), reason="ovmf is not installed")

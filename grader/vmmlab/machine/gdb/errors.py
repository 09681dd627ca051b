"""Errors of the debug stub's client."""

from __future__ import annotations

from vmmlab.base.errors import InfraError


class GdbError(InfraError):
    """The debug stub refused a request or sent an answer that makes no sense."""


class MemoryUnreadable(GdbError):
    """Memory that cannot be read or written: it is not mapped, or there is no RAM."""

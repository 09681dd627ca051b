"""Collects what is recorded of each CPU in lab 7, and reads what its guest has noted."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.session import Session
from vmmlab.probes.guest import GuestProbe
from vmmlab.x86.vmcb import VMCB_BYTES, vmcb_of

from .evidence import Result, Svm, SvmCpu

RESULTS: Final = 0x9000  # GUEST_DATA in include/guest.h: guest_results
RESULT: Final = struct.Struct("<IIQQQ")


@dataclass
class RecordingProbe(GuestProbe):
    """Keeps the evidence of each CPU, and knows where its structures are."""

    _seen: dict[int, SvmCpu] = field(default_factory=dict, init=False)
    _vcpus: dict[int, int] = field(default_factory=dict, init=False)
    _pages: dict[int, tuple[int, int]] = field(default_factory=dict, init=False)
    """v->vmcb and v->vmcbhost of each CPU, as they are in use."""

    def _keep(self, session: Session) -> None:
        everyone = range(session.inputs.cpus)
        session.log.lab = Svm(tuple(self._seen.get(cpu, SvmCpu()) for cpu in everyone))

    def _note(self, cpu: int, **found: object) -> None:
        self._seen[cpu] = replace(self._seen.get(cpu, SvmCpu()), **found)  # type: ignore[arg-type]

    async def _results(self, session: Session) -> None:
        """Read what each CPU of the guest has noted."""
        size = RESULT.size
        raw = await session.view.read_if_there(RESULTS, size * session.inputs.cpus)
        if len(raw) < size * session.inputs.cpus:
            return
        for cpu in range(session.inputs.cpus):
            if cpu in session.log.guest_starts or cpu in self._seen:
                stage, check, found, wanted, _ = RESULT.unpack_from(raw, size * cpu)
                self._note(cpu, result=Result(stage, check, found, wanted))
            await self._last(session, cpu)

    async def _last(self, session: Session, cpu: int) -> None:
        if pages := self._pages.get(cpu):
            body = await session.view.read_if_there(pages[0] - VMM_BASE, VMCB_BYTES)
            self._note(cpu, last=vmcb_of(body) if len(body) == VMCB_BYTES else None)

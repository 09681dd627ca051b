"""Collects what is recorded of each CPU in lab 7, and reads what its guest has noted."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.session import Session
from vmmlab.probes.guest import GuestProbe
from vmmlab.x86.vmcb import VMCB_BYTES, vmcb_of

from .evidence import Result, Svm, SvmCpu

RESULTS: Final = 0x9000  # GUEST_DATA in include/guest.h: guest_results
RESULT: Final = struct.Struct("<IIQQQ")
_STAGE_LONG: Final = 2


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
        everyone = range(session.inputs.cpus)
        raw = await session.view.read_if_there(RESULTS, RESULT.size * session.inputs.cpus)
        if len(raw) < RESULT.size * session.inputs.cpus:
            return
        records = [RESULT.unpack_from(raw, RESULT.size * number) for number in everyone]
        for cpu, number in self._records(session, records).items():
            if cpu in session.log.guest_starts or cpu in self._seen:
                self._note(cpu, result=Result(*records[number][:4]))
            await self._last(session, cpu)

    def _records(self, session: Session, records: Sequence[tuple[int, ...]]) -> Mapping[int, int]:
        """Return which record is that of each CPU: the guest counts its CPUs as they come.

        From STAGE_LONG on a record has the APIC id. Before that, the order of the CPUs has to do.
        """
        everyone = range(session.inputs.cpus)
        known = {one[4]: number for number, one in enumerate(records) if one[0] >= _STAGE_LONG}
        ids = dict(enumerate(session.inputs.apic_ids or everyone))
        found = {cpu: known[ids[cpu]] for cpu in everyone if ids[cpu] in known}
        others = iter(number for number in everyone if number not in found.values())
        return {cpu: found[cpu] if cpu in found else next(others) for cpu in everyone}

    async def _last(self, session: Session, cpu: int) -> None:
        if pages := self._pages.get(cpu):
            body = await session.view.read_if_there(pages[0] - VMM_BASE, VMCB_BYTES)
            self._note(cpu, last=vmcb_of(body) if len(body) == VMCB_BYTES else None)

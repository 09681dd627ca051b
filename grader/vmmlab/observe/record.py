"""Makes the frozen Observation of a finished boot."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Final

from vmmlab.observe.cpu import CpuRecord, CpuState
from vmmlab.observe.evidence import Counters
from vmmlab.observe.faults import note_resets, note_triple_faults
from vmmlab.observe.guest import guests_of
from vmmlab.observe.log import CpuLog, Log
from vmmlab.observe.observation import HowEnded, Observation
from vmmlab.observe.place import Place
from vmmlab.observe.session import Session
from vmmlab.observe.view import NO_INSTRUCTION, Inputs, SymbolTable

_SYMBOLS: Final = (
    "boot_stack", "boot_stack_top", "bspinitproc1", "bsp_proc", "ap_proc", "ap_entry",
    "ap_pagetable", "cpuinit_start", "__image_start", "__image_end",
)  # fmt: skip
"""Symbols whose addresses checks may ask for."""


async def record(session: Session, how: HowEnded, wall_s: float) -> Observation:
    """Return the Observation of a finished boot.

    Args:
        session: the boot.
        how: how it ended.
        wall_s: how long it took, in seconds.
    """
    if how == "shutdown":
        await note_triple_faults(session.view, session.log)
        await note_resets(session.view, session.log)
    counters = await _counters(session)
    cpus = tuple([await _cpu_record(session, cpu, how) for cpu in range(session.inputs.cpus)])
    made = assembled(session.inputs, session.view.symbols, session.log, cpus, how)
    return replace(made, **read_outside(session), counters=counters, wall_s=wall_s)


def read_outside(session: Session) -> dict[str, Any]:
    """Return the fields of the Observation that do not need the machine."""
    view = session.view
    machine = view.machine
    guests = guests_of(
        machine.trace(),
        view.since_s,
        machine.guest_counts(),
        session.log.guest_starts,
        session.inputs.cpus,
    )
    return {"icr": view.icr(), "serial": machine.serial(), "guests": guests}


def assembled(
    inputs: Inputs, symbols: SymbolTable, log: Log, cpus: tuple[CpuRecord, ...], how: HowEnded
) -> Observation:
    """Return the Observation of what was recorded, without the final state of the machine.

    Args:
        inputs: what the boot was given.
        symbols: of its image.
        log: what was recorded.
        cpus: a record of each CPU.
        how: how the boot ended.
    """
    return Observation(
        scenario=inputs.scenario,
        cohort=inputs.cohort,
        seed=inputs.seed,
        arch=inputs.arch,
        apinit_addr=inputs.apinit_addr,
        apinit_offset=inputs.apinit_offset,
        stack_size=inputs.stack_size,
        symbols={name: found for name in _SYMBOLS if (found := symbols.maybe(name)) is not None},
        cpus=cpus,
        hits=tuple(log.hits),
        icr=(),
        interleavings=tuple(log.interleavings),
        physical_0=log.physical_0,
        trampoline=log.trampoline,
        bringup=log.bringup,
        counters=Counters(),
        how_ended=how,
        multiboot=log.multiboot,
        switch=log.switch,
        call=log.call,
        starting=log.starting,
        own_calls=log.own_calls,
        panic=log.panic,
        apinit_addr_linked=inputs.apinit_addr_linked,
        lock=log.lock,
        barrier=log.barrier,
        lab=log.lab,
        race=log.race,
        restarted=log.restarted,
        unreadable=tuple(log.unreadable),
        apic_ids=inputs.apic_ids,
    )


async def _counters(session: Session) -> Counters:
    """Read what CPUs share, and physical 0; all of it in one round trip."""
    view = session.view
    count, guard = view.phys("num_of_processors"), view.phys("ap_lock")
    counter, lock = view.in_copy("apinit_procs"), view.in_copy("apinit_lock")
    places = [view.stackaddr_at(r["gs_base"]) for r in await session.gdb.all_registers()]
    words = [(at, view.abi.word) for at in places if at is not None]
    counts = [(at, 4) for at in (count, counter) if at is not None]
    await session.gdb.peek([(0, 16), (guard, 1), *counts, *words])
    after = await view.read_if_there(0, 16)
    session.log.physical_0 = replace(session.log.physical_0, after=after)
    return Counters(
        num_of_processors=await view.read_u32(count),
        ap_lock=(await session.gdb.read_phys(guard, 1))[0],
        apinit_procs=None if counter is None else await view.read_u32(counter),
        apinit_lock=None if lock is None else await view.read_if_there(lock, 8),
    )


async def _cpu_record(session: Session, cpu: int, how: HowEnded) -> CpuRecord:
    view, log = session.view, session.log.cpus[cpu]
    state = await view.state(cpu)
    code = await view.instruction(cpu, state)
    kind = _end_kind(session, cpu, state, code, how)
    if kind == "parked":  # no message needs its line, and to find one reads all of the DWARF
        place = view.image_place(state.pc, line=False)
    elif log.died_at is not None:
        place = log.died_at
    else:
        place = replace(view.place(state), caller=await view.caller(cpu, state))
    return replace(
        written_down(cpu, log, state),
        end_kind=kind,
        end_place=place,
        end_code=code,
        stackaddr=await view.stackaddr(state),
    )


def written_down(cpu: int, log: CpuLog, end: CpuState) -> CpuRecord:
    """Return the record of a CPU as far as it was recorded.

    Args:
        cpu: its index.
        log: what was recorded of it.
        end: its registers at the end.
    """
    return CpuRecord(
        index=cpu,
        milestones=dict(log.milestones),
        steps=tuple(log.steps),
        end=end,
        end_kind=log.rest or "lost",
        end_place=log.died_at or Place(end.pc, "elsewhere"),
        end_code=NO_INSTRUCTION,
        allocations=tuple(log.allocations),
        **{one.name: getattr(log.found, one.name) for one in fields(log.found)},
    )


def _end_kind(session: Session, cpu: int, state: CpuState, code: str, how: HowEnded) -> str:
    log = session.log.cpus[cpu]
    if log.rest is not None:
        return log.rest
    if cpu != 0 and not log.milestones and state.mode == "real":
        return "waiting-for-sipi"
    if how == "shutdown":
        return "shutdown"
    if cpu in session.held:
        return "held"
    if code in ("hlt", NO_INSTRUCTION):
        return "halted"
    return "shown" if how == "shown" else "running"

"""Lets all CPUs go through the barrier many times, at full speed, by code of the grader's own."""

from __future__ import annotations

from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.session import Session
from vmmlab.probes.gathering import bring_in

_BARRIER: Final = "sync_all_processors"
_DONE: Final = "rounds.done"
_OFFSET: Final = 0x100  # in the boot stack, which every CPU has left


async def many_rounds(session: Session, count: int) -> bool:
    """Bring all CPUs to the barrier, and let each call it a number of times more.

    Args:
        session: the boot; the APs stand at ap_entry, the BSP at ap_wait.
        count: calls of the barrier.

    Returns:
        Whether all CPUs have come back; each then stands before its next call.
    """
    view, cpus = session.view, range(session.inputs.cpus)
    for cpu in view.ap_indices:
        if not await bring_in(session, cpu):
            return False
    verdict, _ = await session.run_to(0, _BARRIER)
    if verdict != "reached":
        return False
    at = view.addr("boot_stack") + _OFFSET
    code, done = _loop(view.addr(_BARRIER), count)
    await session.gdb.write_phys(at - VMM_BASE, code)
    await session.places.unwatch(_BARRIER)
    await session.places.watch(_DONE, at + done)
    for cpu in cpus:
        await session.gdb.write_register(cpu, "rip", at)
    came: set[int] = set()
    while len(came) < len(cpus):
        stop = await session.go(set(cpus) - came)
        hit = await session.arrive(stop) if stop.kind == "break" else None
        if hit is None or hit.place != _DONE:
            break
        came.add(hit.cpu)
    await session.places.unwatch(_DONE)
    return len(came) == len(cpus)


def _loop(function: int, count: int) -> tuple[bytes, int]:
    """Return code that calls a function a number of times and then jumps to it.

    Also the offset of the jump.
    """
    calls = b"".join(
        (
            b"\x53\x41\x54",  # push %rbx; push %r12
            b"\x48\x83\xec\x08",  # sub $8, %rsp
            b"\xbb" + count.to_bytes(4, "little"),  # mov $count, %ebx
            b"\x49\xbc" + function.to_bytes(8, "little"),  # mov $function, %r12
            b"\x41\xff\xd4",  # call *%r12
            b"\xff\xcb",  # dec %ebx
            b"\x75\xf9",  # jnz to the call
            b"\x48\x83\xc4\x08",  # add $8, %rsp
            b"\x41\x5c\x5b",  # pop %r12; pop %rbx
        )
    )
    jump = b"\x48\xb8" + function.to_bytes(8, "little") + b"\xff\xe0"  # mov $function, %rax; jmp
    return calls + jump, len(calls)

"""Recognises changes of an instruction that have no effect: the result is never read.

Follows registers and flags through one function; where that is not enough, a change counts as one
that may make a difference. x86_64 only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import capstone
from capstone import x86

from vmmlab.author.mutants.changes import Change
from vmmlab.author.mutants.instructions import Instruction, decoded

_FLAG_READERS_OF_EQUALITY: Final = frozenset({"je", "jne", "sete", "setne", "cmove", "cmovne"})
_ARGUMENTS: Final = frozenset({"di", "si", "d", "c", "r8", "r9"})
_SCRATCH: Final = frozenset({*_ARGUMENTS, "a", "r10", "r11", "flags"})
_KEPT: Final = frozenset({"b", "bp", "r12", "r13", "r14", "r15", "sp"})
_MOST_STEPS: Final = 400


@dataclass(frozen=True)
class _Effect:
    reads: frozenset[str]
    writes: frozenset[str]
    kills: frozenset[str] = field(default=frozenset())
    other: bool = False


def unseen(change: Change, all_of_it: Sequence[Instruction]) -> bool:
    """Return whether a change makes no difference, judged by registers and flags alone.

    True if both instructions only write registers or flags that are not read afterwards, or if a
    comparison is turned round and the code after it only tests for equality.

    Args:
        change: the change.
        all_of_it: the instructions of the object.
    """
    old = decoded(change.at.code, change.at.address, change.at.bits)
    if change.kind == "operands swapped" and old.mnemonic == "cmp":
        return _only_equality(change.at, all_of_it)
    effects = [_effect(old)]
    rest = change.code
    while rest:
        now = decoded(rest, change.at.address, change.at.bits)
        if now is None:
            return False
        effects.append(_effect(now))
        rest = rest[now.size :]
    if any(one.other for one in effects):
        return False
    written = frozenset[str]().union(*(one.writes for one in effects))
    return not _live_after(change.at, written, all_of_it)


def _effect(made: Any) -> _Effect:
    name = made.mnemonic.split()[-1]
    if name == "nop":
        return _Effect(frozenset(), frozenset())
    memory = any(
        op.type == x86.X86_OP_MEM and (op.access & capstone.CS_AC_WRITE or name == "cmpxchg")
        for op in made.operands
    )
    groups = {x86.X86_GRP_JUMP, x86.X86_GRP_CALL, x86.X86_GRP_RET, x86.X86_GRP_INT}
    reads, writes = (
        frozenset(_family(made.reg_name(one)) for one in some) for some in made.regs_access()
    )
    whole = {
        _family(made.reg_name(one))
        for one in made.regs_access()[1]
        if re.fullmatch(r"[re][a-ds].|r\d+d?|[re][sb]p|[re]flags", made.reg_name(one))
    }
    privileged = bool(set(made.groups) & {x86.X86_GRP_PRIVILEGE}) or not writes
    other = memory or bool(groups & set(made.groups)) or privileged or "sp" in writes
    segment = any(one in ("ds", "es", "ss", "gs", "fs", "cs") for one in writes)
    control = any(one.startswith("cr") for one in writes)
    return _Effect(reads, writes, frozenset(whole), other or segment or control)


def _family(name: str) -> str:
    if name in ("rflags", "eflags", "flags"):
        return "flags"
    if found := re.fullmatch(r"[re]?([abcd])x|([abcd])[lh]", name):
        return str(found[1] or found[2])
    if found := re.fullmatch(r"[re]?(si|di|bp|sp)l?", name):
        return found[1]
    return re.sub(r"(?<=\d)[bwd]$", "", name)


def _live_after(
    at: Instruction, registers: frozenset[str], all_of_it: Sequence[Instruction]
) -> bool:
    """Return whether one of the registers may be read before it is written again."""
    by_address = {one.address: one for one in all_of_it}
    todo = [(at.address + len(at.code), registers)]
    seen: set[tuple[int, frozenset[str]]] = set()
    while todo:
        address, live = todo.pop()
        if not live or (address, live) in seen:
            continue
        seen.add((address, live))
        one = by_address.get(address)
        if one is None or one.function != at.function or len(seen) > _MOST_STEPS:
            return True
        made = decoded(one.code, one.address, one.bits)
        name = made.mnemonic.split()[-1]
        following = one.address + len(one.code)
        if name == "ret":
            if live & {*_KEPT, "a"}:
                return True
            continue
        if name == "call":
            if live & _ARGUMENTS or _effect(made).reads & live - {"sp"}:
                return True
            todo.append((following, live - _SCRATCH))
            continue
        if name.startswith("j"):
            direct = made.operands[0].type == x86.X86_OP_IMM and not one.relocations
            if not direct or (name != "jmp" and "flags" in live):
                return True
            todo.append((int(made.operands[0].imm), live))
            if name != "jmp":
                todo.append((following, live))
            continue
        effect = _effect(made)
        if effect.reads & live:
            return True
        todo.append((following, live - effect.kills))
    return False


def _only_equality(at: Instruction, all_of_it: Sequence[Instruction]) -> bool:
    """Return whether the code after a comparison only tests for equality."""
    behind = [one for one in all_of_it if one.address > at.address and one.function == at.function]
    for one in behind:
        name = one.text.split()[0]
        made = decoded(one.code, one.address, one.bits)
        reads, writes = ({made.reg_name(r) for r in some} for some in made.regs_access())
        if "rflags" in reads or "eflags" in reads:
            return name in _FLAG_READERS_OF_EQUALITY
        if {"rflags", "eflags"} & writes or name in ("call", "ret", "jmp"):
            return False
    return False

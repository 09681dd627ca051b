"""Loops that count: where they lead after very many passes, without running all of them.

Three contexts at the same place in consecutive passes show what changes by a constant amount. Such
a context can be computed for any later pass. The first pass that goes another way is then searched
for: just before a value reaches a constant of the loop, or by doubling the number of passes.

Nothing here runs code; a caller does that, for one pass at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from vmmlab.explore.context import GS_BASE, MASK, RFLAGS, RIP, RSP, Context

_WORD: Final = 4
_WORD_MASK: Final = 2**32 - 1
# Registers that must be the same in every pass.
_FIXED: Final = frozenset((RIP, RSP, GS_BASE))
_LONGEST: Final = 2**64
"""A loop that takes more passes is taken for one that never ends."""
# Values at which a counter of some width changes its sign or begins again.
_EDGES: Final = (0, *(2**bits for bits in (8, 15, 16, 31, 32, 63)))
# So many passes before and after a candidate are tried.
_NEAR: Final = 2
# Bytes of the stack whose words a counter may be compared with.
_FRAME: Final = 64
# A value that no program uses by accident, for registers that a loop computes anew in each pass.
_JUNK: Final = 0x3C3C_0F0F_3C3C_0F0F


RunPass = Callable[[Context], Context | None]
"""Run one pass of a loop: return the context at the same place again; None: it went another way."""


class Pace(NamedTuple):
    """What changes from one pass of a loop to the next.

    Attributes:
        context: the latest of the three contexts.
        regs: for each register that changes by a constant: its number, by how much, and the mask of
            its width.
        words: for each word of the stack that does: its offset in bytes, and by how much.
        scratch: registers that change otherwise.
        dead: offsets of the words of the stack that change otherwise.
    """

    context: Context
    regs: tuple[tuple[int, int, int], ...]
    words: tuple[tuple[int, int], ...]
    scratch: tuple[int, ...]
    dead: tuple[int, ...]

    def after(self, passes: int) -> Context:
        """Return the context after this many more passes; scratch registers are as they were."""
        regs = list(self.context.regs)
        for at, delta, mask in self.regs:
            regs[at] = (regs[at] + passes * delta) & mask
        stack = bytearray(self.context.stack)
        for at, delta in self.words:
            value = int.from_bytes(stack[at : at + _WORD], "little") + passes * delta
            stack[at : at + _WORD] = (value & _WORD_MASK).to_bytes(_WORD, "little")
        return self.context._replace(regs=tuple(regs), stack=bytes(stack))

    def with_junk(self, context: Context) -> Context:
        """Return the context with other values in everything that is scratch."""
        regs = list(context.regs)
        for at in self.scratch:
            regs[at] = regs[at] ^ 0x8D5 if at == RFLAGS else _JUNK + at
        stack = bytearray(context.stack)
        for at in self.dead:
            stack[at : at + _WORD] = bytes(one ^ 0x5A for one in stack[at : at + _WORD])
        return context._replace(regs=tuple(regs), stack=bytes(stack))

    def same(self, one: Context, other: Context) -> bool:
        """Return whether two contexts are equal but for what is scratch."""
        blank = self._without_scratch
        return blank(one) == blank(other)

    def _without_scratch(self, context: Context) -> Context:
        regs = [0 if at in self.scratch else one for at, one in enumerate(context.regs)]
        stack = bytearray(context.stack)
        for at in self.dead:
            stack[at : at + _WORD] = bytes(_WORD)
        return context._replace(regs=tuple(regs), stack=bytes(stack))

    def without_dead(self, run_pass: RunPass) -> Pace:
        """Return the same with everything as scratch whose value does not matter to a pass.

        Args:
            run_pass: runs one pass.
        """
        right = run_pass(self.context)
        if right is None:
            return self
        dead = [
            one
            for one in self.regs
            if run_pass(self._replace(scratch=(one[0],), dead=()).with_junk(self.context)) == right
        ]
        return self._replace(
            regs=tuple(one for one in self.regs if one not in dead),
            scratch=(*self.scratch, *(at for at, _, _ in dead)),
        )

    def values(self) -> Iterator[tuple[int, int, int]]:
        """Yield each value that changes by a constant, with that constant and its mask."""
        for at, delta, mask in self.regs:
            yield self.context.regs[at], delta, mask
        for at, delta in self.words:
            value = int.from_bytes(self.context.stack[at : at + _WORD], "little")
            yield value, delta, _WORD_MASK

    def constants(self) -> Iterator[int]:
        """Yield the values of registers and of words of the frame that do not change."""
        changing = {at for at, _, _ in self.regs} | _FIXED | {RFLAGS, *self.scratch}
        yield from (one for at, one in enumerate(self.context.regs) if at not in changing)
        moving = {at for at, _ in self.words} | {*self.dead}
        stack = self.context.stack
        for at in range(0, min(len(stack), _FRAME) - _WORD + 1, _WORD):
            if at not in moving:
                yield int.from_bytes(stack[at : at + _WORD], "little")


def pace_of(first: Context, second: Context, third: Context) -> Pace | None:
    """Return what changes from pass to pass, or None if these are not passes of one loop.

    Args:
        first: the context at some place.
        second: the context at the same place in the next pass.
        third: the context there in the pass after that.
    """
    if any(first.regs[at] != one.regs[at] for one in (second, third) for at in _FIXED):
        return None
    if {first.region, second.region, third.region} != {third.region}:
        return None
    if not len(first.stack) == len(second.stack) == len(third.stack):
        return None
    regs, scratch = [], [RFLAGS]  # flags may be equal in three passes by accident
    for at, (one, two, three) in enumerate(zip(first.regs, second.regs, third.regs, strict=True)):
        if one == two == three or at == RFLAGS:
            continue
        mask = _WORD_MASK if max(one, two, three) <= _WORD_MASK else MASK
        delta = (two - one) & mask
        if (three - two) & mask == delta:
            regs.append((at, delta, mask))
        else:
            scratch.append(at)
    words, dead = [], []
    for at in _differing(first.stack, second.stack, third.stack):
        one, two, three = (
            int.from_bytes(context.stack[at : at + _WORD], "little")
            for context in (first, second, third)
        )
        delta = (two - one) & _WORD_MASK
        if (three - two) & _WORD_MASK == delta:
            words.append((at, delta))
        else:
            dead.append(at)
    return Pace(third, tuple(regs), tuple(words), tuple(scratch), tuple(dead))


def _differing(first: bytes, second: bytes, third: bytes) -> Iterator[int]:
    """Yield the offsets of the words in which stacks of one length differ.

    Words are counted from the top of the stack, which is aligned.
    """
    if first == second == third:
        return
    for at in range(len(first) % _WORD, len(first), _WORD):
        end = at + _WORD
        if not first[at:end] == second[at:end] == third[at:end]:
            yield at


def first_exit(
    pace: Pace,
    run_pass: RunPass,
    constants: Iterable[int],
    *,
    hint: int | None = None,
) -> int | None:
    """Return after how many more passes the loop goes another way; None if it seems to go on.

    Args:
        pace: what changes from pass to pass.
        run_pass: runs one pass.
        constants: values that the loop may compare a counter with.
        hint: an answer that is right for a similar loop.
    """

    def goes_on(passes: int) -> bool:
        context = pace.with_junk(pace.after(passes))
        following = run_pass(context)
        return following is not None and pace.same(following, pace.after(passes + 1))

    if not goes_on(0):
        return None  # what is taken for scratch is not
    if hint and goes_on(hint - 1) and not goes_on(hint):
        return hint
    low = 0
    for passes in _candidates(pace, constants):
        if goes_on(passes):
            low = passes
            continue
        high = passes
        while high - low > 1:
            middle = (low + high) // 2
            if goes_on(middle):
                low = middle
            else:
                high = middle
        return high
    return None


def _candidates(pace: Pace, constants: Iterable[int]) -> list[int]:
    """Return numbers of passes after which the loop may go another way, in ascending order."""
    known = dict.fromkeys((*_EDGES, *constants, *pace.constants()))
    found = {2**bits for bits in range(_LONGEST.bit_length())}
    for value, delta, mask in pace.values():
        for constant in known:
            up = ((constant & mask) - value) & mask
            passes = up // delta
            if delta > mask // 2:
                passes = (value - (constant & mask) & mask) // (mask + 1 - delta)
            found.update(range(passes - _NEAR, passes + _NEAR + 1))
    return sorted(one for one in found if 0 < one < _LONGEST)

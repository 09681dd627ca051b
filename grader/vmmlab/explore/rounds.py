"""Extrapolates how memory changes from round to round, to reach very late rounds.

If each round adds the same to some words and changes nothing else, memory after many more rounds is
known. A number of the round that has 16 bits is brought near its end in this way, and before that
near the value at which its sign changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from vmmlab.explore.harness import Read
from vmmlab.explore.instructions import InstructionInfo
from vmmlab.explore.memory import Store
from vmmlab.explore.program import Program

SEEN: Final = 5
"""Memory is looked at after so many rounds, one after the other."""
_SIGN: Final = 1 << 15
_BYTE: Final = 1 << 8
_BEFORE: Final = 4  # rounds before the first word gets there
_LARGEST_STEP: Final = 64
_MASKS: Final = frozenset({0xFFFF, 0xFFFFFFFF})
_TOP: Final = 1 << 64
_FAR: Final = frozenset(("mul", "imul", "div", "idiv", "bswap"))
_SHIFTS: Final = frozenset((
    "shl", "shr", "sal", "sar", "rol", "ror", "rcl", "rcr", "shld", "shrd",
    "bt", "bts", "btr", "btc",
))  # fmt: skip
_BITS_OF_BYTE: Final = 8

Bytes = dict[int, int]


class LaterRounds:
    """What memory holds after each of some rounds, and stores that lead to a much later one.

    Args:
        program: the image.
        function: address of the function that is called in each round.
    """

    def __init__(self, program: Program, function: int) -> None:
        self._program = program
        self._function = function
        places = [(one.start, one.end) for one in program.symbols.student_ranges
                  if "text" not in one.section and "rodata" not in one.section]  # fmt: skip
        places += [(at, at + size) for at, size in program.variables.values()]
        self._addresses = sorted({at for start, end in places for at in range(start, end)})
        self._seen: dict[int, Bytes] = {}

    def note(self, number: int, read: Read) -> None:
        """Look at memory after a round, while no CPU is in the barrier.

        Args:
            number: of the round.
            read: reads memory.
        """
        if number not in self._seen:
            self._seen[number] = {at: read(at, 1) for at in self._addresses}

    def leap(self) -> tuple[int, tuple[Store, ...]]:
        """Return how many rounds can be left out, and the stores that they amount to.

        Without an answer that is certain the number is 0.
        """
        numbers = sorted(self._seen)[-SEEN:]
        if len(numbers) < SEEN or not self._even_code():
            return 0, ()
        seen = [self._seen[number] for number in numbers]
        words = self._words(seen, numbers[-1])
        if not words:
            return 0, ()
        most = min((-value % _SIGN or _SIGN) // step for value, step in words.values())
        rounds = most - _BEFORE
        rounds &= ~1  # what changes every second time is then as it is
        if rounds <= 0:
            return 0, ()
        return rounds, tuple((at, 2, value + rounds * step) for at, (value, step) in words.items())

    def _words(self, seen: Sequence[Bytes], number: int) -> dict[int, tuple[int, int]]:
        """Return address, value and step of each word that grows; none if anything else changes."""
        words: dict[int, tuple[int, int]] = {}
        for at in self._addresses:
            values = [one[at] for one in seen]
            if at - 1 in words or values[2:] == values[:-2]:
                continue
            if at + 1 not in seen[0]:
                return {}
            values = [one[at] + _BYTE * one[at + 1] for one in seen]
            step = values[1] - values[0]
            even = all(b - a == step for a, b in itertools.pairwise(values))
            # The second byte has got its first carry, so the word has 16 bits at least.
            carried = values[-1] >= _BYTE and abs(values[-1] - number * step) <= _LARGEST_STEP
            if not (even and carried and 0 < step <= _LARGEST_STEP):
                return {}
            words[at] = values[-1], step
        return words

    def _even_code(self) -> bool:
        """Whether no instruction could do something else in one of the rounds left out."""
        todo, known = [self._function], set[int]()
        while todo:
            at = todo.pop()
            if at in known or self._program.symbols.owner(at) != "student":
                continue
            known.add(at)
            one = self._program.instruction(at)
            name, _, target = one.text.partition(" ")
            jumps = name.startswith(("j", "call", "loop"))
            if not self._is_even(one) or (jumps and not target.strip().startswith("0x")):
                return False
            if jumps:
                todo.append(int(target.strip(), 16))
            if not name.startswith(("ret", "jmp")):
                todo.append(at + one.size)
        return True

    def _is_even(self, one: InstructionInfo) -> bool:
        name = one.text.removeprefix("lock ").split(" ")[0].rstrip("bwlq")
        large = [value for value in one.immediates if not self._harmless(value)]
        if name in _FAR or large:
            return False
        return name not in _SHIFTS or all(value < _BITS_OF_BYTE for value in one.immediates)

    def _harmless(self, value: int) -> bool:
        small = value < _BYTE or value >= _TOP - _BYTE or value in _MASKS
        return small or bool(self._program.symbols.owner(value))

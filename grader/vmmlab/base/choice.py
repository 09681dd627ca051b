"""Seeded choice: the same key gives the same choices in every version of Python.

The standard library promises this only for `random.Random.random`, not for `choice`, `sample` or
`shuffle`. Knows nothing of what is chosen.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


class Choice:
    """A stream of choices that follows from its key alone: a hash of the key and a counter.

    The hash is SHA-256, or HMAC-SHA256 with the secret. Changing how a choice is drawn changes the
    numbers of every worksheet, cohort and boot.

    Args:
        key: what decides the choices; the parts are joined by zero bytes.
        secret: without it, the choices cannot be predicted; None: they are public.
    """

    def __init__(self, *key: object, secret: str | None = None) -> None:
        self._key = "\0".join(map(str, key))
        self._secret = None if secret is None else secret.encode()
        self._count = 0

    def word(self) -> int:
        """Return a number of 64 bits."""
        text = f"{self._key}\0{self._count}".encode()
        self._count += 1
        if self._secret is None:
            digest = hashlib.sha256(text).digest()
        else:
            digest = hmac.digest(self._secret, text, hashlib.sha256)
        return int.from_bytes(digest[:8], "big")

    def below(self, count: int) -> int:
        """Return a number from 0 to count - 1; count is far below 2^64."""
        return self.word() % count

    def between(self, first: int, last: int, step: int = 1) -> int:
        """Return one of first, first + step, … up to last."""
        return first + step * self.below((last - first) // step + 1)

    def pick(self, choices: Sequence[_T]) -> _T:
        """Return one of the choices."""
        return choices[self.below(len(choices))]

    def some(self, count: int, things: Sequence[_T]) -> list[_T]:
        """Return `count` different ones of the things, in any order."""
        return self.shuffled(things)[:count]

    def shuffled(self, things: Sequence[_T]) -> list[_T]:
        """Return the things in another order."""
        rest = list(things)
        return [rest.pop(self.below(len(rest))) for _ in things]

    def randbytes(self, size: int) -> bytes:
        """Return `size` bytes."""
        words = -(-size // 8)
        if self._secret is not None:
            return b"".join(self.word().to_bytes(8, "big") for _ in range(words))[:size]
        begun = hashlib.sha256(f"{self._key}\0".encode())  # the same words, in a third of the time
        found = []
        for count in range(self._count, self._count + words):
            one = begun.copy()
            one.update(b"%d" % count)
            found.append(one.digest()[:8])
        self._count += words
        return b"".join(found)[:size]

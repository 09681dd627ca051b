"""What an attack and a defence are, for the tests that try each of them.

An attack is a submission that code makes, and says in words what it has gained; nothing is "". The
same attempt is made twice: with every defence, where it must gain nothing, and without the defence
that stops it, where it must gain something. A defence that could be removed unnoticed is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

Kind = Literal["build", "boot", "python", "notebook", "archive", "batch", "export"]
Attempt = Callable[[Path], str]
"""Makes the submission in an empty folder, lets it be graded, and returns what it gained."""


@dataclass(frozen=True)
class Defence:
    """Something that stops attacks.

    Attributes:
        name: the defence in a few words; attacks name it so.
        off: switches it off.
    """

    name: str
    off: Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        kind: where it is tried.
        name: what it does.
        expected: how it must end.
        defence: what stops it.
        attempt: makes it.
        shown: with the defence off it is tried as well, and must succeed.
        full: it takes long.
    """

    kind: Kind
    name: str
    expected: str
    defence: str
    attempt: Attempt
    shown: bool = False
    full: bool = False

    @property
    def id(self) -> str:
        """Its name among all attacks."""
        return f"{self.kind}: {self.name}"


@dataclass(frozen=True)
class Elsewhere:
    """Attacks that another test makes, which looks at more than a gain.

    Attributes:
        kind: where they are tried.
        name: what they do.
        expected: how they must end.
        test: the file below grader/tests, `::` and the name of the test.
        off: likewise, the test that sees it succeed without the defence; "": there is none.
        count: how many attacks it makes.
    """

    kind: Kind
    name: str
    expected: str
    test: str
    off: str = ""
    count: int = 1


def off(place: object, name: str, value: object) -> Callable[[pytest.MonkeyPatch], None]:
    """Return what replaces an attribute, and so switches a defence off."""
    return lambda patch: patch.setattr(place, name, value)

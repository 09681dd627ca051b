"""What a lab declares about its exploration, in labs/labN/exploration.py.

declare (
    Declaration (
        lab="lab9",
        scenarios=(Kick, Flag),                      # subclasses of `given.GivenCode`
        variables=(Variable ("kick_lock", 1, lock=True), Variable ("kick_count", 4)),
        expected={"kick-lost": msg ("…")},
    )
)

The core knows no lab: it searches the scenarios that it finds here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vmmlab.base.errors import CourseError, UsageError
from vmmlab.base.message import msg
from vmmlab.course.labpackage import LabPackage
from vmmlab.explore.surroundings import Surroundings

if TYPE_CHECKING:
    from vmmlab.explore.harness import Harness

FILE: Final = "exploration.py"
"""Name of the file with a lab's declaration, in the lab's folder."""


@dataclass(frozen=True, kw_only=True)
class Declaration(Surroundings):
    """The exploration of one lab.

    Args:
        lab: the lab, which is the name of its folder.
        scenarios: harness classes, in the order in which they are searched and reported; those
            of one order come after all others.
    """

    lab: str
    scenarios: Sequence[type[Harness]]

    @property
    def cpus(self) -> int:
        """The largest number of CPUs of a scenario in which all orders are searched."""
        return max(one.cpus for one in self.scenarios if not one.one_order)

    def named(self, names: Sequence[str] | None) -> list[type[Harness]]:
        """Return the scenarios with these names; None: all."""
        found = [one for one in self.scenarios if names is None or one.name in names]
        return sorted(found, key=lambda one: one.one_order)


_DECLARED: Final[dict[str, Declaration]] = {}


def declare(declaration: Declaration) -> Declaration:
    """Register the exploration of a lab; a file that is loaded again replaces its own."""
    _DECLARED[declaration.lab] = declaration
    return declaration


def declaration_file(folder: Path) -> Path | None:
    """Return the file with the declaration of the lab in a folder, if it has one."""
    path = folder / FILE
    return path if path.is_file() else None


def labs_with_exploration(folders: Mapping[str, Path]) -> list[str]:
    """Return the names of the labs that can be explored.

    Args:
        folders: the folder of each lab by its name.
    """
    return [name for name, folder in folders.items() if declaration_file(folder)]


def load(lab: str, folder: Path) -> Declaration:
    """Load what a lab declares.

    Args:
        lab: the lab.
        folder: its folder.

    Raises:
        UsageError: it declares nothing.
        CourseError: its file cannot be loaded, or declares another lab.
    """
    path = declaration_file(folder)
    if path is None:
        raise UsageError(msg("there are no schedules to explore in {lab}.", lab=lab))
    _DECLARED.pop(lab, None)
    package = LabPackage(lab, folder)
    try:
        package.load(path)
    finally:
        package.unload()
    if lab not in _DECLARED:
        raise CourseError(
            msg("{path} declares no exploration of {lab}.", path=path, lab=lab),
            expected=f'declare (Declaration (lab="{lab}", …))',
            next_step=msg("give the declaration the name of its lab"),
        )
    return _DECLARED[lab]

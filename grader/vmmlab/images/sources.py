"""Where the prebuilt objects of the other labs come from: the reference, or a folder.

A prebuilt object takes the place of a lab that is not the student's at the moment. It is made from
the reference: only contract symbols are global; neither debug information nor other names remain.
Workspaces and releases carry such objects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from vmmlab.base.errors import InfraError, UsageError, os_reason
from vmmlab.base.message import msg
from vmmlab.images.model import CohortLike, LabLike

MANIFEST = "standins.json"
"""The file beside prebuilt objects that says what they were made for."""


@dataclass(frozen=True)
class FromReference:
    """Build the prebuilt objects from the reference solutions (the kit, the instructor's grader).

    Args:
        directory: holds labN/<file>, as the labs' file lists name them.
        instead: content of files that are not taken from there: of labs that are held back.
    """

    directory: Path
    instead: Mapping[str, bytes] = field(default_factory=dict)

    def sources(self, lab: LabLike) -> dict[str, bytes]:
        """Return the reference's files of a lab.

        Raises:
            InfraError: one of them is missing.
        """
        found = {}
        for name in lab.files:
            if name in self.instead:
                found[name] = self.instead[name]
                continue
            path = self.directory / name
            try:
                found[name] = path.read_bytes()
            except OSError as error:
                raise InfraError(
                    msg("The reference has no {name}.", name=name),
                    found=msg("{path}: {why}", path=path, why=os_reason(error)),
                    next_step=msg(
                        "Check out the whole kit, or use the prebuilt objects of a release."
                    ),
                ) from error
        return found


@dataclass(frozen=True)
class Prebuilt:
    """Take the prebuilt objects that came with a workspace or a release.

    Args:
        directory: holds labN.o, made by `Builder.make_prebuilt`; those of another architecture
            than x86_64 are in a folder of its name in there, and so is the same again for the other
            cohort of open checks.
    """

    directory: Path

    def object(self, lab: str, arch: str, cohort: CohortLike) -> bytes:
        """Return the prebuilt object of a lab.

        Raises:
            UsageError: there is none, or it was made for another cohort or architecture.
        """
        folder = self.directory / cohort.name
        folder = folder if folder.is_dir() else self.directory
        folder = folder if arch == "x86_64" else folder / arch
        self._check(folder, arch, cohort)
        path = folder / f"{lab}.o"
        try:
            return path.read_bytes()
        except OSError as error:
            raise UsageError(
                msg("There is no prebuilt object for {lab}.", lab=lab),
                expected=str(path),
                found=os_reason(error),
                next_step=msg(
                    "If the deadline of {lab} has not passed, its prebuilt object is not "
                    "available yet: build from your own files only (make vmm). Otherwise "
                    "create the workspace again with `vmmlab new`.",
                    lab=lab,
                ),
            ) from error

    def _check(self, folder: Path, arch: str, cohort: CohortLike) -> None:
        path = folder / MANIFEST
        try:
            kept = json.loads(path.read_bytes())
            found_arch, found_cohort = str(kept["arch"]), str(kept["cohort"])
            header = str(kept["header"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                msg("{path} cannot be read.", path=path),
                found=str(error),
                next_step=msg("Create the workspace again with `vmmlab new`."),
            ) from error
        if (found_arch, header) != (arch, _hash(cohort)):
            raise UsageError(
                msg("The prebuilt objects were made for another configuration."),
                expected=msg("cohort {cohort}, {arch}", cohort=cohort.name, arch=arch),
                found=msg("cohort {cohort}, {arch}", cohort=found_cohort, arch=found_arch),
                next_step=msg("Create the workspace again with `vmmlab new`."),
            )


PrebuiltSource = FromReference | Prebuilt


def manifest(arch: str, cohort: CohortLike) -> Mapping[str, object]:
    """Return the content of `MANIFEST`: prebuilt objects fit one cohort and architecture only."""
    return {
        "schema": 1,
        "arch": arch,
        "cohort": cohort.name,
        "header": _hash(cohort),
    }


def _hash(cohort: CohortLike) -> str:
    return sha256(cohort.header().encode()).hexdigest()

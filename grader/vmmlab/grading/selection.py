"""Which checks of a lab a grading runs: those that course.yml lists for its architecture.

Hidden checks are among them only on request. How a check ends is not known here.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vmmlab.base.errors import CourseError, VmmlabError
from vmmlab.base.message import msg
from vmmlab.checks.declaring import Check, declared_in
from vmmlab.course.defined import check_defined
from vmmlab.course.find import COURSE_FILE
from vmmlab.course.labpackage import LabPackage
from vmmlab.course.model import ARCHES, Lab
from vmmlab.observe.observation import Observation
from vmmlab.probes.scenario import Scenario, known_firmware


class Selection:
    """The checks of one lab for one architecture.

    Args:
        lab: the lab as course.yml describes it.
        arch: what is built for.
        hidden: select the hidden checks too, if the course has them.
        tests_dir: the folder of test_labN.py, and of hidden/ beside it.

    Attributes:
        specs: id to points and step, for each selected check.
        hidden_judged: whether hidden checks are among them.
        files: the test files, in the order in which they run.
    """

    def __init__(self, lab: Lab, arch: str, *, hidden: bool, tests_dir: Path) -> None:
        self.lab = lab
        self.tests_dir = tests_dir
        # By course.yml and not by the folder: a stray file there must not change a grade.
        judged = lab.hidden_of(arch) if hidden else {}
        self.hidden_judged = bool(judged)
        self.specs = {**lab.checks_of(arch), **judged}
        self.files = _test_files(tests_dir, lab.name, hidden=self.hidden_judged)

    def __contains__(self, check: Check) -> bool:
        return check.id in self.specs

    def validate(self, checks: Sequence[Check]) -> None:
        """Compare all declared checks, selected or not, with course.yml.

        Raises:
            CourseError: a check is missing on one side or is after one of another architecture, or
                the lab's firmware is not registered.
        """
        where = {check.id: check.where for check in checks}
        for name in self.lab.firmware:
            known_firmware(name, COURSE_FILE, self.lab.name)
        check_defined(self.lab, where, hidden=self.hidden_judged)
        arch_of = {one: arch for arch in ARCHES for one in self.lab.checks_of(arch)}
        arch_of |= {one: spec.arch for one, spec in self.lab.later.items()}
        arch_of |= dict.fromkeys(self.lab.hidden, ARCHES[0])
        self._validate_needs(checks)
        for check in checks:
            if arch_of[check.id] not in check.arch:
                raise CourseError(
                    msg(
                        "{where}: {id} is declared for {names}.",
                        where=check.where,
                        id=check.id,
                        names=", ".join(check.arch),
                    ),
                    expected=msg('arch="{arch}", as course.yml says', arch=arch_of[check.id]),
                    next_step=msg("fix arch= there, or the key arch in course.yml"),
                )
            for other in check.after:
                if arch_of[other] != arch_of[check.id]:
                    raise CourseError(
                        msg(
                            "{where}: {id} for {arch} is after {other} for {another}.",
                            where=check.where,
                            id=check.id,
                            arch=arch_of[check.id],
                            other=other,
                            another=arch_of[other],
                        ),
                        expected=msg("after= with checks for {arch} only", arch=arch_of[check.id]),
                        next_step=msg("fix after=, or the key arch in course.yml"),
                    )

    def _validate_needs(self, checks: Sequence[Check]) -> None:
        """Raise CourseError if a check is after one that may be judged later, and is not itself."""
        needs = {one: spec.needs for one, spec in {**self.lab.all_checks, **self.lab.later}.items()}
        for check in checks:
            for other in check.after if check.id in needs and not needs[check.id] else ():
                if needs.get(other):
                    raise CourseError(
                        msg(
                            "{where}: {id} is after {other}, which needs {lab}.",
                            where=check.where,
                            id=check.id,
                            other=other,
                            lab=needs[other] or "",
                        ),
                        expected=f"needs: {needs[other]}",
                        next_step=msg("add it to {id} in course.yml", id=check.id),
                    )

    def view(self, check: Check, seen: object) -> object:
        """Return an Observation as `check` sees it: it also names the steps that come later."""
        step = self.specs[check.id].step
        if not isinstance(seen, Observation) or step is None:
            return seen
        steps = [one.id for one in self.lab.steps]
        return replace(seen, later=tuple(steps[steps.index(step) + 1 :]))

    def scenarios(self, package: LabPackage) -> tuple[Scenario, ...]:
        """Return the scenarios of the selected checks, read without pytest.

        Empty if a file cannot be loaded: pytest loads it again and reports what is wrong with it.

        Args:
            package: loads the files of the lab.
        """
        found: dict[Scenario, None] = {}
        for path in self.files:
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    module = package.load(path)
            except VmmlabError:
                return ()
            for check in declared_in(module):
                if check in self:
                    found |= dict.fromkeys(check.scenarios)
        return tuple(found)


def _test_files(tests_dir: Path, lab: str, *, hidden: bool) -> tuple[Path, ...]:
    """Return the open test file of a lab, then those that only the instructor's copy has."""
    more = sorted((tests_dir / "hidden").glob("test_*.py")) if hidden else []
    paths = (tests_dir / f"test_{lab}.py", *more)
    return tuple(path.resolve() for path in paths if path.is_file())

"""Checks, scenarios, failures and sub-scores, as lab authors write them.

Nothing here knows pytest, how a boot is made, or what a report looks like.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal, NoReturn, Protocol, TypeVar

from vmmlab.base.errors import CourseError
from vmmlab.checks import parameters

Outcome = Literal["pass", "partial", "fail", "skipped", "build-error", "timeout", "infra-error"]
"""How a check can end."""

CaseOutcome = Literal["pass", "fail", "timeout"]
"""How one case of a check with sub-scores can end."""

CHECK_ID: Final = re.compile(r"lab[0-9]+(\.[a-z0-9][a-z0-9_-]*){2}")
_NAME: Final = re.compile(r"[a-z][a-z0-9]*([._-][a-z0-9]+)*")
_REGISTRY: Final = "__vmmlab_checks__"
_TAKEN: Final = frozenset({"name", "params", "get"})

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True)
class Scenario:
    """How to boot the machine: a name that the evidence layer knows, and its parameters.

    Two scenarios that are equal are one boot. Parameters read as attributes: `scenario.cpus`.
    """

    name: str
    params: tuple[tuple[str, Any], ...] = ()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the parameter called `key`, or `default`."""
        for name, value in self.params:
            if name == key:
                return value
        return default

    def __getattr__(self, key: str) -> Any:
        # Only reached when there is no such field. `params` itself is missing while unpickling.
        for name, value in self.__dict__.get("params", ()):
            if name == key:
                return value
        raise AttributeError(f"scenario {self.__dict__.get('name')!r} has no parameter {key!r}")

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.params)})"


def scenario(name: str, /, **params: Any) -> Scenario:
    """Describe a boot.

    Args:
        name: short, lower case, unique in the lab, for example `ladder`.
        params: those that `vmmlab.checks.parameters` lists, for example `cpus=4`; values must be
            hashable.

    Raises:
        CourseError: the name or a parameter cannot be used, or the probe takes no such parameter.
    """
    where = _caller()
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CourseError(
            f"{where}: {name!r} cannot be a scenario's name.",
            expected='lower-case letters, digits, "-" and "_", for example "ladder"',
        )
    for key, value in params.items():
        if key in _TAKEN:
            raise CourseError(f"{where}: a scenario cannot have a parameter called {key}.")
        try:
            hash(value)
        except TypeError:
            raise CourseError(
                f"{where}: parameter {key} of scenario {name} can change later.",
                expected="a number, a text or a tuple",
                found=type(value).__name__,
            ) from None
    parameters.check_known(where, name, params)
    return Scenario(name, tuple(sorted(params.items())))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a check took points.

    Attributes:
        cause: an identifier that hints are keyed by, for example `ap-died-in-real-mode`.
        cpu: 0-based index of the CPU, if it is one CPU's failure.
        place: address, symbol or file:line.
        expected: what should have been there.
        observed: what was there.
        next: the next thing to look at.
        timeout: the machine ran out of time before there was an answer.
    """

    cause: str
    cpu: int | None = None
    place: str = ""
    expected: str = ""
    observed: str = ""
    next: str = ""
    timeout: bool = False

    @property
    def summary(self) -> str:
        """The failure in one line."""
        where = ", ".join(filter(None, ["" if self.cpu is None else f"CPU {self.cpu}", self.place]))
        what = " ".join((self.observed or self.cause.replace("-", " ")).split())
        return f"{where}: {what}" if where else what


class CheckFailed(Exception):
    """Raised by `fail`; carries the Failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.summary)
        self.failure = failure


class CasesFailed(Exception):
    """Some cases of a check did not pass. Raised by the engine after the check's last line."""


class CheckMistake(Exception):
    """The check itself is wrong: its author has to mend it, no student loses a point."""


def fail(
    cause: str,
    *,
    cpu: int | None = None,
    place: str = "",
    expected: str = "",
    observed: str = "",
    next: str = "",
    timeout: bool = False,
) -> NoReturn:
    """End the check, or the case around this call, as failed.

    Args:
        cause: an identifier such as `far-jump-wrong-target`; hints.yml is keyed by it.
        cpu: 0-based index of the CPU.
        place: address, symbol or file:line where it shows.
        expected: what should have been there.
        observed: what was there.
        next: the next thing to look at.
        timeout: there was no answer in time; the outcome is then `timeout` in place of `fail`.

    Raises:
        CheckFailed: always.
        CheckMistake: `cause` is not an identifier.
    """
    __tracebackhide__ = True
    if not isinstance(cause, str) or not _NAME.fullmatch(cause):
        raise CheckMistake(
            f'a cause is an identifier such as "far-jump-wrong-target", not {cause!r}'
        )
    raise CheckFailed(
        Failure(
            cause=cause,
            cpu=None if cpu is None else int(cpu),
            place=str(place),
            expected=str(expected),
            observed=str(observed),
            next=str(next),
            timeout=bool(timeout),
        )
    )


class Found(Protocol):
    """What a diagnosis has found, as `vmmlab.diagnosis.causes.Finding`."""

    @property
    def cause(self) -> str:
        """Identifier of the cause."""

    @property
    def cpu(self) -> int | None:
        """0-based index of the CPU, if it is one CPU's failure."""

    @property
    def place(self) -> str:
        """Where it shows."""

    @property
    def expected(self) -> str:
        """What should have been there."""

    @property
    def observed(self) -> str:
        """What was there."""

    @property
    def next(self) -> str:
        """The next thing to look at."""


def fail_if(found: Found | None, *, expected: str = "") -> None:
    """End the check, or the case around this call, as failed if a diagnosis has found something.

    Args:
        found: what it has found; with None nothing happens.
        expected: what this check expects, where that says more than the diagnosis does.

    Raises:
        CheckFailed: something was found.
        CheckMistake: its cause is not an identifier.
    """
    __tracebackhide__ = True
    if found is not None:
        fail(
            found.cause,
            cpu=found.cpu,
            place=found.place,
            expected=expected or found.expected,
            observed=found.observed,
            next=found.next,
        )


@dataclass(frozen=True, slots=True)
class Case:
    """One sub-score: a named part of a check, and the failure if it has one."""

    name: str
    failure: Failure | None = None

    @property
    def outcome(self) -> CaseOutcome:
        """How it ended."""
        if self.failure is None:
            return "pass"
        return "timeout" if self.failure.timeout else "fail"


class Score:
    """Collects the cases of one check: its points are maximum × passed / all."""

    def __init__(self) -> None:
        self._cases: list[Case] = []
        self._open: str | None = None

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases so far, in their order."""
        return tuple(self._cases)

    @property
    def fraction(self) -> Fraction:
        """Passed cases over all cases.

        Raises:
            CheckMistake: there was no case at all, so that nothing was judged.
        """
        if not self._cases:
            raise CheckMistake(
                "the check takes `score` but opened no case; "
                "count what must be there, not what happens to be"
            )
        return Fraction(sum(case.failure is None for case in self._cases), len(self._cases))

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Judge one case: a `fail` inside ends this case, and the check goes on after it.

        Args:
            name: what the student reads, for example `CPU 2`.

        Raises:
            CheckMistake: a case inside a case.
        """
        __tracebackhide__ = True
        if self._open is not None:
            raise CheckMistake(f"case {name!r} stands inside case {self._open!r}")
        self._open = str(name)
        try:
            yield
        except CheckFailed as failed:
            self._cases.append(Case(str(name), failed.failure))
        else:
            self._cases.append(Case(str(name)))
        finally:
            self._open = None


@dataclass(frozen=True)
class Check:
    """One check as its author declared it.

    Attributes:
        id: `labN.topic.name`, stable for ever.
        title: first paragraph of the docstring: what the student reads.
        scenarios: the boots it looks at.
        needs: ids of the checks that must pass before this one means anything.
        function: name of the test function.
        file: path of the test file.
        line: line of the function there.
    """

    id: str
    title: str
    scenarios: tuple[Scenario, ...]
    needs: tuple[str, ...]
    function: str
    file: str
    line: int

    @property
    def lab(self) -> str:
        """The lab that the id names."""
        return self.id.partition(".")[0]

    @property
    def where(self) -> str:
        """Place of the function, for an author's eyes."""
        return f"{_shown(self.file)}:{self.line}"


def check(id: str, /, *scenarios: Scenario, needs: Sequence[str] = ()) -> Callable[[F], F]:
    """Declare a test function to be a check.

    Args:
        id: `labN.topic.name`; course.yml gives its points under this id.
        scenarios: the boots the check looks at, one or more. With one the function takes `boot`,
            with several `boots`, a tuple in the same order.
        needs: ids of earlier checks; unless they all pass, this one is skipped.

    Raises:
        CourseError: the declaration is wrong; the message names file and line.
    """

    def declare(function: F) -> F:
        declared = _declared(function, id, scenarios, needs)
        registry: list[Check] = function.__globals__.setdefault(_REGISTRY, [])
        registry.append(declared)
        return function

    return declare


def declared_in(module: Any) -> tuple[Check, ...]:
    """The checks that a loaded test module declares, in the order of its lines."""
    return tuple(vars(module).get(_REGISTRY, ()))


def _declared(
    function: Callable[..., object], id: str, scenarios: tuple[Scenario, ...], needs: Sequence[str]
) -> Check:
    code = function.__code__
    where = f"{_shown(code.co_filename)}:{code.co_firstlineno}"
    name = function.__name__
    if not isinstance(id, str) or not CHECK_ID.fullmatch(id):
        raise CourseError(
            f"{where}: {id!r} cannot be a check's id.", expected='"labN.topic.name", lower case'
        )
    if "." in function.__qualname__:
        raise CourseError(f"{where}: {id}: a check is a function at the top of the file.")
    if not name.startswith("test_"):
        raise CourseError(
            f"{where}: {id}: pytest would never call {name}.", expected=f"a name like test_{name}"
        )
    title = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
    if not title:
        raise CourseError(
            f"{where}: {id}: {name} has no docstring.",
            expected="one sentence that says what is true when this check passes",
        )
    if isinstance(needs, str) or not all(isinstance(need, str) for need in needs):
        raise CourseError(f"{where}: {id}: needs is not a list of ids.", expected=f"[{needs!r}]")
    if not scenarios or not all(isinstance(item, Scenario) for item in scenarios):
        raise CourseError(
            f"{where}: {id}: no scenario.", expected=f'@check("{id}", scenario("…", cpus=4))'
        )
    parameters = set(inspect.signature(function).parameters)
    if len(scenarios) == 1 and not parameters & {"boot", "boots"}:
        raise CourseError(f"{where}: {id}: {name} looks at no boot.", expected=f"def {name}(boot):")
    if len(scenarios) > 1 and ("boots" not in parameters or "boot" in parameters):
        raise CourseError(
            f"{where}: {id}: there are {len(scenarios)} scenarios.", expected=f"def {name}(boots):"
        )
    return Check(
        id=id,
        title=title,
        scenarios=tuple(scenarios),
        needs=tuple(dict.fromkeys(needs)),
        function=name,
        file=code.co_filename,
        line=code.co_firstlineno,
    )


def validate(lab: str, checks: Sequence[Check]) -> None:
    """Check the declarations of one lab against each other.

    Args:
        lab: for example `lab3`.
        checks: all checks of this lab, in the order in which they run.

    Raises:
        CourseError: an id of another lab, an id or a function name used twice, a need that does not
            exist or comes later, two different scenarios of the same name.
    """
    seen: dict[str, Check] = {}
    functions: dict[tuple[str, str], Check] = {}
    named: dict[str, tuple[Scenario, Check]] = {}
    everywhere = {item.id: item for item in checks}
    for item in checks:
        if item.lab != lab:
            raise CourseError(
                f"{item.where}: {item.id} is not a check of {lab}.", expected=f"{lab}.topic.name"
            )
        if item.id in seen:
            raise CourseError(
                f"{item.where}: {item.id} is declared twice.",
                found=f"the first is at {seen[item.id].where}",
                next_step="give one of the two another id, and its points in course.yml",
            )
        twin = functions.setdefault((item.file, item.function), item)
        if twin is not item:
            raise CourseError(
                f"{item.where}: a second function called {item.function} hides the first.",
                found=f"the first is at {twin.where}",
                next_step="rename one of the two",
            )
        _validate_needs(item, seen, everywhere)
        for boot in item.scenarios:
            first, owner = named.setdefault(boot.name, (boot, item))
            if first != boot:
                raise CourseError(
                    f"{item.where}: {item.id}: two different scenarios are called {boot.name}.",
                    expected=f"{first}, as at {owner.where}",
                    found=str(boot),
                    next_step="give one of the two another name",
                )
        seen[item.id] = item


def _validate_needs(
    item: Check, seen: Mapping[str, Check], everywhere: Mapping[str, Check]
) -> None:
    for need in item.needs:
        if need in seen:
            continue
        if need == item.id:
            raise CourseError(f"{item.where}: {item.id} needs itself.")
        if need in everywhere:
            raise CourseError(
                f"{item.where}: {item.id} needs {need}, which comes later.",
                found=f"{need} is at {everywhere[need].where}",
                next_step="move the needed check up",
            )
        raise CourseError(
            f"{item.where}: {item.id} needs {need}, which no test declares.",
            expected=f"one of {', '.join(seen) or 'none: this is the first check'}",
        )


def _caller() -> str:
    frame = inspect.currentframe()
    outer = frame.f_back.f_back if frame and frame.f_back else None
    return f"{_shown(outer.f_code.co_filename)}:{outer.f_lineno}" if outer else "?"


def _shown(path: str) -> str:
    """The path as the reader would type it: relative when it lies below the working directory."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):
        return path
    return path if relative.startswith("..") else relative

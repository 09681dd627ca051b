"""Declaring checks: `@check`, and what declarations of one lab must agree on.

Nothing here knows pytest, how a boot is made, or what a report looks like.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from vmmlab.base.errors import CourseError
from vmmlab.base.message import msg
from vmmlab.course.ids import CHECK_ID
from vmmlab.course.model import ARCHES
from vmmlab.probes.scenario import Scenario, shown_path

Outcome = Literal["pass", "partial", "fail", "skipped", "build-error", "timeout", "infra-error"]
"""How a check can end."""

_REGISTRY: Final = "__vmmlab_checks__"
_PER: Final = ("ap", "cpu", "boot")

PLAIN: Final = msg(
    "a check takes the boot and the subject that per= gives: let per= give what differs "
    "from case to case, and call an ordinary function for the rest"
)
"""What an author writes instead of fixtures, parameters and marks of pytest."""

F = TypeVar("F", bound=Callable[..., object])
Cases = Callable[[Any], Iterable[Any]]
"""Gives the cases of a check: CPUs, or tuples of a name and the values for the check."""


@dataclass(frozen=True)
class Check:
    """One check as its author declared it.

    Attributes:
        id: `labN.topic.name`, never changed.
        title: first paragraph of the docstring: what the student reads.
        scenarios: the boots it looks at, those of `also` included.
        after: ids of the checks that must pass before this one means anything.
        function: name of the function.
        file: path of the test file.
        line: line of the function there.
        call: the function.
        per: the kind of its cases; None if it has none.
        arch: the architectures that it is for.
        bsp_in: the student's function that the BSP is in when something stops it.
        todo_of_any_cpu: whether a TODO that any CPU ran into comes first, not only the BSP's.
        also: boots, the last of `scenarios`, that are judged in the same way one by one.
        strictly: the checks in `after` that are in its way, too, if they only found a rule broken.
    """

    id: str
    title: str
    scenarios: tuple[Scenario, ...]
    after: tuple[str, ...]
    function: str
    file: str
    line: int
    call: Callable[..., object] = field(default=lambda: None, compare=False)
    per: str | Cases | None = None
    arch: tuple[str, ...] = ("x86_64",)
    bsp_in: str | Callable[[Any], str] = ""
    todo_of_any_cpu: bool = False
    also: tuple[Scenario, ...] = ()
    strictly: tuple[str, ...] = ()

    @property
    def together(self) -> tuple[Scenario, ...]:
        """The boots that it looks at together: all but those of `also`."""
        return self.scenarios[: len(self.scenarios) - len(self.also)]

    @property
    def takes_one(self) -> bool:
        """Whether the function takes one boot, not a tuple of all."""
        return next(iter(inspect.signature(self.call).parameters)) == "boot"

    @property
    def lab(self) -> str:
        """The lab that the id names."""
        return self.id.partition(".")[0]

    @property
    def where(self) -> str:
        """Place of the function, for the author."""
        return f"{shown_path(self.file)}:{self.line}"


def check(
    id: str,
    /,
    *scenarios: Scenario,
    after: str | Sequence[str] = (),
    per: Literal["ap", "cpu", "boot"] | Cases | None = None,
    arch: str | Sequence[str] = "x86_64",
    bsp_in: str | Callable[[Any], str] = "",
    todo_of_any_cpu: bool = False,
    also: Scenario | Sequence[Scenario] = (),
    strictly: bool | Sequence[str] = False,
) -> Callable[[F], F]:
    """Declare a function to be a check.

    A function may be two checks, one an architecture: then it has two decorators.

    Args:
        id: `labN.topic.name`; course.yml gives its points under this id.
        scenarios: the boots the check looks at, one or more. With one the function takes `boot`,
            with several `boots`, a tuple in the same order.
        after: ids of earlier checks; unless they all pass, this one is skipped.
        per: what a case is, each with its share of the points. "ap" or "cpu": the function also
            takes that CPU, with `must_reach`. "boot": the function takes one boot at a time. A
            function that gives, for the boot or boots, CPUs or tuples (name, value, …): the check
            also takes those values. If that function fails, so does the whole check.
        arch: the architecture, or architectures, that it is for.
        bsp_in: the student's function that the BSP is in when something stops it, or a function of
            the boot that gives it.
        todo_of_any_cpu: where something did not happen, a TODO that any CPU ran into comes first,
            not only one of the BSP.
        also: one more boot, or several, judged in the same way afterwards, one by one. The cases of
            each carry the name of its cohort, or what else is different there.
        strictly: it is skipped, too, after a failure that says that the machine goes on (`fail`),
            of any check in `after`, or of those that are listed here.

    Raises:
        CourseError: the declaration is wrong; the message names file and line.
    """
    ids = (after,) if isinstance(after, str) else tuple(after)
    arches = (arch,) if isinstance(arch, str) else tuple(arch)

    def declare(function: F) -> F:
        declared = _declared(function, id, scenarios, ids, per, arches)
        more = _judged_alone(declared, scenarios, also)
        declared["scenarios"] = (*scenarios, *more)
        made = Check(
            **declared, call=function, per=per, arch=arches, bsp_in=bsp_in,
            todo_of_any_cpu=todo_of_any_cpu, also=more,
            strictly=(ids if strictly else ()) if isinstance(strictly, bool) else tuple(strictly),
        )  # fmt: skip
        registry: list[Check] = function.__globals__.setdefault(_REGISTRY, [])
        registry.append(made)
        return function

    return declare


def declared_in(module: Any) -> tuple[Check, ...]:
    """Return the checks that a loaded test module declares, in the order of its lines."""
    return tuple(sorted(vars(module).get(_REGISTRY, ()), key=lambda one: one.line))


def _declared(
    function: Callable[..., object],
    id: str,
    scenarios: tuple[Scenario, ...],
    after: Sequence[str],
    per: object,
    arches: Sequence[str],
) -> dict[str, Any]:
    """Return the checked fields of a declaration."""
    code = function.__code__
    where = f"{shown_path(code.co_filename)}:{code.co_firstlineno}"
    name = function.__name__
    if not isinstance(id, str) or not CHECK_ID.fullmatch(id):
        raise CourseError(
            msg("{where}: {id} is not a valid id of a check.", where=where, id=repr(id)),
            expected=msg('"labN.topic.name", lower case'),
        )
    if "." in function.__qualname__:
        raise CourseError(
            msg(
                "{where}: {id}: a check must be a function at the top level of the file.",
                where=where,
                id=id,
            )
        )
    title = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
    if not title:
        raise CourseError(
            msg("{where}: {id}: {name} has no docstring.", where=where, id=id, name=name),
            expected=msg("one sentence that says what is true when this check passes"),
        )
    if not all(isinstance(other, str) for other in after):
        raise CourseError(
            msg("{where}: {id}: after must be a list of ids.", where=where, id=id),
            expected=f"{[*map(str, after)]!r}",
        )
    if not scenarios or not all(isinstance(item, Scenario) for item in scenarios):
        raise CourseError(
            msg("{where}: {id}: a check needs a scenario.", where=where, id=id),
            expected=f'@check("{id}", bringup(cpus=4))',
        )
    _check_options(where, id, per, arches)
    _check_parameters(function, f"{where}: {id}", scenarios, per)
    return {
        "id": id,
        "title": title,
        "scenarios": tuple(scenarios),
        "after": tuple(dict.fromkeys(after)),
        "function": name,
        "file": code.co_filename,
        "line": code.co_firstlineno,
    }


def _judged_alone(
    declared: Mapping[str, Any], scenarios: Sequence[Scenario], also: object
) -> tuple[Scenario, ...]:
    """Return the scenarios `also` of a declaration.

    Raises:
        CourseError: they are none, or the function does not take one boot.
    """
    several = isinstance(also, list | tuple)
    more: tuple[Any, ...] = tuple(also) if several else (also,)  # type: ignore[arg-type]
    if not all(isinstance(one, Scenario) for one in more) or (more and len(scenarios) != 1):
        raise CourseError(
            msg("{id}: also= must be one more scenario, or several.", id=declared["id"]),
            expected='@check(id, BOOT, also=bringup(name="there", cohort="other"))',
        )
    return more


def _check_options(where: str, id: str, per: object, arches: Sequence[str]) -> None:
    """Check that the cases and the architectures of a declaration exist.

    Raises:
        CourseError: one of them does not.
    """
    if per is not None and per not in _PER and not callable(per):
        raise CourseError(
            msg("{where}: {id}: per={per} gives no cases.", where=where, id=id, per=repr(per)),
            expected=msg(
                "one of {names}, or a function of the boot", names=", ".join(map(repr, _PER))
            ),
        )
    if not arches or not set(arches) <= set(ARCHES):
        raise CourseError(
            msg(
                "{where}: {id}: arch={arches} is not an architecture.",
                where=where,
                id=id,
                arches=repr(arches),
            ),
            expected=msg("one or more of {names}", names=", ".join(map(repr, ARCHES))),
        )


def _check_parameters(
    function: Callable[..., object], where: str, scenarios: Sequence[Scenario], per: object
) -> None:
    """Check that a function takes what it is called with: the boot, and what `per` gives.

    Raises:
        CourseError: it takes something else, such as a fixture of pytest.
    """
    name, parameters = function.__name__, [*inspect.signature(function).parameters.values()]
    first = "boot" if len(scenarios) == 1 or per == "boot" else "boots"
    more = {"ap": ", ap", "cpu": ", cpu"}.get(str(per), ", …" if callable(per) else "")
    wanted = f"def {name}({first}{more}):"
    begins = parameters[0].name if parameters else ""
    if begins not in ("boot", "boots"):
        raise CourseError(
            msg(
                "{where}: {name} must take the boot as its first parameter.", where=where, name=name
            ),
            expected=wanted,
        )
    if begins != first and (begins == "boot" or per == "boot"):
        raise CourseError(
            msg("{where}: there are {scenarios} scenarios.", where=where, scenarios=len(scenarios))
            if begins == "boot"
            else msg('{where}: per="boot" passes one boot at a time.', where=where),
            expected=wanted,
        )
    given = len(parameters) if callable(per) else 1 + (per in ("ap", "cpu"))
    by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    for place, one in enumerate(parameters):
        if place >= given or one.kind in by_name:
            raise CourseError(
                msg(
                    "{where}: {name} takes {parameter}, which no scenario or per= gives.",
                    where=where,
                    name=name,
                    parameter=one.name,
                ),
                expected=wanted,
                next_step=PLAIN,
            )
    if len(parameters) < (2 if callable(per) else given):
        raise CourseError(
            msg(
                "{where}: {name} does not take the subject that per={per} gives.",
                where=where,
                name=name,
                per=repr(per),
            ),
            expected=wanted,
        )


def validate(lab: str, checks: Sequence[Check]) -> None:
    """Check the declarations of one lab against each other.

    Args:
        lab: for example `lab3`.
        checks: all checks of this lab, in the order in which they run.

    Raises:
        CourseError: an id of another lab, an id or a function name used twice, an `after` that
            does not exist or comes later, two checks of one function for the same architecture, two
            different scenarios of the same name.
    """
    seen: dict[str, Check] = {}
    functions: dict[tuple[str, str], list[Check]] = {}
    named: dict[str, tuple[Scenario, Check]] = {}
    everywhere = {item.id: item for item in checks}
    for item in checks:
        if item.lab != lab:
            raise CourseError(
                msg(
                    "{where}: {id} is not a check of {lab}.", where=item.where, id=item.id, lab=lab
                ),
                expected=msg("{lab}.topic.name", lab=lab),
            )
        if item.id in seen:
            raise CourseError(
                msg("{where}: {id} is declared twice.", where=item.where, id=item.id),
                found=msg("the first is at {where}", where=seen[item.id].where),
                next_step=msg("give one of the two another id, and its points in course.yml"),
            )
        _validate_function(item, functions.setdefault((item.file, item.function), []))
        _validate_after(item, seen, everywhere)
        for boot in item.scenarios:
            first, owner = named.setdefault(boot.name, (boot, item))
            if first != boot:
                raise CourseError(
                    msg(
                        "{where}: {id}: two different scenarios are called {boot}.",
                        where=item.where,
                        id=item.id,
                        boot=boot.name,
                    ),
                    expected=msg("{first}, as at {where}", first=str(first), where=owner.where),
                    found=str(boot),
                    next_step=msg("give one of the two another name"),
                )
        seen[item.id] = item


def _validate_function(item: Check, twins: list[Check]) -> None:
    """Compare a check with those of the same function name, and add it to them."""
    for twin in twins:
        if twin.call is not item.call:
            raise CourseError(
                msg(
                    "{where}: a second function called {function} hides the first.",
                    where=item.where,
                    function=item.function,
                ),
                found=msg("the first is at {where}", where=twin.where),
                next_step=msg("rename one of the two"),
            )
        if set(twin.arch) & set(item.arch):
            raise CourseError(
                msg(
                    "{where}: {id} and {other} are the same function for the same architecture.",
                    where=item.where,
                    id=item.id,
                    other=twin.id,
                ),
                expected=msg("one check of a function for each architecture"),
                next_step=msg("write a second function that calls the first"),
            )
    twins.append(item)


def _validate_after(
    item: Check, seen: Mapping[str, Check], everywhere: Mapping[str, Check]
) -> None:
    for other in item.after:
        if other in seen:
            continue
        if other == item.id:
            raise CourseError(msg("{where}: {id} is after itself.", where=item.where, id=item.id))
        if other in everywhere:
            raise CourseError(
                msg(
                    "{where}: {id} is after {other}, which comes later in the file.",
                    where=item.where,
                    id=item.id,
                    other=other,
                ),
                found=msg("{other} is at {where}", other=other, where=everywhere[other].where),
                next_step=msg("move that check up"),
            )
        raise CourseError(
            msg(
                "{where}: {id} is after {other}, which no test declares.",
                where=item.where,
                id=item.id,
                other=other,
            ),
            expected=msg("one of {seen}", seen=", ".join(seen) or "none: this is the first check"),
        )

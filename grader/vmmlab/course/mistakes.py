"""Mistakes in course.yml: contradictions, and pydantic's errors in this project's words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from vmmlab.base.message import Text, msg
from vmmlab.base.nearest import did_you_mean, nearest, suggestion
from vmmlab.course import deadlines
from vmmlab.course.entries import SCHEMA, CourseEntry, LabEntry
from vmmlab.course.ids import CHECK_ID, HIDDEN_TOPIC, LAB_NAME, SOURCE_PATH, is_hidden
from vmmlab.course.model import ARCHES, CheckSpec, Step

Loc = tuple[str | int, ...]

_SYMBOL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GIVEN: Final = re.compile(r"(boot|core)/[A-Za-z0-9_-]+\.[cS]")


class Mistake(NamedTuple):
    """One mistake.

    Attributes:
        loc: the keys and indices that lead to it.
        message: what is wrong.
        expected: what should be there.
        found: what is there instead.
        next_step: what to do about it.
        meant: for an unknown key, the known key that is probably meant.
    """

    loc: Loc
    message: Text
    expected: Text = ""
    found: Text = ""
    next_step: Text = ""
    meant: str = ""


# --- what the types cannot express ---------------------------------------------------------------


def contradictions(entry: CourseEntry) -> Iterator[Mistake]:
    """Yield what the types cannot express: names that do not match, and wrong sums."""
    owner: dict[str, str] = {}
    given: dict[str, str] = {}
    for name, lab in entry.labs.items():
        here: Loc = ("labs", name)
        if not LAB_NAME.fullmatch(name):
            yield Mistake(here, msg("this is not a valid name of a lab."), "lab0, lab1, …", name)
            continue
        yield from _wrong_files(here, name, lab, owner)
        yield from _wrong_steps(here, name, lab)
        yield from _wrong_checks(here, name, lab)
        yield from _wrong_sums(here, name, lab)
        yield from _wrong_needs(here, name, lab, list(entry.labs))
        yield from _wrong_image(here, name, lab, list(entry.labs), given)
    yield from _wrong_deadlines(entry)
    if entry.until is not None and entry.until not in entry.labs:
        yield Mistake(
            ("until",),
            msg("this course has no such lab."),
            msg("one of {labs}", labs=", ".join(entry.labs)),
            entry.until,
            suggestion(entry.until, entry.labs),
        )


def _wrong_deadlines(entry: CourseEntry) -> Iterator[Mistake]:
    if entry.deadlines is None:
        return
    here: Loc = ("deadlines",)
    if not deadlines.known_zone(entry.deadlines.zone):
        yield Mistake(
            (*here, "zone"),
            msg("there is no such time zone."),
            msg("a name such as Asia/Tokyo or Europe/Berlin"),
            entry.deadlines.zone,
        )
    named: list[tuple[Loc, str]] = [(("labs", lab), lab) for lab in entry.deadlines.labs]
    for index, extension in enumerate(entry.deadlines.extensions):
        at: Loc = (deadlines.EXTENSIONS, index, "lab")
        named.append((at, extension.lab))
        if extension.lab in entry.labs and extension.lab not in entry.deadlines.labs:
            yield Mistake((*here, *at), msg("this lab has no deadline."), found=extension.lab)
    for at, lab in named:
        if lab not in entry.labs:
            yield Mistake(
                (*here, *at),
                msg("this course has no such lab."),
                msg("one of {labs}", labs=", ".join(entry.labs)),
                lab,
                suggestion(lab, entry.labs),
            )


def _wrong_needs(here: Loc, name: str, lab: LabEntry, labs: list[str]) -> Iterator[Mistake]:
    after = labs[labs.index(name) + 1 :]
    for check_id, check in lab.checks.items():
        if check.needs is not None and check.needs not in after:
            yield Mistake(
                (*here, "checks", check_id, "needs"),
                msg("this is not a later lab."),
                msg("one of {labs}", labs=", ".join(after) or msg("none: it is the last one")),
                check.needs,
                suggestion(check.needs, after),
            )


def _wrong_image(
    here: Loc, name: str, lab: LabEntry, labs: list[str], owner: dict[str, str]
) -> Iterator[Mistake]:
    """Yield mistakes in what an image of this lab has; `owner` is filled: given file to lab."""
    allowed = labs[labs.index(name) :]
    if lab.links is not None and lab.links not in allowed:
        yield Mistake(
            (*here, "links"),
            msg("this is neither this lab nor a later one."),
            msg("one of {labs}", labs=", ".join(allowed)),
            lab.links,
            suggestion(lab.links, allowed),
        )
    for index, file in enumerate(lab.given):
        if not _GIVEN.fullmatch(file):
            yield Mistake(
                (*here, "given", index),
                msg("this is not a valid given file."),
                msg("core/NAME.c, core/NAME.S, boot/NAME.c or boot/NAME.S"),
                file,
            )
        elif file in owner:
            yield Mistake(
                (*here, "given", index),
                msg("{file} is listed for two labs.", file=file),
                msg("each given file at the first lab that needs it"),
                msg("it is already listed for {owner}", owner=owner[file]),
            )
        owner.setdefault(file, name)


def _wrong_files(here: Loc, name: str, lab: LabEntry, owner: dict[str, str]) -> Iterator[Mistake]:
    for file, symbols in lab.files.items():
        at = (*here, "files", file)
        if not SOURCE_PATH.fullmatch(file) or not file.startswith(f"{name}/"):
            yield Mistake(
                at,
                msg("this is not a valid file of this lab."),
                msg("{name}/NAME.c or {name}/NAME.S", name=name),
            )
        if not symbols:
            yield Mistake(
                at, msg("a file with no name to define."), msg("the functions that it must define")
            )
        for index, symbol in enumerate(symbols):
            if not _SYMBOL.fullmatch(symbol):
                yield Mistake((*at, index), msg("this is not a valid C name."), found=symbol)
            elif symbol in owner:
                yield Mistake(
                    (*at, index),
                    msg("{symbol} is listed for two files.", symbol=symbol),
                    msg("each name in one file only"),
                    msg("it is already listed for {owner}", owner=owner[symbol]),
                )
            owner.setdefault(symbol, file)


def _wrong_steps(here: Loc, name: str, lab: LabEntry) -> Iterator[Mistake]:
    for index, step in enumerate(lab.steps):
        at = (*here, "steps", index)
        wanted = f"{name}.{index + 1}"
        if step.id != wanted:
            yield Mistake(
                (*at, "id"),
                msg("steps must be numbered in order."),
                wanted,
                step.id,
                msg("renumber the steps"),
            )
        if step.file not in lab.files:
            yield Mistake(
                (*at, "file"),
                msg("this lab has no such file."),
                msg(
                    "one of {files}",
                    files=", ".join(lab.files) or msg("none: the lab has no files"),
                ),
                step.file,
                suggestion(step.file, lab.files),
            )
        elif step.function not in lab.files[step.file]:
            yield Mistake(
                (*at, "function"),
                msg("the contract of {file} does not have this name.", file=step.file),
                msg("one of {files}", files=", ".join(lab.files[step.file])),
                step.function,
                suggestion(step.function, lab.files[step.file]),
            )


def _wrong_checks(here: Loc, name: str, lab: LabEntry) -> Iterator[Mistake]:
    steps = [step.id for step in lab.steps]
    everything = [
        *(("checks", check_id, check) for check_id, check in lab.checks.items()),
        *((HIDDEN_TOPIC, check_id, check) for check_id, check in lab.hidden.items()),
    ]
    for key, check_id, check in everything:
        at = (*here, key, check_id)
        if not CHECK_ID.fullmatch(check_id) or not check_id.startswith(f"{name}."):
            yield Mistake(
                at, msg("this is not a valid id of a check."), f"{name}.topic.name", check_id
            )
        elif is_hidden(check_id) != (key == HIDDEN_TOPIC):
            right: Text = msg("a topic other than hidden")
            if key == HIDDEN_TOPIC:
                right = f"{name}.{HIDDEN_TOPIC}.name"
            yield Mistake(
                at, msg("hidden checks belong under `hidden`, the others do not."), right, check_id
            )
        if key == HIDDEN_TOPIC and check.arch != ARCHES[0]:
            yield Mistake(
                (*at, "arch"), msg("hidden checks must be for x86_64."), ARCHES[0], check.arch
            )
        if check.step is not None and check.step not in steps:
            yield Mistake(
                (*at, "step"),
                msg("this lab has no such step."),
                msg("one of {steps}", steps=", ".join(steps) or msg("none: the lab has no steps")),
                check.step,
                suggestion(check.step, steps),
            )
        if check.step is None and check.points:
            yield Mistake(
                at,
                msg("a check with points needs the step that earns them."),
                msg("step: {lab}.1", lab=name),
            )


def _wrong_sums(here: Loc, name: str, lab: LabEntry) -> Iterator[Mistake]:
    hidden = sum(check.points for check in lab.hidden.values())
    if lab.hidden and hidden != lab.hidden_points:
        yield Mistake(
            (*here, "hidden_points"),
            msg("the points do not add up."),
            msg("{hidden_points}, as stated here", hidden_points=lab.hidden_points),
            msg("the hidden checks of {name} add up to {hidden}", name=name, hidden=hidden),
            msg("change hidden_points or the points of the hidden checks"),
        )
    for arch, (key, said) in lab.sums.items():
        total = sum(check.points for check in lab.checks_for(arch).values())
        if total != said:
            found = msg("the checks of {name} add up to {total}", name=name, total=total)
            if arch != ARCHES[0]:
                found = msg(
                    "the checks of {name} for {arch} add up to {total}",
                    name=name,
                    arch=arch,
                    total=total,
                )
            yield Mistake(
                (*here, key),
                msg("the points do not add up."),
                msg("{said}, as stated here", said=said),
                found,
                msg("change the lab's points or those of its checks"),
            )


# --- what the types express ----------------------------------------------------------------------

_KINDS: Final[Mapping[str, Text]] = {
    "string_type": msg("text"),
    "string_too_short": msg("a text"),
    "int_type": msg("a whole number"),
    "int_from_float": msg("a whole number"),
    "dict_type": msg("keys and values"),
    "model_type": msg("keys and values"),
    "list_type": msg("a list"),
    "too_short": msg("at least one entry"),
    "moment": msg("a time such as 2026-11-22 23:59, without a zone"),
    "string_pattern_mismatch": msg("letters, digits, '.', '_' and '-', at most 32"),
}


def mistake_of(detail: Any) -> Mistake:
    """Return a pydantic error in this project's words.

    Args:
        detail: one entry of `ValidationError.errors`.
    """
    loc: Loc = tuple(part for part in detail["loc"] if part != "[key]")
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        known, key = _known_keys(loc), str(loc[-1])
        near = nearest(key, known) or ""
        return Mistake(
            loc,
            msg("unknown key."),
            msg("one of {known}", known=", ".join(known)),
            key,
            did_you_mean(near) if near else "",
            meant=near,
        )
    if kind == "missing":
        return Mistake(loc, msg("this key is missing."))
    if loc == ("schema",):
        return Mistake(
            loc,
            msg("this version of course.yml is not supported."),
            str(SCHEMA),
            described(detail["input"]),
            msg("use the vmmlab that belongs to this course"),
        )
    expected = _KINDS.get(kind, "")
    if kind in ("greater_than_equal", "less_than_equal"):
        limit = context.get("ge", context.get("le"))
        least = "ge" in context
        expected = (
            msg("at least {limit}", limit=limit) if least else msg("at most {limit}", limit=limit)
        )
    elif kind == "string_type" and isinstance(detail["input"], int | float | date):
        expected = msg("text, in quotes")  # YAML reads 2026 as a number, and 2026-10-01 as a date
    elif kind == "literal_error":
        expected = str(context["expected"])
    if not expected:
        expected = str(detail["msg"])
    return Mistake(loc, msg("this value is not valid."), expected, described(detail["input"]))


def _known_keys(loc: Loc) -> list[str]:
    model: type[BaseModel] = CourseEntry
    if loc[0] == "deadlines" and len(loc) > 1:
        keys = [str(part) for part in loc[1:-1] if part in deadlines.PARTS]
        model = deadlines.PARTS[keys[-1]] if keys else deadlines.Deadlines
    elif len(loc) == 3:
        model = LabEntry
    elif len(loc) > 3:
        model = Step if loc[2] == "steps" else CheckSpec
    return [field.alias or name for name, field in model.model_fields.items()]


def described(value: Any) -> Text:
    """Return a value of the file as an error shows it, at most 60 characters."""
    if value is None:
        return msg("nothing")
    if isinstance(value, dict):
        return msg("keys and values")
    if isinstance(value, list):
        return msg("a list")
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"

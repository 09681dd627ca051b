"""Turns typer's errors about a command line into messages.

Which words typer uses depends on its version. So a message is made from the error's attributes for
each text that is known, and counts only if its English is exactly what typer says. Any other text
is shown as typer has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from vmmlab.base.message import Message, Text, msg
from vmmlab.base.nearest import nearest

_NONE_OF: Final = re.compile(r"^(?:Value error, )?'([^']*)' is not one of '")


def none_of(error: Any) -> Text:
    """Return that a value is none of those that are known, and which one may be meant.

    Pydantic's own text begins with "Value error", and names no choice.

    Args:
        error: typer's error; for any other the text is "".
    """
    found = _NONE_OF.search(str(error.message)) if type(error).__name__ == "BadParameter" else None
    if found is None:
        return ""
    choices = _quoted(error.message)[1:]
    value, known = repr(found[1]), ", ".join(choices)
    near = nearest(found[1], [one.strip("'") for one in choices])
    if near is None:
        return msg("{value} is none of {choices}.", value=value, choices=known)
    return msg(
        "{value} is none of {choices}. Did you mean {near}?",
        value=value,
        choices=known,
        near=repr(near),
    )


def message(error: Any) -> Text:
    """Return what an error says.

    Args:
        error: typer's error.
    """
    if reason := none_of(error):
        return msg("Invalid value for {name}: {reason}", name=_name(error), reason=reason)
    said: str = error.format_message()
    for one in _known(error):
        if str(one) == said:
            return one
    return said


def _known(error: Any) -> Iterator[Message]:
    """Yield the messages that an error may stand for."""
    kind = type(error).__name__
    if kind == "NoSuchOption":
        yield from _no_such_option(error.option_name, sorted(error.possibilities or ()))
    elif kind == "BadOptionUsage":
        option = repr(error.option_name)
        yield msg("Option {option} requires an argument.", option=option)
        yield msg("Option {option} does not take a value.", option=option)
    elif kind == "MissingParameter":
        yield msg("Missing option {name}.", name=_name(error))
        yield msg("Missing argument {name}.", name=_name(error))
    elif kind == "BadParameter":
        for reason in (*_reasons(error), error.message):
            yield msg("Invalid value for {name}: {reason}", name=_name(error), reason=reason)
    elif kind == "UsageError":
        yield msg("Missing command.")
        yield from _no_such_command(_quoted(error.message))
        words = error.message.partition(" (")[2].removesuffix(")")
        yield msg("Got unexpected extra argument(s) ({words})", words=words)
        yield msg("Got unexpected extra argument ({words})", words=words)
        yield msg("Got unexpected extra arguments ({words})", words=words)


def _no_such_option(name: str, similar: list[str]) -> Iterator[Message]:
    yield msg("No such option: {name}", name=name)
    options = ", ".join(similar)
    yield msg("No such option: {name} (Possible options: {options})", name=name, options=options)
    yield msg("No such option: {name} Did you mean {options}?", name=name, options=options)


def _no_such_command(names: list[str]) -> Iterator[Message]:
    if names:
        name, similar = names[0], ", ".join(names[1:])
        yield msg("No such command {name}.", name=name)
        yield msg("No such command {name}. Did you mean {similar}?", name=name, similar=similar)


def _reasons(error: Any) -> Iterator[Message]:
    """Yield why a value may be refused, as pydantic and click put it."""
    yield msg("Input should be a valid integer, unable to parse string as an integer")
    yield msg("Input should be a valid number, unable to parse string as a number")
    for wrong in _pydantic_errors(error.__cause__):
        least, most = wrong.get("ge"), wrong.get("le")
        if least is not None:
            yield msg("Input should be greater than or equal to {least}", least=least)
        if most is not None:
            yield msg("Input should be less than or equal to {most}", most=most)
    for value in _quoted(error.message):
        yield msg("{value} is not a valid integer.", value=value)
        yield msg("{value} is not a valid int range.", value=value)
        yield msg("{value} is not a valid float range.", value=value)


def _pydantic_errors(cause: Any) -> list[dict[str, Any]]:
    return [one.get("ctx", {}) for one in cause.errors()] if hasattr(cause, "errors") else []


def _name(error: Any) -> str:
    """The option or the argument that an error is about, as typer calls it."""
    hint = error.param_hint or (error.param.get_error_hint() if error.param is not None else "")
    return hint if isinstance(hint, str) else " / ".join(map(repr, hint))


def _quoted(text: str) -> list[str]:
    """The words between single quotes, with these."""
    return [f"'{word}'" for word in text.split("'")[1::2]]

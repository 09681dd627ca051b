"""Jinja filters for the cookiecutter template of a workspace.

vmm-skeleton/cookiecutter.json names them under `_extensions`, so that plain cookiecutter works too.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment
from jinja2.exceptions import UndefinedError
from jinja2.ext import Extension

from vmmlab import __version__
from vmmlab.base.errors import UsageError
from vmmlab.base.owned import new_mark
from vmmlab.course.cohort import Cohort


class Filters(Extension):
    """Adds the template's filters: `vmmlab_cohort`, `vmmlab_toml`, `vmmlab_absolute` and others."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters.update(
            vmmlab_cohort=literal,
            vmmlab_toml=toml_string,
            vmmlab_toml_id=lambda _: toml_string(new_mark()),
            vmmlab_toml_version=lambda _: toml_string(__version__),
            vmmlab_absolute=lambda path: repr(str(Path(path).resolve())),
        )


def literal(name: str, number: str) -> str:
    """Return one number of the cohort `name` as both C and TOML write it.

    Raises:
        UndefinedError: this cannot be a cohort's name; cookiecutter shows this error as text.
    """
    try:
        return Cohort.derive(name).literals()[number]
    except UsageError as error:
        raise UndefinedError(str(error)) from None


def toml_string(text: str) -> str:
    """Return `text` as a TOML basic string."""
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{escaped}"'

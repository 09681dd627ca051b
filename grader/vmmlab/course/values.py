"""Types of the values in course.yml that several of its models have."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, StringConstraints

Text = Annotated[str, StringConstraints(min_length=1)]
"""A text that says something."""

STRICT: Final = ConfigDict(extra="forbid", frozen=True, strict=True)
"""The configuration of each part: unknown keys and values of another type are mistakes."""

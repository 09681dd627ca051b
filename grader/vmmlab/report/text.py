"""The type of those fields of a report that a reader sees in their language."""

from __future__ import annotations

from typing import Final

from typing_extensions import TypeAliasType

from vmmlab.base.messagedata import TextData, nested

ReportText = TypeAliasType("ReportText", TextData)
"""A field of the report that a reader sees in their language."""

NESTED: Final = nested("ReportText")
"""JSON Schema of a value in a text."""

"""The type of those fields of a report that a reader sees in their language."""

from __future__ import annotations

from typing import Annotated, Final

from vmmlab.base.message import Text
from vmmlab.base.messagedata import TextForm, nested

_NAME: Final = "ReportText"

ReportText = Annotated[Text, TextForm(_NAME)]
"""A field of the report that a reader sees in their language."""

NESTED: Final = nested(_NAME)
"""JSON Schema of a value in a text."""

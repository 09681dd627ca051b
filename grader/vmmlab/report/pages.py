"""Templates of pages: one set of rules for all of them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup, escape

_CODE: Final = re.compile(r"`((?:(?!&#39;)[^`\n])+)`")
"""Code in an escaped text; `a' and `b', as an assembler quotes, are none."""


def with_code(text: str) -> Markup:
    """Return a text, escaped, with what stands between backticks as code; the filter `code`."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


@cache
def templates(folder: Path) -> jinja2.Environment:
    """Return the templates of a folder. Values are escaped, and an unknown name is an error.

    Args:
        folder: the folder.
    """
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["code"] = with_code
    return made

"""Templates of pages: one set of rules for all of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2


@cache
def templates(folder: Path) -> jinja2.Environment:
    """Return the templates of a folder. Values are escaped, and an unknown name is an error.

    Args:
        folder: the folder.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

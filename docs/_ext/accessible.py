"""What readers need who use a keyboard or a screen reader, and Sphinx leaves out.

Code and tables that are wider than the window can be scrolled by keyboard, and the headings of the
contents have a level.
"""

from __future__ import annotations

from typing import Any

_TABLE = '<div class="table-wrapper '  # the theme's
_AFTER_THE_THEME = 900  # which makes the contents itself


def _complete(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Complete the text and the contents of a page."""
    if body := context.get("body"):
        body = body.replace("<pre>", '<pre tabindex="0">')
        context["body"] = body.replace(_TABLE, f'{_TABLE[:5]}tabindex="0" {_TABLE[5:]}')
    if contents := context.get("furo_navigation_tree"):
        context["furo_navigation_tree"] = contents.replace(
            'role="heading"', 'role="heading" aria-level="2"'
        )


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", _complete, priority=_AFTER_THE_THEME)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

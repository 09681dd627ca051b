"""The pictures of a summary, as SVG. All text in them is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup, escape

_WIDTH: Final = 640
_HEIGHT: Final = 200
_FOOT: Final = 34
_HEAD: Final = 18


def histogram(bins: Sequence[int], most: float, title: str) -> Markup:
    """Return the distribution of points.

    Args:
        bins: how many students have each tenth of the points.
        most: all points.
        title: what the picture shows, for readers who do not see it.
    """
    top = max(max(bins, default=0), 1)
    width = _WIDTH / max(len(bins), 1)
    room = _HEIGHT - _FOOT - _HEAD
    parts = [
        Markup('<svg class="histogram" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            _WIDTH, _HEIGHT, title
        )
    ]
    for place, count in enumerate(bins):
        high = room * count / top
        left, upper = place * width + 3, _HEAD + room - high
        parts.append(
            Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                left, upper, width - 6, high
            )
        )
        middle = place * width + width / 2
        if count:
            parts.append(_label(middle, upper - 5, str(count)))
        edges = (most * place / len(bins), most * (place + 1) / len(bins))
        parts.append(_label(middle, _HEIGHT - 14, "–".join(f"{edge:g}" for edge in edges)))
    parts.append(
        Markup('<line x1="0" x2="{}" y1="{}" y2="{}"/></svg>').format(
            _WIDTH, _HEAD + room, _HEAD + room
        )
    )
    return Markup("").join(parts)


def bar(share: float, waiting: float) -> Markup:
    """Return a bar of how many failed, and of how many have to wait, as shares of 1."""
    return Markup(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="bad" width="{:.1f}" height="10"/>'
        '<rect class="wait" x="{:.1f}" width="{:.1f}" height="10"/></svg>'
    ).format(100 * share, 100 * share, 100 * waiting)


def _label(x: float, y: float, text: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}">{}</text>').format(x, y, escape(text))

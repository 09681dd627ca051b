"""Line breaking for text with wide characters: Japanese breaks between any two of them.

Some characters must not begin a line and some must not end one (kinsoku; JIS X 4051). Words of
other scripts stay whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.containers import Lines
from rich.text import Text

from vmmlab.base.text import cells

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod, OverflowMethod

_NOT_FIRST: Final = frozenset(
    "、。，．・：；？！ー）」』】〉》〕］｝々…,.:;!?)]}ぁぃぅぇぉっゃゅょァィゥェォッャュョ"
)
_NOT_LAST: Final = frozenset("（「『【〈《〔［｛([{")


def text_of(plain: str, style: str = "") -> Text:
    """Return a rich text that wraps by the rules of its script."""
    wide = cells(plain) != len(plain)
    return Wide(plain, style) if wide else Text(plain, style)


def breaks(line: str, width: int) -> list[int]:
    """Return the indices at which to break a line so that no part has more than `width` columns."""
    found: list[int] = []
    start = 0
    while cells(line[start:].rstrip()) > width:
        end = start + 1
        while end < len(line) and cells(line[start : end + 1].rstrip()) <= width:
            end += 1
        best = next((at for at in range(end, start, -1) if _may_break(line, at)), end)
        found.append(best)
        start = best
    return found


def _may_break(line: str, at: int) -> bool:
    before, after = line[at - 1], line[at]
    if before == " ":
        return after != " "
    if after == " " or before in _NOT_LAST or after in _NOT_FIRST:
        return False
    return cells(before) == 2 or cells(after) == 2


class Wide(Text):
    """A rich text whose lines may end between two wide characters."""

    def wrap(
        self,
        console: Console,
        width: int,
        *,
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        tab_size: int = 8,
        no_wrap: bool | None = None,
    ) -> Lines:
        """Wrap as rich does, but also between wide characters."""
        if no_wrap or self.no_wrap:
            cut = super().wrap(
                console,
                width,
                justify=justify,
                overflow=overflow,
                tab_size=tab_size,
                no_wrap=no_wrap,
            )
            for line in cut:
                if line.plain.endswith(" …"):  # half of a wide character was left over
                    line.plain = f"{line.plain[:-2].rstrip()}…"
            return cut
        lines = Lines()
        for line in self.split(allow_blank=True):
            for part in line.divide(breaks(line.plain, width)):
                part.rstrip()
                lines.append(part)
        return lines

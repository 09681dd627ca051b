"""Turns links to pages that a release does not have into plain text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_LINK: Final = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def unlink(page: Path) -> None:
    """Turn links of a page to what is not in the release into plain text."""

    def kept(link: re.Match[str]) -> str:
        target = link.group(2).partition("#")[0]
        inside = not target or "://" in target or (page.parent / target).exists()
        return link.group(0) if inside else link.group(1)

    page.write_text(_LINK.sub(kept, page.read_text(encoding="utf-8")), encoding="utf-8")

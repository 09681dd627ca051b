"""The directories that a tool outside of the system's own needs; a sandbox has to bind them."""

from __future__ import annotations

from pathlib import Path

NIX = Path("/nix/store")
_HIDDEN = Path("/usr/local")  # below /usr, but a sandbox hides it


def hidden(path: Path) -> bool:
    """Whether a sandbox hides a path although it is below /usr."""
    return path.is_relative_to(_HIDDEN)


def roots(tool: Path) -> list[Path]:
    """Return directories to make readable so that `tool` works: its own installation, if any.

    Args:
        tool: absolute path of an executable.
    """
    found = []
    for path in (tool, tool.resolve()):
        if path.is_relative_to(NIX):
            found.append(NIX)
        elif hidden(path) or not path.is_relative_to("/usr"):
            top = path.parent.parent if path.parent.name in ("bin", "sbin") else path.parent
            if top != Path("/"):
                found.append(top)
    return list(dict.fromkeys(found))

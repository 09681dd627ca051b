"""Replaces the code of provided functions in memory, and puts it back."""

from __future__ import annotations

from vmmlab.observe.session import Session


class ReplacedCode:
    """What the image has where other code is at present.

    Args:
        session: the boot.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept: dict[str, bytes] = {}

    def __bool__(self) -> bool:
        return bool(self._kept)

    async def put(self, name: str, code: bytes) -> None:
        """Replace the first bytes of a function; code that is put again must have the same size."""
        gdb, where = self._session.gdb, self._session.view.phys(name)
        if name not in self._kept:
            self._kept[name] = await gdb.read_phys(where, len(code))
        await gdb.write_phys(where, code)

    async def remove(self) -> None:
        """Put all code back; safe to call again."""
        for name, code in self._kept.items():
            await self._session.gdb.write_phys(self._session.view.phys(name), code)
        self._kept.clear()

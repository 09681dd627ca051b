"""Registries: entries of the program, and beside them those of the lab in use.

The files of a lab register their probes and milestones as the program's own modules do. Their
entries belong to a `Scope`, which is visible only to code that works for that lab: two courses in
one process may each have a probe of the same name.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")


class Scope:
    """What the files of one lab have registered; what is in use follows threads and tasks."""

    def __init__(self) -> None:
        self._entries: dict[int, dict[str, Any]] = {}

    def entries(self, registry: Registry[T]) -> dict[str, T]:
        """Return the entries of a registry that belong to this scope."""
        return self._entries.setdefault(id(registry), {})

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Register into this scope and look entries up in it."""
        token = _IN_USE.set(self)
        try:
            yield
        finally:
            _IN_USE.reset(token)


_IN_USE: ContextVar[Scope | None] = ContextVar("vmmlab registry scope", default=None)


def scope_in_use() -> Scope:
    """Return the scope in use, an empty one if there is none."""
    return _IN_USE.get() or Scope()


class Registry(MutableMapping[str, T]):
    """Entries by name: those of the scope in use before the program's own."""

    def __init__(self, own: dict[str, T] | None = None) -> None:
        self._own: dict[str, T] = dict(own or {})

    def _all(self) -> dict[str, T]:
        scope = _IN_USE.get()
        return self._own if scope is None else {**self._own, **scope.entries(self)}

    def __getitem__(self, name: str) -> T:
        return self._all()[name]

    def __setitem__(self, name: str, entry: T) -> None:
        scope = _IN_USE.get()
        (self._own if scope is None else scope.entries(self))[name] = entry

    def __delitem__(self, name: str) -> None:
        raise TypeError("what is registered stays as long as its scope")

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

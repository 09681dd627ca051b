"""The tests read English, whatever language the shell speaks."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

os.environ["LC_ALL"] = "C.UTF-8"


def _without_dialect(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_dialect(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _without_dialect(value)
        for key, value in node.items()
        if not (key == "enum" and "const" in node)
    }


@pytest.fixture(scope="session")
def without_dialect() -> Callable[[Any], Any]:
    """Takes out of a JSON Schema what differs between versions of pydantic."""
    return _without_dialect

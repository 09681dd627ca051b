"""Scenarios by name, as labs that are not converted yet describe them."""

from __future__ import annotations

from typing import Any

from vmmlab.probes.scenario import Scenario, scenario_of


def scenario(name: str, /, **params: Any) -> Scenario:
    """Describe a boot by the names of its probe and parameters."""
    setup = {"memory_mib" if key == "memory" else key: value for key, value in params.items()}
    return scenario_of(setup.pop("probe", "end"), {**setup, "name": name})

"""The intervals hold in worlds where percentiles of the bootstrap do not: scripts/simulate_intervals.py in small."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/simulate_intervals.py"
WORLDS = {
    "success, 6 x 10": 90,
    "success, 12 x 5": 94,
    "success, 22 x 3, a subject in 20 gained": 75,
    "loss ratio, 500 chunks, 2 % hit hard": 93,
}
"""By name, the percentage that percentiles stay below."""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulate_intervals", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its classes look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", WORLDS)
def test_intervals_hold_where_percentiles_are_too_sure(name: str, script: ModuleType) -> None:
    number, world = next((number, world) for number, world in enumerate(script.worlds()) if world.name == name)
    holds, width, percentiles_hold, _ = script.simulated(world, 250, number)
    assert holds >= 93
    assert percentiles_hold < WORLDS[name]
    assert width > 0

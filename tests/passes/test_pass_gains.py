"""Passes that show on few models show on those of `examples/pass_gains.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).parents[2] / "examples" / "pass_gains.py"


@pytest.fixture(scope="module")
def gains() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pass_gains", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["pass_gains"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# They save bytes of the arena, and time.
SAVE_OTHERWISE = ("strip-mine-scans", "prepack-weights")


@pytest.mark.slow
def test_units_move_fewer_bytes_with_each_pass_on_each_of_its_models(gains: ModuleType):
    for name, recipes in gains.CASES.items():
        for recipe in recipes if name not in SAVE_OTHERWISE else ():
            with_it, without_it = gains.costs(name, recipe)
            assert with_it.moved < 0.98 * without_it.moved, (name, recipe.__name__)


@pytest.mark.slow
def test_five_passes_save_a_good_part_of_the_arena(gains: ModuleType):
    saved = {
        "push-slices": 0.75,
        "split-concat-conv": 0.85,
        "fuse-concat": 0.7,
        "strip-mine-scans": 0.8,
        "row-sparse-updates": 0.1,
    }
    for name, part in saved.items():
        with_it, without_it = gains.costs(name, gains.CASES[name][0])
        assert with_it.arena < part * without_it.arena, name

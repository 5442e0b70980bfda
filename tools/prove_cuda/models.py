"""Models that the proof trains: the benchmark's workloads, and large ones of the zoo where a checkout is here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optree

from ...engine.step.compile_step import plan_step
from ...ir import Array, ArrayType
from ...passes.memory.plan import Plan
from ..bench.workloads import WORKLOADS, task
from ..find_recipe import make_recipe
from ..recipes import Ingredients

CHECKOUT = Path(__file__).parents[2]
"""The folder of the package, which in a checkout has tests and examples too."""
ZOO = ("gpt2_small", "resnet50")
FAKE = ("mlp_s",)
"""What the fake driver trains."""


def model_names(fake: bool = False) -> list[str]:
    """The workloads, then what there is of the zoo."""
    if fake:
        return list(FAKE)
    return [*WORKLOADS, *(name for name in ZOO if _file(name).exists())]


def ingredients(name: str) -> tuple[Ingredients, Any]:
    """A model with its loss function and its optimizer, and a batch of arrays for it."""
    if name in WORKLOADS:
        made = task(name)
        return made.ingredients, made.batch
    made = make_recipe(f"{_file(name)}:recipe")
    rng = np.random.default_rng(1)

    def array(kind: ArrayType) -> Array:
        if kind.dtype.kind == "f":
            return rng.standard_normal(kind.shape, "float32").astype(kind.dtype)
        return rng.integers(0, _CLASSES, kind.shape).astype(kind.dtype)

    return made, optree.tree_map(array, made.batch)


_CLASSES = 1000
"""Integers of a batch are below: classes of images, and a part of the words."""


def plan_of(name: str, target: str = "cuda:sm_90") -> Plan:
    """The plan of a model's step for a GPU that need not be here."""
    made = WORKLOADS[name].recipe() if name in WORKLOADS else make_recipe(f"{_file(name)}:recipe")
    return plan_step(*made[:3], made.batch, target=target).plan


def recipe_name(name: str) -> str:
    """What the benchmark calls a model; one of the zoo without dropout, so that every side computes the same."""
    return name if name in WORKLOADS else f"{_file(name)}:{_STEADY.get(name, 'recipe')}"


_STEADY = {"gpt2_small": "recipe_without_dropout"}


def _file(name: str) -> Path:
    return CHECKOUT / "examples" / "zoo" / f"{name}.py"

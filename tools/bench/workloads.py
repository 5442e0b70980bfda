"""What is measured: a recipe, the batch it is measured with, and what the peers need to do the same."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optree

from ...ir import Array, ArrayType
from ..command_error import CommandError
from ..find_recipe import make_recipe, recipe_namesake
from ..recipes import Ingredients
from ..training_data import training_data
from .torch_module import peer_of_module
from .wider import WIDER

COMPARED_STEPS = 3
"""The loss of the last of them must be the same on every side: AdamW soon makes rounding errors grow."""

WARM_UP_STEPS = 5
"""Steps before the clock starts."""


@dataclass(frozen=True)
class Workload:
    """A recipe of this package with peers. `numbers` is how many values each integer of its batch may have."""

    module: str
    function: str
    numbers: int = 10
    batch_axis: Mapping[str, int] = field(default_factory=dict[str, int])
    """The axis of the examples, where it is not the first."""

    def recipe(self) -> Ingredients:
        """The recipe's ingredients."""
        return getattr(importlib.import_module(self.module, __package__), self.function)()


_RECIPES = "..recipes"

WORKLOADS: Mapping[str, Workload] = {
    **{name: Workload(f"{_RECIPES}.bench_mlps", name) for name in ("mlp_s", "mlp_m", "mlp_l")},
    "gpt": Workload(f"{_RECIPES}.bench_gpt", "gpt", numbers=256),
    "cnn": Workload(f"{_RECIPES}.bench_cnn", "cnn"),
    "lstm": Workload(f"{_RECIPES}.bench_lstm", "lstm_bench", batch_axis={"x": 1}),
}
"""The benchmark's own, by name: the quick list."""

ALL = (*WORKLOADS, *WIDER)
"""The names of all workloads: the quick list, then the wider one."""


def listed(asked: Sequence[str]) -> list[str]:
    """The names of workloads where `all` and `wider` stand for lists, and none for the quick one."""
    lists = {"all": ALL, "wider": tuple(WIDER)}
    return [name for one in asked for name in lists.get(one, (one,))] or list(WORKLOADS)


@dataclass(frozen=True)
class Task:
    """What a side is to do: train with these ingredients on one batch of arrays, again and again."""

    name: str
    ingredients: Ingredients
    batch: Any

    @property
    def is_inference(self) -> bool:
        """Whether the model's outputs are all that is computed, with parameters that stay."""
        return self.name in WIDER and WIDER[self.name].loss is None

    def peer(self, framework: str) -> Callable[..., Any] | None:
        """`NAME_torch` or `NAME_jax`, which stands beside a user's recipe `NAME`, or the module of torch that the
        recipe exported; `None` where there is neither.
        """
        if self.name in WORKLOADS:
            return None
        if self.name in WIDER:
            return WIDER[self.name].peer(framework)
        beside = recipe_namesake(self.name, framework)
        return peer_of_module(self.ingredients) if beside is None and framework == "torch" else beside


def task(name: str, batch_size: int | None = None) -> Task:
    """A workload or a recipe by its name, with batches of another size if one is given.

    Raises `CommandError` where there is no such recipe, or where its batch cannot have that size.
    """
    workload = WORKLOADS.get(name) or WIDER.get(name)
    if workload is None:
        made = make_recipe(name)
        return Task(name, made, next(training_data(name, made, batch_size, 0).loader.epoch(0)))
    made = workload.recipe()
    rng = np.random.default_rng(1)

    def array(path: Any, kind: ArrayType) -> Array:
        shape = list(kind.shape)
        shape[workload.batch_axis.get(path[0], 0)] = batch_size or shape[workload.batch_axis.get(path[0], 0)]
        if kind.dtype.kind == "f":
            return rng.standard_normal(shape).astype(kind.dtype)
        return rng.integers(0, workload.numbers, shape).astype(kind.dtype)

    return Task(name, made, optree.tree_map_with_path(array, made.batch))


def check_name(name: str) -> None:
    """Raises `CommandError` for what is neither a workload nor a recipe."""
    if name not in ALL:
        if ":" not in name:
            raise CommandError(
                f"there is no workload {name!r}; there are {', '.join(ALL)}, and recipes of your own: "
                "module:function or file.py:function"
            )
        make_recipe(name)

"""The six workloads of the benchmark at small widths, so that a step takes an emulated GPU little time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import optree
from gradloom import optim
from gradloom.ir import Array, ArrayType, spec
from gradloom.tools.recipes import Ingredients
from gradloom.tools.recipes.bench_gpt import Transformer
from gradloom.tools.recipes.bench_gpt import loss as loss_of_tokens
from gradloom.tools.recipes.bench_lstm import LastState
from gradloom.tools.recipes.classification import batch_of, loss, perceptron
from gradloom.tools.recipes.residual_network import residual_network

_CLASSES = 10


def _mlp(rows: int, *widths: int) -> Ingredients:
    return Ingredients(perceptron(*widths), loss, optim.AdamW(1e-3), batch_of(rows, widths[0]))


def _gpt() -> Ingredients:
    tokens = spec((2, 16), "int64")
    model = Transformer(vocabulary=_CLASSES, context=16, width=16, heads=2, layers=2)
    return Ingredients(model, loss_of_tokens, optim.AdamW(1e-3), {"x": tokens, "y": tokens})


def _cnn() -> Ingredients:
    batch = {"x": spec((3, 3, 8, 8)), "y": spec((3,), "int64")}
    return Ingredients(residual_network(3, 4, 6, 8), loss, optim.AdamW(1e-3), batch)


def _lstm() -> Ingredients:
    batch = {"x": spec((5, 4, 6)), "y": spec((4,), "int64")}
    return Ingredients(LastState(6, 12, _CLASSES), loss, optim.AdamW(1e-3), batch)


SMALL_WORKLOADS: dict[str, Callable[[], Ingredients]] = {
    "mlp_s": lambda: _mlp(8, 16, 16, 16, 10),
    "mlp_m": lambda: _mlp(12, 49, 40, 40, 10),
    "mlp_l": lambda: _mlp(20, 40, 72, 72, 72, 40, 10),
    "gpt": _gpt,
    "cnn": _cnn,
    "lstm": _lstm,
}
"""By the names of the benchmark."""


def batch_for(ingredients: Ingredients) -> dict[str, Array]:
    """A batch of random arrays."""
    rng = np.random.default_rng(0)

    def array(kind: ArrayType) -> Array:
        if kind.dtype.kind == "f":
            return rng.standard_normal(kind.shape, kind.dtype.name)
        return rng.integers(0, _CLASSES, kind.shape)

    return optree.tree_map(array, ingredients.batch)

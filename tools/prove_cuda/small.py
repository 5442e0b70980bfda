"""The workloads at small widths, of which the emulator trains a step in a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optree

from ...engine import nn, optim
from ...engine.step.compile_step import compile_step
from ...engine.step.step import Step
from ...ir import Array, spec
from ...passes.target import Target
from ..recipes import Ingredients
from ..recipes.bench_gpt import Transformer, loss
from ..recipes.bench_lstm import LastState
from ..recipes.classification import batch_of, perceptron
from ..recipes.classification import loss as loss_of_classes
from ..recipes.residual_network import residual_network

_CLASSES = 10


def _mlp() -> Ingredients:
    model = perceptron(24, 40, 40, _CLASSES)
    model.append(nn.Dropout(0.1))
    return Ingredients(model, loss_of_classes, optim.AdamW(1e-3), batch_of(16, 24))


def _gpt() -> Ingredients:
    tokens = spec((2, 16), "int64")
    return Ingredients(Transformer(32, 16, 32, 2, 2), loss, optim.AdamW(1e-3), {"x": tokens, "y": tokens})


def _cnn() -> Ingredients:
    batch = {"x": spec((4, 3, 8, 8), "float32"), "y": spec((4,), "int64")}
    return Ingredients(residual_network(3, 4, 8, 8), loss_of_classes, optim.SGD(0.05, momentum=0.9), batch)


def _lstm() -> Ingredients:
    batch = {"x": spec((6, 4, 8), "float32"), "y": spec((4,), "int64")}
    return Ingredients(LastState(8, 16), loss_of_classes, optim.AdamW(1e-3), batch)


SMALL: Mapping[str, Callable[[], Ingredients]] = {"mlp": _mlp, "gpt": _gpt, "cnn": _cnn, "lstm": _lstm}
"""By the name of the workload."""


def batches(batch: Any, count: int) -> list[Any]:
    """So many random batches of a type, always the same."""
    rng = np.random.default_rng(0)

    def array(kind: Any) -> Array:
        if kind.dtype.kind == "f":
            return rng.standard_normal(kind.shape).astype(kind.dtype)
        return rng.integers(0, _CLASSES, kind.shape).astype(kind.dtype)

    return [optree.tree_map(array, batch) for _ in range(count)]


def small_step(name: str, target: Target, **options: Any) -> Step:
    """The step of a small model on a target."""
    made = SMALL[name]()
    return compile_step(*made[:3], made.batch, target=target, **options)


def train(step: Step, name: str, steps: int) -> dict[str, Array]:
    """The losses of so many steps, and what a step holds behind them: parameters, buffers, state."""
    losses = [step(batch) for batch in batches(SMALL[name]().batch, steps)]
    held = {f"parameter {key}": value for key, value in step.parameters().items()}
    held |= {f"buffer {key}": value for key, value in step.buffers().items()}
    held |= {f"state {key}": value for key, value in step.state().items()}
    return {"losses": np.array([float(np.asarray(x)) for x in losses])} | {k: np.array(v) for k, v in held.items()}

"""What tests of second-order optimizers share: two losses, and the losses of a step that runs on one batch."""

from __future__ import annotations

from typing import Any

import gradloom as gl
from gradloom import nn, optim

F64: dict[str, Any] = {"dtype": "float64"}


def squared(model: Any, batch: Any) -> Any:
    return nn.mse_loss(model(batch["x"]), batch["y"])


def crossed(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def run(optimizer: optim.Optimizer, model: nn.Module, loss_fn: Any, batch: Any, steps: int, **options: Any) -> Any:
    step = gl.compile_step(model, loss_fn, optimizer, batch, **options)
    return step, [float(step(batch)) for _ in range(steps)]

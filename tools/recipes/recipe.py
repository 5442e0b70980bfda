"""What a recipe is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...engine.nn import Module
from ...engine.optim import Optimizer


class _Step(NamedTuple):
    model: Module
    loss_fn: Callable[[Any, Any], Any]
    optimizer: Optimizer
    batch: Any


class Ingredients(_Step):
    """What a recipe returns: all that a training step is made of, `(model, loss_fn, optimizer, batch)`.

    `loss_fn(model, batch)` returns the loss, or `(loss, metrics)`. `batch` is a pytree: of specs, which say what one
    batch looks like; or of arrays, whose first axes run over the examples to train with. A recipe may return two more:
    `validate`, data to evaluate on after each epoch, and `metrics` to evaluate by, as `gl.evaluate` takes them.
    """

    validate: Any = None
    metrics: Any = None


Recipe = Callable[[], Ingredients]

"""What the classifiers of this folder share: a multi-layer perceptron, and how its answers are judged."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from ...engine import array_api as xp
from ...engine import nn
from ...ir import spec


def perceptron(*widths: int, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers of `widths` with ReLU, and dropout where it is above 0, between them."""
    layers: list[nn.Module] = []
    for i, (inner, outer) in enumerate(pairwise(widths)):
        if i:
            layers.append(nn.ReLU())
            if dropout:
                layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(inner, outer))
    return nn.Sequential(*layers)


def batch_of(examples: int, pixels: int) -> dict[str, Any]:
    """The batch of a classifier: "x" (examples, pixels) float32, "y" (examples,) int64."""
    return {"x": spec((examples, pixels), "float32"), "y": spec((examples,), "int64")}


def loss(model: Any, batch: Any) -> Any:
    """The mean cross entropy."""
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def loss_and_accuracy(model: Any, batch: Any) -> Any:
    """The mean cross entropy, and as a metric the share of the examples that are classified right."""
    logits = model(batch["x"])
    right = xp.argmax(logits, axis=1) == batch["y"]
    return nn.cross_entropy(logits, batch["y"]), {"accuracy": xp.mean(xp.astype(right, "float32"))}

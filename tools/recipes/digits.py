"""A classifier of the 8x8 digits that come with the package."""

from __future__ import annotations

from ...engine import optim
from .classification import batch_of, loss_and_accuracy, perceptron
from .recipe import Ingredients


def digits() -> Ingredients:
    """64-128-128-10 with dropout, batches of 32, AdamW at 0.002."""
    model = perceptron(64, 128, 128, 10, dropout=0.2)
    return Ingredients(model, loss_and_accuracy, optim.AdamW(2e-3), batch_of(32, 64))

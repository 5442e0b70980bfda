"""A classifier of MNIST's 28x28 digits."""

from __future__ import annotations

from ...engine import optim
from .classification import batch_of, loss_and_accuracy, perceptron
from .recipe import Ingredients


def mnist() -> Ingredients:
    """784-512-512-10 with dropout, batches of 128, AdamW at a learning rate that falls from 0.001."""
    model = perceptron(784, 512, 512, 10, dropout=0.2)
    rate = optim.StepDecay(1e-3, every=1500, factor=0.3)
    return Ingredients(model, loss_and_accuracy, optim.AdamW(rate), batch_of(128, 784))
